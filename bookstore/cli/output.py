"""What the commands print: tables for people, one JSON document for programs, errors on standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
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

#: What a terminal takes for an order: control characters but line feed and tab, and those of Unicode that turn the
#: direction of reading. Each becomes one character that only shows that it was there.
_ORDERS = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **dict.fromkeys((*range(0x80, 0xA0), 0x61C, 0x200E, 0x200F, 0x2028, 0x2029), "\ufffd"),
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd"),
}


class OutputError(Exception):
    """Standard output takes nothing more; so only standard error can tell."""

    hint = "What was printed is not complete. Make room where it goes, or write to another place."


@contextmanager
def printing() -> Iterator[None]:
    """Around what writes to standard output: what goes wrong there is told apart from all else.

    Raises
    ------
    BrokenPipeError
        Who reads has seen enough.
    OutputError
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as e:
        raise OutputError(f"Standard output cannot be written to: {e.strerror or type(e).__name__}.") from e


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
            with printing():
                sys.stdout.write(json.dumps(document, indent=1) + "\n")
                sys.stdout.flush()

    def error(self, code: str, message: str, hint: str) -> None:
        """Tell what went wrong, and what to do."""
        self.document({"ok": False, "error": {"code": code, "message": message, "hint": hint}})
        sys.stderr.write(f"bookstore: {harmless(message)}\n")
        if hint:
            sys.stderr.write(f"  {harmless(hint)}\n")
        sys.stderr.flush()

    def note(self, message: str) -> None:
        """Tell in passing."""
        sys.stderr.write(f"{harmless(message)}\n")
        sys.stderr.flush()

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print a line for people."""
        if not self.is_json:
            with printing():
                self.console.print(harmless(text), style=style, markup=False, highlight=False, soft_wrap=True)

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
            Each row is one line, however narrow the terminal is; in a file each row always is.
        """
        if self.is_json:
            return
        from rich import box
        from rich.table import Table

        # Not as a plain string, which rich would read for markup.
        heading = None if title is None else _harmless_text(title)
        table = Table(box=box.SIMPLE_HEAD, title=heading, title_justify="left", pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold", no_wrap=column in whole)
        for row in rows:
            table.add_row(*map(_harmless_text, row))
        width = self.console.width
        # Nobody looks at a file through a window; programs read it line by line.
        self.console.width = width if self.console.is_terminal and not is_wide else _ANY_WIDTH
        try:
            self._print(table)
        finally:
            self.console.width = width

    def pairs(self, pairs: Iterable[tuple[str, str | Text]]) -> None:
        """Print names and values for people, one pair a line; none is broken, so that addresses can be copied."""
        if self.is_json:
            return
        from rich.text import Text

        rows = list(pairs)
        width = max((len(name) for name, _ in rows), default=0) + 2
        for name, value in rows:
            text = _harmless_text(value)
            for first, line in zip(
                [name, *[""] * text.plain.count("\n")], text.split("\n", allow_blank=True), strict=True
            ):
                self.text(Text.assemble((f"{first:<{width}}", "bold"), line))

    def text(self, text: Text) -> None:
        """Print a line for people that has several styles."""
        if not self.is_json:
            text.rstrip()
            with printing():
                self.console.print(_harmless_text(text), soft_wrap=True)

    def _print(self, columns: RenderableType) -> None:
        """Print what is laid out in columns; in a file without the blanks that fill up its last one."""
        if self.console.is_terminal:
            with printing():
                self.console.print(columns)
            return
        with self.console.capture() as captured:
            self.console.print(columns)
        with printing():
            for line in captured.get().splitlines():
                self.console.file.write(f"{line.rstrip()}\n")


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    class PlainConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # which is being handled; rich itself would end the program here, and `main` knows what to do

    console = PlainConsole(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_OF_FILES
    return console


def harmless(text: str) -> str:
    """A text with nothing in it that a terminal obeys.

    Names, notes and messages come from the bucket, where others may write, and a terminal takes orders from what it
    shows: other colours, another title, the cursor elsewhere.
    """
    return text.translate(_ORDERS)


def _harmless_text(cell: str | Text) -> Text:
    from rich.text import Text

    text = cell.copy() if isinstance(cell, Text) else Text()
    # As long as it was, so that the styles stay where they were.
    text.plain = harmless(text.plain if isinstance(cell, Text) else cell)
    return text


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
