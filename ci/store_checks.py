"""What must hold when the store misbehaves: one function for each row, used by its test and by its mutations."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ci.archive_scene import SLACK, Scene, Waits, percentile, until, violations
from ci.bucket import Bucket
from ci.fault_proxy import Answer, Delay, FaultProxy, Hold, Late, LoseAnswer, Reset, Rule, Trickle, any_of

#: How the product waits in these checks.
WAITS: Final = Waits(attempt=0.8, question=0.8, pace=0.01)

#: Seconds that an attempt may take here: until the product gives it up, and what a busy machine needs to notice.
ATTEMPT_AT_MOST: Final = WAITS.attempt + SLACK

#: Saves that one manager makes before it is the other's turn.
TURN: Final = 25

#: Seconds within which the status shows that the store rejects the credentials.
SHOWN_WITHIN: Final = 10.0

#: Seconds within which new credentials are used: no wait between two tries is longer than a minute.
TAKEN_UP_WITHIN: Final = 90.0

#: What a store and a network may do to requests, by name. All but the slow line strike a share of the requests and go
#: on while the backlog drains.
FAULTS: Final[Mapping[str, tuple[Rule, ...]]] = {
    "503 SlowDown": (Rule(Answer(503, "SlowDown"), chance=0.5),),
    "429 and 500": any_of([Answer(429), Answer(500, "InternalError")], 0.5),
    "reset": any_of([Reset(), Reset(sent_on=True)], 0.4),
    "black hole": (Rule(Hold(), chance=0.1),),
    "some answers take long": any_of([Delay(0.05), Delay(0.15), Delay(0.3)], 0.8, methods=("PUT",)),
    "slow line": (Rule(Trickle(rate=1000), methods=("PUT",)),),
    "slow answers": (Rule(Trickle(rate=150, answer_only=True), methods=("PUT",)),),
    "200 with an error body": (Rule(Answer(200, "InternalError"), chance=0.5),),
    "answer lost after the PUT": (
        Rule(LoseAnswer(), methods=("PUT",), chance=0.3),
        Rule(LoseAnswer(sent=40), methods=("PUT",), chance=0.3),
    ),
    "late before the look": (Rule(Late(Answer(503), after=1, before="HEAD"), methods=("PUT",), chance=0.4),),
    "late before the second PUT": (Rule(Late(Answer(503), after=1), methods=("PUT",), chance=0.4),),
    "late after the second PUT": (Rule(Late(Reset(), after=2), methods=("PUT",), chance=0.4),),
    "late after a timeout": (Rule(Late(Hold(), seconds=1.2), methods=("PUT",), chance=0.1),),
    "late at the very end": (Rule(Late(Answer(500)), methods=("PUT",), chance=0.4),),
    "all at once": any_of(
        [
            Answer(503),
            Answer(500),
            Answer(200, "InternalError"),
            Reset(),
            Reset(sent_on=True),
            LoseAnswer(),
            Late(Answer(503), after=1),
            Late(Reset(), after=2),
        ],
        0.5,
    ),
}


@dataclass(frozen=True)
class Load:
    """How much is saved.

    Attributes
    ----------
    saves, paths : int
    size : int
        Characters of a notebook.
    drain : float
        Seconds within which all is in the bucket, while the fault goes on where it strikes a share only.
    """

    saves: int
    paths: int
    size: int = 0
    drain: float = 60.0


async def check_fault(
    directory: Path, bucket: Bucket, rules: tuple[Rule, ...], load: Load, *, seed: int
) -> tuple[list[str], dict[str, Any]]:
    """Save through a proxy that follows the rules, then look for what is lost, double or out of order.

    Returns
    -------
    list of str
        What does not hold; empty where all does.
    dict
        The figure.
    """
    wrong: list[str] = []
    with FaultProxy(bucket.server.endpoint_url, seed=seed, one_at_a_time=True) as proxy:
        scene = Scene(directory, bucket, endpoint_url=proxy.endpoint_url, waits=WAITS)
        async with scene:
            proxy.plan(*rules)
            start = time.monotonic()
            paths = [f"folder/n {number}.ipynb" for number in range(load.paths)]
            await scene.save_all(paths, load.saves, seed=seed, pause=0.02, size=load.size)
            lasts = all(isinstance(rule.fault, Trickle) for rule in rules)
            remaining = await scene.service.flush(5.0 if lasts else load.drain)
            if lasts:
                proxy.plan()
                remaining = await scene.service.flush(load.drain)
            seconds = time.monotonic() - start
            struck = proxy.struck()
            proxy.plan()
            # What is late arrives when all seems done.
            await asyncio.sleep(0)
            late = await asyncio.to_thread(proxy.deliver_late)
            if remaining:
                wrong.append(f"{remaining} saves were not in the bucket after {load.drain} s")
            longest = max(scene.store.attempts)
            if longest > ATTEMPT_AT_MOST:
                wrong.append(f"an attempt took {longest:.1f} s, although it may take {ATTEMPT_AT_MOST} s")
            if not struck:
                wrong.append("no fault struck, so nothing was tested")
            left = [entry.name for entry in scene.entries()]
            if left and not remaining:
                wrong.append(f"{len(left)} entries are left in the outbox")
        wrong += scene.violations()
        figure = {
            "saves": load.saves,
            "failed_saves": load.saves - len(scene.seconds),
            "faults": struck,
            "late": late,
            "requests": len(proxy.records),
            "longest_attempt_s": round(longest, 2),
            "attempt_limit_s": WAITS.attempt,
            "attempt_allowed_s": ATTEMPT_AT_MOST,
            "drained_after_s": round(seconds, 1),
            "violations": len(wrong),
        }
    return wrong, figure


async def check_outage(
    directory: Path, bucket: Bucket, load: Load, *, seed: int, slower_ms: float, share: float = 0.99
) -> tuple[list[str], dict[str, Any]]:
    """Save with the store down, and see that nobody notices and that all arrives once it is back.

    Two managers take turns, a few saves at a time, so that both meet the same machine: one whose store is up, which
    tells what is normal, and one whose store is down from its first measured save to its last.

    Parameters
    ----------
    directory, bucket, load, seed
    slower_ms : float
        By how much a save may take longer than normal.
    share : float
        Of the saves, that must hold to it: by default the 99th percentiles are compared.
    """
    up, down = _Saves("up", load), _Saves("down", load)
    wrong: list[str] = []
    waits = Waits(attempt=30, question=15, pace=0.1)
    with FaultProxy(bucket.server.endpoint_url, seed=seed) as proxy:
        # The waits hold for both, since they are those of the process.
        away = Scene(directory / "down", bucket, endpoint_url=proxy.endpoint_url, waits=waits)
        async with away, Scene(directory / "up", bucket) as normal:
            for scene in (normal, away):
                await scene.save_all(["warm.ipynb"], 10, seed=seed, size=load.size)
                await scene.service.flush(30.0)
            proxy.down()
            await down.make(away, 1)
            await _shown(away, wrong, SHOWN_WITHIN)
            while len(down.seconds) + down.failed < load.saves:
                await up.make(normal, TURN)
                # What it costs to ship belongs to whoever's store is up.
                await normal.service.flush(load.drain)
                await down.make(away, TURN)
            status = away.service.status()
            if status.waiting != load.saves or status.unprotected:
                wrong.append(f"{status.waiting} of {load.saves} saves wait, {status.unprotected} of them unprotected")
            proxy.up()
            start = time.monotonic()
            remaining = await away.service.flush(load.drain)
            seconds = time.monotonic() - start
            if remaining:
                wrong.append(f"{remaining} saves were not in the bucket {load.drain} s after the store was back")
        for scene in (normal, away):
            scene.acknowledged.pop("warm.ipynb")
            wrong += scene.violations()
    slower = 1000 * (percentile(down.seconds, share) - percentile(up.seconds, share))
    if down.failed:
        wrong.append(f"{down.failed} of {load.saves} saves failed")
    if slower > slower_ms:
        wrong.append(
            f"the {100 * share:.0f}th percentile of a save is {slower:.0f} ms slower than normal, "
            f"{slower_ms} ms are allowed"
        )
    up_ms, down_ms = 1000 * percentile(up.seconds, 0.99), 1000 * percentile(down.seconds, 0.99)
    figure = {
        "saves": load.saves,
        "failed_saves": down.failed,
        "bytes": load.size,
        "p50_up_ms": round(1000 * statistics.median(up.seconds), 1),
        "p50_down_ms": round(1000 * statistics.median(down.seconds), 1),
        "p99_up_ms": round(up_ms, 1),
        "p99_down_ms": round(down_ms, 1),
        "p99_down_minus_up_ms": round(down_ms - up_ms, 1),
        "held_percentile": round(100 * share),
        "held_minus_up_ms": round(slower, 1),
        "slower_allowed_ms": slower_ms,
        "drained_after_s": round(seconds, 1),
        "violations": len(wrong),
    }
    return wrong, figure


class _Saves:
    """One manager's saves, and how long each took."""

    def __init__(self, folder: str, load: Load) -> None:
        self.seconds: list[float] = []
        self.failed = 0
        self._folder = folder
        self._load = load

    async def make(self, scene: Scene, count: int) -> None:
        """Make some saves, but no more than the load has."""
        done = len(self.seconds) + self.failed
        for number in range(done, min(done + count, self._load.saves)):
            path = f"{self._folder}/{number % self._load.paths}.ipynb"
            try:
                await scene.save(path, f"{number} {'x' * self._load.size}")
            except Exception:  # noqa: BLE001 - whatever it is, the user's save failed
                self.failed += 1
            else:
                self.seconds.append(scene.seconds[-1])


