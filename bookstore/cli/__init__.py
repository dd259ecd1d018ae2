"""The command line: ``bookstore …``, also ``jupyter bookstore …``."""

from bookstore.cli.entry import main

__all__ = ["main"]
