"""What the functions of bookstore answer: small frozen values, the same in Python, over REST and in the client.

``to_dict`` is the JSON document, ``from_dict`` the way back; a field that is not known is passed over, so that an older
client understands a newer server.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

_R = TypeVar("_R", bound="Result")


@dataclass(frozen=True)
class Result:
    """A value that travels as a JSON object."""

    #: Fields that hold another result, or a tuple of them.
    _nested: ClassVar[dict[str, type[Result]]] = {}

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON takes them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[_R], document: dict[str, Any]) -> _R:  # noqa: PYI019 - typing.Self is younger than 3.10
        """The way back of `to_dict`; fields that are not known are passed over."""
        values: dict[str, Any] = {}
        for known in dataclasses.fields(cls):
            if known.name not in document:
                continue
            value = document[known.name]
            nested = cls._nested.get(known.name)
            if nested is not None and isinstance(value, dict):
                value = nested.from_dict(value)
            elif isinstance(value, list):
                value = tuple(nested.from_dict(one) if nested is not None else one for one in value)
            values[known.name] = value
        return cls(**values)


@dataclass(frozen=True)
class Label(Result):
    """What people said about a version.

    Attributes
    ----------
    name, note : str
        May be empty.
    pinned : bool
        Mirrored as the object's tag ``bookstore-pinned``, ``true`` or ``false``.
    by : str
        Who said it last.
    at : str
        When, ISO 8601.
    """

    name: str = ""
    note: str = ""
    pinned: bool = False
    by: str = ""
    at: str = ""


@dataclass(frozen=True)
class Version(Result):
    """One version in the history of a path.

    Attributes
    ----------
    path : str
        API path under which it was stored: an earlier name where the history follows a rename.
    key, version_id, etag, size
        As the store tells; a size in bytes.
    last_modified : str
        When the store took it, ISO 8601.
    is_latest : bool
        True for the newest row of its key in the store; for none that is shown, where that is an echo.
    is_delete_marker : bool
        True for the row that hides the key; it has no content.
    is_unchanged : bool
        True where the bytes are those of the version before it.
    is_detailed : bool
        Whether the fields below were asked for. They are empty all the same where somebody else's program wrote the
        version.
    saved_at : str
        When it was saved, ISO 8601, by the clock of the server that took it.
    user, host, root_dir, reason, source, sha256, record_id, from_key, from_version, previous_key
        As in `bookstore.provenance.Provenance`.
    label : Label or None
    """

    _nested: ClassVar[dict[str, type[Result]]] = {"label": Label}

    path: str
    key: str
    version_id: str
    size: int
    etag: str
    last_modified: str
    is_latest: bool = False
    is_delete_marker: bool = False
    is_unchanged: bool = False
    is_detailed: bool = False
    saved_at: str = ""
    user: str = ""
    host: str = ""
    root_dir: str = ""
    reason: str = ""
    source: str = ""
    sha256: str = ""
    record_id: str = ""
    from_key: str = ""
    from_version: str = ""
    previous_key: str = ""
    label: Label | None = None

    @property
    def origin(self) -> str:
        """Host and root directory in one; empty where they are not known."""
        return f"{self.host}:{self.root_dir}" if self.host or self.root_dir else ""


@dataclass(frozen=True)
class History(Result):
    """A page of the history of a path, newest first.

    Attributes
    ----------
    path, key : str
        Whose history it is.
    versions : tuple of Version
    cursor : str or None
        Hand it to the next call for the next page; None after the last. It may be followed by an empty page.
    is_archived : bool
        Whether saves of the path become versions, by ``archive_globs``; False in the areas ``published`` and
        ``scheduled``, to which no save adds. There may be versions all the same.
    """

    _nested: ClassVar[dict[str, type[Result]]] = {"versions": Version}

    path: str
    key: str
    versions: tuple[Version, ...] = ()
    cursor: str | None = None
    is_archived: bool = False


@dataclass(frozen=True)
class CellChange(Result):
    """What became of one cell.

    Attributes
    ----------
    kind : str
        ``added``, ``removed`` or ``changed``.
    index_before, index_after : int or None
        Position, from 0; None on the side where the cell is not.
    cell_id : str
        Empty before nbformat 4.5.
    cell_type : str
    changed : tuple of str
        What is different of a changed cell: ``source``, ``outputs``, ``metadata``, ``attachments``, ``cell_type``,
        ``execution_count``, ``id``.
    source_diff : str
        Unified diff of the sources; of an added or removed cell all its lines.
    outputs_before, outputs_after : int
        How many outputs there are.
    """

    kind: str
    index_before: int | None = None
    index_after: int | None = None
    cell_id: str = ""
    cell_type: str = ""
    changed: tuple[str, ...] = ()
    source_diff: str = ""
    outputs_before: int = 0
    outputs_after: int = 0


@dataclass(frozen=True)
class Side(Result):
    """One side of a comparison.

    Attributes
    ----------
    path : str
    version_id : str or None
        None for the file as it is now, and for what is in the editor.
    size : int
        Bytes.
    sha256 : str
    saved_at : str
        ISO 8601; of the file, when it was last modified. May be empty.
    """

    path: str
    version_id: str | None
    size: int
    sha256: str
    saved_at: str = ""


@dataclass(frozen=True)
class Comparison(Result):
    """What is different between two versions, or a version and the file now, or what is in the editor.

    Attributes
    ----------
    before, after : Side
    kind : str
        ``notebook``, ``text`` or ``binary``: as what they were compared.
    identical : bool
        Whether the bytes are the same.
    cells : tuple of CellChange
        For notebooks, in the order of the newer side.
    metadata_changed : bool
        Whether the notebook's own metadata or format differ.
    text_diff : str
        For texts, a unified diff.
    nbdime : list of dict
        For notebooks, nbdime's own diff (nbdime, "diff format"), for programs that render it. Its places count the same
        in Python and in a browser.
    base : dict or None
        What ``nbdime`` applies to: the older notebook with the cells of nbformat 4 and each text in one piece. Patched
        with it, it is the newer one in the same form. None where nobody asked, or there is no such diff.
    """

    _nested: ClassVar[dict[str, type[Result]]] = {"before": Side, "after": Side, "cells": CellChange}

    before: Side
    after: Side
    kind: str
    identical: bool
    cells: tuple[CellChange, ...] = ()
    metadata_changed: bool = False
    text_diff: str = ""
    nbdime: tuple[dict[str, Any], ...] = ()
    base: dict[str, Any] | None = None


@dataclass(frozen=True)
class Archived(Result):
    """What became of archiving a file as it is now.

    Attributes
    ----------
    path, key : str
    version_id : str or None
        None while it waits.
    how : str
        ``stored``; ``found``, where an earlier attempt had stored it; ``unchanged``, where the newest version has these
        bytes; ``waiting``, where it is safe in the outbox and the store could not take it yet; ``missed``, where not
        even the outbox and memory took it, so that the file is archived when there is room.
    """

    path: str
    key: str
    version_id: str | None
    how: str


@dataclass(frozen=True)
class Restored(Result):
    """A version whose bytes are the file's again.

    Attributes
    ----------
    path : str
        The file that was written.
    from_key, from_version : str
        What was restored.
    sha256 : str
        Of the bytes, as on disk now.
    archived : Archived
        The new version that the restore became.
    model : dict
        The file's contents model, without content.
    """

    _nested: ClassVar[dict[str, type[Result]]] = {"archived": Archived}

    path: str
    from_key: str
    from_version: str
    sha256: str
    archived: Archived
    model: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Published(Result):
    """A notebook that was published or scheduled.

    Attributes
    ----------
    path, key : str
    s3_path : str
        ``s3://bucket/key``.
    versionID : str or None
        The version that it became, under the name that bookstore 2 gave it.
    sha256, by, at : str
        Of the content; who did it; when, ISO 8601.
    from_key, from_version : str
        The workspace version whose bytes these are; empty where the content came with the request.
    parameters : dict
        Of a scheduled copy, by papermill's convention.
    url : str
        ``bookstore://bucket/key?versionId=…``, what papermill reads.
    """

    path: str
    key: str
    s3_path: str
    versionID: str | None  # noqa: N815 - bookstore 2's name
    sha256: str = ""
    by: str = ""
    at: str = ""
    from_key: str = ""
    from_version: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True)
class Listing(Result):
    """A page of what is published or scheduled, in the order of the keys.

    Attributes
    ----------
    items : tuple of Published
    cursor : str or None
        Hand it to the next call for the next page; None after the last.
    """

    _nested: ClassVar[dict[str, type[Result]]] = {"items": Published}

    items: tuple[Published, ...] = ()
    cursor: str | None = None


@dataclass(frozen=True)
class Removed(Result):
    """A publication or scheduled copy that is hidden by a delete marker; its versions are all there.

    Attributes
    ----------
    path, key, s3_path : str
    marker : str or None
        The delete marker's version id.
    """

    path: str
    key: str
    s3_path: str
    marker: str | None


@dataclass(frozen=True)
class CloneSource(Result):
    """What would be cloned.

    Attributes
    ----------
    source : str
        ``s3://bucket/key``, or the path relative to ``fs_cloning_basedir``.
    name : str
        Its base name, the default target.
    size : int
        Bytes.
    last_modified : str
        ISO 8601.
    version_id : str or None
    by : str
        Who saved or published it, where that is known.
    sha256 : str
        Where it is known.
    """

    source: str
    name: str
    size: int
    last_modified: str
    version_id: str | None = None
    by: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Cloned(Result):
    """A file that was made from somebody's version or file.

    Attributes
    ----------
    path : str
        The file that was made.
    source : str
        As in `CloneSource`.
    s3_path : str
        Empty for a clone from the file system.
    versionID : str or None
        The version that was cloned.
    model : dict
        The new file's contents model, without content.
    """

    path: str
    source: str
    s3_path: str
    versionID: str | None  # noqa: N815 - bookstore 2's name
    model: dict[str, Any] = field(default_factory=dict)
