"""How much memory bookstore takes: a server with it beside one without, from the start to a long backlog."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

from benchmarks.figures import Figure, not_measured
from benchmarks.scene import Pair, Scene, document, fill_backlog
from ci.jupyter_process import JupyterProcess

NAME = "memory"

#: MB that each state may have more than the server without bookstore.
BARS = {"idle": 5.0, "saved": 50.0, "queued": 100.0}

_WHAT = {
    "idle": "memory of the server that is idle before the first save, against without bookstore",
    "saved": "memory of the server that is idle after a save, against without bookstore",
    "queued": "memory with {entries:,} saves of {size:g} MB queued, the store down, against without bookstore",
    "draining": "the most memory in the first {seconds:.0f} s of draining them, against without bookstore",
}

#: Seconds after which a server has done what it does by itself: the first look at the bucket comes after two.
SETTLE = 6.0

#: How often a pair of servers is started.
ROUNDS = 3

#: Saves over HTTP before a backlog is made, since they leave room behind in any server.
SAVES_BEFORE = 10

#: Seconds for which the memory of a draining server is looked at.
DRAIN_SECONDS = 10.0

#: The disk must have so many times the room of the backlog.
ROOM = 1.5


@dataclass(frozen=True)
class Memory:
    """Memory of a process, in MB.

    Attributes
    ----------
    rss : float
        All of its pages that are in memory.
    pss : float
        The same, where pages that are shared count in part; `rss` where the system does not tell.
    """

    rss: float
    pss: float


def memory_of(server: JupyterProcess) -> Memory:
    """What a server takes now."""
    assert server.process is not None, "asked for while it runs"
    told = psutil.Process(server.process.pid).memory_full_info()
    return Memory(told.rss / 1e6, getattr(told, "pss", told.rss) / 1e6)


def measure(scene: Scene) -> Iterator[Figure]:
    """Start pairs of servers, and give the last of them a backlog."""
    effort = scene.effort
    entries, size = (50, 20_000) if effort.quick else (effort.entries, effort.entry_size)
    rounds = 1 if effort.quick else ROUNDS
    seen: dict[str, list[tuple[Memory, Memory]]] = {name: [] for name in _WHAT}
    missing = ""
    for number in range(rounds):
        with scene.pair(f"memory-{number}", with_proxy=True) as pair:
            time.sleep(0.1 if effort.quick else SETTLE)
            seen["idle"].append(_memory_of_both(pair))
            _save(pair, 20_000, 1)
            pair.ours.flush()
            time.sleep(0.1 if effort.quick else SETTLE / 2)
            seen["saved"].append(_memory_of_both(pair))
            if number == rounds - 1:
                missing = _lack_of_room(scene.directory, entries * size)
                if not missing:
                    _queue(seen, pair, entries, size, quick=effort.quick)
    words = {"entries": entries, "size": size / 1e6, "seconds": DRAIN_SECONDS}
    for name, what in _WHAT.items():
        if seen[name]:
            yield _figure(what.format(**words), seen[name], BARS.get(name))
        else:
            yield not_measured(NAME, what.format(**words), missing, unit="MB", bar=BARS.get(name))


def _memory_of_both(pair: Pair) -> tuple[Memory, Memory]:
    return memory_of(pair.ours), memory_of(pair.plain)


def _save(pair: Pair, size: int, count: int) -> None:
    for number in range(count):
        for server in pair.by_name.values():
            server.save(f"of-{size}.ipynb", document(size, number))


def _lack_of_room(place: Path, size: int) -> str:
    free = shutil.disk_usage(place).free
    return "" if free > ROOM * size else f"the disk has {free / 1e9:.0f} GB free, {ROOM * size / 1e9:.0f} GB are needed"


def _queue(
    seen: Mapping[str, list[tuple[Memory, Memory]]], pair: Pair, entries: int, size: int, *, quick: bool
) -> None:
    ours = pair.ours
    pair.link.down()
    _save(pair, size, SAVES_BEFORE)
    fill_backlog(ours, entries - SAVES_BEFORE, size)
    status = ours.status()
    assert status["waiting"] >= entries, "otherwise the figure means nothing"
    assert status["unprotected"] == 0, "otherwise saves wait in memory"
    time.sleep(0.1 if quick else SETTLE)
    seen["queued"].append(_memory_of_both(pair))
    pair.link.up()
    ours.request("POST", "/api/bookstore/flush", {"timeout": 0.1})  # or it waits out its backoff
    end = time.monotonic() + (0.1 if quick else DRAIN_SECONDS)
    most = memory_of(ours)
    while time.monotonic() < end:
        time.sleep(0.1)
        most = max(most, memory_of(ours), key=lambda memory: memory.rss)
    seen["draining"].append((most, memory_of(pair.plain)))


def _figure(what: str, seen: Sequence[tuple[Memory, Memory]], bar: float | None) -> Figure:
    more = [ours.rss - plain.rss for ours, plain in seen]
    beside = {
        "without MB": statistics.median(plain.rss for _, plain in seen),
        "with MB": statistics.median(ours.rss for ours, _ in seen),
        "more by PSS MB": statistics.median(ours.pss - plain.pss for ours, plain in seen),
    }
    # Of so few starts the smallest and the largest say more than an interval would.
    return Figure(
        NAME, what, statistics.median(more), "MB", bar, low=min(more), high=max(more), n=len(more), beside=beside
    )
