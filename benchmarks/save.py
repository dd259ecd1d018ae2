"""What archiving costs a save, and how fast a backlog drains: ratios against the plain thing, in one run.

``python benchmarks/save.py`` prints the tables; ``--write`` puts them into the documentation, ``--json FILE`` keeps the
figures. The machine's speed drifts, so the servers take turns save by save, and only ratios are worth quoting.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from ci.jupyter_process import JupyterProcess, notebook
from ci.s3_servers import SeaweedServer

#: Name, bytes of the notebook, how often it is saved, and what the design allows as ratio of the medians.
SIZES = [
    ("20 kB", 20_000, 150, 1.15),
    ("200 kB", 200_000, 80, 1.05),
    ("2 MB", 2_000_000, 40, 1.00),
    ("20 MB", 20_000_000, 12, 1.00),
]

#: How many notebooks a backlog is spread over.
PATHS = 100

#: Seconds between saves: people think between two saves, and shipping happens meanwhile.
PAUSE = 0.3

SLOW_FSYNC = """
import os, time
_fsync = os.fsync
def slow(fd):
    time.sleep(0.005)
    _fsync(fd)
os.fsync = slow
"""

GAUGE = """
c.ServerApp.jpserver_extensions = {"benchmarks.loop_gauge": True, "bookstore": %s}
c.FileContentsManager.delete_to_trash = False
"""


def document(size: int, number: int) -> dict[str, Any]:
    """A notebook of about ``size`` bytes, another one for each number, with cells as people have them."""
    cells = max(1, size // 4000)
    text = "\n".join(f"value_{number}_{line} = compute({line})" for line in range(size // cells // 34 or 1))
    content = notebook("", cells=cells)
    for cell in content["cells"]:
        cell["source"] = text
    return content


@contextmanager
def servers(directory: Path, store: SeaweedServer, bucket: str, extra: str = "") -> Iterator[dict[str, JupyterProcess]]:
    """Run Jupyter with its default manager, and Jupyter with archiving."""
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    archiving = {
        "JPYNB_S3_BUCKET": bucket,
        "JPYNB_S3_ENDPOINT_URL": store.endpoint_url,
        "JPYNB_S3_ACCESS_KEY_ID": store.access_key_id,
        "JPYNB_S3_SECRET_ACCESS_KEY": store.secret_access_key,
    }
    with ExitStack() as stack:
        running = {}
        for name, environment in (("default", {}), ("bookstore", archiving)):
            running[name] = stack.enter_context(
                JupyterProcess(
                    directory / name,
                    environment={**environment, "PYTHONPATH": python_path},
                    enabled=name == "bookstore",
                    config={"jupyter_server_config.py": GAUGE % (name == "bookstore") + extra},
                )
            )
        yield running


def measure_saves(running: dict[str, JupyterProcess], size: int, count: int) -> dict[str, dict[str, list[float]]]:
    """Save in turns; seconds of each save and longest stall of the event loop during it."""
    figures: dict[str, dict[str, list[float]]] = {name: {"save": [], "stall": []} for name in running}
    for number in range(-3, count):
        content = document(size, number)
        names = list(running) if number % 2 else list(running)[::-1]
        for name in names:
            jupyter = running[name]
            jupyter.ok("GET", "/benchmark/loop")
            start = time.perf_counter()
            jupyter.save(f"size-{size}.ipynb", content)
            seconds = time.perf_counter() - start
            stall = jupyter.ok("GET", "/benchmark/loop")["longest"]
            if number >= 0:
                figures[name]["save"].append(seconds)
                figures[name]["stall"].append(stall)
            time.sleep(PAUSE)
    return figures


async def ship(service: Any, paths: list[str], size: int) -> float:
    """Take saves of the paths, each of other bytes, then ship them all; how many seconds the shipping took."""
    parcels = [service.intake.take(service.draft(path), os.urandom(size)) for path in paths]
    start = time.perf_counter()
    service.submit(parcels)
    left = await service.flush(600)
    assert left == 0, "otherwise the rate means nothing"
    return time.perf_counter() - start


async def drain_ratio(
    store: SeaweedServer, bucket: str, directory: Path, count: int, size: int, rounds: int
) -> dict[str, Any]:
    """Drain a backlog through bookstore, and put as many objects with a bare client; saves per second of both."""
    import aiobotocore.config
    import aiobotocore.session

    from bookstore.bookstore_config import BookstoreSettings
    from bookstore.service import READERS, ArchiveService

    rates: dict[str, list[float]] = {"bookstore": [], "bare": []}
    for number in range(rounds):
        settings = BookstoreSettings(
            s3_bucket=bucket,
            s3_endpoint_url=store.endpoint_url,
            s3_access_key_id=store.access_key_id,
            s3_secret_access_key=store.secret_access_key,
            outbox_dir=str(directory / f"outbox-{number}"),
            outbox_reserve=0,
        )
        service = ArchiveService(settings, root_dir=f"/drain/{number}", log=logging.getLogger("benchmark"))
        service.ensure_started()
        paths = [f"drain-{number}/{n}.ipynb" for n in range(PATHS)]
        # The first contact with a key costs a look at it; a backlog grows on keys that are known.
        await ship(service, paths, size)
        backlog = [paths[n % PATHS] for n in range(count)]
        rates["bookstore"].append(count / await ship(service, backlog, size))
        slots = settings.max_threads - READERS
        await service.stop()

        session = aiobotocore.session.get_session()
        config = aiobotocore.config.AioConfig(
            max_pool_connections=settings.max_threads, retries={"total_max_attempts": 1}
        )
        async with session.create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=store.endpoint_url,
            aws_access_key_id=store.access_key_id,
            aws_secret_access_key=store.secret_access_key,
            config=config,
        ) as client:
            todo = iter(range(count))
            bodies = [os.urandom(size) for _ in range(count)]

            async def put(
                client: Any = client, todo: Iterator[int] = todo, number: int = number, bodies: list[bytes] = bodies
            ) -> None:
                for n in todo:
                    await client.put_object(Bucket=bucket, Key=f"bare-{number}/{n % PATHS}", Body=bodies[n])

            await client.list_buckets()
            start = time.perf_counter()
            await asyncio.gather(*(put() for _ in range(slots)))
            rates["bare"].append(count / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in rates.items()} | {"slots": slots, "size": size}


def run(scale: float) -> dict[str, Any]:
    """Measure everything; ``scale`` shortens or lengthens the run."""
    result: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    }
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "s3").mkdir()
        with SeaweedServer(directory / "s3") as store:
            bucket = store.create_bucket("benchmark")
            result["saves"] = []
            with servers(directory / "normal", store, bucket) as running:
                for label, size, count, bar in SIZES:
                    figures = measure_saves(running, size, max(5, int(count * scale)))
                    result["saves"].append({"size": label, "bar": bar, "figures": figures})
                    print(saves_row(result["saves"][-1]), flush=True)
            with servers(directory / "slow", store, bucket, SLOW_FSYNC) as running:
                figures = measure_saves(running, 20_000, max(5, int(60 * scale)))
                medians = {name: statistics.median(values["save"]) for name, values in figures.items()}
                result["slow_fsync_ms"] = {name: 1000 * value for name, value in medians.items()}
            result["drain"] = asyncio.run(drain_ratio(store, bucket, directory, int(1500 * scale) or 1, 20_000, 3))
    return result


def saves_row(row: dict[str, Any]) -> str:
    """One line of the table of saves."""
    plain, ours = row["figures"]["default"], row["figures"]["bookstore"]
    times = {name: f"{1000 * statistics.median(f['save']):.1f} ms" for name, f in row["figures"].items()}
    save = statistics.median(ours["save"]) / statistics.median(plain["save"])
    paired = statistics.median(a / b for a, b in zip(ours["save"], plain["save"], strict=True))
    stall = statistics.median(ours["stall"]) / statistics.median(plain["stall"])
    cells = (row["size"], times["default"], times["bookstore"], f"{save:.2f}", f"{paired:.2f}", f"≤ {row['bar']:.2f}")
    return f"| {' | '.join(cells)} | {stall:.2f} |"


HEAD = """\
Measured on {machine}, with SeaweedFS on the same machine. Absolute times say little; the ratios were taken side by
side in one run.

