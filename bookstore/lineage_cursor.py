"""Where a page of a history ended, as text that is handed to the next call.

It says how far each key's stream is read. It is signed with nothing secret: whoever makes one up reads no more than the
path's own prefix, which is what a history shows anyway. The checksum finds a cursor that was cut, altered or made for
another path.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any, Final

from bookstore.errors import InvalidRequest, PathError
from bookstore.lineage import MAX_NAMES, Bound, Moment, Stream
from bookstore.s3_paths import object_key

_FORMAT: Final = 2
_CHECKSUM_BYTES: Final = 9
#: `MAX_NAMES` of the longest keys fit.
_LONGEST: Final = 1 << 18


def encode(key: str, streams: list[Stream]) -> str:
    """The place where a page ended, as text of letters, digits, ``-`` and ``_``."""
    document = [_FORMAT, [_row(one) for one in streams]]
    payload = json.dumps(document, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_checksum(key, payload) + payload).decode().rstrip("=")


def decode(cursor: str, prefix: str, key: str) -> list[Stream]:
    """The way back of `encode`.

    Raises
    ------
    InvalidRequest
        It is no cursor of this key's history.
    """
    try:
        return _decode(cursor, prefix, key)
    except (ValueError, TypeError, RecursionError, PathError) as e:
        raise InvalidRequest(
            f"reading on in the history of {key!r}: the cursor is none of this history",
            "Hand on the cursor exactly as the page before gave it, or ask without one for the first page.",
        ) from e


def _decode(cursor: str, prefix: str, key: str) -> list[Stream]:
    if len(cursor) > _LONGEST:
        raise ValueError("longer than any cursor")
    try:
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except binascii.Error as e:
        raise ValueError("no base64") from e
    # The bits that the last letter leaves over belong to the text too.
    if base64.urlsafe_b64encode(content).decode().rstrip("=") != cursor:
        raise ValueError("not as it was written")
    checksum, payload = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if checksum != _checksum(key, payload):
        raise ValueError("altered, or of another history")
    number, rows = json.loads(payload)
    if number != _FORMAT or not 0 < len(rows) <= MAX_NAMES:
        raise ValueError("another format")
    streams = [_stream(prefix, *row) for row in rows]
    if streams[0].key != key or len({one.key for one in streams}) != len(streams):
        raise ValueError("of another history")
    if [one.bounds is None for one in streams] != [True, *[False] * (len(streams) - 1)]:
        raise ValueError("only the path's own name is without bounds")
    if sum(len(one.bounds or ()) for one in streams) > MAX_NAMES:
        raise ValueError("more than any history has under way")
    return streams


def _checksum(key: str, payload: bytes) -> bytes:
    return hashlib.sha256(b"bookstore history\n" + key.encode() + b"\n" + payload).digest()[:_CHECKSUM_BYTES]


def _row(stream: Stream) -> list[Any]:
    bounds = None if stream.bounds is None else [_bound(bound) for bound in stream.bounds]
    return [stream.path, stream.after, stream.is_done, stream.is_placed, stream.is_unseen, bounds]


def _bound(bound: Bound) -> list[Any]:
    moment = bound.moment
    return [
        moment.arrived,
        moment.saved_at,
        moment.origin,
        moment.instance,
        moment.generation,
        moment.sequence,
        bound.previous_record,
    ]


def _stream(prefix: str, path: Any, after: Any, is_done: Any, is_placed: Any, is_unseen: Any, bounds: Any) -> Stream:
    _check(path, str)
    _check(after, str, type(None))
    for flag in (is_done, is_placed, is_unseen):
        _check(flag, bool)
    _check(bounds, list, type(None))
    limits = None if bounds is None else [_bound_of(*bound) for bound in bounds]
    return Stream(path, object_key(prefix, path), limits, after, is_done, is_placed, is_unseen)


def _bound_of(
    arrived: Any, saved_at: Any, origin: Any, instance: Any, generation: Any, sequence: Any, previous_record: Any
) -> Bound:
    for number in (arrived, saved_at):
        _check(number, float)
    for text in (origin, instance, previous_record):
        _check(text, str)
    for count in (generation, sequence):
        _check(count, int)
    return Bound(Moment(arrived, saved_at, origin, instance, generation, sequence), previous_record)


def _check(value: Any, *types: type) -> None:
    if type(value) not in types:
        raise TypeError(f"{value!r} is none of {types}")
