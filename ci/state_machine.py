"""A state machine that lives through any story of saves, crashes, outages and people.

Hypothesis chooses the steps. After each one what is there is compared with the model (`ci.archive_model`): bucket,
outboxes and status, and the histories once all has settled. The servers are real; their surroundings are those of
`ci.simulation`.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from bookstore.errors import BookstoreError
from bookstore.provenance import Provenance
from bookstore.results import Version
from ci.archive_model import Expected, Form, Model, key_of, require
from ci.simulation import OUTAGES, Fault, Row, Server, World

PATHS: Final = ("a.ipynb", "b.ipynb", "c.ipynb", "folder/ä d.ipynb")

#: Few, so that equal bytes come back; some of one size.
CONTENTS: Final = ("one", "two", "six", "", "something longer\n" * 3)

#: What people say of versions: a name, and whether it is pinned.
LABELS: Final = (("draft", None), ("final ä", True), ("", None), (None, True), (None, False), ("draft", False))

#: Seconds that a save may take in any weather.
QUICK: Final = 0.1

#: Seconds within which all drains once nothing is in its way: twice the longest wait, and those for the dead.
DRAIN: Final = 240.0

#: Seconds after which a status must tell of an outage.
TOLD: Final = 120.0

#: Steps that there are at least before all is to settle.
SETTLED_STEPS: Final = 6

#: What may befall a request that stores no version.
READ_FAULTS: Final = ("throttled", "failed", "lost")

#: What a restarted server may wait for.
WAITS: Final = (0.05, 0.1015, 0.5, 3.0, 20.0, 100.0)


FORMS: Final = (
    Form("one server"),
    Form("one server, every save stored", skip_unchanged=False),
    Form("two servers", ("A", "B"), has_one_outbox=False),
    Form("two servers, one outbox", ("A", "B"), skip_unchanged=False),
    Form("two hosts, one outbox", ("A", "B"), kernel=False),
    Form("one server, from host to host", skip_unchanged=False, kernel=False),
)


@dataclass
class Tally:
    """What was lived through, over all examples."""

    counts: Counter[str] = field(default_factory=Counter)

    def figure(self) -> dict[str, int]:
        """The counts by name."""
        return dict(sorted(self.counts.items()))


_servers = st.integers(0, 1)
_paths = st.sampled_from(PATHS)
_contents = st.sampled_from(CONTENTS)
_picks = st.integers(0, 30)
_faults = st.builds(
    Fault, st.sampled_from(("throttled", "failed", "lost", "late")), st.sampled_from((0.05, 0.7, 5.0, 70.0))
)


class ArchiveMachine(RuleBasedStateMachine):
    """The steps. `machine` makes a class of it for a form."""

    form: ClassVar[Form]
    directory: ClassVar[Path]
    tally: ClassVar[Tally]

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(dir=self.directory))
        self.world = World(self._directory, kernel=self.form.kernel)
        self.world.__enter__()
        (self.world.root / "folder").mkdir()
        self._outboxes = {
            name: self._directory / ("outbox" if self.form.has_one_outbox else f"outbox of {name}")
            for name in self.form.servers
        }
        self.model = Model(self.world, self.form, sorted(set(self._outboxes.values())))
        self.servers: dict[str, Server | None] = dict.fromkeys(self.form.servers)
        self._is_sound = True
        self._steps_since = 0
        self._numbers = itertools.count(1)
        self.tally.counts["examples"] += 1
        self._start(self.form.servers[0])

    # -- parts of steps --------------------------------------------------------------------------------------------

    @property
    def living(self) -> list[Server]:
        """The servers that run."""
        return [server for server in self.servers.values() if server is not None]

    @property
    def files(self) -> list[str]:
        """The paths under which there is a file."""
        return [path for path in PATHS if (self.world.root / path).exists()]

    @property
    def versions(self) -> list[tuple[str, Row]]:
        """Every version that has a content, with each path in whose history it is."""
        found = []
        for path in PATHS:
            must, _ = self.model.history(path)
            found += [(path, row) for row in self.model.rows(must) if row.content is not None]
        return found

    def _start(self, name: str) -> Server:
        settings = {"skip_unchanged": self.form.skip_unchanged, "drain_timeout": 1.0}
        server = self.servers[name] = Server(self.world, name, self._outboxes[name], settings)
        return server

    def _one(self, pick: int) -> Server:
        return self.living[pick % len(self.living)]

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """One step: no two happen at the same moment, and after one that went wrong nothing is tried any more."""
        self._is_sound = False
        self.world.wait(0.002)
        yield
        # Not as invariants, so that a story that fails reads well.
        self.model.check(self.model.look())
        self._check_statuses()
        self._is_sound = True
        self._steps_since += 1
        self.tally.counts["steps"] += 1
        self.tally.counts[name] += 1

    async def _save(self, server: Server, path: str, text: str) -> None:
        before = self.world.loop.time()
        await server.manager.save({"type": "file", "format": "text", "content": text}, path)
        took = self.world.loop.time() - before
        require(took < QUICK, f"a save of {path} took {took} s")

    def _content(self, path: str) -> bytes | None:
        file = self.world.root / path
        return file.read_bytes() if file.exists() else None

    def _saved(self, *expected: Expected) -> None:
        self.model.acknowledge(expected)

    # -- people who save -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.living)
    @rule(server=_servers, path=_paths, text=_contents)
    def save(self, server: int, path: str, text: str) -> None:
        """Save a file, a new one or one that is there."""
        one = self._one(server)
        with self._step("saves"):
            one.run(self._save(one, path, text))
            self._saved(Expected(one.name, path, text.encode()))

    @precondition(lambda self: self.living)
    @rule(server=_servers, saves=st.lists(st.tuples(_paths, _contents), min_size=2, max_size=6))
    def work(self, server: int, saves: list[tuple[str, str]]) -> None:
        """Save some files, one after the other."""
        one = self._one(server)
        with self._step("spells of work"):
            for path, text in saves:
                one.run(self._save(one, path, text))
                self._saved(Expected(one.name, path, text.encode()))

    @precondition(lambda self: self.living)
    @rule(server=_servers, path=_paths, texts=st.lists(_contents, min_size=2, max_size=4))
    def save_often(self, server: int, path: str, texts: list[str]) -> None:
        """Save one file again and again."""
        one = self._one(server)
        with self._step("spells of work"):
            for text in texts:
                one.run(self._save(one, path, text))
                self._saved(Expected(one.name, path, text.encode()))

    @precondition(lambda self: self.living)
    @rule(servers=st.tuples(_servers, _servers), paths=st.tuples(_paths, _paths), texts=st.tuples(_contents, _contents))
    def save_two_at_once(self, servers: tuple[int, int], paths: tuple[str, str], texts: tuple[str, str]) -> None:
        """Save two files, or one twice, at the same moment."""
        with self._step("saves at once"):
            ones = [self._one(server) for server in servers]
            tasks = [one.begin(self._save(one, *what)) for one, *what in zip(ones, paths, texts, strict=True)]
            for task in tasks:
                self.world.run(_outcome(task))
            self._saved(
                *(Expected(one.name, path, text.encode()) for one, path, text in zip(ones, paths, texts, strict=True))
            )

    @precondition(lambda self: self.living and len(self.files) < len(PATHS))
    @rule(server=_servers, pick=_picks)
    def new(self, server: int, pick: int) -> None:
        """Make a new file."""
        one = self._one(server)
        free = [path for path in PATHS if path not in self.files]
        path = free[pick % len(free)]
        with self._step("new files"):
            one.run(one.manager.new({"type": "file", "format": "text"}, path))
            self._saved(Expected(one.name, path, b"", "new"))

    @precondition(lambda self: self.living and 0 < len(self.files) < len(PATHS))
    @rule(server=_servers, old=_picks, new=_picks)
    def rename(self, server: int, old: int, new: int) -> None:
        """Give a file another name."""
        one = self._one(server)
        free = [path for path in PATHS if path not in self.files]
        before, after = self.files[old % len(self.files)], free[new % len(free)]
        content = self._content(before)
        with self._step("renames"):
            one.run(one.manager.rename(before, after))
            self._saved(Expected(one.name, after, content or b"", "rename", previous_key=key_of(before)))

    @precondition(lambda self: self.living and self.files)
    @rule(server=_servers, pick=_picks)
    def delete(self, server: int, pick: int) -> None:
        """Delete a file; nothing of its history goes."""
        one = self._one(server)
        with self._step("deletions"):
            one.run(one.manager.delete(self.files[pick % len(self.files)]))  # type: ignore[no-untyped-call]
            self._saved()

    @precondition(lambda self: self.living and self.versions)
    @rule(server=_servers, pick=_picks, other=st.none() | _paths)
    def restore(self, server: int, pick: int, other: str | None) -> None:
        """Make an older version the file again, or write it to another."""
        one = self._one(server)
        path, version = self.versions[pick % len(self.versions)]
        with self._step("restores"):
            target = other or path
            before, struck = self._content(target), self.world.weather.struck
            is_archived = before is None or self.model.is_archived(target, before, self.model.look())
            try:
                restored = one.run(
                    one.library.restore(path, version.version_id, target_path=target, force=target != path)
                )
            except BookstoreError as e:
                require(self._is_excused(struck), f"restoring {version} failed: {e!r}")
                require(self._content(target) == before, f"restoring {target} failed, and it changed all the same")
                self._saved()
                return
            require(self._content(target) == version.content, f"{target} holds {self._content(target)!r}")
            first = Expected(one.name, target, before or b"", may_lack=is_archived)
            then = Expected(one.name, target, version.content or b"", "restore", from_version=version.version_id)
            self._saved(*([first] if before is not None else []), then)
            if restored.archived.how == "stored":
                found = [
                    row
                    for row in self.world.bucket.rows(key_of(target))
                    if row.version_id == restored.archived.version_id
                ]
                require(
                    [row.content for row in found] == [version.content],
                    f"{restored} names a version that is none of {found}",
                )

    @precondition(lambda self: self.living and self.versions)
    @rule(server=_servers, pick=_picks, said=st.sampled_from(LABELS))
    def label(self, server: int, pick: int, said: tuple[str | None, bool | None]) -> None:
        """Name or pin a version."""
        one = self._one(server)
        path, version = self.versions[pick % len(self.versions)]
        name, pinned = said
        with self._step("labels"):
            struck = self.world.weather.struck
            place = (version.key, version.version_id)
            known = self.model.labels.get(place, {("", False)})
            new = {(old if name is None else name, was if pinned is None else pinned) for old, was in known}
            try:
                one.run(one.library.label(path, version.version_id, name=name, pinned=pinned))
            except BookstoreError as e:
                require(self._is_excused(struck), f"labelling {version} failed: {e!r}")
                new |= known
            self.model.labels[place] = new
            self._saved()

    def _is_excused(self, struck: int) -> bool:
        return self.world.weather.struck > struck

    # -- servers that come and go ----------------------------------------------------------------------------------

    @precondition(lambda self: self.living)
    @rule(
        server=_servers,
        points=st.integers(0, 12),
        within=st.sampled_from((0.2, 2.0)),
        again=st.booleans(),
    )
    def crash(self, server: int, points: int, within: float, again: bool) -> None:
        """Kill a server, at once or between two things that it does in the background, and start it again or not."""
        one = self._one(server)
        with self._step("crashes"):
            self.world.wait_for_points(one, points, within)
            self._crash(one)
            if again:
                self._start(one.name)

    @precondition(lambda self: self.living)
    @rule(server=_servers, path=_paths, text=_contents, points=st.integers(0, 4))
    def crash_amid_a_save(self, server: int, path: str, text: str, points: int) -> None:
        """Kill a server while somebody saves; that save may be there afterwards, or not."""
        one = self._one(server)
        with self._step("crashes"):
            task = one.begin(self._save(one, path, text))
            self.world.wait_for_points(one, points, 0.01)
            is_acknowledged = task.done()
            self._crash(one)
            self._saved(Expected(one.name, path, text.encode(), may_lack=not is_acknowledged))

    def _crash(self, one: Server) -> None:
        self._check_log(one)
        one.crash()
        self.servers[one.name] = None

    @precondition(lambda self: self.living)
    @rule(server=_servers)
    def stop(self, server: int) -> None:
        """Stop a server in good order."""
        one = self._one(server)
        with self._step("stops"):
            one.stop()
            self._check_log(one)
            self.servers[one.name] = None

    @precondition(lambda self: len(self.living) < len(self.servers))
    @rule(pick=_picks, wait=st.sampled_from((0.0, *WAITS)))
    def start(self, pick: int, wait: float) -> None:
        """Start a server."""
        dead = [name for name, server in self.servers.items() if server is None]
        with self._step("starts"):
            self._start(dead[pick % len(dead)])
            self.world.wait(wait)

    # -- the store's weather ---------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(OUTAGES))
    def outage(self, kind: str) -> None:
        """Let the store be away; or back, if it was."""
        weather = self.world.weather
        with self._step("outages" if weather.outage is None else "outages that ended"):
            weather.outage = kind if weather.outage is None else None
            weather.since = self.world.loop.time()

    @rule(writes=st.lists(_faults, min_size=1, max_size=5), reads=st.lists(st.sampled_from(READ_FAULTS), max_size=3))
    def faults(self, writes: list[Fault], reads: list[str]) -> None:
        """Let something befall the next requests."""
        with self._step("spells of faults"):
            self.world.weather.writes.extend(writes)
            self.world.weather.reads.extend(map(Fault, reads))

    @rule(path=_paths, text=st.none() | _contents, is_bookstore=st.booleans())
    def somebody_else_writes(self, path: str, text: str | None, is_bookstore: bool) -> None:
        """Put a version, or a delete marker, under a path's key from elsewhere."""
        with self._step("foreign versions"):
            if text is None:
                self.model.foreign.add(str(self.world.bucket.delete(key_of(path))))
                return
            told = None
            if is_bookstore:
                told = Provenance(
                    f"{next(self._numbers):032x}",
                    hashlib.sha256(text.encode()).hexdigest(),
                    self.world.now(),
                    host="elsewhere",
                    root_dir="/home",
                    instance="other",
                    generation=1,
                    sequence=1,
                )
            self.model.foreign.add(self.world.write(key_of(path), text.encode(), told))

    # -- time ------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        with self._step("waits"):
            self.world.wait(seconds)

    @precondition(lambda self: self._steps_since >= SETTLED_STEPS)
    @rule()
    def settle(self) -> None:
        """Let the weather clear up and all be shipped; then see that it is all there."""
        with self._step("times all was settled"):
            self._settle()
        self._steps_since = 0

    def _settle(self) -> None:
        self.world.weather.clear()
        for name in self._needed():
            self._start(name)
        self.world.wait(0.1)
        end = self.world.loop.time() + DRAIN
        while (left := self._unsettled()) and self.world.loop.time() < end:
            self.world.wait(1.0)
        require(not left, f"after {DRAIN} s in good weather: {left}")
        sight = self.model.look()
        self.model.check(sight)
        for server in self.living:
            status = server.service.status()
            require(
                status.state == "ok" and not status.waiting and not status.problems and not status.unprotected,
                f"nothing waits, and the status of {server.name} is {status}",
            )
        self._check_histories()
        self.model.check_pins()

    def _needed(self) -> list[str]:
        """The servers that have to be started so that all is shipped."""
        if self.form.has_one_outbox:
            return [] if self.living else [self.form.servers[0]]
        dead = [name for name, server in self.servers.items() if server is None]
        needed = [name for name in dead if any(self._outboxes[name].rglob("*.entry"))]
        return needed or ([] if self.living else [self.form.servers[0]])

    def _unsettled(self) -> list[str]:
        left = [str(file) for path in set(self._outboxes.values()) for file in path.rglob("*.entry")]
        left += [f"{self.world.weather.arriving} writes are on their way"] if self.world.weather.arriving else []
        return left + [str(problem) for server in self.living for problem in server.service.status().problems]

    def _check_histories(self) -> None:
        one = self.living[0]
        for path in PATHS:
            whole = one.run(one.library.history(path, limit=1000))
            require(whole.cursor is None, f"the history of {path} does not end: {whole}")
            self.model.check_history(path, whole.versions)
            pages = one.run(_pages(one, path))
            require(
                [version.version_id for version in pages] == [version.version_id for version in whole.versions],
                f"the history of {path} in pages is {pages}, as a whole {whole.versions}",
            )

    # -- what holds after each step --------------------------------------------------------------------------------

    def _check_statuses(self) -> None:
        self.world.breathe()
        sight = self.model.look()
        stored = {row.provenance.record_id for rows in sight.rows.values() for row in rows if row.provenance}
        for server in self.living:
            self._check_log(server)
            directory, status = server.directory, server.service.status()
            mine = [one for one in sight.entries if directory is not None and one.file.is_relative_to(directory)]
            unstored = [one for one in mine if one.provenance.record_id not in stored]
            require(
                len(unstored) <= status.waiting <= len(mine),
                f"{server.name} tells that {status.waiting} saves wait: of {len(mine)}, {len(unstored)} are not stored",
            )
            require(not status.unprotected, f"{server.name} tells of unprotected saves: {status}")
            weather = self.world.weather
            since = max(weather.since, server.started, min((one.taken for one in mine), default=0.0))
            is_told = weather.outage is None or not mine or self.world.loop.time() - since < TOLD or status.problems
            require(bool(is_told), f"the store is {weather.outage}, and {server.name} tells nothing: {status}")

    def _check_log(self, server: Server) -> None:
        require(not server.unexpected, f"{server.name} logged errors:\n{''.join(server.unexpected)}")

    def teardown(self) -> None:
        """End the story: all must settle."""
        try:
            if self._is_sound:
                self._settle()
                self.tally.counts["versions"] += sum(map(len, self.model.look().rows.values()))
                self.tally.counts["unchanged saves"] += sum(act.is_skipped for act in self.model.acts)
                self.tally.counts["doubles by equal bytes"] += len(self.world.weather.doubles)
        finally:
            for server in self.living:
                server.crash()
            self.world.__exit__()
            shutil.rmtree(self._directory, ignore_errors=True)


async def _outcome(task: Any) -> None:
    await task


async def _pages(server: Server, path: str) -> list[Version]:
    found: list[Version] = []
    cursor: str | None = None
    while True:
        page = await server.library.history(path, limit=3, cursor=cursor)
        found += page.versions
        if (cursor := page.cursor) is None:
            return found


def machine(form: Form, directory: Path, tally: Tally, seed: int) -> type[ArchiveMachine]:
    """The machine for a form.

    Parameters
    ----------
    form : Form
    directory : Path
        Where each example has a directory while it lasts.
    tally : Tally
        Counts what happens.
    seed : int
        Chooses the stories.
    """
    made = type(
        "Story", (ArchiveMachine,), {"form": form, "directory": directory, "tally": tally, "__doc__": form.name}
    )
    return hypothesis.seed(seed)(made)
