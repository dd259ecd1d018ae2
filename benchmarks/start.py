"""How long a server takes to start: with and without bookstore, and with and without nbdime, which it brings along.

Five starts take turns. In one environment: both extensions off, each of them on, both on. And an environment into which
neither package was ever installed, beside that with both: what a user sees who installs bookstore.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT, CannotInstall, make
from benchmarks.figures import Figure, estimated, not_measured
from benchmarks.samples import pair_ratio, ratio
from benchmarks.scene import Scene, TimedJupyter, archiving, milliseconds, python_path

NAME = "start"

BAR = 1.05
ROUNDS = 15

#: Starts before those that count: they fill the caches of the disk and of compiled modules.
WARM_UP = 2

#: Starts whose imports are timed.
PROFILED = 5

_IMPORT = re.compile(r"import time: +(\d+) \| +(\d+) \| +(\S+)$")


@dataclass(frozen=True)
class Variant:
    """A server to start.

    Attributes
    ----------
    python : str
    bookstore, nbdime : bool
        Whether their server extensions are on.
    """

    python: str
    bookstore: bool = False
    nbdime: bool = False


def prepare(place: Path, name: str, variant: Variant, environment: Mapping[str, str], **further: str) -> TimedJupyter:
    """Prepare a server; only one that archives is told of a bucket."""
    server = TimedJupyter(
        place / name,
        environment={
            **(environment if variant.bookstore else {}),
            # An environment of its own has bookstore installed, or must not see it.
            "PYTHONPATH": python_path(place) if variant.python == sys.executable else "",
            **further,
        },
        enabled=variant.bookstore,
        python=variant.python,
    )
    # The environment's own files enable nbdime; those of the home outrank them.
    extensions = {"ServerApp": {"jpserver_extensions": {"nbdime": variant.nbdime}}}
    (place / name / "config" / "jupyter_server_config.d" / "nbdime.json").write_text(json.dumps(extensions))
    return server


@contextmanager
def _running(server: TimedJupyter) -> Iterator[TimedJupyter]:
    """Start a server anew; as a context manager of its own it would start only once."""
    server.start()
    try:
        yield server
    finally:
        try:
            server.stop()
        finally:
            server.kill()


def measure(scene: Scene) -> Iterator[Figure]:
    """Start servers in turns."""
    environment = archiving(scene.store, scene.bucket())
    with scene.place("start") as place:
        variants, why_not = _variants(scene, place)
        seconds = _start_in_turns(scene, place, variants, environment)
        for ours, plain, what, bar in (
            ("bookstore", "neither", "start of the server with bookstore, against without, in one environment", BAR),
            ("nbdime", "neither", "start with nbdime's own server extension, against without", None),
            ("both", "nbdime", "start with bookstore and nbdime's extension, against nbdime's extension alone", None),
            ("both", "bare", "start with bookstore installed, against an environment without it and nbdime", None),
        ):
            if ours not in seconds or plain not in seconds:
                yield not_measured(NAME, what, why_not, bar=bar)
            else:
                yield _figure(what, seconds[ours], seconds[plain], bar)
        yield from _imports(scene, place, variants, environment)


def _variants(scene: Scene, place: Path) -> tuple[dict[str, Variant], str]:
    """The servers to compare, and why one of them is missing."""
    if scene.effort.quick:
        here = sys.executable
        return {"neither": Variant(here), "bookstore": Variant(here, bookstore=True)}, "a quick run"
    environments = scene.effort.environments or place
    jupyter = ["jupyter_server", "notebook"]
    try:
        bare = str(make(environments / "without", jupyter, like_here=True))
        whole = str(make(environments / "with", [*jupyter, str(ROOT)], like_here=True))
    except CannotInstall as e:
        bare, whole, why_not = "", sys.executable, str(e)
    else:
        why_not = ""
    variants = {
        "neither": Variant(whole),
        "bookstore": Variant(whole, bookstore=True),
        "nbdime": Variant(whole, nbdime=True),
        "both": Variant(whole, bookstore=True, nbdime=True),
    }
    return (variants | {"bare": Variant(bare)} if bare else variants), why_not


def _start_in_turns(
    scene: Scene, place: Path, variants: Mapping[str, Variant], environment: Mapping[str, str]
) -> dict[str, list[float]]:
    servers = {name: prepare(place, name, variant, environment) for name, variant in variants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in servers}
    names = list(servers)
    warm_up = 0 if scene.effort.quick else WARM_UP
    for number in range(-warm_up, scene.effort.count(ROUNDS, 1)):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            with _running(servers[name]) as server:
                status = server.request("GET", "/api/bookstore").status
            assert (status == 200) is variants[name].bookstore, f"otherwise the figure means nothing: {status}"
            if number >= 0:
                seconds[name].append(servers[name].seconds)
    return seconds


def _figure(what: str, ours: list[float], plain: list[float], bar: float | None) -> Figure:
    beside = {
        "without ms": milliseconds(plain),
        "with ms": milliseconds(ours),
        "median ratio of pairs": pair_ratio(ours, plain),
    }
    return estimated(NAME, what, ratio(ours, plain), bar=bar, n=len(ours), beside=beside)


def _imports(
    scene: Scene, place: Path, variants: Mapping[str, Variant], environment: Mapping[str, str]
) -> Iterator[Figure]:
    """What is imported with bookstore on and not with it off, by package."""
    rounds = scene.effort.count(PROFILED, 0)
    if not rounds:
        return
    profiles: dict[str, list[Counter[str]]] = {"neither": [], "bookstore": []}
    servers = {
        name: prepare(place, f"imports-{name}", variants[name], environment, PYTHONPROFILEIMPORTTIME="1")
        for name in profiles
    }
    for _ in range(rounds):
        for name, server in servers.items():
            server.log.unlink(missing_ok=True)
            with _running(server):
                pass
            profiles[name].append(imported(server.log.read_text(encoding="utf-8", errors="replace")))
    plain = set().union(*profiles["neither"])
    added: dict[str, list[int]] = {}
    for profile in profiles["bookstore"]:
        packages: Counter[str] = Counter()
        for module, microseconds in profile.items():
            if module not in plain:
                packages[module.partition(".")[0]] += microseconds
        for package, microseconds in packages.items():
            added.setdefault(package, []).append(microseconds)
    costs = {package: statistics.median(samples) / 1000 for package, samples in added.items()}
    largest = sorted(costs, key=costs.__getitem__, reverse=True)[:8]
    yield Figure(
        NAME,
        "imports that bookstore adds to a start, slowed down by being timed",
        sum(costs.values()),
        unit="ms",
        n=len(profiles["bookstore"]),
        beside={f"{package} ms": costs[package] for package in largest},
    )


def imported(log: str) -> Counter[str]:
    """Microseconds that each module took for itself, out of what ``-X importtime`` prints."""
    times: Counter[str] = Counter()
    for line in log.splitlines():
        if (found := _IMPORT.search(line)) is not None:
            times[found[3]] += int(found[1])
    return times
