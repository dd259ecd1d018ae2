"""Saves one large notebook, plainly and with archiving, and measures what bookstore's part of it costs the server.

Runs as a process of its own, since the peak of a process's memory tells nothing otherwise. Jupyter turns a model into
a notebook and signs it on the event loop; what that takes is Jupyter's, and is subtracted.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from typing_extensions import Self

    from ci.bucket import Bucket

#: Milliseconds for which bookstore's own code may keep the event loop.
LOOP_MS: Final = 50.0

#: How much memory saving and shipping may take, as a multiple of the file.
MEMORY: Final = 3.0

#: Seconds between two ticks of the gauge.
TICK: Final = 0.001

#: By how much of what Jupyter's own manager takes a tick may come later with archiving, where that is more than
#: `LOOP_MS`: on a machine that is busy with other work everything takes longer.
STALL_SHARE: Final = 0.5

#: How often it is measured at least; of processor time and memory the median counts.
ROUNDS: Final = 3

#: How many times as often it is measured while every round met a stall: what a program does to its event loop it does
#: in each, and what other work of the machine does, in some.
PATIENCE: Final = 3


#: What was measured of a save, by name: without archiving (``plain``), and with it (``archiving``).
Round = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Job:
    """What the process is to do.

    Attributes
    ----------
    directory : str
        For notebooks and outbox.
    settings : Mapping of str to str
        As for `BookstoreSettings`.
    megabytes : int
        Of the notebook's file, about.
    rounds : int
        As `ROUNDS`; `PATIENCE` times as many at most.
    mutation : str
        Python that changes the product first.
    """

    directory: str
    settings: Mapping[str, Any]
    megabytes: int
    rounds: int
    mutation: str


class ProcessorWait:
    """How long threads of this process could have run and had no processor, as Linux counts it (sched-stats.rst).

    Attributes
    ----------
    slowdown : float
        How many times as long as with a processor for each the work of the other threads took within the block.
    """

    def __init__(self) -> None:
        self.slowdown = 1.0
        self._thread = str(threading.get_native_id())
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        # Read often, and each system call lets another thread have the interpreter: so it stays open.
        self._own = self._stack.enter_context(Path("/proc/self/task", self._thread, "schedstat").open("rb", 0))
        self._before = self._others()
        return self

    def __exit__(self, *error: object) -> None:
        had, waited = (now - before for now, before in zip(self._others(), self._before, strict=True))
        self.slowdown = 1 + waited / had if had > 0 else 1.0
        self._stack.close()

    def seconds(self) -> float:
        """For how long this thread has waited, ever."""
        return int(os.pread(self._own.fileno(), 100, 0).split()[1]) / 1e9

    def _others(self) -> tuple[int, int]:
        counts = [
            file.read_text().split()
            for file in Path("/proc/self/task").glob("*/schedstat")
            if file.parent.name != self._thread
        ]
        return sum(int(had) for had, _, _ in counts), sum(int(waited) for _, waited, _ in counts)


@dataclass
class Loop:
    """How long the event loop was kept, without what Jupyter's own functions did there.

    Attributes
    ----------
    busy : float
        Longest processor time of one step, in seconds: others' work and the waiting for it do not count.
    stall : float
        Longest time by which a tick came late, in seconds: whatever the reason, so that waiting for a disk counts too,
        and so does a thread that holds the interpreter; but not that other work had the processors.
    """

    busy: float = 0.0
    stall: float = 0.0
    _jupyter: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _wait: ProcessorWait = field(default_factory=lambda: ProcessorWait())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Measure the running loop within the block."""
        run = asyncio.Handle._run  # noqa: SLF001 - the one place through which all that the loop does goes

        def timed(handle: asyncio.Handle) -> None:
            start, before = time.thread_time(), self._jupyter[0]
            run(handle)
            self.busy = max(self.busy, time.thread_time() - start - (self._jupyter[0] - before))

        ticking = asyncio.get_running_loop().create_task(self._tick())
        with mock.patch.object(asyncio.Handle, "_run", timed), self._wait:
            try:
                yield
            finally:
                ticking.cancel()
        self.stall /= self._wait.slowdown

    async def _tick(self) -> None:
        while True:
            start, before = time.perf_counter() - self._wait.seconds(), self._jupyter[1]
            await asyncio.sleep(TICK)
            late = time.perf_counter() - self._wait.seconds() - start - TICK - (self._jupyter[1] - before)
            self.stall = max(self.stall, late)

    def leave_out(self, owner: Any, name: str) -> Any:
        """Patch a function of Jupyter's so that its time does not count."""
        function: Callable[..., Any] = getattr(owner, name)

        def measured(*args: Any, **options: Any) -> Any:
            busy, clock = time.thread_time(), time.perf_counter() - self._wait.seconds()
            try:
                return function(*args, **options)
            finally:
                self._jupyter[0] += time.thread_time() - busy
                self._jupyter[1] += time.perf_counter() - self._wait.seconds() - clock

        return mock.patch.object(owner, name, measured)


