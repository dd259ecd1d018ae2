"""What a command works with: its options, Jupyter's configuration and the settings, each read when it is needed."""

from __future__ import annotations

import argparse
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.cli.output import Output
from bookstore.errors import SettingsError

if TYPE_CHECKING:
    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.cli.app import BookstoreApp


class Context:
    """What a command works with.

    Parameters
    ----------
    args : argparse.Namespace
        The command's options.
    given : dict of str to list of str
        Settings from the command line.
    output : Output
        Where to print.
    """

    def __init__(self, args: argparse.Namespace, given: dict[str, list[str]], output: Output) -> None:
        self.args = args
        self.output = output
        self._given = given
        self._is_root_chosen = False

    @cached_property
    def app(self) -> BookstoreApp:
        """The application that has read Jupyter's configuration."""
        from bookstore.cli.app import BookstoreApp

        return BookstoreApp.configured(self.args.config, self._given)

    @cached_property
    def settings(self) -> BookstoreSettings:
        """The settings; what is wrong with them stands in their ``problems``, and nothing is raised."""
        from bookstore.bookstore_config import BookstoreSettings

        return BookstoreSettings.load(parent=self.app)

    @cached_property
    def root_dir(self) -> str:
        """The server's root directory: ``--root``, else what the configuration says, else the current directory."""
        chosen: str | None = getattr(self.args, "root", None)
        return str(Path(chosen or self.app.configured_root() or ".").expanduser().resolve())

    @property
    def has_root(self) -> bool:
        """Whether the root directory was chosen, and is not just where the command happens to be run."""
        return self._is_root_chosen or bool(getattr(self.args, "root", None)) or self.app.configured_root() is not None

    def choose_root(self, directory: Path) -> None:
        """Take this for the server's root directory from now on."""
        self._is_root_chosen = True
        self.root_dir = str(directory)

    @property
    def outbox_dir(self) -> Path:
        """Where saves wait."""
        return Path(self.settings.outbox_dir).expanduser().absolute()

    def require_bucket(self) -> None:
        """See that there is a bucket to write to.

        Raises
        ------
        SettingsError
            None is configured, or a setting keeps everything from being shipped.
        """
        self.tell_broken_files()
        if not self.settings.is_configured:
            raise SettingsError(
                "No bucket is configured.",
                "Set c.BookstoreSettings.s3_bucket or JPYNB_S3_BUCKET; bookstore doctor tells what else is missing.",
            )
        problems = [problem for problem in self.settings.check(self.root_dir) if problem.blocks_archiving]
        if problems:
            raise SettingsError("\n".join(map(str, problems)), "bookstore doctor looks at the rest of the way.")

    def tell_broken_files(self) -> None:
        """Tell which configuration files could not be read."""
        for broken in self.app.broken_files:
            self.output.note(f"bookstore: {broken}")