async def check_credentials(
    directory: Path,
    bucket: Bucket,
    proxy: FaultProxy,
    *,
    lend: Callable[[str], None],
    broken: str,
    mended: str,
    begins_broken: bool,
    saves: int,
    pace: float,
    rules: tuple[Rule, ...] = (),
) -> tuple[list[str], dict[str, Any]]:
    """Save with credentials that the store rejects, mend them while the server runs, and see that all arrives.

    Parameters
    ----------
    directory, bucket, proxy
    lend : callable
        Puts a pair of credentials, by name, where the SDK finds them.
    broken, mended : str
        Names of credentials.
    begins_broken : bool
        False: they work at first, and break when ``rules`` come into force.
    saves : int
    pace : float
        As in `Waits`.
    rules : tuple of Rule
        How the store rejects them, where it does not do so by itself.
    """
    wrong: list[str] = []
    lend(broken)
    none = {"s3_access_key_id": None, "s3_secret_access_key": None}
    waits = Waits(attempt=30.0, question=15.0, pace=pace)
    async with Scene(directory, bucket, endpoint_url=proxy.endpoint_url, waits=waits, **none) as scene:
        scene.manager.log.setLevel("CRITICAL")
        if not begins_broken:
            await scene.save("a.ipynb", "before")
            if await scene.service.flush(30.0):
                wrong.append("the first save did not arrive although the credentials were right")
            proxy.plan(*rules)
        start = time.monotonic()
        for number in range(saves):
            await scene.save(f"{'ab'[number % 2]}.ipynb", f"while rejected {number}")
        await until(lambda: scene.service.status().state == "trouble", "the status shows trouble", 30.0)
        shown = time.monotonic() - start
        if shown > SHOWN_WITHIN:
            wrong.append(f"the status showed it after {shown:.1f} s")
        problem = scene.service.status().problems[0]
        if problem.code != "CredentialsRejected" or not problem.hint:
            wrong.append(f"the status tells {problem.code} with the hint {problem.hint!r}")
        if scene.service.status().waiting != saves:
            wrong.append(f"{scene.service.status().waiting} of {saves} saves wait")
        lend(mended)
        start = time.monotonic()
        await until(lambda: scene.service.status().state == "ok", "the new credentials are taken up", TAKEN_UP_WITHIN)
        taken_up = time.monotonic() - start
    wrong += scene.violations()
    figure = {
        "saves": saves,
        "shown_after_s": round(shown, 2),
        "taken_up_after_s": round(taken_up, 1),
        "pace_of_retries": pace,
        "violations": len(wrong),
    }
    return wrong, figure


