"""Drains one outbox directory: adopts what dead servers left, ships it, and leaves the rest as it should be."""

from __future__ import annotations

import asyncio
import contextlib
import string
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bookstore.cli.drain_result import Drained, Left, Place, give_to_owner_of
from bookstore.delivery import Courier, Delivered, Parcel
from bookstore.errors import BookstoreError, OutboxError, PathError, SettingsError, StoreTimeout
from bookstore.outbox import REFUSED, EntryRef, Outbox, entry_files
from bookstore.outbox_owner import HEARTBEAT_INTERVAL, HEARTBEAT_PATIENCE, Owner, Watch, this_process
from bookstore.outbox_survey import is_outbox, survey
from bookstore.s3_paths import object_key, reserved_key
from bookstore.service import READERS
from bookstore.shipper import Report, Shipper

if TYPE_CHECKING:
    from rich.console import Console

    from bookstore.outbox_entry import Entry

#: Seconds between two looks at directories of which only the heartbeat tells.
LOOK_INTERVAL = 1.0

#: Seconds without a success after which an error that somebody has to mend ends the draining.
GIVE_UP = 10.0

#: Fields of a prefix that stand for another value where, or for whom, the save was made.
_PERSONAL_FIELDS = frozenset({"username", "servername", "hostname"})


