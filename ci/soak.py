"""Hours of mixed work on a real Jupyter server while the store fails now and then: nothing lost, and nothing grows.

Run it in a checkout, by hand or by ``tox -e soak``::

    python -m ci.soak --minutes 60 --seed 1 --write

A real Jupyter server with bookstore archives to a real SeaweedFS through `ci.fault_proxy`. Clients save, upload,
rename, copy, delete, look back, restore and publish (`ci.soak_load`), at a rate that leaves a machine of two cores room
for other work. Faults of the store come and go. After each, the load pauses until everything has arrived, and a sample
is taken (`ci.soak_figures`): only such moments can be compared, since what waits and what is under way differs at all
others. In the end every acknowledged save is looked for in the bucket (`ci.soak_ledger`): once, with its bytes, in
order.

What is drawn from the seed is who does what, and which fault comes when and for how long; how far the server has come
by then is the machine's own doing.

What is judged is the whole process, Jupyter's own part included: that is stricter than to judge the difference from a
server without bookstore, and what a person sees. ``--control`` runs such a server too, under the same saves, and shows
what it holds beside ours: should Jupyter itself ever grow, that tells whose growth it is. It changes no verdict, and is
not needed for one: over minutes of the same saves Jupyter alone moves by a few MB.

An hour at the default rate takes 6 to 8 GB in the bucket, a few hundred MB in the server's root, and as much in the
outbox while an outage keeps it back; the disk needs 20 GB to be on the safe side. Everything lies below
``--directory``; without one, in a temporary directory that is removed unless something was found.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Final

from ci import soak_figures
from ci.bucket import Bucket
from ci.fault_proxy import Answer, FaultProxy, Hold, Rule, Trickle
from ci.jupyter_process import JupyterProcess
from ci.killer import Findings
from ci.s3_servers import SeaweedServer
from ci.soak_figures import BARS, GARBAGE_MB, Bar, Sample, Trend, trends
from ci.soak_gauge import ROUTE
from ci.soak_ledger import Ledger, Stored, compare
from ci.soak_load import Load, Weather
from ci.store_checks import FAULTS

ROOT: Final = Path(__file__).resolve().parent.parent

#: Pieces of work per second; in the course of an hour, pauses included, five or six saves a second come of it.
RATE: Final = 8.0

#: Seconds within which everything that waits arrives once the store is well again.
DRAIN_LIMIT: Final = 300.0

#: Violations that are printed.
SHOWN: Final = 50

OUTAGE: Final = "outage"

#: What ails the store, by name. The slow line is as fast as a large notebook needs to get through within its attempt.
STORMS: Final[Mapping[str, tuple[Rule, ...]]] = {
    OUTAGE: (),
    **{
        name: FAULTS[name]
        for name in (
            "503 SlowDown",
            "429 and 500",
            "reset",
            "some answers take long",
            "200 with an error body",
            "answer lost after the PUT",
            "late before the second PUT",
            "late after the second PUT",
            "late at the very end",
            "all at once",
        )
    },
    "credentials rejected": (Rule(Answer(403, "InvalidAccessKeyId")),),
    "slow line": (Rule(Trickle(rate=200_000), methods=("PUT",)),),
    "black hole": (Rule(Hold(), chance=0.05),),
}

#: Those after which half a minute or more may pass until an attempt is given up: too long for the short form.
PATIENT: Final = frozenset({"slow line", "black hole"})

#: What the servers are told. Nothing goes to a trash, and directories with something in them may be deleted.
CONFIG: Final = """
import sys
sys.path.append({root!r})
c.ServerApp.jpserver_extensions = {extensions!r}
c.FileContentsManager.delete_to_trash = False
c.FileContentsManager.always_delete_dir = True
c.BookstoreSettings.archive_globs = ["*.ipynb", "*.txt", "*.bin"]
c.BookstoreSettings.outbox_reserve = 0
"""


@dataclass(frozen=True)
class Pace:
    """How a soak passes its time, in seconds.

    Attributes
    ----------
    calm, storm, recovery : tuple of float and float
        Bounds of how long the load runs with the store well, in trouble, and well again; an outage is twice as long as
        other storms.
    quiet : float
        Between the moment when everything has arrived and the sample.
    samples : int
        How many are taken then.
    at_least : int
        Storms that are gone through, however slow the machine.
    interval : float
        Between two samples under load.
    storms : tuple of str
    bars : tuple of Bar
        What is judged.
    """

    calm: tuple[float, float] = (10.0, 20.0)
    storm: tuple[float, float] = (20.0, 40.0)
    recovery: tuple[float, float] = (5.0, 15.0)
    quiet: float = 2.0
    samples: int = 3
    at_least: int = 4
    interval: float = 5.0
    storms: tuple[str, ...] = tuple(STORMS)
    bars: tuple[Bar, ...] = BARS


#: For a run of seconds.
SHORT: Final = Pace(
    calm=(0.2, 0.4),
    storm=(0.5, 0.8),
    recovery=(0.1, 0.2),
    quiet=0.1,
    samples=2,
    interval=1.0,
    storms=tuple(name for name in STORMS if name not in PATIENT),
    # A quarter of few samples is one or two of them, so noise counts twice.
    bars=tuple(replace(bar, absolute=2 * bar.absolute) for bar in BARS if not bar.settles_late),
)


@dataclass
class Outcome:
    """What a run brought.

    Attributes
    ----------
    seed : int
    rate, minutes : float
        As asked for.
    seconds : float
        How long the load ran, pauses included.
    counts : dict of str to int
        Work that was acknowledged, by kind.
    saved_bytes : int
    keys, versions : int
        In the bucket.
    storms : dict of str to int
        How often each fault of the store came.
    struck : int
        Requests that met a fault, those of outages not counted.
    trends, control : list of Trend
        Of the server, and of the one without archiving.
    findings : Findings
    garbage_mb : float
        What a collection gave back at most when nothing waited.
    echoes : int
        As `ci.soak_ledger.echoes` has them.
    wrong : list of str
        What else does not hold.
    """

    seed: int
    rate: float
    minutes: float
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    saved_bytes: int = 0
    keys: int = 0
    versions: int = 0
    storms: dict[str, int] = field(default_factory=dict)
    struck: int = 0
    trends: list[Trend] = field(default_factory=list)
    control: list[Trend] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    garbage_mb: float = 0.0
    echoes: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def saves(self) -> int:
        """Versions that were acknowledged."""
        return sum(self.counts.get(what, 0) for what in ("save", "copy", "rename", "restore", "publish"))

    @property
    def storm_count(self) -> int:
        """Faults of the store, of all kinds."""
        return sum(self.storms.values())

    def growth(self) -> list[str]:
        """Figures that do not stay flat, by name."""
        return [trend.bar.name for trend in self.trends if not trend.is_flat]

    def violations(self) -> list[str]:
        """All that does not hold."""
        grown = [f"growth: {trend}" for trend in self.trends if not trend.is_flat]
        garbage = []
        if self.garbage_mb > GARBAGE_MB:
            garbage.append(f"garbage: {self.garbage_mb:.1f} MB of it, where {GARBAGE_MB:.0f} MB are allowed")
        return [*self.findings.violations(), *self.wrong, *grown, *garbage]

    def figure(self) -> dict[str, Any]:
        """The numbers, for a report."""
        found = {kind: len(texts) for kind, texts in asdict(self.findings).items()}
        flat = {
            trend.bar.name: [round(trend.first, 1), round(trend.last, 1), round(trend.slope, 1)]
            for trend in self.trends
        }
        return {
            "minutes": round(self.seconds / 60, 1),
            "saves": self.saves,
            "versions": self.versions,
            "keys": self.keys,
            "mb": round(self.saved_bytes / 1e6),
            "storms": self.storm_count,
            "struck": self.struck,
            **found,
            "echoes": self.echoes,
            "garbage_mb": round(self.garbage_mb, 1),
            "first_last_slope": flat,
            "violations": len(self.violations()),
        }


class Soak:
    """One run.

    Parameters
    ----------
    directory : Path
        Holds the servers' homes and ``samples.jsonl``.
    bucket : Bucket
    seed : int
    minutes : float
    rate : float
    pace : Pace
    config : str
        What the server is told besides: what a test breaks the product with.
    with_control : bool
    """

    def __init__(
        self,
        directory: Path,
        bucket: Bucket,
        *,
        seed: int,
        minutes: float,
        rate: float = RATE,
        pace: Pace | None = None,
        config: str = "",
        with_control: bool = False,
    ) -> None:
        self._directory = directory
        self._bucket = bucket
        self._seconds = minutes * 60
        self._pace = pace or Pace()
        self._rng = random.Random(f"{seed}/storms")  # noqa: S311 - chance that can be repeated
        self._ledger = Ledger()
        self._weather = Weather()
        self._proxy = FaultProxy(bucket.server.endpoint_url, seed=seed)
        self._jupyter = _jupyter(directory / "jupyter", enabled=True, config=config)
        self._control = _jupyter(directory / "control", enabled=False) if with_control else None
        self._samples: dict[str, list[Sample]] = {"jupyter": [], "control": []}
        self._sampling = threading.Lock()
        self._phase = "start"
        self._outcome = Outcome(seed, rate, minutes)
        self._load = Load(self._jupyter, self._ledger, self._weather, seed=seed, rate=rate, control=self._control)

    def run(self) -> Outcome:
        """Run to the end, and compare."""
        with contextlib.ExitStack() as stack:
            file = stack.enter_context((self._directory / "samples.jsonl").open("w", encoding="utf-8", buffering=1))
            stack.enter_context(self._proxy)
            environment = {**self._bucket.environment, "JPYNB_S3_ENDPOINT_URL": self._proxy.endpoint_url}
            self._jupyter.environment.update(environment)
            for server in self._servers.values():
                stack.enter_context(server)
            self._start = time.monotonic()
            self._load.start()
            stack.callback(self._load.stop)
            with self._sampled_under_load(file):
                self._pass_time(file)
            self._outcome.seconds = time.monotonic() - self._start
            self._load.stop()
            self._end_well()
        self._compare()
        return self._outcome

    @property
    def _servers(self) -> dict[str, JupyterProcess]:
        return {"jupyter": self._jupyter, **({"control": self._control} if self._control is not None else {})}

    # -- the course of it ------------------------------------------------------------------------------------------

    def _pass_time(self, file: IO[str]) -> None:
        """Let calm and storms follow each other until the time is over; the last storm is gone through whole."""
        storms: list[str] = []
        while time.monotonic() < self._start + self._seconds or self._outcome.storm_count < self._pace.at_least:
            # All have their turn before one comes again.
            storms = storms or self._rng.sample(self._pace.storms, len(self._pace.storms))
            self._go_through(storms.pop())
            self._settle(file)

    def _go_through(self, storm: str) -> None:
        self._phase = "calm"
        self._load.gate.open()
        self._last(self._pace.calm)
        self._phase = storm
        self._outcome.storms[storm] = self._outcome.storms.get(storm, 0) + 1
        self._weather.worsen()
        if storm == OUTAGE:
            self._proxy.down()
            self._last(self._pace.storm)
            self._last(self._pace.storm)
            self._proxy.up()
        else:
            self._proxy.plan(*STORMS[storm])
            self._last(self._pace.storm)
            self._proxy.plan()
        self._phase = "recovery"
        self._last(self._pace.recovery)

    def _last(self, bounds: tuple[float, float]) -> None:
        """Let something go on for a while."""
        time.sleep(self._rng.uniform(*bounds))

    def _settle(self, file: IO[str]) -> None:
        """Have the load pause until everything has arrived, then take samples."""
        self._load.gate.close()
        self._phase = "settled"
        # What is late arrives when all seems done, and nothing may come of it.
        self._proxy.deliver_late()
        self._drain()
        self._weather.clear()
        for _ in range(self._pace.samples):
            time.sleep(self._pace.quiet)
            self._sample(file, settled=True)

    def _drain(self) -> None:
        remaining, deadline = sys.maxsize, 0.0
        while remaining:
            answer = self._jupyter.ok("POST", "/api/bookstore/flush", {"timeout": 20})
            if answer["remaining"] < remaining:
                remaining, deadline = answer["remaining"], time.monotonic() + DRAIN_LIMIT
            elif time.monotonic() > deadline:
                raise RuntimeError(f"{remaining} saves do not arrive: {answer['archive']}")

    def _end_well(self) -> None:
        """See that the server says that all is well, knows what was said about versions, and ends in good order."""
        status = self._jupyter.status()
        self._outcome.wrong += [
            f"the status tells {status[name]} {name}"
            for name in ("waiting", "unprotected", "missed", "quarantined", "refused", "problems")
            if status[name]
        ]
        left = soak_figures.of_outbox(Path(status["outbox"]))["outbox_entries"]
        if left:
            self._outcome.wrong.append(f"{left} entries are left in the outbox")
        self._outcome.wrong += self._wrong_labels()
        self._outcome.struck = self._proxy.struck()
        if not self._outcome.struck:
            self._outcome.wrong.append("no fault struck, so nothing was tested")
        if code := self._jupyter.stop():
            self._outcome.wrong.append(f"the server ended with {code}")

    def _wrong_labels(self) -> list[str]:
        """What was said about versions, was acknowledged, and is not what their labels say."""
        wrong = []
        for path, named in _by_path(self._load.names).items():
            labels = json.loads(self._bucket.read(f"workspace/.bookstore/labels/{path}.json"))["labels"]
            for version_id, name in named.items():
                said = labels.get(version_id, {}).get("name")
                if said != name:
                    wrong.append(f"version {version_id} of {path} was named {name!r}, and its label says {said!r}")
        return wrong

    # -- samples ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _sampled_under_load(self, file: IO[str]) -> Iterator[None]:
        """Take samples within the block too, for whoever wants to see what a storm costs."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(self._pace.interval):
                if self._phase != "settled":
                    self._sample(file, settled=False)

        thread = threading.Thread(target=work, name="sampler", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _sample(self, file: IO[str], *, settled: bool) -> None:
        events = self._ledger.events()
        told: dict[str, Any] = {"saves": len(self._ledger.acknowledged), "keys": len(events)}
        with self._sampling:
            for name, server in self._servers.items():
                assert server.process is not None  # noqa: S101 - it is started before anything is sampled
                sample = Sample(
                    at=round(time.monotonic() - self._start, 2),
                    phase=self._phase,
                    settled=settled,
                    **soak_figures.of_process(server.process.pid),
                    **soak_figures.of_gauge(server.ok("GET", f"{ROUTE}?collect=1" if settled else ROUTE)),
                    **(self._state() if server is self._jupyter else {}),
                    **told,
                )
                self._samples[name].append(sample)
                file.write(json.dumps({"server": name, **asdict(sample)}) + "\n")

    def _state(self) -> dict[str, Any]:
        status = self._jupyter.status()
        counts: dict[str, Any] = {name: status[name] for name in ("waiting", "unprotected", "archived")}
        return {**counts, **soak_figures.of_outbox(Path(status["outbox"]))}

    # -- the comparison --------------------------------------------------------------------------------------------

    def _compare(self) -> None:
        events = self._ledger.events()
        stored = (key for key in self._bucket.keys() if "/.bookstore/" not in key)  # noqa: SIM118 - it is no mapping
        known = sorted({*events, *stored})
        histories = dict(zip(known, self._histories(known), strict=True))
        outcome = self._outcome
        outcome.findings, outcome.echoes = compare(events, histories, self._ledger.refused)
        outcome.counts = dict(sorted(self._ledger.counts.items()))
        outcome.saved_bytes = sum(event.size for event in self._ledger.acknowledged)
        outcome.keys, outcome.versions = len(known), sum(map(len, histories.values()))
        outcome.garbage_mb = max((s.garbage_mb for s in self._samples["jupyter"] if s.settled), default=0.0)
        try:
            outcome.trends = trends(self._samples["jupyter"], self._pace.bars)
            outcome.control = trends(self._samples["control"], self._pace.bars) if self._control is not None else []
        except ValueError as e:
            outcome.wrong.append(str(e))

    def _histories(self, keys: Sequence[str]) -> list[list[Stored]]:
        """The versions of each key, the oldest first, read byte by byte past bookstore and the proxy."""
        name = self._bucket.name
        with self._bucket.server.client() as client, ThreadPoolExecutor(8) as pool:

            def history(key: str) -> list[Stored]:
                # A listing by the exact key is complete on SeaweedFS, one over sibling directories is not.
                pages = client.get_paginator("list_object_versions").paginate(Bucket=name, Prefix=key)
                rows = [row for page in pages for row in page.get("Versions", ()) if row["Key"] == key]
                return [read(key, row["VersionId"]) for row in reversed(rows)]

            def read(key: str, version_id: str) -> Stored:
                digest = hashlib.sha256()
                answer = client.get_object(Bucket=name, Key=key, VersionId=version_id)
                for piece in answer["Body"].iter_chunks(1_000_000):
                    digest.update(piece)
                return Stored(digest.hexdigest(), answer["Metadata"].get("bookstore-record", ""))

            return list(pool.map(history, keys))


def _jupyter(home: Path, *, enabled: bool, config: str = "") -> JupyterProcess:
    extensions = {"ci.soak_gauge": True, "bookstore": enabled}
    return JupyterProcess(
        home,
        enabled=enabled,
        arguments=["--ServerApp.log_level=WARN"],
        config={"jupyter_server_config.py": CONFIG.format(root=str(ROOT), extensions=extensions) + config},
    )


def _by_path(names: Mapping[tuple[str, str], str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for (path, version_id), name in names.items():
        found.setdefault(path, {})[version_id] = name
    return found


# -- the page ------------------------------------------------------------------------------------------------------

PAGE: Final = """\
Measured on {machine}, with SeaweedFS on the same machine behind a proxy that makes the faults; seed {seed}.
To repeat it: `{command}`.

| | |
|-|-|
| duration | {minutes:.0f} min |
| acknowledged saves, copies, renames, restores and publications | {saves:,} ({mb:,.0f} MB) |
| versions in the bucket, of so many keys | {versions:,}, {keys:,} |
| other work: reads, deletes, histories, versions read, comparisons, labels | {other:,} |
| faults of the store, and requests that met one | {storms}, {struck:,} |
| lost, torn, double, out of order, refused | {found} |
| stored a second time by a late PUT, because the version before had the same bytes | {echoes} |

After a warm-up of a fifth of the time, whenever nothing waited:

| the server holds | first quarter, median | last quarter, median | slope, per hour | growth allowed |
|-|-|-|-|-|
{trends}

Cyclic garbage that waited for Python's collector at such a moment held {garbage:.1f} MB at most;
{garbage_allowed:.0f} MB are allowed.
"""


def page(outcome: Outcome) -> str:
    """What the documentation shows of a run."""
    saves = {"save", "copy", "rename", "restore", "publish", "excused"}
    return PAGE.format(
        machine=f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        seed=outcome.seed,
        command=f"python -m ci.soak --minutes {outcome.minutes:g} --rate {outcome.rate:g} --seed {outcome.seed}",
        minutes=outcome.seconds / 60,
        saves=outcome.saves,
        mb=outcome.saved_bytes / 1e6,
        versions=outcome.versions,
        keys=outcome.keys,
        other=sum(count for what, count in outcome.counts.items() if what not in saves),
        storms=", ".join(f"{name} {count}" for name, count in sorted(outcome.storms.items())),
        struck=outcome.struck,
        echoes=outcome.echoes,
        garbage=outcome.garbage_mb,
        garbage_allowed=GARBAGE_MB,
        found=", ".join(str(len(texts)) for texts in asdict(outcome.findings).values()),
        trends="\n".join(
            [
                *(_row(trend) for trend in outcome.trends),
                *(_row(trend, " without bookstore, for comparison") for trend in outcome.control),
            ]
        ),
    )


def _row(trend: Trend, more: str = "") -> str:
    digits, scale, unit = (1, 1, f" {trend.bar.unit}") if trend.bar.unit else (0, 1, "")

    def shown(value: float, sign: str = "") -> str:
        return f"{value / scale:{sign},.{digits}f}{unit}"

    cells = (trend.bar.title + more, shown(trend.first), shown(trend.last), shown(trend.slope, "+"))
    return f"| {' | '.join(cells)} | {'—' if more else shown(trend.allowed)} |"


def main() -> int:
    """Run the script; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=RATE, help="pieces of work per second")
    parser.add_argument("--directory", type=Path, help="where everything of the run lies, on a disk with room for it")
    parser.add_argument("--control", action="store_true", help="run a server without bookstore beside")
    parser.add_argument("--write", action="store_true", help="put the tables into the documentation")
    args = parser.parse_args()
    made = args.directory is None
    directory = Path(tempfile.mkdtemp(prefix="soak-")) if made else args.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    with SeaweedServer(directory / "seaweed") as server:
        bucket = Bucket(server, server.create_bucket("soak"))
        pace = Pace() if args.minutes > 1 else SHORT
        outcome = Soak(
            directory,
            bucket,
            seed=args.seed,
            minutes=args.minutes,
            rate=args.rate,
            pace=pace,
            with_control=args.control,
        ).run()
    print(json.dumps({"seed": outcome.seed, **outcome.figure(), "counts": outcome.counts}, indent=1))
    print(page(outcome))
    violations = outcome.violations()
    for violation in violations[:SHOWN]:
        print(violation)
    if args.write:
        (ROOT / "docs" / "explanation" / "_soak.md").write_text(page(outcome), encoding="utf-8")
    if made and not violations:
        shutil.rmtree(directory)
    else:
        print(f"everything of the run is in {directory}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