async def check_unusable_bucket(
    directory: Path, bucket: Bucket, state: str, *, seed: int, saves: int = 10, shown_within: float = 10.0
) -> tuple[list[str], dict[str, Any]]:
    """Save to a bucket that is not there or keeps no versions, mend it, and see that all arrives.

    Parameters
    ----------
    directory : Path
    bucket : Bucket
        Not made yet.
    state : str
        ``missing`` or ``unversioned``.
    seed, saves : int
    shown_within : float
        Seconds until the status must name it.
    """
    code = {"missing": "BucketMissing", "unversioned": "BucketNotVersioned"}[state]
    wrong: list[str] = []
    if state == "unversioned":
        await asyncio.to_thread(bucket.server.create_bucket, bucket.name, versioned=False)
    async with Scene(directory, bucket, waits=WAITS) as scene:
        scene.manager.log.setLevel("CRITICAL")
        await scene.save_all(["a.ipynb", "b.ipynb"], saves, seed=seed)

        def is_named() -> bool:
            problems = scene.service.status().problems
            return any(p.code == code and bucket.name in p.message and p.hint for p in problems)

        shown = await _shown(scene, wrong, shown_within)
        try:
            # On a busy machine the first question may not have been answered in time.
            shown += await until(is_named, "the status names it", shown_within)
        except AssertionError:
            problems = scene.service.status().problems
            wrong.append(f"the status does not name {code} with the bucket's name and a hint: {problems}")
        status = scene.service.status()
        if status.waiting != saves:
            wrong.append(f"{status.waiting} of {saves} saves wait")
        if state == "missing":
            await asyncio.to_thread(bucket.server.create_bucket, bucket.name)
        else:
            if written := await asyncio.to_thread(bucket.keys):
                wrong.append(f"written although nothing keeps versions: {sorted(written)}")
            await asyncio.to_thread(bucket.server.set_versioning, bucket.name, "Enabled")
        if remaining := await scene.service.flush(30.0):
            wrong.append(f"{remaining} saves were not in the bucket once it was as it should be")
    wrong += scene.violations()
    return wrong, {"saves": saves, "shown_after_s": round(shown, 1), "violations": len(wrong)}


