"""What archiving costs a save, against Jupyter's default manager: time, and how long the event loop stands still."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure, estimated
from benchmarks.samples import difference, median, pair_ratio, ratio
from benchmarks.scene import Saves, Scene, milliseconds, save_in_turns

NAME = "save"

#: Name, bytes of the notebook, how often it is saved, and what the design allows as ratio of the medians.
SIZES = [
    ("20 kB", 20_000, 120, 1.15),
    ("200 kB", 200_000, 80, 1.05),
    ("2 MB", 2_000_000, 40, 1.00),
    ("20 MB", 20_000_000, 25, 1.00),
]

#: What the design allows for the longest stall of the event loop, as ratio, and the size that it speaks of.
STALL_BAR = 1.05
STALL_SIZE = 20_000_000

#: Milliseconds that each fsync is made slower by, and by which a save may become slower than without bookstore.
SLOW_FSYNC = 5
SLOW_FSYNC_BAR = 6.0
SLOW_FSYNC_COUNT = 60

_SLOW_FSYNC = f"""
import os, time
_fsync = os.fsync
def slow(fd):
    time.sleep({SLOW_FSYNC / 1000})
    _fsync(fd)
os.fsync = slow
"""


def measure(scene: Scene) -> Iterator[Figure]:
    """Save in turns with the default manager and with bookstore."""
    sizes = SIZES[:1] if scene.effort.quick else SIZES
    with scene.pair("save") as pair:
        for label, size, count, bar in sizes:
            # The gauge ticks a thousand times a second, so it runs where its figure is wanted.
            with_stalls = size == STALL_SIZE or scene.effort.quick
            path = f"size-{size}.ipynb"
            seen = save_in_turns(pair.by_name, path, size, count, scene.effort, with_stalls=with_stalls)
            yield _save(label, bar, seen)
            if with_stalls:
                yield _stall(label, seen)
    with scene.pair("slow-fsync", extra=_SLOW_FSYNC) as pair:
        yield _slow(save_in_turns(pair.by_name, "slow.ipynb", 20_000, SLOW_FSYNC_COUNT, scene.effort))


def _save(label: str, bar: float, seen: dict[str, Saves]) -> Figure:
    ours, plain = seen["bookstore"].seconds, seen["default"].seconds
    ours_median, plain_median = median(ours), median(plain)
    beside = {
        "default ms": milliseconds(plain),
        "default low ms": 1000 * plain_median.low,
        "default high ms": 1000 * plain_median.high,
        "bookstore ms": milliseconds(ours),
        "bookstore low ms": 1000 * ours_median.low,
        "bookstore high ms": 1000 * ours_median.high,
        "median ratio of pairs": pair_ratio(ours, plain),
    }
    return estimated(NAME, f"save of {label}, p50", ratio(ours, plain), bar=bar, n=len(ours), beside=beside)


def _stall(label: str, seen: dict[str, Saves]) -> Figure:
    ours, plain = seen["bookstore"].stalls, seen["default"].stalls
    beside = {"default ms": milliseconds(plain), "bookstore ms": milliseconds(ours)}
    return estimated(
        NAME,
        f"longest stall of the event loop during a save of {label}, median",
        ratio(ours, plain),
        bar=STALL_BAR,
        n=len(ours),
        beside=beside,
    )


def _slow(seen: dict[str, Saves]) -> Figure:
    ours = [1000 * seconds for seconds in seen["bookstore"].seconds]
    plain = [1000 * seconds for seconds in seen["default"].seconds]
    return estimated(
        NAME,
        f"save of 20 kB, p50, each fsync {SLOW_FSYNC} ms slower",
        difference(ours, plain),
        unit="ms",
        bar=SLOW_FSYNC_BAR,
        n=len(ours),
        beside={"default ms": milliseconds(plain) / 1000, "bookstore ms": milliseconds(ours) / 1000},
    )