def large_notebook(megabytes: int) -> dict[str, Any]:
    """A notebook as people have them who have large ones: a picture of a megabyte in each cell."""
    chance = random.Random(megabytes)  # noqa: S311 - the same in every run
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {},
            "execution_count": number,
            "source": f"plot({number})",
            "outputs": [
                {
                    "output_type": "display_data",
                    "metadata": {},
                    "data": {"image/png": chance.randbytes(500_000).hex()},
                }
            ],
        }
        for number in range(megabytes)
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def _memory(name: str) -> int:
    """Bytes that this process holds (``VmRSS``), or held at most (``VmHWM``)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def _forget_peak() -> None:
    """Let ``VmHWM`` begin anew, as proc(5) has it."""
    Path("/proc/self/clear_refs").write_text("5")


async def _measure(manager: Any, path: str, document: dict[str, Any], after: Callable[[], Any]) -> dict[str, float]:
    """Save once; what that did to the event loop and to the memory."""
    import nbformat
    from jupyter_server.services.contents.manager import ContentsManager

    _forget_peak()
    before, loop = _memory("VmRSS"), Loop()
    with (
        loop.leave_out(nbformat, "from_dict"),
        loop.leave_out(ContentsManager, "check_and_sign"),
        loop.leave_out(ContentsManager, "validate_notebook_model"),
        loop.watched(),
    ):
        start = time.perf_counter()
        await manager.save({"type": "notebook", "format": "json", "content": document}, path)
        seconds = time.perf_counter() - start
        await after()
    size = os.stat(f"{manager.root_dir}/{path}").st_size  # noqa: PTH116
    return {
        "bytes": size,
        "seconds": seconds,
        "busy_ms": 1000 * loop.busy,
        "stall_ms": 1000 * loop.stall,
        "memory": (_memory("VmHWM") - before) / size,
    }


@asynccontextmanager
async def _managers(job: Job) -> AsyncIterator[tuple[Any, Any]]:
    """Jupyter's default manager, and the same with archiving."""
    from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
    from traitlets.config import Config

    from bookstore.archive import BookstoreContentsArchiver, service_of

    roots = [Path(job.directory, name) for name in ("plain", "archiving")]
    for root in roots:
        root.mkdir(parents=True, exist_ok=True)
    settings = {**job.settings, "outbox_dir": str(Path(job.directory, "outbox")), "outbox_reserve": 0}
    plain = AsyncLargeFileManager(root_dir=str(roots[0]))
    archiving = BookstoreContentsArchiver(root_dir=str(roots[1]), config=Config({"BookstoreSettings": settings}))
    try:
        yield plain, archiving
    finally:
        await service_of(archiving).stop()


async def _work(job: Job) -> list[dict[str, dict[str, float]]]:
    from bookstore.archive import service_of

    document, rounds = large_notebook(job.megabytes), list[dict[str, dict[str, float]]]()
    async with _managers(job) as (plain, archiving):
        service = service_of(archiving)

        async def nothing() -> None:
            pass

        async def shipped() -> None:
            if waiting := await service.flush(120.0):
                raise RuntimeError(f"{waiting} saves wait: {service.status().problems}")

        # What both need once is not the notebook's.
        for manager in (plain, archiving):
            await manager.save({"type": "notebook", "format": "json", "content": large_notebook(0)}, "warm.ipynb")
        await shipped()
        if job.mutation:
            exec(compile(job.mutation, "mutation", "exec"), {})  # noqa: S102 - a test's own
        for number in range(PATIENCE * job.rounds):
            path = f"{number}.ipynb"
            rounds.append(
                {
                    "plain": await _measure(plain, path, document, nothing),
                    "archiving": await _measure(archiving, path, document, shipped),
                }
            )
            if len(rounds) >= job.rounds and stall_beyond(*summary(rounds)) <= 0:
                break
    return rounds


