"""Names, notes and pins that people give to versions: one small object for each path, beside the versions.

It lies in the reserved folder of the prefix and is itself versioned, so that what a label said before is not lost. It
is written on the condition that nobody wrote in between; who comes second reads again and adds what he has to say.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from bookstore.errors import AccessDenied, InvalidRequest, ObjectMissing, PreconditionFailed, StorageError
from bookstore.nesting import is_too_deep
from bookstore.results import Label
from bookstore.s3_paths import MAX_KEY_BYTES, reserved_key

if TYPE_CHECKING:
    from bookstore.storage.base import ObjectStore, Receipt

_LOG: Final = logging.getLogger(__name__)

#: Characters of a name and of a note.
MAX_NAME: Final = 200
MAX_NOTE: Final = 4000

#: The object tag that mirrors ``pinned``, and its values. A lifecycle rule can only select what has a tag, so one that
#: is to spare pinned versions selects those that say they are not; the setting ``tag_versions`` gives each that tag.
PIN_TAG: Final = "bookstore-pinned"
PINNED: Final = "true"
UNPINNED: Final = "false"

#: How often a change is tried while others write the same object.
MAX_RACES: Final = 32

#: What commands take for the newest version, and for those before it.
_RESERVED: Final = re.compile(r"latest(~\d+)?|~\d+", re.IGNORECASE)

_FORMAT: Final = 1
_FIELDS: Final = frozenset(("name", "note", "pinned", "by", "at"))
#: Seconds between two tries, at most; a random part of it, so that writers who met do not meet again.
_PAUSE: Final = 0.25


class LabelsUnreadable(StorageError):
    """The labels of a path are none that this release understands."""


@dataclass(frozen=True, slots=True)
class LabelChange:
    """What is to be said of a version; None leaves it as it is, an empty text removes it.

    Raises
    ------
    InvalidRequest
        There is nothing to change, or a text is too long.
    """

    name: str | None = None
    note: str | None = None
    pinned: bool | None = None
    by: str = ""

    def __post_init__(self) -> None:
        if self.name is None and self.note is None and self.pinned is None:
            raise InvalidRequest("labelling a version: no change is given", "Give a name, a note, or pinned.")
        for what, text, longest in (("name", self.name, MAX_NAME), ("note", self.note, MAX_NOTE)):
            if text is not None and len(text) > longest:
                raise InvalidRequest(
                    f"labelling a version: the {what} has {len(text)} characters, and {longest} are allowed",
                    f"Give a {what} of at most {longest} characters.",
                )
        if self.name is not None and _RESERVED.fullmatch(self.name.strip()):
            raise InvalidRequest(
                f"labelling a version: {self.name!r} always means a place in the history", "Choose another name."
            )

    def of(self, entry: dict[str, Any], at: str) -> dict[str, Any]:
        """An entry of the document with the change made; fields that are not known stay."""
        said = {"name": self.name, "note": self.note, "pinned": self.pinned}
        return {
            **entry,
            **{field: value for field, value in said.items() if value is not None},
            "by": self.by,
            "at": at,
        }


class LabelBook:
    """The labels of the paths below one prefix.

    Parameters
    ----------
    store : ObjectStore
    prefix : str
        With its fields filled in.
    now : callable
        Tells the time.
    before_write, after_write : callable, optional
        As for `bookstore.publishing.Shelf`.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        before_write: Callable[[], Awaitable[None]] | None = None,
        after_write: Callable[[Receipt], None] | None = None,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._now = now
        self._before_write = before_write
        self._after_write = after_write

    def key(self, path: str) -> str:
        """Where the labels of a path's versions are kept."""
        key = reserved_key(self._prefix, f"labels/{path}.json")
        if len(key.encode()) <= MAX_KEY_BYTES:
            return key
        return reserved_key(self._prefix, f"labels/{hashlib.sha256(path.encode()).hexdigest()}.json")

    async def read(self, path: str) -> dict[str, Label]:
        """The labels of a path's versions, by version id.

        Raises
        ------
        StorageError
            The store could not be read. Labels that this release does not understand are no error but a warning in
            the log, and none are shown: a history is there without them.
        """
        try:
            document, _ = await self._load(path)
        except AccessDenied:
            # Without the right to list, S3 answers so for a key that does not exist.
            return {}
        except LabelsUnreadable as e:
            _LOG.warning("bookstore: %s. %s", e, e.hint)
            return {}
        found = {version_id: _label(entry) for version_id, entry in document["labels"].items()}
        return {version_id: label for version_id, label in found.items() if label is not None}

    async def change(self, path: str, key: str, version_id: str, change: LabelChange) -> Label | None:
        """Say something of a version, and tell what is said of it now; None where nothing is.

        A pin is set on the object before it is noted, and taken off after: whatever fails in between, rather too much
        is spared.

        Raises
        ------
        LabelsUnreadable
            What is there was not written by bookstore, or by a newer one; it is not written over.
        PreconditionFailed
            Others wrote the same labels all the time.
        BucketNotVersioned
            The bucket keeps no versions, so that what the labels said before would be lost.
        StorageError
        """
        if self._before_write is not None:
            await self._before_write()
        if change.pinned:
            await self._tag(key, version_id, pinned=True)
        label = await self._write(path, version_id, change)
        if change.pinned is False:
            await self._tag(key, version_id, pinned=False)
        return label

    async def _write(self, path: str, version_id: str, change: LabelChange) -> Label | None:
        for _ in range(MAX_RACES):
            document, etag = await self._load(path)
            labels = dict(document["labels"])
            entry = change.of(labels.pop(version_id, {}), self._now().isoformat(timespec="seconds"))
            label = _label(entry)
            # An entry that says nothing goes, unless a newer bookstore says something in it.
            if label is not None or entry.keys() - _FIELDS:
                labels[version_id] = entry
            body = json.dumps({**document, "labels": labels}, ensure_ascii=False, indent=1).encode()
            try:
                receipt = await self._store.put(
                    self.key(path),
                    body,
                    sha256=hashlib.sha256(body).hexdigest(),
                    content_type="application/json",
                    if_match=etag,
                    if_none_match=etag is None,
                )
            except PreconditionFailed:
                await asyncio.sleep(random.uniform(0, _PAUSE))  # noqa: S311  (no secret)
            else:
                if self._after_write is not None:
                    self._after_write(receipt)
                return label
        raise PreconditionFailed(
            f"labelling a version of {path!r}: {MAX_RACES} times another writer of its labels was faster",
            "Try again.",
        )

    async def _load(self, path: str) -> tuple[dict[str, Any], str | None]:
        """The document of a path's labels, and its ETag; an empty one and None where there is none."""
        key = self.key(path)
        try:
            async with self._store.get(key) as body:
                etag = body.info.etag
                content = b"".join([chunk async for chunk in body.chunks])
        except ObjectMissing:
            return {"format": _FORMAT, "path": path, "labels": {}}, None
        return _document(content, path, f"s3://{self._store.bucket}/{key}"), etag

    async def _tag(self, key: str, version_id: str, *, pinned: bool) -> None:
        tags = await self._store.get_tags(key, version_id)
        wanted = {**tags, PIN_TAG: PINNED if pinned else UNPINNED}
        if wanted != tags:
            await self._store.set_tags(key, wanted, version_id)


