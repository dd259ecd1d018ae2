"""Strict arguments: whatever is unknown ends the program, with a suggestion.

No message repeats the value of an option, since it may be a secret behind a misspelt name.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from bookstore._version import __version__
from bookstore.cli.commands import COMMANDS, Command

#: How settings are given on the command line.
SETTING = "--BookstoreSettings."

#: Options before the command that take a value of their own.
_WITH_VALUE = ("--config",)

#: What asks for help as well as ``--help`` does, alone or before a command's name.
HELP = "help"

_EXIT_CODES = "exit codes: 0 fine, 1 something is wrong, 2 wrong usage, 130 interrupted, 141 nobody reads the rest"


class UsageError(Exception):
    """The arguments make no sense.

    Parameters
    ----------
    message : str
        What is wrong with them.
    hint : str
        What would be right.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class StrictParser(argparse.ArgumentParser):
    """A parser that takes no abbreviations and raises `UsageError`."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Tell what argparse found to be wrong."""
        raise UsageError(message[:1].upper() + message[1:] + ".", f"{self.prog} --help tells what is possible.")

    def parse_all(self, args: Sequence[str]) -> argparse.Namespace:
        """Parse, and take nothing that is unknown."""
        self.refuse_unknown(args)
        namespace, rest = self.parse_known_args(list(args))
        if rest:
            self.error(f"too many arguments: {len(rest)} more than this command takes, from {rest[0]!r} on")
        return namespace

    def refuse_unknown(self, args: Sequence[str]) -> None:
        """Raise `UsageError` for the first option that is unknown."""
        # Before argparse looks: it would take the value of an unknown option for an argument, and repeat it.
        known = [option for action in self._actions for option in action.option_strings]
        for arg in args:
            if arg == "--":
                return
            name = arg.partition("=")[0]
            if re.match(r"--?[A-Za-z]", name) and name not in known:
                if not name.startswith("--") and name[:2] in known:
                    continue  # a short option with its value in one
                raise UsageError(
                    f"Unknown option {name}.", suggestion(name, [*known, *_settings_like(name)], self.prog)
                )


def _settings_like(name: str) -> list[str]:
    if "." not in name:
        return []
    from bookstore.bookstore_config import BookstoreSettings

    return [SETTING + trait for trait in BookstoreSettings.class_trait_names(config=True)]


def suggestion(name: str, known: Iterable[str], prog: str) -> str:
    """A near name, or where to look."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]}?" if near else f"{prog} --help tells what is possible."


def take_settings(argv: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Part the settings, ``--BookstoreSettings.x=y`` in any place, from the other arguments.

    Returns
    -------
    list of str
        The other arguments.
    dict of str to list of str
        What was given for each trait.

    Raises
    ------
    UsageError
        There is no such trait, or no value.
    """
    rest: list[str] = []
    given: dict[str, list[str]] = {}
    args = iter(argv)
    for arg in args:
        if arg == "--":
            rest += [arg, *args]
        elif not arg.startswith(SETTING):
            rest.append(arg)
        else:
            name, has_value, value = arg.removeprefix(SETTING).partition("=")
            _require_trait(name)
            if not has_value:
                following = next(args, None)
                if following is None:
                    raise UsageError(f"{SETTING}{name} needs a value.", f"{SETTING}{name}=VALUE")
                value = following
            given.setdefault(name, []).append(value)
    return rest, given


def _require_trait(name: str) -> None:
    from bookstore.bookstore_config import BookstoreSettings

    traits = BookstoreSettings.class_trait_names(config=True)
    if name not in traits:
        near = difflib.get_close_matches(name, traits, n=1)
        hint = f"Did you mean {SETTING}{near[0]}?" if near else "The reference documentation lists the settings."
        raise UsageError(f"Unknown setting {SETTING}{name}.", hint)


def find_command(args: Sequence[str]) -> int | None:
    """Where among the arguments the command's name stands; None where there is none."""
    at = 0
    while at < len(args) and args[at].startswith("-"):
        if args[at] == "--":
            return None
        at += 2 if args[at] in _WITH_VALUE else 1
    return at if at < len(args) else None


