"""Runs the demo's S3 server until it ends, or until whoever started it has gone.

A program of its own, run by its path in an interpreter that has the standard library only (``python -I -S``): it starts
in a moment, and ``ps`` shows what it is.

Its arguments are the seconds that the server may take to stop, and the server's command. It prints the server's process
number and then reads standard input, a pipe: a byte, or the pipe's end, asks it to stop the server.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Start the server, wait for its end, and end with its status."""
    patience, command = float(sys.argv[1]), sys.argv[2:]
    if sys.platform != "win32":
        os.umask(0o077)
    server = _start(command)

    def watch() -> None:
        os.read(0, 1)  # a byte or the end: either way the demo wants no server any more
        _end(server)
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            server.kill()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end(server))
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    threading.Thread(target=watch, daemon=True).start()
    status = server.wait()
    os._exit(status if status >= 0 else 128 - status)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    prepare = None
    if sys.platform == "linux":
        libc, me = ctypes.CDLL(None), os.getpid()

        def prepare() -> None:
            libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: the server follows a supervisor that is killed
            if os.getppid() != me:
                os._exit(1)

    return subprocess.Popen(  # noqa: S603  # the command that bookstore has put together
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        preexec_fn=prepare,  # there are no threads yet
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32":
        server.terminate()
        return
    try:
        server.send_signal(signal.CTRL_BREAK_EVENT)
    except OSError:  # there is no console to send it through
        server.kill()


if __name__ == "__main__":
    main()
