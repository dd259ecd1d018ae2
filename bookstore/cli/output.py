"""What the commands print: tables for people, one JSON document for programs, errors on standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Container, Iterable, Sequence
from functools import cached_property
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

#: Columns where nobody tells how wide the terminal is, as in a file.
WIDTH_OF_FILES = 160

#: Columns that no line needs.
_ANY_WIDTH = 1_000_000


class Output:
    """Where the commands print.

    Parameters
    ----------
    is_json : bool
        Standard output is to be one JSON document.

    Attributes
    ----------
    is_json : bool
    """

    def __init__(self, is_json: bool) -> None:
        self.is_json = is_json
        self._has_document = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                # A name that the terminal's encoding lacks must not be what fails.
                stream.reconfigure(errors="backslashreplace")

    @cached_property
    def console(self) -> Console:
        """Standard output, for people."""
        return _console(stderr=False)

    @cached_property
    def console_for_notes(self) -> Console:
        """Standard error: progress, notes and errors, which never mix with the result."""
        return _console(stderr=True)

    def document(self, document: dict[str, Any]) -> None:
        """Print the JSON document; does nothing for people."""
        if self.is_json and not self._has_document:
            self._has_document = True
            sys.stdout.write(json.dumps(document, indent=1) + "\n")
            sys.stdout.flush()

    def error(self, code: str, message: str, hint: str) -> None:
        """Tell what went wrong, and what to do."""
        self.document({"ok": False, "error": {"code": code, "message": message, "hint": hint}})
        sys.stderr.write(f"bookstore: {message}\n")
        if hint:
            sys.stderr.write(f"  {hint}\n")
        sys.stderr.flush()

    def note(self, message: str) -> None:
        """Tell in passing."""
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print a line for people."""
        if not self.is_json:
            self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at it, and it is not on its way into a file or to another program."""
        return sys.stdout.isatty()

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str | Text]],
        title: str | None = None,
        *,
        whole: Container[str] = (),
        is_wide: bool = False,
    ) -> None:
        """Print a table for people.

        Parameters
        ----------
        columns : sequence of str
        rows : iterable of sequence of str
        title : str, optional
        whole : container of str
            Columns that are never broken into lines, as long as the others can be.
        is_wide : bool
            Each row is one line, however narrow the terminal is.
        """
        if self.is_json:
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold", no_wrap=column in whole)
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
        width = self.console.width
        self.console.width = _ANY_WIDTH if is_wide else width
        try:
            self._print(table)
        finally:
            self.console.width = width

    def pairs(self, pairs: Iterable[tuple[str, str | Text]]) -> None:
        """Print names and values for people, one pair a line."""
        if self.is_json:
            return
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in pairs:
            grid.add_row(name, value if isinstance(value, Text) else Text(value))
        self._print(grid)

    def _print(self, columns: RenderableType) -> None:
        """Print what is laid out in columns; in a file without the blanks that fill up its last one."""
        if self.console.is_terminal:
            self.console.print(columns)
            return
        with self.console.capture() as captured:
            self.console.print(columns)
        for line in captured.get().splitlines():
            self.console.file.write(f"{line.rstrip()}\n")


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_OF_FILES
    return console


def size(count: int) -> str:
    """A number of bytes, as people read it."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 1000:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def duration(seconds: float) -> str:
    """A number of seconds, as people read it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} days"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def local_time(seconds: float) -> str:
    """A time, by the clock on the wall."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
