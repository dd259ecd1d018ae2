"""Two real Jupyter servers at one path, or over one outbox: what must hold, for its test and for its mutations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from ci.archive_scene import violations
from ci.bucket import Bucket
from ci.fault_proxy import Delay, FaultProxy, any_of
from ci.jupyter_process import JupyterProcess, notebook

#: Seconds without a beat after which a server counts as dead, in the configurations below.
PATIENCE: Final = 3.0

#: Everybody gets every lock, as on ``nolock`` mounts, and no kernel tells who lives, as across hosts.
LOCKS_OFF: Final = f"""
import fcntl, time
from bookstore import outbox_owner, service
fcntl.flock = lambda *args: None
outbox_owner._boot_id = lambda: ""
outbox_owner.Watch.__init__.__defaults__ = (time.monotonic, {PATIENCE})
service.HEARTBEAT_INTERVAL = {PATIENCE / 6}
service.HEARTBEAT_PATIENCE = {PATIENCE}
"""

#: Besides, this server shows no sign of life, so that the others take it for dead while it works.
NO_BEAT: Final = f"""
{LOCKS_OFF}
from bookstore.outbox import Outbox
Outbox.beat = lambda self: None
"""

StartJupyter = Callable[..., JupyterProcess]


def save_often(jupyter: JupyterProcess, path: str, count: int, name: str) -> list[bytes]:
    """Save a path again and again; the bytes that were acknowledged."""
    saved = []
    for number in range(count):
        jupyter.save(path, notebook(f"{name} {number}"))
        saved.append(jupyter.on_disk(path))
    return saved


def check_one_path(
    directory: Path, bucket: Bucket, start: StartJupyter, *, saves: int, drain: float, seed: int, config: str = ""
) -> tuple[list[str], dict[str, Any]]:
    """Save one path on two servers with roots of their own at the same time; ``config`` is what both are told."""
    path = "shared.ipynb"
    with FaultProxy(bucket.server.endpoint_url, seed=seed) as proxy:
        # The way to the store takes its time, so that both are on it at once.
        proxy.plan(*any_of([Delay(0.01), Delay(0.03)], 0.8, methods=("PUT",)))
        options = {
            "config": {"jupyter_server_config.py": config},
            "environment": {"JPYNB_S3_ENDPOINT_URL": proxy.endpoint_url},
        }
        servers = [start(bucket, home=directory / name, **options) for name in ("one", "two")]
        began = time.monotonic()
        with ThreadPoolExecutor(len(servers)) as pool:
            jobs = [pool.submit(save_often, server, path, saves, f"server {n}") for n, server in enumerate(servers)]
            acknowledged = [job.result() for job in jobs]
            remaining = list(pool.map(lambda server: flush(server, drain), servers))
        seconds = time.monotonic() - began
        wrong = [f"{count} saves still wait after {drain} s" for count in remaining if count]
        races = sum(record.stored_status in (409, 412) for record in proxy.requests("PUT"))
    wrong += violations(bucket, {path: acknowledged})
    versions = len(bucket.rows(f"workspace/{path}"))
    if versions != saves * len(servers):
        wrong.append(f"{versions} versions, although there were {saves * len(servers)} saves")
    if not any(server.status()["foreign"] for server in servers):
        wrong.append("no status tells that somebody else writes this path")
    if not races:
        wrong.append("neither server was ever faster than the other, so nothing was tested")
    figure = {"saves": saves * len(servers), "versions": versions, "lost_races": races, "seconds": round(seconds, 1)}
    return wrong, {**figure, "violations": len(wrong)}


def flush(jupyter: JupyterProcess, seconds: float) -> int:
    """Have a server ship what waits; how much still waits after some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        # In parts: a request has a limit of its own.
        remaining: int = jupyter.ok("POST", "/api/bookstore/flush", {"timeout": min(60.0, seconds)})["remaining"]
        if not remaining or time.monotonic() > deadline:
            return remaining


def check_one_outbox(
    directory: Path,
    bucket: Bucket,
    start: StartJupyter,
    *,
    saves: int,
    drain: float,
    seed: int,
    config: Mapping[str, str],
) -> tuple[list[str], dict[str, Any]]:
    """Let three servers save over one outbox while the store is away, kill one, bring the store back, and save on.

    Parameters
    ----------
    directory, bucket, start
    saves : int
        By each server.
    drain : float
        Seconds within which all is in the bucket.
    seed : int
    config : Mapping of str to str
        What each server's configuration says: ``a``, which is killed, ``b`` and ``c``, which live.
    """
    saved: dict[tuple[str, str], list[bytes]] = {}

    def save(name: str, phase: str) -> None:
        for path in ("shared.ipynb", f"{name}.ipynb"):
            saved.setdefault((path, name), []).extend(
                save_often(servers[name], path, saves // 2, f"server {name}, {phase}")
            )

    def save_on(names: str, phase: str) -> None:
        with ThreadPoolExecutor(len(names)) as pool:
            for job in [pool.submit(save, name, phase) for name in names]:
                job.result()

    with FaultProxy(bucket.server.endpoint_url, seed=seed) as proxy:
        options = {
            "environment": {"JPYNB_S3_ENDPOINT_URL": proxy.endpoint_url},
            "arguments": [f"--BookstoreSettings.outbox_dir={directory / 'outbox'}"],
        }

        def begin(name: str) -> JupyterProcess:
            text = config.get(name, "")
            return start(bucket, home=directory / name, config={"jupyter_server_config.py": text}, **options)

        servers = {name: begin(name) for name in "abc"}
        for name, server in servers.items():
            server.save(f"first-{name}.ipynb", notebook(name))
            server.flush()
        proxy.down()
        save_on("abc", "store away")
        entries = len(list((directory / "outbox").glob("*/*.entry")))
        servers["a"].kill()
        first = len(proxy.records)
        # Slowly, so that others look for what they may adopt while a save is on its way.
        proxy.plan(*any_of([Delay(0.3), Delay(0.6)], 0.7, methods=("PUT",)))
        proxy.up()
        save_on("bc", "store back")
        living = [servers["b"], servers["c"]]
        wrong = []
        deadline = time.monotonic() + drain
        while list((directory / "outbox").glob("*/*.entry")) or any(s.status()["waiting"] for s in living):
            if time.monotonic() > deadline:
                waiting = {server.home.name: server.status()["waiting"] for server in living}
                wrong.append(f"after {drain} s there still wait {waiting}")
                break
            time.sleep(0.1)
        stored = [r for r in proxy.records[first:] if r.method == "PUT" and r.stored_status == 200]
        adoptions = sum(server.log.read_text().count("that another server left are shipped now") for server in living)
    acknowledged: dict[str, list[list[bytes]]] = {}
    for (path, _), contents in saved.items():
        acknowledged.setdefault(path, []).append(contents)
    wrong += violations(bucket, acknowledged, ordered=False)
    # Where several servers ship what one has left, or one that lives is taken for dead, each ships its share in order.
    out_of_order = len(violations(bucket, acknowledged)) - len(violations(bucket, acknowledged, ordered=False))
    if entries != 3 * saves:
        wrong.append(f"{entries} entries waited, although there were {3 * saves} saves")
    if len(stored) != 5 * saves:
        wrong.append(f"{len(stored)} PUTs stored something, although there were {5 * saves} saves")
    figure = {"saves": 5 * saves, "stored": len(stored), "adoptions": adoptions, "paths_out_of_order": out_of_order}
    return wrong, {**figure, "violations": len(wrong)}
