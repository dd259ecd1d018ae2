"""Looks at a bucket from a process of its own, so that this one need not load the SDK before anybody saves.

The SDK takes about 45 MB and most of a second of the interpreter's time. On a hub many servers start and nobody saves
anything there; and shortly after the start is when a browser loads its pages.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bookstore import errors
from bookstore.storage.base import Probe, Versioning

if TYPE_CHECKING:
    from bookstore.storage.s3 import S3Options

#: Seconds that the process may take: it starts, loads the SDK, and asks two questions that are bounded themselves.
LIMIT = 60.0

# Not with -m or a script's path: either puts a directory before the library's own, the notebooks' perhaps.
_PROGRAM = """
import sys
sys.path[:] = [*filter(None, sys.path), sys.argv[1]]
from bookstore.storage.apart import main
main()
"""


class ApartFailed(Exception):
    """The other process could not be started, or did not answer; nothing is known of the bucket."""


async def probe_apart(options: S3Options, *, limit: float = LIMIT) -> Probe:
    """Probe a bucket in a process that ends afterwards; see `ObjectStore.probe`.

    Parameters
    ----------
    options : S3Options
        Handed over through a pipe, not on the command line or in the environment, which others may see.
    limit : float
        Seconds.

    Raises
    ------
    StorageError
        As `ObjectStore.probe` raises it.
    ApartFailed
        The process could not be asked. Ask from here.
    """
    asking = _Asking(json.dumps(asdict(options)).encode("ascii"), limit)
    try:
        answer = await asyncio.to_thread(asking.ask)
    except asyncio.CancelledError:
        asking.give_up()
        raise
    return _read(answer)


class _Asking:
    """One other process: a question, an answer, and an end, also if nobody waits for it any more."""

    def __init__(self, question: bytes, limit: float) -> None:
        self._question = question
        self._limit = limit
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_given_up = False

    def ask(self) -> bytes:
        package = Path(errors.__file__).parents[1]
        with self._lock:
            if self._is_given_up:
                raise ApartFailed("nobody waits for it")
            try:
                process = self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a program of ours
                    [sys.executable, "-c", _PROGRAM, str(package)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            except (OSError, ValueError) as e:
                raise ApartFailed(f"a process could not be started: {e}") from e
        with process:
            try:
                answer, _ = process.communicate(self._question, self._limit)
            except subprocess.TimeoutExpired as e:
                raise ApartFailed(f"the process gave no answer within {self._limit:g} s") from e
            finally:
                process.kill()
        if process.returncode:
            raise ApartFailed(f"the process ended with status {process.returncode}")
        return answer

    def give_up(self) -> None:
        with self._lock:
            self._is_given_up = True
            if self._process is not None:
                self._process.kill()


def _read(answer: bytes) -> Probe:
    try:
        told: dict[str, Any] = json.loads(answer)
        if "error" not in told:
            server_time = told["server_time"]
            return Probe(
                Versioning(told["versioning"]), datetime.fromisoformat(server_time) if server_time is not None else None
            )
        kind, message, hint = getattr(errors, told["error"]), told["message"], told["hint"]
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise ApartFailed("the process gave no answer that makes sense") from e
    if not (isinstance(kind, type) and issubclass(kind, errors.StorageError)):
        raise ApartFailed(f"the process met {told['error']}")
    raise kind(message, hint)


def main() -> None:
    """Be the other process: read the options, probe, write what the bucket tells, as JSON."""
    from bookstore.storage.s3 import S3Options, S3Store, warm_up

    store = S3Store(S3Options(**json.load(sys.stdin)))
    # Not on the store's time, which is short for a question.
    warm_up(store.session)

    async def probe() -> Probe:
        try:
            return await store.probe()
        finally:
            await store.aclose()

    try:
        found = asyncio.run(probe())
    except errors.StorageError as e:
        told: dict[str, Any] = {"error": e.code, "message": str(e), "hint": e.hint}
    else:
        server_time = found.server_time.isoformat() if found.server_time is not None else None
        told = {"versioning": found.versioning.value, "server_time": server_time}
    sys.stdout.write(json.dumps(told))