| notebook | default manager, median | with archiving, median | ratio of medians | median ratio of pairs | bar | \
longest stall of the event loop, ratio |
|-|-|-|-|-|-|-|
"""

FURTHER = """
| | figure | bar |
|-|-|-|
| 20 kB, with every fsync made 5 ms slower | +{fsync:.1f} ms | ≤ +6 ms |
| draining saves of {size} kB, against a bare aiobotocore loop with {slots} in flight | \
{ratio:.2f} ({bookstore:.0f}/s, {bare:.0f}/s) | ≥ 0.85 |
"""


def report(result: dict[str, Any]) -> str:
    """The tables, as Markdown."""
    slow, drain = result["slow_fsync_ms"], result["drain"]
    rows = "\n".join(map(saves_row, result["saves"]))
    further = FURTHER.format(
        fsync=slow["bookstore"] - slow["default"],
        size=drain["size"] // 1000,
        slots=drain["slots"],
        ratio=drain["bookstore"] / drain["bare"],
        bookstore=drain["bookstore"],
        bare=drain["bare"],
    )
    return HEAD.format(machine=result["machine"]) + rows + "\n" + further


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="shorten (0.2) or lengthen (3) the run")
    parser.add_argument("--json", type=Path, help="keep all figures in this file")
    parser.add_argument("--write", action="store_true", help="put the tables into the documentation")
    arguments = parser.parse_args()
    result = run(arguments.scale)
    text = report(result)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    if arguments.write:
        (ROOT / "docs" / "explanation" / "_save-benchmark.md").write_text(text)


if __name__ == "__main__":
    main()
