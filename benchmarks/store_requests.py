"""How many requests a save costs, counted where they arrive: in a proxy in front of the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure
from benchmarks.scene import Scene, document
from ci.fault_proxy import Record

NAME = "requests"

#: Requests for each save, once the keys are known.
BAR = 1.0

#: Saves that are counted, and paths that they are of.
SAVES = 600
PATHS = 20


def measure(scene: Scene) -> Iterator[Figure]:
    """Save some paths over and over, and count."""
    count, paths = scene.effort.count(SAVES, 6), 2 if scene.effort.quick else PATHS
    with scene.pair("requests", with_proxy=True) as pair:
        server, records = pair.ours, pair.link.records
        at_first, archived = len(records), server.status()["archived"]
        for number in range(paths):
            server.save(f"{number}.ipynb", document(20_000, -1))
        server.flush()
        begun = len(records)
        for number in range(count):
            server.save(f"{number % paths}.ipynb", document(20_000, number))
        assert server.flush()["archived"] == archived + paths + count, "otherwise the figure means nothing"
        seen = tuple(records)
    yield _figure("requests for a save, while one server writes its path", seen[begun:], count, bar=BAR)
    what = f"the same, with the first save of each of {paths} paths and the looks at the bucket"
    yield _figure(what, seen[at_first:], paths + count)


def _figure(what: str, records: Sequence[Record], saves: int, bar: float | None = None) -> Figure:
    kinds = Counter(f"{record.method}{' of the bucket' if not record.key else ''}" for record in records)
    beside = {kind: float(number) for kind, number in sorted(kinds.items())}
    return Figure(NAME, what, len(records) / saves, unit="requests", bar=bar, n=saves, beside=beside)
