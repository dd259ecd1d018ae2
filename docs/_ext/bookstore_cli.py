"""The directive ``bookstore-commands``: every command and its options, from the parsers themselves."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from bookstore.cli.arguments import command_parser, overview
from bookstore.cli.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx

PROG = "bookstore"

_COMMON = "options of every command"


def options(parser: argparse.ArgumentParser, *, common: bool) -> Iterable[argparse.Action]:
    """The options that are a command's own, or those that every command has."""
    for group in parser._action_groups:  # noqa: SLF001 - argparse has no public way to ask
        if (group.title == _COMMON) == common:
            yield from (action for action in group._group_actions if action.dest != "help")  # noqa: SLF001


def spelling(action: argparse.Action) -> str:
    """An option as it is typed, with what it takes; an argument without one as the help calls it."""
    if not action.option_strings:
        name = str(action.metavar or action.dest)
        if action.choices:
            name = "{" + ",".join(map(str, action.choices)) + "}"
        return f"[{name}]" if action.nargs == "?" else name
    takes = ""
    if action.nargs != 0:
        shown = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.metavar
        takes = " " + (" ".join(shown) if isinstance(shown, tuple) else str(shown or action.dest.upper()))
        if action.nargs == "+":
            takes += f" [{takes.strip()} …]"
    return ", ".join(f"{name}{takes}" for name in action.option_strings)


class CommandsDirective(Directive):
    """``.. bookstore-commands::``."""

    def run(self) -> list[nodes.Node]:
        """One section for each command, and one for what they share."""
        made = [self._command(name) for name in COMMANDS]
        shared = nodes.section(ids=["options-of-every-command"], names=[_COMMON])
        shared += nodes.title(text=_COMMON.capitalize())
        self._parse(self._rows(options(overview(PROG), common=True)), shared)
        return [*made, shared]

    def _command(self, name: str) -> nodes.section:
        command = COMMANDS[name]
        module, parser = command.load(), command_parser(command, PROG)
        section = nodes.section(ids=[f"command-{name}"], names=[f"{PROG} {name}"])
        section += nodes.title("", "", nodes.literal(text=f"{PROG} {name}"))
        for paragraph in module.DESCRIPTION.split("\n\n"):
            section += nodes.paragraph(text=" ".join(paragraph.split()))
        rows = [".. code-block:: console", ""]
        for line, what in module.EXAMPLES:
            rows += [f"   # {what}", f"   $ {PROG} {line}"]
        rows += ["", *self._rows(options(parser, common=False))]
        self._parse(rows, section)
        return section

    @staticmethod
    def _rows(actions: Iterable[argparse.Action]) -> list[str]:
        rows: list[str] = []
        for action in actions:
            told = str(action.help).replace("*", r"\*")
            rows += [f"``{spelling(action)}``", f"   {told}", ""]
        return rows

    def _parse(self, rows: list[str], into: nodes.Element) -> None:
        self.state.nested_parse(StringList(rows, source="--help"), 0, into)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("bookstore-commands", CommandsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