class Drain:
    """Drains one outbox directory.

    Parameters
    ----------
    place : Place
    result : Drained
        Filled while it goes on, so that it is right also after an interruption.
    deadline : float or None
        By the event loop's clock.
    may_wait : bool
        Watch heartbeats of servers of which nothing else tells whether they run.
    any_destination : bool
        Take also what was meant for another endpoint or bucket.
    retry_refused : bool
        Take also what the store refused before.
    must_exist : bool
        A directory that is not there is an error.
    note : Callable[[str], None]
        Tells the user what is going on.
    console : Console
        Shows the progress.
    """

    def __init__(
        self,
        place: Place,
        result: Drained,
        *,
        deadline: float | None,
        may_wait: bool,
        any_destination: bool,
        retry_refused: bool,
        must_exist: bool,
        note: Callable[[str], None],
        console: Console,
    ) -> None:
        self._place = place
        self._result = result
        self._directory = result.directory
        self._deadline = deadline
        self._may_wait = may_wait
        self._any_destination = any_destination
        self._retry_refused = retry_refused
        self._must_exist = must_exist
        self._note = note
        self._console = console
        self._watch = Watch()
        self._trouble: BookstoreError | None = None
        self._kept_back: dict[EntryRef, SettingsError] = {}
        self._outbox = Outbox(self._directory, self._owner)
        self._shipper = Shipper(
            Courier(
                place.store,
                probe_key=reserved_key(place.prefix, "probe"),
                origin=place.origin,
                skip_unchanged=place.settings.skip_unchanged,
                allow_unversioned=place.settings.allow_unversioned,
            ),
            self._outbox,
            key_for=self._key_for,
            report=Report(self._delivered, self._set_aside, self._trouble_changed, result.add_problem),
            slots=max(1, place.settings.max_threads - READERS),
        )
        self._last_success = 0.0

    def _owner(self, instance: str) -> Owner:
        # No root directory: a later server adopts what an interrupted drain leaves by its destination.
        return this_process(instance, "", self._place.destination)

    # -- the whole way ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Drain; what goes wrong with this directory stands in the result.

        Raises
        ------
        StorageError
            The bucket cannot be used at all; nothing was touched.
        """
        try:
            if not self._is_there():
                return
            has_work = self._has_work()
        except OutboxError as e:
            self._result.add_problem(e)
            return
        if not has_work:
            await self._tell_rest()
            return
        await self._shipper.courier.check_bucket()
        try:
            async with self._open():
                if self._retry_refused:
                    await asyncio.to_thread(self._take_refused)
                await self._ship(await self._adopt_all())
        except OutboxError as e:
            self._result.add_problem(e)
        finally:
            await self._tell_rest()

    def _is_there(self) -> bool:
        if self._directory.is_dir():
            if (self._directory / "owner.json").exists():
                error = OutboxError(
                    f"{self._directory} is one server's directory in an outbox.", f"Give {self._directory.parent}."
                )
                self._result.add_problem(error)
                return False
            if self._must_exist and not is_outbox(self._directory):
                error = OutboxError(f"{self._directory} is no outbox: it holds something else.", "Check --outbox.")
                self._result.add_problem(error)
                return False
            return True
        if self._must_exist:
            self._result.add_problem(OutboxError(f"{self._directory} is no directory.", "Check --outbox."))
        return False

    def _has_work(self) -> bool:
        found = survey(self._directory)
        return bool(found.entries) or (self._retry_refused and found.refused > 0)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        """Hold a directory of one's own in the outbox, alive to the eyes of other hosts."""
        await asyncio.to_thread(self._beat)
        beating = asyncio.create_task(self._keep_beating())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            await self._shipper.stop()
            self._outbox.close()

    def _beat(self) -> None:
        self._outbox.beat()
        give_to_owner_of(self._directory, self._outbox.open())

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            try:
                await asyncio.to_thread(self._outbox.beat)
            except OutboxError as e:
                self._result.add_problem(e)

    # -- what others left ------------------------------------------------------------------------------------------

    def _take_refused(self) -> None:
        """Move what was refused into a directory of nobody's, from which it is adopted as any other.

        Wherever this is interrupted, each save lies in one of the two places, and whoever looks next adopts it.
        """
        refused = self._directory / REFUSED
        if not refused.is_dir():
            return
        limbo = Outbox(self._directory, self._owner)
        own = limbo.open()
        try:
            for file in entry_files(refused):
                file.replace(own / file.name)
                file.with_suffix(".json").unlink(missing_ok=True)
        except OSError as e:
            raise OutboxError(f"taking back what was refused from {refused}: {e.strerror or e}") from e
        finally:
            limbo.close()
            if own.exists():
                give_to_owner_of(self._directory, own)

    async def _adopt_all(self) -> list[Parcel]:
        refs = await self._adopt()
        if undecided := self._undecided():
            if not self._may_wait:
                return self._parcels(refs)
            patience = HEARTBEAT_PATIENCE + 2 * LOOK_INTERVAL
            self._note(
                f"{count_saves(undecided)} in {self._directory} may belong to a server that runs elsewhere: watching "
                f"its heartbeat for {patience:.0f} s (--no-wait leaves them)."
            )
            loop = asyncio.get_running_loop()
            until = loop.time() + patience
            while self._undecided() and loop.time() < until and self._left_time() > 0:
                await asyncio.sleep(min(LOOK_INTERVAL, self._left_time()))
                refs += await self._adopt()
        return self._parcels(refs)

    async def _adopt(self) -> list[EntryRef]:
        adoption = await asyncio.to_thread(self._outbox.adopt, self._wants, self._watch)
        self._result.quarantined += len(adoption.corrupt)
        for why in adoption.corrupt:
            self._result.add_problem(OutboxError(f"A save was found damaged and set aside: {why}."))
        return list(adoption.adopted)

    def _wants(self, owner: Owner | None) -> bool:
        return owner is None or self._any_destination or owner.destination == self._place.destination

    def _undecided(self) -> list[Path]:
        """Directories with saves whose server's life only its heartbeat tells."""
        hasty = Watch(patience=0.0)
        return [
            waiting.directory
            for waiting in survey(self._directory).waiting
            if waiting.life != "ended" and not hasty.is_alive(waiting.directory, waiting.owner)
        ]

    def _parcels(self, refs: Iterable[EntryRef]) -> list[Parcel]:
        parcels = []
        for ref in sorted(refs, key=lambda ref: ref.order):
            try:
                self._key_for(ref.entry)
            except SettingsError as e:
                self._kept_back[ref] = e
                continue
            except PathError:
                pass  # the shipper sets it aside, with the reason
            parcels.append(Parcel(ref.entry, ref=ref, uncertain=True))
        return parcels

    def _key_for(self, entry: Entry) -> str:
        if entry.key is not None:
            return entry.key
        # Saved while the settings gave no prefix. Ours may name other people than those who saved.
        settings = self._place.settings
        fields = {name for _, name, _, _ in string.Formatter().parse(settings.workspace_prefix) if name}
        if fields & _PERSONAL_FIELDS:
            raise SettingsError(
                f"{entry.path} was saved without a key, and workspace_prefix {settings.workspace_prefix!r} does not "
                "tell whose it is.",
                "Give the prefix for this run: --BookstoreSettings.workspace_prefix=workspace/NAME.",
            )
        return object_key(settings.prefix("workspace", entry.provenance.root_dir), entry.path)

    # -- shipping --------------------------------------------------------------------------------------------------

    def _left_time(self) -> float:
        return float("inf") if self._deadline is None else self._deadline - asyncio.get_running_loop().time()

    async def _ship(self, parcels: list[Parcel]) -> None:
        if not parcels:
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        loop = asyncio.get_running_loop()
        self._last_success = loop.time()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task("shipping", total=len(parcels))

            def show() -> None:
                told = "shipping" if self._trouble is None else f"{self._trouble.code}, trying again"
                progress.update(task, description=told, completed=sum(parcel.is_done for parcel in parcels))

            self._shipper.add_adopted(parcels)
            flushing = asyncio.create_task(self._shipper.flush(self._left_time()))
            try:
                while not flushing.done():
                    await asyncio.wait({flushing}, timeout=0.2)
                    show()
                    if self._is_hopeless(loop.time()):
                        break
            finally:
                flushing.cancel()
                await asyncio.gather(flushing, return_exceptions=True)
        if not all(parcel.is_done for parcel in parcels):
            self._result.add_problem(
                self._trouble or StoreTimeout("The time of --timeout is over.", "Drain again, or give it more.")
            )

    def _is_hopeless(self, now: float) -> bool:
        return self._trouble is not None and not self._trouble.transient and now - self._last_success > GIVE_UP

    def _delivered(self, parcel: Parcel, delivered: Delivered) -> None:
        self._last_success = asyncio.get_running_loop().time()
        name = {"stored": "shipped", "found": "found", "unchanged": "unchanged"}[delivered.how]
        setattr(self._result, name, getattr(self._result, name) + 1)

    def _set_aside(self, parcel: Parcel, kind: str, error: BookstoreError) -> None:
        if kind == REFUSED:
            self._result.refused += 1
        else:
            self._result.quarantined += 1
        self._result.add_problem(
            BookstoreError(
                f"{parcel.entry.path} was set aside in {self._directory / kind}: {error}",
                "Beside it stands the reason; once that is mended: bookstore drain --retry-refused.",
            )
        )

    def _trouble_changed(self, error: BookstoreError | None) -> None:
        self._trouble = error
        if error is not None:
            self._note(f"{str(error).rstrip('.')}. {error.hint}")

    # -- what is left ----------------------------------------------------------------------------------------------

    async def _tell_rest(self) -> None:
        for error in dict.fromkeys(str(e) for e in self._kept_back.values()):
            self._result.add_problem(
                SettingsError(error, next(e.hint for e in self._kept_back.values() if str(e) == error))
            )
        try:
            found = await asyncio.to_thread(survey, self._directory)
        except OutboxError as e:
            self._result.add_problem(e)
            return
        for waiting in found.waiting:
            why, hint = self._why_left(waiting.owner, waiting.life)
            self._result.left.append(Left(str(waiting.directory), waiting.entries, why, hint))

    def _why_left(self, owner: Owner | None, life: str) -> tuple[str, str]:
        if owner is not None and owner.instance == self._outbox.instance:
            return "they could not be shipped now", "Drain again once what is wrong is mended."
        if life == "running":
            server = f"process {owner.pid} on {owner.host}, root {owner.root_dir}" if owner else "unknown"
            root = owner.root_dir if owner else "DIR"
            return f"their server runs ({server})", f"Ask it with: bookstore flush --root {root}"
        if owner is not None and not self._wants(owner):
            return (
                f"they were meant for {owner.destination}, not for {self._place.destination}",
                "Configure that bucket, or ship them into this one with --any-destination.",
            )
        if life == "silent":
            return "their server may still run", "Drain without --no-wait, and with time to watch its heartbeat."
        return "they came in, or were not reached in time", "Drain again."


def count_saves(directories: Iterable[Path]) -> str:
    """How many saves wait in directories, with the noun."""
    number = 0
    for directory in directories:
        with contextlib.suppress(FileNotFoundError):  # its server ended in good order meanwhile
            number += len(entry_files(directory))
    return f"{number:,} save" + ("" if number == 1 else "s")