def parse(argv: Sequence[str], prog: str) -> tuple[Command, argparse.Namespace, dict[str, list[str]]]:
    """Parse a whole command line.

    Parameters
    ----------
    argv : sequence of str
        Without the program's name.
    prog : str
        The program's name, for messages.

    Returns
    -------
    Command
    argparse.Namespace
        The command's options.
    dict of str to list of str
        The settings that were given.

    Raises
    ------
    UsageError
        Something is unknown or missing.
    SystemExit
        After ``--help``, ``help`` and ``--version``.
    """
    args, settings = take_settings(argv)
    at = find_command(args)
    if at is None:
        overview(prog).parse_all(args)
        raise UsageError("Which command?", f"One of {', '.join(COMMANDS)}; {prog} --help tells more.")
    name = args.pop(at)
    if name == HELP:
        asked = find_command(args)
        if asked is None:
            overview(prog).parse_all([*args, "--help"])
        return parse([*args, "--help"], prog)
    if name not in COMMANDS:
        # It may be the value of a misspelt option.
        overview(prog).refuse_unknown(args[:at])
        raise UsageError(f"Unknown command {name!r}.", suggestion(name, [*COMMANDS, HELP], prog))
    command = COMMANDS[name]
    return command, command_parser(command, prog).parse_all(args), settings


def overview(prog: str) -> StrictParser:
    """The parser for what stands alone; its help lists the commands."""
    parser = StrictParser(
        prog=prog,
        usage=f"{prog} COMMAND [options]",
        description="Every save of a Jupyter notebook becomes an immutable version in your own S3 bucket.\n\n"
        + "\n\n".join(_listed(group) for group in dict.fromkeys(command.group for command in COMMANDS.values())),
        epilog="examples:\n"
        f"  {prog} demo               see it work, with nothing to configure\n"
        f"  {prog} doctor             check the way to your bucket\n"
        f"  {prog} status --json      the state, for programs\n"
        f"  {prog} versions a.ipynb   the versions of a notebook\n\n"
        f"{prog} {HELP} COMMAND, or {prog} COMMAND --help, tells more of each. {_EXIT_CODES}",
    )
    parser.add_argument("--version", action="version", version=f"bookstore {__version__}")
    _add_common(parser)
    return parser


def _listed(group: str) -> str:
    lines = (f"  {command.name:<12}{command.summary}" for command in COMMANDS.values() if command.group == group)
    return "\n".join([f"{group}:", *lines])


def command_parser(command: Command, prog: str) -> StrictParser:
    """The parser of one command, with the options that all have."""
    module = command.load()
    width = max(len(line) for line, _ in module.EXAMPLES) + 2
    examples = "\n".join(f"  {prog} {line:<{width}}{what}" for line, what in module.EXAMPLES)
    parser = StrictParser(
        prog=f"{prog} {command.name}",
        description=module.DESCRIPTION,
        epilog=f"examples:\n{examples}\n\n{_EXIT_CODES}",
    )
    module.add_arguments(parser)
    _add_common(parser)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("options of every command")
    group.add_argument("--json", action="store_true", help="print one JSON document on standard output, for programs")
    group.add_argument(
        "--config", metavar="FILE", help="read this configuration file in place of jupyter_server_config"
    )
    group.add_argument("--debug", action="store_true", help="show where in the program an unforeseen error came from")
    # Taken out before the parser looks; it stands here for the help.
    group.add_argument(
        f"{SETTING}NAME",
        metavar="VALUE",
        dest="_setting",
        help="any setting, before what configuration files say; secrets belong into those or the environment",
    )


def seconds(text: str) -> float:
    """The type of options that take a duration."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("a number of seconds, 0 or more, is wanted")
    return value


def positive(text: str) -> int:
    """The type of options that take a number of things."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError("a whole number, 1 or more, is wanted")
    return value
