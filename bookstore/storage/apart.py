"""Looks at a bucket from a process of its own, so that this one need not load the SDK before anybody saves.

The SDK takes about 45 MB and most of a second of the interpreter's time. On a hub many servers start and nobody saves
anything there; and shortly after the start is when a browser loads its pages.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bookstore import errors
from bookstore.storage.base import Probe, Versioning
from bookstore.storage.s3_errors import clean

if TYPE_CHECKING:
    from bookstore.storage.s3 import S3Options

#: Seconds that the process may take: it starts, loads the SDK, and asks two questions that are bounded themselves.
LIMIT = 20.0

#: Set for the other process, which must start no further one whatever becomes of it.
GUARD = "BOOKSTORE_LOOKING"

# Not with -m or a script's path: either puts a directory before the library's own, the notebooks' perhaps.
_PROGRAM = """
import sys
sys.path[:] = [*filter(None, sys.path), sys.argv[1]]
from bookstore.storage.apart import main
main(float(sys.argv[2]))
"""

# Ctrl-C at a terminal, and the signal that stops a whole group, are meant for the server; it ends the other process.
_DETACHED: dict[str, Any]
if sys.platform == "win32":
    _DETACHED = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
else:
    _DETACHED = {"start_new_session": True}


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
    secrets = (options.access_key_id, options.secret_access_key, options.session_token)
    asking = _Asking(json.dumps(asdict(options)).encode("ascii"), limit, [secret for secret in secrets if secret])
    try:
        answer = await asyncio.to_thread(asking.ask)
    except asyncio.CancelledError:
        asking.give_up()
        raise
    return _read(answer)


class _Asking:
    """One other process: a question, an answer, and an end, also if nobody waits for it any more."""

    def __init__(self, question: bytes, limit: float, secrets: list[str]) -> None:
        self._question = question
        self._limit = limit
        self._secrets = secrets
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_given_up = False

    def ask(self) -> bytes:
        process = self._start()
        with process:
            try:
                answer, words = process.communicate(self._question, self._limit)
            except subprocess.TimeoutExpired as e:
                raise ApartFailed(
                    f"the process gave no answer within {self._limit:g} s{self._last_line(e.stderr)}"
                ) from None
            finally:
                process.kill()
        if process.returncode:
            raise ApartFailed(f"the process ended with status {process.returncode}{self._last_line(words)}")
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        package = Path(errors.__file__).parents[1]
        with self._lock:
            if self._is_given_up:
                raise ApartFailed("nobody waits for it")
            try:
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a program of ours
                    [_interpreter(), *_interpreter_flags(), "-c", _PROGRAM, str(package), f"{self._limit:g}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={**os.environ, GUARD: "1"},
                    **_DETACHED,
                )
            except (OSError, ValueError, TypeError) as e:
                raise ApartFailed(f"a process could not be started: {e}") from e
            return self._process

    def _last_line(self, words: bytes | None) -> str:
        """What a process said last, as the end of a message: mostly the exception that ended it."""
        lines = (words or b"").decode("utf-8", "replace").strip().splitlines()
        last = "".join(c if c.isprintable() else " " for c in clean(lines[-1], self._secrets)) if lines else ""
        return f": {last}" if last else ""

    def give_up(self) -> None:
        with self._lock:
            self._is_given_up = True
            if self._process is not None:
                self._process.kill()


def _interpreter() -> str:
    """The program that runs Python code, as far as it is certain that it does."""
    if os.environ.get(GUARD):
        raise ApartFailed("this is such a process already")
    # In an app that was frozen, or that embeds Python, it is the app, which would start itself once more.
    program: str | None = sys.executable
    if not program or getattr(sys, "frozen", False) or not Path(program).name.lower().startswith(("python", "pypy")):
        raise ApartFailed(f"no Python interpreter is known to be at {program!r}")
    return program


def _interpreter_flags() -> list[str]:
    """What this interpreter was told about where code may come from, and about warnings."""
    flags = sys.flags
    given = {
        "-I": flags.isolated,
        "-E": flags.ignore_environment,
        "-s": flags.no_user_site,
        "-P": getattr(flags, "safe_path", False),  # Python 3.11
        "-B": flags.dont_write_bytecode,
    }
    found = [flag for flag, is_given in given.items() if is_given]
    if flags.utf8_mode:
        found += ["-X", "utf8"]
    return [*found, *(f"-W{option}" for option in sys.warnoptions)]


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


def main(limit: float = LIMIT) -> None:
    """Be the other process: read the options, probe, write what the bucket tells, as JSON.

    Parameters
    ----------
    limit : float
        Seconds until the process ends by itself: whoever asked may be dead and unable to end it.
    """
    # A thread's, since loading the SDK from a disk that hangs is beyond the event loop's limits.
    end = threading.Timer(limit, os._exit, (1,))
    end.daemon = True
    end.start()
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
