"""Ends a real Jupyter server with SIGKILL at random moments while clients save, and compares the bucket with them.

Run it in a checkout; a run that was broken off goes on where it ended, given the same directory and seed::

    python -m ci.killer --seed 1 --kills 200 --saves 10000 --directory killed

What the clients do, how much they send and when the server ends is drawn from the seed; how far the server has come by
then is the machine's own doing.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from ci.bucket import Bucket
from ci.jupyter_process import JupyterProcess, contents_url, notebook
from ci.s3_servers import SeaweedServer

#: Who saves what: clients by name, each with its path. Two of them save one path.
CLIENTS: dict[str, str] = {
    "ann": "shared.ipynb",
    "ben": "shared.ipynb",
    "cat": "one.ipynb",
    "dan": "two.ipynb",
    "eve": "folder of eve/three ä.ipynb",
    "fay": "four.ipynb",
}

#: The share of lives that end while the server starts, and seconds within which they do.
DIES_AT_START = 0.15
START_SECONDS = 3.0

#: Seconds at most between the last acknowledged save of a life and its end; half of the lives end at once.
LINGERS = 1.5

#: Seconds within which a life gets its saves done.
LIFE_LIMIT = 120.0

#: Seconds without progress after which draining has failed.
DRAIN_LIMIT = 120.0

#: Violations that are printed.
SHOWN = 50

#: Characters of the notebooks, drawn for each save.
SIZES = (0, 100, 2_000, 40_000, 400_000)
SIZE_WEIGHTS = (4, 8, 4, 2, 1)


@dataclass(frozen=True)
class Save:
    """One save as its client saw it.

    Attributes
    ----------
    client : str
    number : int
        The client's own count, from 1.
    sent, acknowledged : int
        Moments in the order of all; 0 for a save that was never answered: it may be in the bucket, or not.
    """

    client: str
    number: int
    sent: int
    acknowledged: int = 0

    @property
    def path(self) -> str:
        """What was saved."""
        return CLIENTS[self.client]


@dataclass
class Findings:
    """What a comparison of the saves with the bucket brought; empty where all holds.

    Attributes
    ----------
    lost, torn, double, disorder, refused : list of str
        Acknowledged saves that the bucket lacks; versions that are no save as it was sent; saves with two versions;
        versions whose order is not that of the saves; saves that the server answered with an error.
    """

    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """All of it, each with its kind before it."""
        return [f"{kind}: {text}" for kind, texts in asdict(self).items() for text in texts]


def sent_notebook(seed: int, client: str, number: int) -> dict[str, Any]:
    """The notebook of one save: no two are equal, and each can be made again from its name."""
    rng = random.Random(f"{seed}/{client}/{number}")  # noqa: S311 - repeatable, not secret
    size = rng.choices(SIZES, SIZE_WEIGHTS)[0]
    piece = f"{rng.getrandbits(64):016x}\n"
    return notebook(piece * (size // len(piece)), save={"client": client, "number": number})


def compare(seed: int, saves: Iterable[Save], histories: Mapping[str, Sequence[bytes]]) -> Findings:
    """Compare what was saved with what the bucket holds.

    Parameters
    ----------
    seed : int
    saves : iterable of Save
    histories : Mapping of str to sequence of bytes
        By path: the contents of its versions, the oldest first.
    """
    findings = Findings()
    known = {(save.client, save.number): save for save in saves}
    seen: set[tuple[str, int]] = set()
    for path, versions in histories.items():
        newest_sent = 0
        for place, content in enumerate(versions):
            save = _recognise(seed, path, content, known)
            if save is None:
                findings.torn.append(f"version {place} of {path} is no save of it: {content[:80]!r}…")
                continue
            name = f"{save.client} {save.number} of {path}"
            if (save.client, save.number) in seen:
                findings.double.append(f"{name}, again at version {place}")
            seen.add((save.client, save.number))
            # What was answered before another was sent must come before it; saves at the same time have no order.
            if save.acknowledged and save.acknowledged < newest_sent:
                findings.disorder.append(f"{name} stands behind a later save, at version {place}")
            newest_sent = max(newest_sent, save.sent)
    for (client, number), save in known.items():
        if save.acknowledged and (client, number) not in seen:
            findings.lost.append(f"{client} {number} of {save.path}")
    return findings


def _recognise(seed: int, path: str, content: bytes, known: Mapping[tuple[str, int], Save]) -> Save | None:
    try:
        document = json.loads(content)
        told = document["metadata"]["save"]
        save = known[told["client"], told["number"]]
        for cell in document["cells"]:
            cell["source"] = "".join(cell["source"])
    except (KeyError, TypeError, ValueError):
        return None
    is_whole = document == sent_notebook(seed, save.client, save.number)
    return save if is_whole and save.path == path else None


class Journal:
    """What was sent and answered, kept in a file, so that a run that was broken off goes on.

    Parameters
    ----------
    file : Path
        Made if it is missing.
    seed : int
        Must be the one that the file began with.

    Attributes
    ----------
    life : int
        Lives of the server so far.
    answered : int
        Saves that were answered with success.
    refused : list of str
        Saves that were answered with an error.
    """

    def __init__(self, file: Path, seed: int) -> None:
        self.life = 0
        self.answered = 0
        self.refused: list[str] = []
        self._saves: dict[tuple[str, int], Save] = {}
        self._numbers: Counter[str] = Counter()
        self._moments = itertools.count(1)
        self._lock = threading.Lock()
        events = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        for event in map(json.loads, events):
            if event.get("seed", seed) != seed:
                raise ValueError(f"{file} is of the seed {event['seed']}, not {seed}")
            self._take(event)
        self._file: IO[str] = file.open("a", encoding="utf-8", buffering=1)
        if not events:
            self._note({"seed": seed})

    @property
    def saves(self) -> list[Save]:
        """All that was sent."""
        with self._lock:
            return list(self._saves.values())

    def begin_life(self) -> int:
        """Count a life of the server; its number, from 1."""
        self._note({"life": self.life + 1})
        return self.life

    def send(self, client: str) -> int:
        """Note a save that is about to be sent; its number."""
        with self._lock:
            number = self._numbers[client] + 1
            self._note({"client": client, "sent": number})
            return number

    def answer(self, client: str, number: int, status: int) -> None:
        """Note a save's answer."""
        name = "answered" if 200 <= status < 300 else "refused"
        with self._lock:
            self._note({"client": client, name: number, "status": status})

    def _note(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event) + "\n")
        self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        self.life = event.get("life", self.life)
        client = event.get("client", "")
        if "sent" in event:
            number = self._numbers[client] = event["sent"]
            self._saves[client, number] = Save(client, number, next(self._moments))
        elif "answered" in event:
            key = client, event["answered"]
            self._saves[key] = replace(self._saves[key], acknowledged=next(self._moments))
            self.answered += 1
        elif "refused" in event:
            self.refused.append(f"{client} {event['refused']}: status {event['status']}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Mortal(JupyterProcess):
    """A server that can be ended before it answers."""

    def begin(self) -> None:
        """Start it without waiting."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self._launch()


@dataclass(frozen=True)
class Outcome:
    """What a run brought.

    Attributes
    ----------
    kills, killed_at_start : int
        Ends with SIGKILL, and those among them while the server was starting.
    acknowledged, unanswered : int
        Saves that were answered with success, and those that had no answer when the server ended.
    versions : int
        What the bucket holds in the end.
    seconds : float
        How long this part of the run took.
    findings : Findings
    """

    kills: int
    killed_at_start: int
    acknowledged: int
    unanswered: int
    versions: int
    seconds: float
    findings: Findings

    def figure(self) -> dict[str, Any]:
        """The numbers, for a report."""
        found = {kind: len(texts) for kind, texts in asdict(self.findings).items()}
        return {**{k: v for k, v in asdict(self).items() if k != "findings"}, **found}


class Killer:
    """Runs lives of one server, each of which ends with SIGKILL.

    Parameters
    ----------
    directory : Path
        Holds the server's home and the journal.
    bucket : Bucket
        Must be the same again when a run goes on.
    seed : int
    saves_per_life : int
        On average.
    config : Mapping of str to str, optional
        As for `JupyterProcess`: what a test breaks the product with.
    dies_at_start : float
        The share of lives that end while the server starts.
    """

    def __init__(
        self,
        directory: Path,
        bucket: Bucket,
        *,
        seed: int,
        saves_per_life: int = 60,
        config: Mapping[str, str] | None = None,
        dies_at_start: float = DIES_AT_START,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.seed = seed
        self.journal = Journal(directory / "journal.jsonl", seed)
        self._bucket = bucket
        self._saves_per_life = saves_per_life
        self._dies_at_start = dies_at_start
        self._jupyter = _Mortal(
            directory / "jupyter",
            environment=bucket.environment,
            config=config,
            arguments=["--ServerApp.log_level=WARN"],
        )
        (self._jupyter.root / "folder of eve").mkdir(exist_ok=True)

    def run(self, kills: int, saves: int = 0) -> Outcome:
        """Live and die until there were enough kills and acknowledged saves, then drain and compare."""
        start = time.monotonic()
        try:
            while self.journal.life < kills or self.journal.answered < saves:
                self.live()
            return self._outcome(start)
        finally:
            self._jupyter.kill()
            self.journal.close()

    def live(self) -> None:
        """Run one life of the server to its end."""
        rng = self._chance_of(self.journal.begin_life())
        if rng.random() < self._dies_at_start:
            self._jupyter.begin()
            time.sleep(rng.uniform(0, START_SECONDS))
            self._jupyter.kill()
            return
        self._jupyter.start()
        goal = self.journal.answered + rng.randint(1, 2 * self._saves_per_life)
        lingers = rng.choice([0.0, rng.uniform(0, LINGERS)])
        over = threading.Event()
        with ThreadPoolExecutor(len(CLIENTS)) as pool:
            work = [pool.submit(self._save_on, client, over) for client in CLIENTS]
            self._wait_for(goal)
            time.sleep(rng.uniform(0, 0.03))
            if lingers:
                # The saves end and the shipping begins: the kill comes in its midst.
                over.set()
                time.sleep(lingers)
            self._jupyter.kill()
            over.set()
            for future in work:
                future.result()

    def _chance_of(self, life: int) -> random.Random:
        """What decides the course of a life."""
        return random.Random(f"{self.seed}/life {life}")  # noqa: S311 - repeatable, not secret

    def _wait_for(self, goal: int) -> None:
        deadline = time.monotonic() + LIFE_LIMIT
        while self.journal.answered < goal:
            if time.monotonic() > deadline:
                raise RuntimeError(f"seed {self.seed}: saves stopped in life {self.journal.life}")
            time.sleep(0.002)

    def _save_on(self, client: str, over: threading.Event) -> None:
        """Save without a pause until the server is gone."""
        connection = http.client.HTTPConnection("127.0.0.1", self._jupyter.port, timeout=60)
        headers = {"Authorization": f"token {self._jupyter.token}", "Content-Type": "application/json"}
        try:
            while not over.is_set():
                number = self.journal.send(client)
                content = sent_notebook(self.seed, client, number)
                model = json.dumps({"type": "notebook", "format": "json", "content": content})
                connection.request("PUT", contents_url(CLIENTS[client]), model, headers)
                answer = connection.getresponse()
                answer.read()
                self.journal.answer(client, number, answer.status)
        except (OSError, http.client.HTTPException):
            pass  # killed: whether this save was taken, nobody has said
        finally:
            connection.close()

    def _outcome(self, start: float) -> Outcome:
        self._jupyter.start()
        self._drain()
        self._jupyter.stop()
        histories = {path: self._history(f"workspace/{path}") for path in dict.fromkeys(CLIENTS.values())}
        saves = self.journal.saves
        findings = compare(self.seed, saves, histories)
        findings.refused += self.journal.refused
        return Outcome(
            kills=self.journal.life,
            killed_at_start=sum(
                self._chance_of(life).random() < self._dies_at_start for life in range(1, self.journal.life + 1)
            ),
            acknowledged=self.journal.answered,
            unanswered=sum(not save.acknowledged for save in saves),
            versions=sum(map(len, histories.values())),
            seconds=round(time.monotonic() - start, 1),
            findings=findings,
        )

    def _drain(self) -> None:
        """Wait until all is shipped, as long as something is."""
        remaining, deadline = sys.maxsize, 0.0
        while remaining:
            # A flush waits until what was left is adopted; the status alone would say too early that nothing waits.
            answer = self._jupyter.ok("POST", "/api/bookstore/flush", {"timeout": 20})
            if answer["remaining"] < remaining:
                remaining, deadline = answer["remaining"], time.monotonic() + DRAIN_LIMIT
            elif time.monotonic() > deadline:
                raise RuntimeError(f"seed {self.seed}: {remaining} saves are not shipped: {answer['archive']}")

    def _history(self, key: str) -> list[bytes]:
        """The contents of a key's versions, the oldest first."""
        rows = [row for row in self._bucket.rows(key) if row["kind"] == "Versions"]
        with self._bucket.server.client() as client, ThreadPoolExecutor(8) as pool:

            def read(row: Mapping[str, Any]) -> bytes:
                answer = client.get_object(Bucket=self._bucket.name, Key=key, VersionId=row["VersionId"])
                return bytes(answer["Body"].read())

            return list(pool.map(read, rows))


class _SameAddress(SeaweedServer):
    """A server that answers at one address in every run: entries of another address are not adopted."""

    def _choose_ports(self) -> list[int]:
        file = self.directory / "ports.json"
        if file.exists():
            ports: list[int] = json.loads(file.read_text())
        else:
            ports = super()._choose_ports()
            file.write_text(json.dumps(ports))
        return ports


def _bucket(server: SeaweedServer, name: str) -> Bucket:
    """The bucket of a run, which is there already where the run goes on."""
    with server.client() as client:
        names = [row["Name"] for row in client.list_buckets()["Buckets"]]
    return Bucket(server, name if name in names else server.create_bucket(name))


def main() -> int:
    """Run the script; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--saves", type=int, default=10_000, help="acknowledged saves, at least")
    parser.add_argument("--directory", type=Path, required=True, help="where everything of the run lies")
    args = parser.parse_args()
    directory = args.directory.absolute()
    with _SameAddress(directory / "seaweed") as server:
        killer = Killer(
            directory,
            _bucket(server, "killed"),
            seed=args.seed,
            saves_per_life=max(1, round(1.3 * args.saves / args.kills)),
        )
        outcome = killer.run(args.kills, args.saves)
    print(json.dumps({"seed": args.seed, **outcome.figure()}, indent=1))
    for violation in outcome.findings.violations()[:SHOWN]:
        print(violation)
    return 1 if outcome.findings.violations() else 0


if __name__ == "__main__":
    sys.exit(main())
