"""What a save costs while more and more waits or more and more versions are there, against the default manager."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure, estimated
from benchmarks.history import fill, store_over
from benchmarks.samples import median, ratio
from benchmarks.scene import Saves, Scene, fill_backlog, milliseconds, run, save_in_turns

NAME = "growth"

#: Bytes of the notebook that is saved, and of each save that waits.
SIZE = 20_000
ROUNDS = 40

#: What waits, and what is there; the last is replaced by what the effort names.
BACKLOGS = (0, 1_000, 10_000)
VERSIONS = (1, 1_000, 10_000)


def measure(scene: Scene) -> Iterator[Figure]:
    """Save with the store down and ever more in the outbox, then a path with ever more versions."""
    yield from _backlogs(scene)
    yield from _versions(scene)


def _backlogs(scene: Scene) -> Iterator[Figure]:
    counts = (0, 30) if scene.effort.quick else (*BACKLOGS[:-1], scene.effort.entries)
    with scene.pair("backlog", with_proxy=True) as pair:
        pair.link.down()
        for count in counts:
            if (lacking := count - pair.ours.status()["waiting"]) > 0:
                fill_backlog(pair.ours, lacking, SIZE)
            seen = save_in_turns(pair.by_name, "backlog.ipynb", SIZE, ROUNDS, scene.effort, pause=0.1)
            yield _figure(f"save of 20 kB with {count:,} waiting", "waiting", count, seen)


def _versions(scene: Scene) -> Iterator[Figure]:
    counts = (1, 20) if scene.effort.quick else (*VERSIONS[:-1], scene.effort.versions)
    bucket = scene.bucket()
    with scene.pair("versions", bucket=bucket) as pair:
        for count in counts:
            path = f"of-{count}.ipynb"
            run(_fill(scene, bucket, path, count))
            seen = save_in_turns(pair.by_name, path, SIZE, ROUNDS, scene.effort)
            yield _figure(f"save of 20 kB of a path with {count:,} versions", "versions", count, seen)


async def _fill(scene: Scene, bucket: str, path: str, count: int) -> None:
    store = store_over(scene.store, bucket)
    try:
        await fill(store, f"workspace/{path}", count)
    finally:
        await store.aclose()


def _figure(what: str, of: str, count: int, seen: dict[str, Saves]) -> Figure:
    ours, plain = seen["bookstore"].seconds, seen["default"].seconds
    ours_median, plain_median = median(ours), median(plain)
    beside = {
        of: float(count),
        "default ms": milliseconds(plain),
        "default low ms": 1000 * plain_median.low,
        "default high ms": 1000 * plain_median.high,
        "bookstore ms": milliseconds(ours),
        "bookstore low ms": 1000 * ours_median.low,
        "bookstore high ms": 1000 * ours_median.high,
    }
    return estimated(NAME, f"{what}, p50, against the default manager", ratio(ours, plain), n=len(ours), beside=beside)
