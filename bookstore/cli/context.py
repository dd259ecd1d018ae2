"""What a command works with: its options, Jupyter's configuration and the settings, each read when it is needed."""

from __future__ import annotations

import argparse
import shlex
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.cli.output import Output
from bookstore.errors import SettingsError, StoreTimeout, StoreUnreachable

if TYPE_CHECKING:
    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.cli.app import BookstoreApp
    from bookstore.cli.demo_layout import Layout
    from bookstore.errors import BookstoreError


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
    def demo(self) -> Layout | None:
        """The user's demo whose notebooks the current directory, or ``--root``, belongs to."""
        if self.args.config is not None or getattr(self.args, "url", None):
            return None
        from bookstore.cli.demo_layout import Layout

        return Layout.of_this_user(Path(getattr(self.args, "root", None) or ".").expanduser())

    @cached_property
    def app(self) -> BookstoreApp:
        """The application that has read Jupyter's configuration, or among a demo's notebooks the demo's."""
        from bookstore.cli.app import BookstoreApp

        file = self.args.config if self.demo is None else str(self.demo.config_file)
        return BookstoreApp.configured(file, self._given)

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
                "Set c.BookstoreSettings.s3_bucket or JPYNB_S3_BUCKET; bookstore doctor tells what else is missing."
                + self.demo_hint(),
            )
        problems = [problem for problem in self.settings.check(self.root_dir) if problem.blocks_archiving]
        if problems:
            raise SettingsError("\n".join(map(str, problems)), "bookstore doctor looks at the rest of the way.")

    def demo_hint(self) -> str:
        """Where the demo is, if there is one; empty or a sentence after a blank."""
        from bookstore.cli.demo_layout import Layout
        from bookstore.jupyter_servers import running_servers, servers_for

        demo = Layout.standard()
        if not demo.config_file.is_file():
            return ""
        notebooks = shlex.quote(str(demo.notebooks))
        if servers_for(demo.notebooks, running_servers()):
            return f" For the demo: --root {notebooks}"
        return f" The demo does not run: {demo.command} starts it; its notebooks are in {notebooks}"

    def hint_for(self, error: BookstoreError) -> str:
        """What to do about an error: among a demo's notebooks its S3 server may just not run."""
        from bookstore.jupyter_servers import running_servers, servers_for

        if self.demo is None or not isinstance(error, (StoreUnreachable, StoreTimeout)):
            return error.hint
        if servers_for(self.demo.notebooks, running_servers()):
            return error.hint
        return (
            f"This directory is a demo's, and the demo does not run. Start it in another terminal: {self.demo.command}"
        )

    def tell_broken_files(self) -> None:
        """Tell which configuration files could not be read."""
        for broken in self.app.broken_files:
            self.output.note(f"bookstore: {broken}")
