"""``bookstore show``: print a version, or write it to a file."""

from __future__ import annotations

import argparse
import base64
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bookstore.cli.arguments import UsageError
from bookstore.cli.commands import FINE
from bookstore.cli.output import printing, size
from bookstore.cli.places import ABOUT_PATHS, Place, add_place_arguments, open_place
from bookstore.cli.version_names import ABOUT_VERSIONS, add_area_argument, find_version
from bookstore.errors import FileChanged, FileMissing

if TYPE_CHECKING:
    from bookstore.cli.context import Context
    from bookstore.results import Version

DESCRIPTION = f"""Write a version's bytes, exactly as they were saved, to standard output or into a file.

They are checked against the SHA-256 that was saved with them: a file is made only if it holds, and what went to
standard output is followed by an error where it does not.

{ABOUT_VERSIONS}

{ABOUT_PATHS}"""

EXAMPLES = (
    ("show a.ipynb", "the newest version"),
    ("show a.ipynb latest~2 -o old.ipynb", "the third newest, into a file that is not there yet"),
    ("show a.ipynb 3HL4kqtJ | jq .metadata", "of one version, by the beginning of its id"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("path", metavar="PATH", help="the file")
    parser.add_argument("version", metavar="VERSION", nargs="?", default="latest", help="latest by default")
    parser.add_argument("-o", "--output", metavar="FILE", help="write into this file, which must not be there")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    add_area_argument(parser)
    add_place_arguments(parser)


def run(context: Context) -> int:
    """Do the work; the exit code."""
    args, output = context.args, context.output
    if args.force and not args.output:
        raise UsageError("--force belongs to --output.", "Tell which file to overwrite: -o FILE.")
    with open_place(context, args.path) as place:
        path = place.file_path(args.path)
        version = find_version(place, path, args.version, area=args.area)
        if output.is_json:
            version = place.desk.locate(path, version.version_id, area=args.area)
        if args.output:
            target = Path(args.output)
            write_file(place, path, version, target, area=args.area, force=args.force)
            output.document({"ok": True, "version": version.to_dict(), "file": str(target.absolute())})
            output.note(f"{target}: version {version.version_id}, {size(version.size)}")
        elif output.is_json:
            content = bytearray()
            place.desk.copy_to(path, version.version_id, content.extend, area=args.area)
            output.document({"ok": True, "version": version.to_dict(), **_content_document(bytes(content))})
        else:
            place.desk.copy_to(path, version.version_id, _to_standard_output, area=args.area)
            with printing():
                sys.stdout.buffer.flush()
    return FINE


def write_file(place: Place, path: str, version: Version, target: Path, *, area: str, force: bool) -> None:
    """Write a version into a file, whole or not at all.

    Raises
    ------
    FileChanged
        The file is there, and it is not to be overwritten.
    FileMissing
        There is no such directory.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    is_mine = False
    try:
        if not force:
            # Takes the name, so that nobody's file of that name is written over when the bytes are here.
            target.open("xb").close()
            is_mine = True
        with part.open("xb") as file:
            place.desk.copy_to(path, version.version_id, file.write, area=area)
        part.replace(target)
        is_mine = False
    except FileExistsError as e:
        raise FileChanged(f"{target} is there already.", "Give another file, or --force to overwrite it.") from e
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as e:
        raise FileMissing(
            f"{target} cannot be written: {e.strerror}.", "Give a file in a directory that exists."
        ) from e
    finally:
        part.unlink(missing_ok=True)
        if is_mine:
            target.unlink(missing_ok=True)


def _to_standard_output(chunk: bytes) -> None:
    if b"\0" in chunk and sys.stdout.isatty():
        raise UsageError("The version is no text, and would upset the terminal.", "Write it to a file: -o FILE.")
    with printing():
        sys.stdout.buffer.write(chunk)


def _content_document(content: bytes) -> dict[str, Any]:
    try:
        return {"content": content.decode("utf-8"), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"content": base64.b64encode(content).decode("ascii"), "encoding": "base64"}
