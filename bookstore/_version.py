"""The version of this package, in the two forms that bookstore 2 had."""

__version__ = "3.0.0.dev0"

#: major, minor, patch, and the development tag if there is one
version_info: tuple[int | str, ...] = (3, 0, 0, "dev0")
