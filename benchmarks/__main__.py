"""Runs the benchmarks, keeps their figures, and puts them into the documentation.

``python -m benchmarks`` runs all of them, which takes less than 20 minutes on two cores; names choose some. ``--write``
replaces the figures of those that ran in ``benchmarks/results.json``, and makes tables and plots of the documentation
out of that file. Nothing of the user's own configuration is read or changed, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import ModuleType

from benchmarks import (
    drain,
    figures,
    growth,
    history,
    latency,
    memory,
    others,
    plots,
    save,
    start,
    store_requests,
    tables,
)
from benchmarks.figures import Figure, Results
from benchmarks.scene import Effort, Scene, scene

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results.json")
PAGES = ROOT / "docs" / "explanation"
PLOTS = ROOT / "docs" / "_static"

#: In the order in which they run and in which the tables tell of them.
BENCHMARKS: dict[str, ModuleType] = {
    module.NAME: module for module in (save, store_requests, drain, latency, start, memory, history, growth, others)
}


def run(names: Sequence[str], effort: Effort, directory: Path | None = None) -> Iterator[tuple[str, Results]]:
    """Run benchmarks one after the other, each on a store of its own unless they are to be quick.

    One that fails is told of and left out, so that it costs nobody the figures of the others.
    """
    environment = figures.environment()
    with ExitStack() as stack:
        shared = stack.enter_context(scene(effort, directory)) if effort.quick else None
        for name in names:
            print(name, file=sys.stderr, flush=True)
            begun = time.monotonic()
            try:
                with nullcontext(shared) if shared else scene(effort, directory) as set_up:
                    found = tuple(_told(BENCHMARKS[name], set_up))
            except Exception:  # noqa: BLE001 - whatever it is, it is shown, and the run ends with an error
                traceback.print_exc()
                continue
            yield name, Results(found, environment, round(time.monotonic() - begun, 1))


def _told(module: ModuleType, set_up: Scene) -> Iterator[Figure]:
    for figure in module.measure(set_up):
        print(f"  {tables.value(figure):>16}  {figure.what}", file=sys.stderr, flush=True)
        yield figure


def write_pages(results: Mapping[str, Results]) -> None:
    """Put tables and plots into the documentation."""
    ordered = {name: results[name] for name in BENCHMARKS if name in results}
    (PAGES / "_summary-benchmark.md").write_text(tables.summary(ordered), encoding="utf-8")
    for name, one in ordered.items():
        (PAGES / f"_{name}-benchmark.md").write_text(tables.table(one), encoding="utf-8")
    plots.draw(ordered, PLOTS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run (all): {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="only show that they run; the figures mean nothing")
    parser.add_argument("--scale", type=float, default=1.0, help="shorten (0.2) or lengthen (3) the run")
    parser.add_argument("--entries", type=int, default=10_000, help="saves of the longest backlog")
    parser.add_argument("--size", type=int, default=1_000_000, help="bytes of each of those whose memory is measured")
    parser.add_argument("--versions", type=int, default=10_000, help="versions of the longest history")
    parser.add_argument("--directory", type=Path, help="where to work (the system's directory for what is temporary)")
    parser.add_argument("--environments", type=Path, help="keep virtual environments here for the next run")
    parser.add_argument("--json", type=Path, help="keep all figures in this file")
    parser.add_argument("--from", type=Path, dest="given", metavar="FILE", help="take figures from it; run none")
    parser.add_argument("--write", action="store_true", help="put the figures into the documentation")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    wanted = given.names or list(BENCHMARKS)
    results = figures.read(given.given) if given.given else _run(wanted, given)
    print(tables.text(results), end="")
    if given.json:
        figures.write(given.json, results)
    if given.write:
        merged = {**figures.read(RESULTS), **results}
        figures.write(RESULTS, {name: merged[name] for name in BENCHMARKS if name in merged})
        write_pages(merged)
    if not given.given and (failed := [name for name in wanted if name not in results]):
        sys.exit(f"failed: {', '.join(failed)}")


def _run(names: Sequence[str], given: argparse.Namespace) -> dict[str, Results]:
    effort = Effort(
        quick=given.quick,
        scale=given.scale,
        entries=given.entries,
        entry_size=given.size,
        versions=given.versions,
        environments=given.environments.resolve() if given.environments else None,
    )
    return dict(run(names, effort, given.directory))


if __name__ == "__main__":
    main()
