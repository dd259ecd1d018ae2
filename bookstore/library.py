"""Every verb of the life of a notebook, once: what REST, the command line and other extensions call.

A verb takes API paths of Jupyter and plain values, answers with one of `bookstore.results`, and raises a
`bookstore.errors.BookstoreError`. Reading goes straight to the store. Writing a file goes through the contents manager,
so that it is archived like any save.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jupyter_core.utils import ensure_async
from tornado.web import HTTPError

from bookstore import cloning
from bookstore.archiving.base import Archiving, Check, Origin
from bookstore.archiving.content import notebook_bytes, sha256_of
from bookstore.errors import (
    CloningForbidden,
    FileChanged,
    FileMissing,
    InvalidRequest,
    NotANotebook,
    ObjectMissing,
    OutboxUnavailable,
    PathError,
    SettingsError,
    StillWaiting,
)
from bookstore.identity import current_user
from bookstore.publishing import Shelf, checked_notebook
from bookstore.results import (
    Archived,
    Cloned,
    CloneSource,
    Comparison,
    History,
    Listing,
    Published,
    Removed,
    Restored,
    Side,
    Version,
)
from bookstore.s3_paths import object_key
from bookstore.scheduling import Schedules, checked_parameters
from bookstore.versions import Versions

if TYPE_CHECKING:
    from jupyter_server.services.contents.manager import ContentsManager

    from bookstore.delivery import Parcel
    from bookstore.service import ArchiveService
    from bookstore.storage.base import ObjectBody

#: The prefixes that have histories.
AREAS = ("workspace", "published", "scheduled")

#: Seconds that a verb waits for a save to reach the store.
SHIP_TIMEOUT = 30.0

#: How many names are tried for a clone while others make files of the same names.
NAMES_TRIED = 20


class Library:
    """The verbs over one server's archive and files.

    Parameters
    ----------
    service : ArchiveService
    manager : ContentsManager
        The server's; with archiving added.
    """

    def __init__(self, service: ArchiveService, manager: ContentsManager) -> None:
        if not isinstance(manager, Archiving):
            raise SettingsError(
                f"The contents manager {type(manager).__name__} does not archive.",
                "Look into the server's log for why archiving could not be added to it.",
            )
        self.service = service
        self.manager = manager

    # -- history ---------------------------------------------------------------------------------------------------

    async def history(
        self, path: str, *, area: str = "workspace", limit: int = 50, cursor: str | None = None, details: bool = True
    ) -> History:
        """A page of the history of a path, newest first.

        Parameters
        ----------
        path : str
        area : str
            ``workspace``, ``published`` or ``scheduled``.
        limit : int
            Versions at most, 1 to 1,000.
        cursor : str, optional
            Of the page before.
        details : bool
            Whether who, when and why are asked for, which costs a request for each version that is not known yet.
        """
        path = self._path(path, area)
        page = await self._versions(area).history(path, limit=limit, cursor=cursor, details=details)
        return self._with_archived(page, path, area)

    async def pinned(self, path: str, *, area: str = "workspace") -> History:
        """The pinned versions of a path, newest first: 100 at most, those that were pinned last.

        Parameters
        ----------
        path : str
        area : str
            ``workspace``; nothing is pinned in the others.
        """
        path = self._path(path, area)
        return self._with_archived(await self._versions(area).pinned(path), path, area)

    async def locate(self, path: str, version_id: str | None = None, *, area: str = "workspace") -> Version:
        """One version of a path, the newest without ``version_id``; also one that it had under an earlier name.

        Raises
        ------
        ObjectMissing
            There is none.
        """
        versions, path = self._versions(area), self._path(path, area)
        if version_id is not None:
            return await versions.locate(path, version_id)
        newest = await versions.newest(path)
        if newest is None:
            raise ObjectMissing(f"{path!r} has no version in {area}", "bookstore versions lists what there is.")
        return newest

    def open(self, version: Version, *, area: str = "workspace") -> AbstractAsyncContextManager[ObjectBody]:
        """Open a version's content for reading in pieces."""
        return self._versions(area).open(version)

    async def read(self, version: Version, *, area: str = "workspace", limit: int) -> bytes:
        """The bytes of a version, at most so many, held against its SHA-256.

        Raises
        ------
        ContentTooLarge, IntegrityError
        """
        return await self._versions(area).read(version, limit=limit)

    async def compare(
        self,
        path: str,
        before: str | None = None,
        after: str | None = None,
        *,
        area: str = "workspace",
        notebook: bool = False,
    ) -> Comparison:
        """Compare two versions, or a version with the file as it is now.

        Parameters
        ----------
        path : str
        before : str, optional
            Version id; the newest version if left out.
        after : str, optional
            Version id; the file now if left out.
        area : str
        notebook : bool
            Whether to tell the older notebook too, to which nbdime's diff applies.

        Raises
        ------
        ObjectMissing, FileMissing
            One of the sides is not there.
        ContentTooLarge
        """
        from bookstore.compare import MAX_COMPARED, compare

        path = self._path(path, area)
        version = await self.locate(path, before, area=area)
        content = await self._versions(area).read(version, limit=MAX_COMPARED)
        if after is not None:
            other = await self.locate(path, after, area=area)
            other_content = await self._versions(area).read(other, limit=MAX_COMPARED)
            other_side = _side(other, other_content)
        else:
            other_content = await self._file(path)
            model = await ensure_async(self.manager.get(path, content=False))
            modified = model.get("last_modified")
            digest = await asyncio.to_thread(sha256_of, other_content)
            other_side = Side(path, None, len(other_content), digest, modified.isoformat() if modified else "")
        return await asyncio.to_thread(
            compare,
            content,
            other_content,
            before_side=_side(version, content),
            after_side=other_side,
            notebook=notebook,
        )

    async def compare_model(
        self, path: str, model: Mapping[str, Any], before: str | None = None, *, notebook: bool = False
    ) -> Comparison:
        """Compare a version with content that is not saved, such as what is in the editor; nothing is written.

        Parameters
        ----------
        path : str
        model : mapping
            ``{"type": "notebook", "content": …}`` or ``{"type": "file", "format": "text", "content": "…"}``.
        before : str, optional
            Version id; the newest version if left out.
        notebook : bool
            As for `compare`.

        Raises
        ------
        InvalidRequest
            The model is of another kind.
        ObjectMissing
            There is no such version.
        ContentTooLarge
        """
        from bookstore.compare import MAX_COMPARED, compare

        path = self._path(path)
        other_content = await asyncio.to_thread(_unsaved, model)
        version = await self.locate(path, before)
        content = await self._versions("workspace").read(version, limit=MAX_COMPARED)
        digest = await asyncio.to_thread(sha256_of, other_content)
        return await asyncio.to_thread(
            compare,
            content,
            other_content,
            before_side=_side(version, content),
            after_side=Side(path, None, len(other_content), digest),
            notebook=notebook,
        )

    async def label(
        self,
        path: str,
        version_id: str,
        *,
        name: str | None = None,
        note: str | None = None,
        pinned: bool | None = None,
    ) -> Version:
        """Name, annotate or pin a version.

        Parameters
        ----------
        path, version_id : str
        name, note : str, optional
            Left out: as it is; empty: none.
        pinned : bool, optional
            Mirrored as the object's tag ``bookstore-pinned``.
        """
        return await self._versions("workspace").label(
            self._path(path), version_id, name=name, note=note, pinned=pinned, by=current_user()
        )

    async def restore(
        self,
        path: str,
        version_id: str,
        *,
        target_path: str | None = None,
        expected_hash: str | None = None,
        expected_last_modified: str | None = None,
        force: bool = False,
    ) -> Restored:
        """Make a version's bytes the file's again, as a new save: nothing in the history changes.

        What the file holds is archived first if no version has it. What it holds then becomes a version too, also where
        ``archive_globs`` leave the path out.

        Parameters
        ----------
        path : str
        version_id : str
        target_path : str, optional
            Another file to write.
        expected_hash : str, optional
            SHA-256 of the file that the caller looked at.
        expected_last_modified : str, optional
            The same by the contents API's ``last_modified``.
        force : bool
            Write although the file changed since.

        Raises
        ------
        FileChanged
            The file is not the one that the caller looked at, or it is gone.
        """
        source_path, target = self._path(path), self._path(target_path if target_path is not None else path)
        versions = self._versions("workspace")
        version = await versions.locate(source_path, version_id)
        if version.is_delete_marker:
            raise ObjectMissing(
                f"version {version_id} of {source_path!r} is a delete marker, which has no content",
                "Choose a version that has a size.",
            )
        content = await versions.read(version, limit=self.service.settings.max_content_size)
        await self._require_directory(target)
        if expected_last_modified is not None:
            _instant(expected_last_modified)
        newest = await versions.newest(target)
        known = newest.sha256 if newest is not None else ""

        async def check(digest: str | None) -> bool:
            if force:
                return digest != known
            if expected_last_modified is not None:
                await self._require_unmodified(target, expected_last_modified)
            if expected_hash is not None and digest != expected_hash.lower():
                now = f"has SHA-256 {digest} now" if digest else "is not there any more"
                raise FileChanged(f"{target!r} changed since you looked: it {now}")
            if target != source_path and digest is not None and not (expected_hash or expected_last_modified):
                raise FileChanged(
                    f"{target!r} is there already",
                    "Choose another target, or ask for it with force: what it holds now is archived first.",
                )
            return digest != known

        origin = Origin("restore", version.key, version.version_id, is_archived_anyway=True)
        model, parcel = await self._store(target, content, origin, check)
        sha256 = await asyncio.to_thread(sha256_of, content)
        archived = await self._shipped(target, parcel)
        self.service.tell(
            "restored",
            path=target,
            from_key=version.key,
            from_version=version.version_id,
            version_id=archived.version_id,
            user=current_user(),
        )
        return Restored(target, version.key, version.version_id, sha256, archived, _plain(model))

    async def archive(self, path: str, *, reason: str = "backfill", timeout: float = SHIP_TIMEOUT) -> Archived:
        """Archive a file as it is now, if its newest version does not have these bytes already.

        Parameters
        ----------
        path : str
        reason : str
        timeout : float
            Seconds to wait for the store.
        """
        path = self._path(path)
        newest = await self._versions("workspace").newest(path)
        if newest is not None and newest.sha256 == await asyncio.to_thread(sha256_of, await self._file(path)):
            return Archived(path, newest.key, newest.version_id, "unchanged")
        archived, _ = await self._archive(path, reason, timeout)
        return archived

    # -- publishing and scheduling -----------------------------------------------------------------------------------

    async def publish(self, path: str, model: Mapping[str, Any] | None = None) -> Published:
        """Publish a notebook.

        Parameters
        ----------
        path : str
        model : mapping, optional
            ``{"type": "notebook", "content": …}``; left out, the file at the path is published, its version first.

        Raises
        ------
        InvalidRequest
            The model is empty.
        NotANotebook, NotebookInvalid
        FileMissing
        StillWaiting
            The file's version cannot be brought into the store now.
        """
        path = self._notebook_path(path)
        if model is not None:
            content = await asyncio.to_thread(_content_of, model)
            source = None
        else:
            content, source = await self._shipped_file(path)
        published = await self._published.put(path, content, by=current_user(), reason="publish", source=source)
        self.service.tell(
            "published", path=path, s3_path=published.s3_path, version_id=published.versionID, user=published.by
        )
        return published

    async def unpublish(self, path: str) -> Removed:
        """Hide a publication by a delete marker; its versions stay."""
        return await self._published.hide(self._notebook_path(path))

    async def published(self, *, limit: int = 50, cursor: str | None = None) -> Listing:
        """A page of what is published."""
        return await self._published.listing(limit=limit, cursor=cursor)

    async def schedule(
        self, path: str, *, version_id: str | None = None, parameters: Mapping[str, Any] | None = None
    ) -> Published:
        """Make a scheduled copy of a notebook, pinned to a version in the workspace.

        Parameters
        ----------
        path : str
        version_id : str, optional
            Left out: the file as it is now, whose version is shipped first.
        parameters : mapping, optional
            By papermill's convention; kept with the copy.
        """
        path = self._notebook_path(path)
        chosen = checked_parameters(parameters or {})
        if version_id is None:
            content, source = await self._shipped_file(path)
        else:
            versions = self._versions("workspace")
            source = await versions.locate(path, version_id)
            content = await versions.read(source, limit=self.service.settings.max_content_size)
            await asyncio.to_thread(checked_notebook, content)
        return await self._schedules.put(
            path, content, by=current_user(), reason="schedule", source=source, parameters=chosen
        )

    async def unschedule(self, path: str) -> Removed:
        """Hide a scheduled copy by a delete marker; its versions stay."""
        return await self._schedules.hide(self._notebook_path(path))

    async def scheduled(self, *, limit: int = 50, cursor: str | None = None) -> Listing:
        """A page of what is scheduled."""
        return await self._schedules.listing(limit=limit, cursor=cursor)

    async def scheduled_copy(self, path: str, version_id: str | None = None) -> Published:
        """One scheduled copy with its parameters."""
        return await self._schedules.get(self._notebook_path(path), version_id)

    # -- cloning -----------------------------------------------------------------------------------------------------

    async def describe_clone(self, bucket: str, key: str, version_id: str | None = None) -> CloneSource:
        """What would be cloned from S3.

        Raises
        ------
        InvalidRequest
            Bucket or key is missing.
        CloningForbidden
        ObjectMissing
        """
        self._check_clone(bucket, key)
        try:
            return await cloning.describe(self.service.store_for(bucket), key, version_id)
        finally:
            await self.service.trim_stores()

    async def clone(
        self, bucket: str, key: str, *, version_id: str | None = None, target_path: str | None = None
    ) -> Cloned:
        """Make a file of an object's version; no file that is there is overwritten.

        Parameters
        ----------
        bucket, key : str
        version_id : str, optional
            The newest if left out.
        target_path : str, optional
            The file to make, or a directory to make it in; the root directory if left out.
        """
        self._check_clone(bucket, key)
        limit = self.service.settings.max_content_size
        try:
            source, content = await cloning.fetch(self.service.store_for(bucket), key, version_id, limit=limit)
        finally:
            await self.service.trim_stores()
        origin = Origin("clone", source.source, source.version_id or "")
        return await self._create(source, content, target_path, origin, s3_path=source.source)

    async def describe_file(self, relpath: str) -> CloneSource:
        """What would be cloned from below ``fs_cloning_basedir``."""
        return await asyncio.to_thread(cloning.describe_file, self._basedir(), relpath)

    async def clone_file(self, relpath: str, *, target_path: str | None = None) -> Cloned:
        """Make a file of one below ``fs_cloning_basedir``; no file that is there is overwritten."""
        limit = self.service.settings.max_content_size
        source, content = await asyncio.to_thread(cloning.read_file, self._basedir(), relpath, limit=limit)
        return await self._create(source, content, target_path, Origin("clone", relpath), s3_path="")

    # -- parts -------------------------------------------------------------------------------------------------------

    def _path(self, path: str, area: str = "workspace") -> str:
        """A path as its key has it.

        Raises
        ------
        InvalidRequest
            There is none, or it leads outside.
        """
        if "\0" in path:
            raise InvalidRequest("A path cannot hold a null character.", "Give the path of a file.")
        if not path.strip("/"):
            raise InvalidRequest("No path was given.", "Add the path of a file, relative to the server's root.")
        canonical = self.manager.bookstore_path(path) if area == "workspace" else path.strip("/")
        try:
            object_key("x", canonical)
        except PathError as e:
            raise InvalidRequest(str(e), e.hint) from e
        return canonical

    def _with_archived(self, page: History, path: str, area: str) -> History:
        """A page that tells whether saves of its path add to it; none adds to what is published or scheduled."""
        return replace(page, is_archived=area == "workspace" and self.service.archives(path))

    def _notebook_path(self, path: str) -> str:
        path = self._path(path)
        if not path.endswith(".ipynb"):
            raise NotANotebook(f"{path!r} is no path of a notebook")
        return path

    def _prefix(self, area: str) -> str:
        if area not in AREAS:
            raise InvalidRequest(f"There is no area {area!r}.", f"One of {', '.join(AREAS)}.")
        if not self.service.settings.s3_bucket:
            raise SettingsError(
                "No bucket is configured.",
                "Set c.BookstoreSettings.s3_bucket or JPYNB_S3_BUCKET to a bucket with versioning.",
            )
        return self.service.settings.prefix(area, self.service.root_dir)

    def _versions(self, area: str) -> Versions:
        prefix = self._prefix(area)
        if area not in self._histories:
            self._histories[area] = Versions(
                self.service.store,
                prefix,
                before_write=self.service.require_versioned,
                after_write=self.service.require_version,
            )
        return self._histories[area]

    @cached_property
    def _histories(self) -> dict[str, Versions]:
        return {}

    @cached_property
    def _published(self) -> Shelf:
        return Shelf(
            self.service.store,
            self._prefix("published"),
            host=self.service.host,
            root_dir=self.service.root_dir,
            before_write=self.service.require_versioned,
            after_write=self.service.require_version,
        )

    @cached_property
    def _schedules(self) -> Schedules:
        return Schedules(
            self.service.store,
            self._prefix("scheduled"),
            host=self.service.host,
            root_dir=self.service.root_dir,
            before_write=self.service.require_versioned,
            after_write=self.service.require_version,
        )

    async def _file(self, path: str) -> bytes:
        """A file's bytes.

        Raises
        ------
        FileMissing
        """
        await self._require_visible(path)
        try:
            content: bytes | None = await self.manager.bookstore_read(path)
        except HTTPError as e:  # outside the root, or hidden
            raise FileMissing(f"There is no file {path!r}") from e
        if content is None:
            raise FileMissing(f"There is no file {path!r}")
        return content

    async def _archive(self, path: str, reason: str, timeout: float) -> tuple[Archived, bytes]:
        self._prefix("workspace")
        await self._require_visible(path)
        try:
            parcel, content = await self.manager.bookstore_archive(path, reason)
        except (FileNotFoundError, HTTPError) as e:
            raise FileMissing(f"There is no file {path!r}") from e
        if parcel is None:
            raise self.service.intake.trouble or OutboxUnavailable(f"{path!r} could not be taken into the outbox")
        return await self._shipped(path, parcel, timeout), content

    async def _shipped(self, path: str, parcel: Parcel | None, timeout: float = SHIP_TIMEOUT) -> Archived:
        """What became of a save, once the store has it or is known to be in trouble."""
        key = object_key(self._prefix("workspace"), path)
        if parcel is None:
            return Archived(path, key, None, "missed")
        await self.service.ship_now(parcel, timeout)
        if parcel.delivered is not None:
            return Archived(path, parcel.delivered.key, parcel.delivered.version_id, parcel.delivered.how)
        if parcel.is_done and parcel.error is not None:
            raise parcel.error
        return Archived(path, key, None, "waiting")

    async def _shipped_file(self, path: str) -> tuple[bytes, Version]:
        """A notebook file's bytes and the version that has them.

        Raises
        ------
        StillWaiting
            The version cannot be brought into the store now.
        """
        await asyncio.to_thread(checked_notebook, await self._file(path))
        archived, content = await self._archive(path, "save", SHIP_TIMEOUT)
        if archived.how == "waiting":
            raise self._waits(path)
        version = Version(
            path=path,
            key=archived.key,
            version_id=archived.version_id or "",
            size=len(content),
            etag="",
            last_modified="",
            sha256=await asyncio.to_thread(sha256_of, content),
        )
        return content, version

    def _waits(self, path: str) -> StillWaiting:
        problems = [f"{problem.message.rstrip('.')}. {problem.hint}" for problem in self.service.status().problems]
        why = f" What is wrong: {problems[0]}" if problems else ""
        return StillWaiting(f"{path!r} is safe in the outbox, and its version is not in the store yet.{why}")

    async def _store(
        self, path: str, content: bytes, origin: Origin, check: Check
    ) -> tuple[dict[str, Any], Parcel | None]:
        result: tuple[dict[str, Any], Parcel | None] = await self.manager.bookstore_store(path, content, origin, check)
        return result

    async def _require_visible(self, path: str) -> None:
        """Keep to what Jupyter itself shows and writes: its handlers look, its managers do not all.

        Raises
        ------
        FileMissing
            The path is hidden, or lies outside of the root directory.
        """
        try:
            is_hidden = await ensure_async(self.manager.is_hidden(path))
        except (HTTPError, NotADirectoryError) as e:  # one of its folders may be a file
            raise FileMissing(f"There is no file {path!r}") from e
        if is_hidden and not self.manager.allow_hidden:
            raise FileMissing(
                f"{path!r} is hidden, and this server shows no hidden files",
                "The administrator may set c.ContentsManager.allow_hidden.",
            )

    async def _require_directory(self, path: str) -> None:
        await self._require_visible(path)
        directory = path.rpartition("/")[0]
        if directory and not await ensure_async(self.manager.dir_exists(directory)):
            raise FileMissing(f"There is no directory {directory!r}", "Make it first, or choose another target.")
        if await ensure_async(self.manager.dir_exists(path)):
            raise InvalidRequest(f"{path!r} is a directory.", "Give the path of a file.")

    async def _require_unmodified(self, path: str, expected: str) -> None:
        try:
            model = await ensure_async(self.manager.get(path, content=False))
        except HTTPError as e:
            raise FileChanged(f"{path!r} changed since you looked: it is not there any more") from e
        if _instant(model["last_modified"].isoformat()) != _instant(expected):
            raise FileChanged(
                f"{path!r} changed since you looked: it was last modified at {model['last_modified'].isoformat()}"
            )

    def _check_clone(self, bucket: str, key: str) -> None:
        settings = self.service.settings
        if not settings.enable_s3_cloning:
            raise CloningForbidden(
                "Cloning from S3 is switched off.", "The administrator may set c.BookstoreSettings.enable_s3_cloning."
            )
        if not bucket or not key:
            missing = "s3_bucket" if not bucket else "s3_key"
            raise InvalidRequest(f"{missing} is missing.", "Give the bucket and the key of what is to be cloned.")
        cloning.checked_bucket(bucket, settings.s3_cloning_buckets)

    def _basedir(self) -> str:
        if not self.service.features["fs_clone_valid"]:
            raise CloningForbidden(
                "Cloning from the file system is switched off.",
                "The administrator may set c.BookstoreSettings.fs_cloning_basedir to an absolute directory.",
            )
        basedir: str = self.service.settings.fs_cloning_basedir
        return basedir

    async def _create(
        self, source: CloneSource, content: bytes, target_path: str | None, origin: Origin, *, s3_path: str
    ) -> Cloned:
        wanted = self._path(target_path) if target_path and target_path.strip("/") else source.name
        if await ensure_async(self.manager.dir_exists(wanted)):
            wanted = f"{wanted}/{source.name}"
        elif (target_path or "").endswith("/"):
            raise FileMissing(f"There is no directory {wanted!r}", "Make it first, or choose another target.")
        await self._require_directory(wanted)
        directory, _, name = wanted.rpartition("/")

        async def check(digest: str | None) -> bool:
            if digest is not None:
                raise FileChanged(f"{path!r} was made by somebody else meanwhile")
            return False

        for _ in range(NAMES_TRIED):
            free = await ensure_async(self.manager.increment_filename(name, directory, insert="-"))
            path = f"{directory}/{free}".strip("/")
            try:
                model, _parcel = await self._store(path, content, origin, check)
            except FileChanged:
                continue
            self.service.tell(
                "cloned", path=path, source=source.source, version_id=source.version_id, user=current_user()
            )
            return Cloned(path, source.source, s3_path, source.version_id, _plain(model))
        raise FileChanged(f"{NAMES_TRIED} names for {wanted!r} were taken by others meanwhile", "Try again.")


