"""What a process holds, sampled from outside, and the verdict whether it stays flat.

Samples that are compared are taken at comparable moments: the load pauses, nothing waits, no request is under way.
What is compared, after a warm-up of a fifth of the time, is

- the median of the first and of the last quarter of these samples, and
- the growth that the Theil-Sen slope (the median of the slopes between all pairs) gives for the same time.

Both must stay below the bar. The medians see a step, the slope sees a creep, and neither sees a single outlier.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Final

#: The share of the time that belongs to warming up: imports, pools of threads, arenas of the allocator, caches.
WARM_UP: Final = 0.2

_MB: Final = 1_000_000


@dataclass(frozen=True)
class Sample:
    """What a server holds at one moment.

    Attributes
    ----------
    at : float
        Seconds since the load began.
    phase : str
        What happens to the store.
    settled : bool
        Whether nothing waits and nobody asks for anything.
    rss_mb, uss_mb, pss_mb : float
        Memory that is resident, that is the process's own, and that with its share of what others use too.
    fds, threads : int
        Of the process.
    fd_kinds : dict of str to int
    tasks, blocks : int
        Of asyncio; blocks of memory that Python's own allocator has handed out, which hold small objects.
    in_use_mb, held_mb : float or None
        What the C library has handed out, which holds contents, and what it keeps for reuse.
    reachable_mb : float or None
        What it has handed out once garbage is collected; of settled samples only, as ``blocks`` of those.
    waiting, unprotected, archived : int
        As in the archive's status.
    outbox_entries, outbox_mb : int, float
    saves, keys : int
        Saves acknowledged, and keys they belong to, so far.
    """

    at: float
    phase: str
    settled: bool
    rss_mb: float
    uss_mb: float
    pss_mb: float
    fds: int
    threads: int
    fd_kinds: dict[str, int] = field(default_factory=dict)
    tasks: int = 0
    blocks: int = 0
    in_use_mb: float | None = None
    held_mb: float | None = None
    reachable_mb: float | None = None
    waiting: int = 0
    unprotected: int = 0
    archived: int = 0
    outbox_entries: int = 0
    outbox_mb: float = 0.0
    saves: int = 0
    keys: int = 0

    @property
    def garbage_mb(self) -> float:
        """What only a collection gave back."""
        return 0.0 if self.in_use_mb is None or self.reachable_mb is None else self.in_use_mb - self.reachable_mb

    @property
    def unexplained_blocks(self) -> int:
        """Small blocks beyond those that bookstore means to keep."""
        return self.blocks - BLOCKS_PER_KEY * self.keys


def of_process(pid: int) -> dict[str, Any]:
    """Memory, descriptors and threads of a process, as Linux tells them (proc(5))."""
    process = Path("/proc") / str(pid)
    rollup = _kilobytes(process / "smaps_rollup")
    kinds = Counter(_kind(fd) for fd in (process / "fd").iterdir())
    return {
        "rss_mb": rollup["Rss"] * 1024 / _MB,
        "pss_mb": rollup["Pss"] * 1024 / _MB,
        "uss_mb": (rollup["Private_Clean"] + rollup["Private_Dirty"]) * 1024 / _MB,
        "fds": sum(kinds.values()),
        "fd_kinds": dict(sorted(kinds.items())),
        "threads": len(list((process / "task").iterdir())),
    }


def of_gauge(document: Mapping[str, Any]) -> dict[str, Any]:
    """What `ci.soak_gauge` tells, in the units of samples."""
    return {
        "tasks": document["tasks"],
        "blocks": document["blocks"],
        "in_use_mb": _megabytes(document["malloc_in_use"]),
        "held_mb": _megabytes(document["malloc_held"]),
        "reachable_mb": _megabytes(document.get("malloc_reachable")),
    }


def of_outbox(directory: Path) -> dict[str, Any]:
    """How many entries lie in an outbox, and how large they are."""
    sizes = []
    for file in directory.glob("*/*.entry"):
        try:
            sizes.append(file.stat().st_size)
        except FileNotFoundError:
            continue  # shipped meanwhile
    return {"outbox_entries": len(sizes), "outbox_mb": sum(sizes) / _MB}


def _megabytes(count: int | None) -> float | None:
    return None if count is None else count / _MB


def _kilobytes(file: Path) -> dict[str, int]:
    rows = (line.split() for line in file.read_text().splitlines()[1:])
    return {row[0].rstrip(":"): int(row[1]) for row in rows}


def _kind(fd: Path) -> str:
    try:
        target = str(fd.readlink())
    except FileNotFoundError:
        return "closed"
    return "file" if target.startswith("/") else target.partition(":")[0]


# -- the verdict ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """How much a figure may grow from the first to the last quarter.

    Attributes
    ----------
    name : str
        A field of `Sample`.
    title, unit : str
    absolute : float
        In the unit.
    share : float
        Of the first quarter's median; the larger of the two counts.
    settles_late : bool
        Whether it takes minutes until it is as large as it gets, so that a run of seconds cannot judge it.
    """

    name: str
    title: str
    unit: str
    absolute: float
    share: float = 0.0
    settles_late: bool = False

    def allowed(self, first: float) -> float:
        """The growth that is let pass."""
        return max(self.absolute, self.share * first)


#: Small blocks that bookstore means to keep for each key, so that the next save of it is one request: what its newest
#: version is, and which record its last save had; for up to 20,000 and 10,000 keys.
BLOCKS_PER_KEY: Final = 25

#: What is judged, and why so.
#:
#: - Memory of the process is what people see. glibc gives each thread a heap of its own (up to eight for each core) and
#:   keeps what is freed in it, so a server grows until each heap has seen some large notebooks, and moves by several MB
#:   from then on; a tenth, or 16 MB, is that and no more.
#: - What malloc has handed out has no such noise once garbage is collected: contents and buffers. The bar is a large
#:   notebook, twice, which the last answers and requests may still hold; keeping one save in a thousand adds as much.
#: - Small blocks are objects of Python. A twentieth is what is remembered of versions that somebody looked at.
#: - Of the connections to the store some were closed for idleness when the sample is taken and some were not; a
#:   handful of descriptors is in that. Threads belong to pools of bounded size that fill when many save at once; tasks
#:   belong to no save.
BARS: Final = (
    Bar("uss_mb", "memory of its own (USS)", "MB", absolute=16.0, share=0.10, settles_late=True),
    Bar("rss_mb", "resident memory (RSS)", "MB", absolute=16.0, share=0.10, settles_late=True),
    Bar("reachable_mb", "handed out by malloc, less garbage", "MB", absolute=8.0),
    Bar("unexplained_blocks", f"Python's small blocks, but {BLOCKS_PER_KEY} for each key", "", 20_000, share=0.05),
    Bar("fds", "open file descriptors", "", absolute=8),
    Bar("threads", "threads", "", absolute=8),
    Bar("tasks", "asyncio tasks", "", absolute=4),
)


#: Megabytes of contents that may wait for Python's collector while nothing else does. It comes round every few minutes
#: only, so errors that hold on to what could not be sent would take as much again as a storm lets fail.
GARBAGE_MB: Final = 32.0


@dataclass(frozen=True)
class Trend:
    """How one figure went.

    Attributes
    ----------
    bar : Bar
    first, last : float
        Medians of the first and the last quarter.
    slope : float
        Theil-Sen, per hour.
    projected : float
        What the slope adds over the time from the first to the last sample that counts.
    """

    bar: Bar
    first: float
    last: float
    slope: float
    projected: float

    @property
    def allowed(self) -> float:
        """The growth that is let pass."""
        return self.bar.allowed(self.first)

    @property
    def is_flat(self) -> bool:
        """Whether neither the medians nor the slope show more growth than that."""
        return max(self.last - self.first, self.projected) <= self.allowed

    def __str__(self) -> str:
        unit = f" {self.bar.unit}" if self.bar.unit else ""
        return (
            f"{self.bar.title}: {self.first:.1f} → {self.last:.1f}{unit}, {self.slope:+.1f}{unit} an hour, "
            f"{self.projected:+.1f}{unit} over the run; allowed {self.allowed:.1f}{unit}"
        )


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs of points; 0 where there are none (Sen 1968)."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] != a[0]]
    return statistics.median(slopes) if slopes else 0.0


def trends(samples: Iterable[Sample], bars: Iterable[Bar] = BARS) -> list[Trend]:
    """How each figure went over the settled samples after the warm-up.

    Raises
    ------
    ValueError
        There are fewer than four such samples.
    """
    settled = [sample for sample in samples if sample.settled]
    if not settled:
        raise ValueError("there is no settled sample")
    end = settled[-1].at
    judged = [sample for sample in settled if sample.at >= WARM_UP * end]
    if len(judged) < 4:
        raise ValueError(f"{len(judged)} settled samples after the warm-up are too few")
    quarter = len(judged) // 4
    found = []
    for bar in bars:
        points = [(sample.at, getattr(sample, bar.name)) for sample in judged]
        if any(value is None for _, value in points):
            continue  # this system does not tell
        slope = theil_sen(points)
        found.append(
            Trend(
                bar,
                first=statistics.median(value for _, value in points[:quarter]),
                last=statistics.median(value for _, value in points[-quarter:]),
                slope=slope * 3600,
                projected=slope * (points[-1][0] - points[0][0]),
            )
        )
    return found
