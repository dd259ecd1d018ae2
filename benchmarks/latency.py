"""How long others wait for the server while a backlog drains: ``GET /api`` at a steady rate, against an idle server."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.figures import Figure, estimated
from benchmarks.samples import percentile, percentile_ratio
from benchmarks.scene import Scene, fill_backlog, queue_held, shipped
from ci.jupyter_process import JupyterProcess

NAME = "latency"

#: p99 against that of the same server while it is idle.
BAR = 3.0

#: Requests a second; seconds of an idle window; how often an idle window and a backlog follow each other.
RATE = 50
IDLE_SECONDS = 20.0
ROUNDS = 2

#: Seconds between two looks at how far a drain is.
LOOK_INTERVAL = 0.25

#: Bytes of each save that waits.
SIZE = 20_000


class Pulse:
    """One client on one connection that stays, which asks at a steady rate.

    A wait is counted from the moment when the request was due: a client that is kept waiting asks later, and would not
    see the worst otherwise. `answers` has the time from the sending on, for comparison.

    Parameters
    ----------
    server : JupyterProcess
    """

    def __init__(self, server: JupyterProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.answers: list[float] = []

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def beat(self, goes_on: Callable[[], bool]) -> list[float]:
        """Ask as long as it goes on; the seconds of each wait."""
        waits = []
        self.answers = []
        due = time.perf_counter()
        while goes_on():
            due += 1 / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            sent = time.perf_counter()
            self._connection.request("GET", "/api")
            answer = self._connection.getresponse()
            answer.read()
            assert answer.status == 200, "otherwise the wait means nothing"
            now = time.perf_counter()
            waits.append(now - due)
            self.answers.append(now - sent)
        return waits


@dataclass
class Seen:
    """What was seen while nothing moved and while a backlog drained.

    Attributes
    ----------
    idle, busy, busy_answers : list of float
        Waits; and of the drain the times from the sending on.
    seconds : float
        Of the drain.
    """

    idle: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    busy_answers: list[float] = field(default_factory=list)
    seconds: float = 0.0


def _window(server: JupyterProcess, entries: int, seconds: float, seen: Seen) -> float:
    """Add one idle window and one drain to what was seen; the ratio of their p99."""
    fill_backlog(server, entries, SIZE, held=True)
    pulse = Pulse(server)
    try:
        pulse.beat(_for(0.2))  # the first request on a connection takes longer
        idle = pulse.beat(_for(seconds))
        wanted = shipped(server) + entries
        start = time.perf_counter()
        queue_held(server)
        with _until_shipped(server, wanted) as goes_on:
            busy = pulse.beat(goes_on)
        seen.seconds += time.perf_counter() - start
    finally:
        pulse.close()
    server.flush()
    seen.idle += idle
    seen.busy += busy
    seen.busy_answers += pulse.answers
    return percentile(busy, 99) / percentile(idle, 99)


def _for(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() < end


@contextmanager
def _until_shipped(server: JupyterProcess, wanted: int) -> Iterator[Callable[[], bool]]:
    """Tell whether saves still wait; who finds that out is another client, so that nobody waits for it."""
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(LOOK_INTERVAL):
            if shipped(server) >= wanted:
                is_over.set()

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield lambda: not (is_over.is_set() or looking.done())
        finally:
            is_over.set()
            looking.result()


def measure(scene: Scene) -> Iterator[Figure]:
    """Drain a backlog in a server of its own while somebody asks it for its version."""
    quick = scene.effort.quick
    entries, seconds = (60, 0.2) if quick else (scene.effort.entries, IDLE_SECONDS * scene.effort.scale)
    seen = Seen()
    with scene.pair("latency") as pair:
        # The first contact with a key costs a look at it; a backlog grows on keys that are known.
        fill_backlog(pair.ours, 100, SIZE)
        pair.ours.flush()
        windows = [_window(pair.ours, entries, seconds, seen) for _ in range(1 if quick else ROUNDS)]
    idle, busy = seen.idle, seen.busy
    beside = {
        "idle p50 ms": 1000 * percentile(idle, 50),
        "idle p99 ms": 1000 * percentile(idle, 99),
        "idle longest ms": 1000 * max(idle),
        "draining p50 ms": 1000 * percentile(busy, 50),
        "draining p99 ms": 1000 * percentile(busy, 99),
        "draining longest ms": 1000 * max(busy),
        "draining p99 from the sending on ms": 1000 * percentile(seen.busy_answers, 99),
        "smallest ratio of a window": min(windows),
        "largest ratio of a window": max(windows),
        "entries per s": entries * len(windows) / seen.seconds,
    }
    yield estimated(
        NAME,
        f"GET /api while {entries:,} saves of {SIZE // 1000} kB drain, p99 at {RATE} requests/s, against idle",
        percentile_ratio(busy, idle, 99),
        bar=BAR,
        n=min(len(idle), len(busy)),
        beside=beside,
    )