def _side(version: Version, content: bytes) -> Side:
    sha256 = version.sha256 or sha256_of(content)
    return Side(version.path, version.version_id, len(content), sha256, version.saved_at or version.last_modified)


def _content_of(model: Mapping[str, Any]) -> bytes:
    """The bytes of a notebook model that came with a request, valid by its format's rules."""
    if not model:
        raise InvalidRequest("The model is empty.", 'Send {"type": "notebook", "content": …}, or no body at all.')
    if model.get("type") != "notebook":
        raise NotANotebook(f"The model's type is {model.get('type')!r}, not 'notebook'")
    content = model.get("content")
    checked_notebook(json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    import nbformat

    return notebook_bytes(nbformat.from_dict(content))


def _unsaved(model: Mapping[str, Any]) -> bytes:
    """The bytes that a model of the contents API would be on disk."""
    kind, form, content = model.get("type"), model.get("format"), model.get("content")
    if kind == "notebook" and isinstance(content, dict) and form in (None, "json"):
        import nbformat

        try:
            return notebook_bytes(nbformat.from_dict(content), {})
        except (AttributeError, KeyError, TypeError, ValueError):  # no notebook: it is compared as it is
            return json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
    if kind == "file" and isinstance(content, str) and form == "text":
        return content.encode("utf-8", "surrogatepass")
    raise InvalidRequest(
        "The content is neither a notebook nor a text.",
        'Send {"type": "notebook", "content": {…}} or {"type": "file", "format": "text", "content": "…"}.',
    )


def _plain(model: Mapping[str, Any]) -> dict[str, Any]:
    """A contents model as JSON takes it."""
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in model.items()}


def _instant(text: str) -> float:
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError as e:
        raise InvalidRequest(
            f"expected_last_modified {text!r} is no time.", "Give it as the contents API does, in ISO 8601."
        ) from e
