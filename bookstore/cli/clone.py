"""``bookstore clone``: make a file of an object in S3, or of a shared file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bookstore.cli.arguments import UsageError
from bookstore.cli.commands import FINE
from bookstore.cli.places import Place, add_place_arguments, open_place

if TYPE_CHECKING:
    from bookstore.cli.context import Context

_VERSION = "?versionId="

DESCRIPTION = """Make a file of an object in S3, its newest version or a certain one, or of a file below
fs_cloning_basedir.

The file has the exact bytes, and no file is overwritten: where the name is taken, another is found and told. A notebook
is not trusted by being cloned. TARGET is a file or directory below the server's root: that of the running server that
holds it, or otherwise --root or the configured root; by default, the current directory."""

EXAMPLES = (
    ("clone s3://books/published/report.ipynb", "the newest version, into the current directory"),
    ("clone 's3://books/published/report.ipynb?versionId=3HL4' mine.ipynb", "a certain version, as mine.ipynb"),
    ("clone --file shared/intro.ipynb", "a file below fs_cloning_basedir"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("source", metavar="S3_ADDRESS", nargs="?", help="s3://bucket/key, with ?versionId=… or without")
    parser.add_argument("target", metavar="TARGET", nargs="?", help="the file or directory to make it in")
    parser.add_argument("--file", metavar="RELPATH", help="clone this file below fs_cloning_basedir, not from S3")
    add_place_arguments(parser)


def run(context: Context) -> int:
    """Do the work; the exit code."""
    args, output = context.args, context.output
    target: str | None = args.target
    if args.file is not None:
        if target is not None:
            raise UsageError("--file names the source, so there is nothing else to clone.", "Leave out S3_ADDRESS.")
        target = args.source
    elif args.source is None:
        raise UsageError("Clone what?", "Give s3://bucket/key, or --file RELPATH.")
    source = None if args.file is not None else parse_address(args.source)
    with open_place(context, target, use="writing", needs_bucket=False) as place:
        path = _target_path(place, target)
        if source is None:
            cloned = place.desk.clone_file(args.file, target_path=path)
        else:
            bucket, key, version_id = source
            cloned = place.desk.clone(bucket, key, version_id=version_id, target_path=path)
    output.document({"ok": True, "cloned": cloned.to_dict()})
    version = f", version {cloned.versionID}" if cloned.versionID else ""
    output.line(f"{cloned.path} was made of {cloned.source}{version}.")
    return FINE


def _target_path(place: Place, target: str | None) -> str:
    if target is not None:
        return place.api_path(target)
    if place.root is None or not Path.cwd().resolve().is_relative_to(place.root.resolve()):
        return ""  # the server was chosen by its address or root
    return place.api_path(".")


def parse_address(address: str) -> tuple[str, str, str | None]:
    """Bucket, key and version id of an address.

    Parameters
    ----------
    address : str
        ``s3://bucket/key``, where the key is spelt as it is, or ``bookstore://bucket/key``, where it is
        percent-encoded; either may end in ``?versionId=…``.

    Raises
    ------
    UsageError
        It is none.
    """
    scheme, separator, rest = address.partition("://")
    rest, _, version_id = rest.rpartition(_VERSION) if _VERSION in rest else (rest, "", "")
    bucket, _, key = rest.partition("/")
    if scheme not in ("s3", "bookstore") or not separator or not bucket or not key:
        raise UsageError(f"{address} is no address in S3.", "It looks like s3://bucket/key?versionId=ID.")
    if scheme == "bookstore":
        key, version_id = unquote(key), unquote(version_id)
    return bucket, key, version_id or None