def summary(rounds: Sequence[Round]) -> tuple[dict[str, float], dict[str, float]]:
    """The median of every measure, of the stalls the least: without archiving, and with it."""

    def of(kind: str) -> dict[str, float]:
        every = {name: [found[kind][name] for found in rounds] for name in rounds[0][kind]}
        return {name: (min if name == "stall_ms" else statistics.median)(values) for name, values in every.items()}

    return of("plain"), of("archiving")


def stall_allowed(plain: Mapping[str, float]) -> float:
    """Milliseconds by which a tick may come later than without archiving."""
    return max(LOOP_MS, STALL_SHARE * plain["stall_ms"])


def stall_beyond(plain: Mapping[str, float], ours: Mapping[str, float]) -> float:
    """Milliseconds by which a tick came later than it may."""
    return ours["stall_ms"] - plain["stall_ms"] - stall_allowed(plain)


def violations(plain: Mapping[str, float], ours: Mapping[str, float]) -> list[str]:
    """What is not as it should be."""
    wrong = []
    if ours["busy_ms"] > LOOP_MS:
        wrong.append(f"bookstore computed on the event loop for {ours['busy_ms']:.0f} ms")
    if stall_beyond(plain, ours) > 0:
        stalls = f"{ours['stall_ms']:.0f} ms, without archiving {plain['stall_ms']:.0f} ms"
        wrong.append(f"the event loop stood still {stalls}")
    if ours["memory"] > MEMORY:
        wrong.append(f"a save and its shipping took {ours['memory']:.2f} times the file's size in memory")
    return wrong


def check_big_notebook(
    directory: Path, bucket: Bucket, *, megabytes: int, rounds: int = ROUNDS, mutation: str = ""
) -> tuple[list[str], dict[str, Any]]:
    """Save a large notebook in a process of its own; what does not hold, and the figure.

    Parameters
    ----------
    directory : Path
    bucket : Bucket
        On a server that is not in this process, or its memory would not matter either.
    megabytes, rounds, mutation
        As in `Job`.
    """
    settings = {
        "s3_bucket": bucket.name,
        "s3_endpoint_url": bucket.server.endpoint_url,
        "s3_access_key_id": bucket.server.access_key_id,
        "s3_secret_access_key": bucket.server.secret_access_key,
    }
    job = Job(str(directory), settings, megabytes, rounds, mutation)
    root = Path(__file__).resolve().parent.parent
    environment = {
        **os.environ,
        "JUPYTER_DATA_DIR": str(directory / "data"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")])),
    }
    done = subprocess.run(
        [sys.executable, "-m", "ci.big_notebook"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        env=environment,
        cwd=directory,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the process that saves ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    plain, ours = summary(found)
    wrong = violations(plain, ours)
    for number in range(len(found)):
        name = f"{number}.ipynb"
        if bucket.versions(f"workspace/{name}") != [(directory / "archiving" / name).read_bytes()]:
            wrong.append(f"{name}: the version is not the file")
    figure = {
        "megabytes": round(ours["bytes"] / 1e6),
        "busy_ms": round(ours["busy_ms"], 1),
        "stall_ms": round(ours["stall_ms"]),
        "stall_without_ms": round(plain["stall_ms"]),
        "stall_more_ms": round(ours["stall_ms"] - plain["stall_ms"]),
        "stall_more_allowed_ms": round(stall_allowed(plain)),
        "memory": round(ours["memory"], 2),
        "memory_without": round(plain["memory"], 2),
        "rounds": len(found),
        "violations": len(wrong),
    }
    return wrong, figure


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_work(Job(**json.load(sys.stdin))))))
