r"""The form of an outbox entry: a checked header, then the content's bytes. Pure functions.

.. code-block:: text

    bookstore-entry 1 <length of the JSON in bytes> <SHA-256 of the JSON>\n
    {"path": …, "key": …, "size": …, "provenance": {…}}\n
    <content: exactly `size` bytes, with the SHA-256 that the provenance tells>

Every bit of an entry is covered by a check: a torn or altered one is recognised, never shipped.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from bookstore.errors import EntryCorrupt
from bookstore.provenance import LARGEST_NUMBER, Provenance

_FIRST_LINE = re.compile(rb"bookstore-entry 1 (0|[1-9][0-9]{0,6}) ([0-9a-f]{64})\n")

#: What the fields of provenance are; those that are not named are text.
_KINDS: dict[str, tuple[type, ...]] = {"saved_at": (int, float), "generation": (int,), "sequence": (int,)}

#: Enough for the first line of any entry.
FIRST_LINE_BYTES = 128


@dataclass(frozen=True, slots=True)
class Entry:
    """One save that waits, without its content.

    Attributes
    ----------
    path : str
        API path of Jupyter, relative to the server's root.
    key : str or None
        Where it goes; None where no valid prefix was known when it was saved.
    size : int
        Bytes of content.
    provenance : Provenance
        Where it comes from; its ``sha256`` is the content's.
    """

    path: str
    key: str | None
    size: int
    provenance: Provenance


def encode_header(entry: Entry) -> bytes:
    """The bytes that stand before the content."""
    fields = {"path": entry.path, "key": entry.key, "size": entry.size, "provenance": entry.provenance.to_dict()}
    # Escaped as ASCII, two lone surrogates that happen to follow each other would come back as one character.
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    body = text.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(body).hexdigest()
    return b"bookstore-entry 1 %d %s\n%s\n" % (len(body), digest.encode("ascii"), body)


def header_size(start: bytes) -> int:
    """How long the whole header is, given the first `FIRST_LINE_BYTES` bytes of an entry.

    Raises
    ------
    EntryCorrupt
        The bytes do not begin an entry.
    """
    match = _FIRST_LINE.match(start)
    if match is None:
        raise EntryCorrupt("the entry does not begin as an entry does")
    return match.end() + int(match[1]) + 1


def decode_header(header: bytes) -> Entry:
    """The entry that a whole header describes; the way back of `encode_header`.

    Raises
    ------
    EntryCorrupt
        The header is torn or altered.
    """
    match = _FIRST_LINE.match(header)
    if match is None:
        raise EntryCorrupt("the entry does not begin as an entry does")
    body = header[match.end() : -1]
    if len(header) != header_size(header) or header[-1:] != b"\n":
        raise EntryCorrupt("the entry's header is torn")
    if hashlib.sha256(body).hexdigest().encode("ascii") != match[2]:
        raise EntryCorrupt("the entry's header is altered")
    try:
        return _from_fields(json.loads(body))
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as e:
        raise EntryCorrupt(f"the entry's header makes no sense: {e}") from e


def decode(data: bytes) -> tuple[Entry, memoryview]:
    """A whole entry: what it is, and its content without a copy.

    Raises
    ------
    EntryCorrupt
        The entry is torn or altered, in its header or its content.
    """
    size = header_size(data[:FIRST_LINE_BYTES])
    entry = decode_header(data[:size])
    content = memoryview(data)[size:]
    if len(content) != entry.size:
        raise EntryCorrupt(f"the entry of {entry.path!r} holds {len(content)} bytes of {entry.size}")
    if hashlib.sha256(content).hexdigest() != entry.provenance.sha256:
        raise EntryCorrupt(f"the content of the entry of {entry.path!r} is altered")
    return entry, content


def _from_fields(fields: dict[str, Any]) -> Entry:
    path, key, size = fields["path"], fields["key"], fields["size"]
    if not isinstance(path, str) or not isinstance(key, (str, type(None))) or not isinstance(size, int):
        raise TypeError("a field is of the wrong kind")
    provenance = Provenance.from_dict(fields["provenance"])
    for name in Provenance.__slots__:
        value = getattr(provenance, name)
        if isinstance(value, bool) or not isinstance(value, _KINDS.get(name, str)):
            raise TypeError(f"{name} is of the wrong kind")
    for name in ("generation", "sequence"):
        if not 0 <= getattr(provenance, name) <= LARGEST_NUMBER:
            raise ValueError(f"the {name} is none")
    if not math.isfinite(provenance.saved_at):
        raise ValueError("the time of the save is none")
    if not provenance.record_id:
        raise ValueError("it lacks a record id")
    return Entry(path, key, size, provenance)