def _document(content: bytes, path: str, where: str) -> dict[str, Any]:
    hint = f"Look at {where} and its earlier versions; labels are not written over it."
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as e:
        raise LabelsUnreadable(f"reading the labels of {path!r}: {where} is no JSON", hint) from e
    if is_too_deep(document):
        raise LabelsUnreadable(f"reading the labels of {path!r}: {where} is nested too deeply", hint)
    is_known = isinstance(document, dict) and type(document.get("format")) is int
    if is_known and document["format"] > _FORMAT:
        raise LabelsUnreadable(
            f"reading the labels of {path!r}: {where} has format {document['format']}, written by a newer bookstore",
            "Update bookstore on this server.",
        )
    labels = document.get("labels") if is_known else None
    if not isinstance(labels, dict) or not all(isinstance(entry, dict) for entry in labels.values()):
        raise LabelsUnreadable(f"reading the labels of {path!r}: {where} holds no labels of bookstore", hint)
    if document.get("path") != path:
        raise LabelsUnreadable(f"reading the labels of {path!r}: {where} holds those of another path", hint)
    return dict(document)


def _label(entry: dict[str, Any] | None) -> Label | None:
    """The label that an entry of the document means; None where it says nothing."""
    if entry is None:
        return None
    texts = {field: str(entry.get(field) or "") for field in ("name", "note", "by", "at")}
    label = Label(pinned=entry.get("pinned") is True, **texts)
    return label if label.name or label.note or label.pinned else None
