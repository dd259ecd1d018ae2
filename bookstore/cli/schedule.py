"""``bookstore schedule``: pin a copy of a notebook, with parameters, for a scheduler."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bookstore.cli.arguments import UsageError
from bookstore.cli.commands import FINE
from bookstore.cli.demo_layout import Layout
from bookstore.cli.places import ABOUT_PATHS, add_place_arguments, open_place
from bookstore.cli.publications import (
    add_listing_arguments,
    require_path,
    show_history,
    show_listing,
    show_published,
    show_removed,
)
from bookstore.cli.version_names import ABOUT_VERSIONS, find_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bookstore.cli.context import Context
    from bookstore.cli.places import Place, Use
    from bookstore.results import Published

DESCRIPTION = f"""Store a copy of a notebook's version with parameters, by papermill's convention, where a scheduler
finds both under one key; and print the papermill command that runs it.

A VALUE of -p is read as papermill's -p reads it: True, False, None, a number, otherwise text. FILE is a JSON or YAML
object; -p comes after it.

{ABOUT_VERSIONS}

{ABOUT_PATHS}"""

EXAMPLES = (
    ("schedule report.ipynb -p region north -p year 2026", "the notebook as it is now"),
    ("schedule report.ipynb --version latest~1 --parameters run.yaml", "an older version"),
    ("schedule --list", "what is scheduled"),
    ("schedule report.ipynb --show", "one, with its parameters"),
    ("schedule report.ipynb --history", "when this one was scheduled, and by whom"),
    ("schedule report.ipynb --withdraw", "hide it again"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("path", metavar="PATH", nargs="?", help="the notebook")
    parser.add_argument("--version", metavar="VERSION", help="the version to pin; the file as it is now by default")
    parser.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        dest="parameter",
        help="a parameter; may be given several times",
    )
    parser.add_argument("--parameters", metavar="FILE", help="parameters from a JSON or YAML file")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list what is scheduled")
    what.add_argument("--show", action="store_true", help="show the scheduled copy and its parameters")
    what.add_argument("--history", action="store_true", help="list the versions of the scheduled copy")
    what.add_argument("--withdraw", action="store_true", help="hide the scheduled copy")
    add_listing_arguments(parser)
    add_place_arguments(parser)


def run(context: Context) -> int:
    """Do the work; the exit code."""
    args, output = context.args, context.output
    require_path(args.path, is_listing=args.list)
    is_looking = args.list or args.show or args.history or args.withdraw
    if is_looking and (args.version or args.parameter or args.parameters):
        raise UsageError(
            "--version, -p and --parameters belong to a new scheduled copy.",
            "Leave out --list, --show, --history or --withdraw.",
        )
    parameters = {} if is_looking else given_parameters(args.parameters, args.parameter)
    use: Use = "history" if args.list or args.show or args.history else "writing"
    with open_place(context, args.path, use=use) as place:
        if args.list:
            limit = None if args.all else args.number
            show_listing(output, place.desk.scheduled(), limit, has_parameters=True, is_long=args.long)
            return FINE
        path = place.file_path(args.path)
        if args.history:
            show_history(context, place, path, "scheduled")
        elif args.show:
            _show(context, place, place.desk.scheduled_copy(path))
        elif args.withdraw:
            show_removed(output, place.desk.unschedule(path), "scheduled")
        else:
            version_id = find_version(place, path, args.version).version_id if args.version else None
            _show(context, place, place.desk.schedule(path, version_id=version_id, parameters=parameters))
    return FINE


def _show(context: Context, place: Place, item: Published) -> None:
    output = context.output
    show_published(output, item, "Scheduled")
    if output.is_json:
        return
    demo = Layout.of_this_user(place.root) if place.root is not None else None
    # Ahead of all other configuration, which papermill's side reads as every command does.
    prefix = "" if demo is None else f"JUPYTER_CONFIG_PATH={shlex.quote(str(demo.config))} "
    if demo is None and not context.settings.is_configured:
        output.note(
            "bookstore: for papermill name the store and its credentials in Jupyter's configuration here, or by "
            "JPYNB_S3_ENDPOINT_URL, JPYNB_S3_ACCESS_KEY_ID and JPYNB_S3_SECRET_ACCESS_KEY."
        )
    output.line()
    output.line(f"{prefix}papermill {shlex.quote(item.url)} {shlex.quote(result_name(item.path))}")


def result_name(path: str) -> str:
    """Where papermill is to write: beside the notebook it must not be the notebook."""
    return f"{path.rpartition('/')[2].removesuffix('.ipynb')}-out.ipynb"


def given_parameters(file: str | None, pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The parameters of the command line.

    Parameters
    ----------
    file : str or None
        JSON, or YAML where its name ends in ``.yaml`` or ``.yml``.
    pairs : sequence of (str, str)
        Names and values; they come before those of the file.

    Raises
    ------
    UsageError
        The file cannot be read, or holds no object.
    """
    parameters = _from_file(Path(file)) if file is not None else {}
    parameters.update({name: parameter_value(text) for name, text in pairs})
    return parameters


def _from_file(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix.lower() in (".yaml", ".yml"):
            import yaml  # type: ignore[import-untyped]

            try:
                document = yaml.safe_load(text)
            except yaml.YAMLError as e:
                raise ValueError(str(e)) from e
        else:
            document = json.loads(text)
    except OSError as e:
        raise UsageError(f"--parameters {file} cannot be read: {e.strerror}.", "Give a JSON or YAML file.") from e
    except ValueError as e:
        # Where, but not what: a parameter may be a secret.
        where = f" in line {e.lineno}" if isinstance(e, json.JSONDecodeError) else ""
        raise UsageError(f"--parameters {file} is no JSON or YAML{where}.", "Mend the file.") from e
    if not isinstance(document, dict):
        raise UsageError(f"--parameters {file} holds no object of names and values.", 'Like {"region": "north"}.')
    return document


def parameter_value(text: str) -> Any:
    """A value of ``-p``, as papermill's own command line reads it.

    Infinite numbers and what is not a number, which JSON lacks, stay text.
    """
    constants = {"True": True, "False": False, "None": None}
    if text in constants:
        return constants[text]
    for kind in (int, float):
        try:
            number: int | float = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text