async def _shown(scene: Scene, wrong: list[str], within: float) -> float:
    """Wait until the status shows trouble; the seconds that took."""
    start = time.monotonic()
    try:
        await until(lambda: scene.service.status().state == "trouble", "the status shows trouble", within)
    except AssertionError as e:
        wrong.append(str(e))
    return time.monotonic() - start


async def check_suspension(
    directory: Path, bucket: Bucket, load: Load, *, seed: int, shown_within: float = 30.0
) -> tuple[list[str], dict[str, Any]]:
    """Suspend the bucket's versioning while saves go on, and see that nothing older is overwritten."""
    wrong: list[str] = []
    paths = [f"n{number}.ipynb" for number in range(load.paths)]
    waits = Waits(attempt=30.0, question=15.0, pace=0.1)
    async with Scene(directory, bucket, waits=waits) as scene:
        scene.manager.log.setLevel("CRITICAL")
        saving = asyncio.ensure_future(scene.save_all(paths, load.saves, seed=seed, pause=0.1, size=load.size))
        await until(lambda: scene.service.shipper.shipped > load.saves // 4, "a quarter is shipped")
        await asyncio.to_thread(bucket.server.set_versioning, bucket.name, "Suspended")
        start = time.monotonic()
        before = {path: _names(bucket, path) for path in paths}
        await saving
        # Something is to be stored after it, however fast the machine.
        await scene.save_all(paths, load.paths, seed=seed, size=load.size + 1)
        await _shown(scene, wrong, shown_within)
        shown = time.monotonic() - start
        status = scene.service.status()
        if not [p for p in status.problems if p.code == "BucketNotVersioned" and "ersioning" in p.hint]:
            wrong.append(f"the status does not tell that versioning is off: {status.problems}")
        waiting = status.waiting
        after = {path: _names(bucket, path) for path in paths}
        nulls = sum("null" in names for names in after.values())
        in_flight = scene.service.settings.max_threads
        if nulls > in_flight:
            wrong.append(f"{nulls} saves were written without a version, although {in_flight} can be in flight")
        gone = {path: set(before[path]) - set(after[path]) - {"null"} for path in paths}
        if any(gone.values()):
            wrong.append(f"versions are gone: {gone}")
        await asyncio.to_thread(bucket.server.set_versioning, bucket.name, "Enabled")
        if remaining := await scene.service.flush(load.drain):
            wrong.append(f"{remaining} saves were not in the bucket after {load.drain} s")
    wrong += violations(bucket, {path: [saves] for path, saves in scene.acknowledged.items()}, named_only=True)
    figure = {
        "saves": len(scene.seconds),
        "waited": waiting,
        "written_without_version": nulls,
        "shown_after_s": round(shown, 1),
        "violations": len(wrong),
    }
    return wrong, figure


def _names(bucket: Bucket, path: str) -> list[str]:
    return [row["VersionId"] for row in bucket.rows(f"workspace/{path}")]


def check_spread(
    wait: Callable[[int, Callable[[], float]], float], *, servers: int = 200, failures: int = 6, seed: int = 1
) -> list[str]:
    """See that servers which lost one store at the same moment do not come back to it at the same moment.

    Parameters
    ----------
    wait : callable
        Seconds until the next try, given the failures so far and a source of chance.
    servers, failures, seed : int

    Returns
    -------
    list of str
        The tries, by number, that a quarter of the servers make within a twentieth of the longest wait.
    """
    wrong = []
    times = [0.0] * servers
    chances = [random.Random(f"{seed}/{server}").random for server in range(servers)]  # noqa: S311
    for failure in range(1, failures + 1):
        waits = [wait(failure, chance) for chance in chances]
        times = [time + more for time, more in zip(times, waits, strict=True)]
        window = wait(failure, lambda: 1.0) / 20
        ordered = sorted(times)
        crowd = max(sum(at <= other < at + window for other in ordered) for at in ordered)
        if crowd > servers // 4:
            wrong.append(f"try {failure + 1}: {crowd} of {servers} servers come within {window:.2f} s")
    return wrong
