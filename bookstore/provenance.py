"""Where an archived version comes from, and how that travels as an object's metadata. Pure functions.

User metadata of S3 is ASCII and at most 2 KB, names and values together (S3 User Guide, "Working with object
metadata"). What is not plain ASCII travels as ``b64.`` and base64url; what does not fit is left out, the least needed
first. The record id, the SHA-256, the attempt and the sequence always fit.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from typing import Any

from bookstore.errors import IntegrityError

#: S3's limit, less a reserve for what proxies add.
MAX_METADATA_BYTES = 2000

_NAME = "bookstore-"
_ENCODED = "b64."
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: The largest generation or sequence that is read back from metadata.
LARGEST_NUMBER = 10**19 - 1
_NUMBER = re.compile(r"[0-9]{1,19}")
# Single blanks only: signing joins several, and not every server does the same.
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*")

#: Metadata name of each field, in the order in which they are kept when space is short.
_FIELDS = {
    "record_id": "record",
    "sha256": "sha256",
    "attempt": "attempt",
    "instance": "instance",
    "generation": "generation",
    "sequence": "sequence",
    "saved_at": "saved",
    "reason": "reason",
    "source": "source",
    # Without these a history could not be followed back; keys can be long.
    "previous_record": "previous-record",
    "from_version": "from-version",
    "previous_key": "previous-key",
    "from_key": "from-key",
    "user": "user",
    "host": "host",
    "root_dir": "root",
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who saved what, where and when.

    Attributes
    ----------
    record_id : str
        Names this one save, everywhere and for ever; a version that carries it *is* that save.
    sha256 : str
        SHA-256 of the content, lower-case hex.
    saved_at : float
        When the save was queued, in seconds since the epoch, by the clock of the server that took it.
    user : str
        Who saved, as Jupyter's identity provider tells; may be empty.
    host, root_dir : str
        The origin: the machine's name and the server's root directory.
    instance : str
        The server instance's outbox.
    generation, sequence : int
        The order of saves: first by generation (of outboxes of one directory), then by sequence within one.
    source : str
        ``file`` where the bytes are those of a local file, ``model`` where a contents manager gave them back.
    reason : str
        ``save``, ``new``, ``rename``, ``copy``, ``restore``, ``clone``, ``backfill``, ``publish``, ``schedule`` or
        ``run`` (what papermill wrote).
    from_key, from_version : str
        The version whose bytes these are: what was restored, cloned, published or scheduled; otherwise empty.
    previous_key, previous_record : str
        The key that a renamed path had before, and the record of its last save there as far as this server knows it.
        A record without a key: the file is new and goes on under its path, where it was deleted. Otherwise empty.
    attempt : str
        Random name of one attempt to store the save, where an earlier one may have been sent; of the first, and in the
        outbox, it is empty. One attempt is stored once at most: versions that share it, too, were copied on purpose.
    """

    record_id: str
    sha256: str
    saved_at: float
    user: str = ""
    host: str = ""
    root_dir: str = ""
    instance: str = ""
    generation: int = 0
    sequence: int = 0
    source: str = "file"
    reason: str = "save"
    previous_key: str = ""
    previous_record: str = ""
    from_key: str = ""
    from_version: str = ""
    attempt: str = ""

    @property
    def origin(self) -> str:
        """Host and root directory in one, for comparing and for reading."""
        return f"{self.host}:{self.root_dir}"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON takes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Provenance:
        """The way back of `to_dict`; names that are not known are passed over."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


def to_metadata(provenance: Provenance) -> dict[str, str]:
    """The provenance as user metadata of an object.

    Returns
    -------
    dict of str to str
        ASCII, at most `MAX_METADATA_BYTES` in all. Empty fields, and those for which there is no room, are left out.
    """
    metadata = {}
    room = MAX_METADATA_BYTES
    for field, short in _FIELDS.items():
        value = getattr(provenance, field)
        text = _timestamp(value) if field == "saved_at" else str(value)
        if not text:
            continue
        name, encoded = _NAME + short, encode_value(text)
        size = len(name) + len(encoded)
        if size <= room:
            metadata[name] = encoded
            room -= size
    return metadata


def from_metadata(metadata: Mapping[str, str]) -> Provenance | None:
    """The provenance that an object carries.

    Returns
    -------
    Provenance or None
        None where the object carries no record id, or what it carries is not what `to_metadata` writes: somebody else
        wrote it, and a history or a reader that went by it would be led astray.
    """
    values: dict[str, Any] = {}
    ours = {name: metadata[name] for name in map(_NAME.__add__, _FIELDS.values()) if name in metadata}
    if sum(len(name) + len(value) for name, value in ours.items()) > MAX_METADATA_BYTES:
        return None
    try:
        for field, short in _FIELDS.items():
            encoded = ours.get(_NAME + short)
            if encoded is not None:
                values[field] = decode_value(encoded)
        if "saved_at" in values:
            values["saved_at"] = datetime.fromisoformat(values["saved_at"]).timestamp()
            # Whoever shows it makes a date of it again, in whatever time zone.
            datetime.fromtimestamp(values["saved_at"], timezone.utc)
        for name in ("generation", "sequence"):
            if name in values and not _NUMBER.fullmatch(values[name]):
                return None
            values[name] = int(values.get(name, 0))
        found = Provenance(**values)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return found if found.record_id and _SHA256.fullmatch(found.sha256) else None


def altered(version_id: str, path: str, expected: str, found: str) -> IntegrityError:
    """The error that says, wherever a version is read, that its bytes are not those that were saved.

    Parameters
    ----------
    version_id, path : str
    expected, found : str
        SHA-256: that of its provenance, and that of what the store holds.
    """
    return IntegrityError(
        f"version {version_id} of {path!r} has SHA-256 {found} in the store, and was saved with {expected}",
        "Do not use these bytes: somebody altered the object behind bookstore's back. The file's other versions are "
        "not touched by that, and bookstore verify finds what else is altered.",
    )


def _timestamp(seconds: float) -> str:
    try:
        time = datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        # An entry may come from anywhere; a time that no calendar knows must not keep its content from the store.
        time = datetime.fromtimestamp(0, timezone.utc)
    return time.isoformat(timespec="microseconds")


def encode_value(text: str) -> str:
    """A text as a value of user metadata: itself where it is plain ASCII, otherwise ``b64.`` and base64url."""
    if _PLAIN.fullmatch(text) and not text.startswith(_ENCODED):
        return text
    return _ENCODED + base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")


def decode_value(text: str) -> str:
    """The way back of `encode_value`.

    Raises
    ------
    ValueError
        It is no base64, or no UTF-8.
    """
    if not text.startswith(_ENCODED):
        return text
    try:
        return base64.urlsafe_b64decode(text[len(_ENCODED) :]).decode("utf-8", "surrogatepass")
    except binascii.Error as e:
        raise ValueError(f"{text!r} is no base64") from e
