"""Runs bookstore's command line as a process of its own, and reads what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: As for JupyterProcess: nothing of the machine's own settings.
_FOREIGN = ("JUPYTER", "JPYNB_", "AWS_", "BOOKSTORE_")


@dataclass(frozen=True)
class Ran:
    """A command that has ended.

    Attributes
    ----------
    code : int
    out, err : str
    """

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Standard output, which must be exactly one JSON document."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def all(self) -> str:
        """Everything that was printed."""
        return self.out + self.err


class CommandLine:
    """bookstore's command line with a home of its own.

    Parameters
    ----------
    home : Path
        Laid out as that of a `ci.jupyter_process.JupyterProcess`: give the same one to find its server.
    environment : Mapping, optional
        Beside what keeps the machine's own configuration away.
    """

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.root = home / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        self.environment = {
            **kept,
            "HOME": str(home),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            # Otherwise the environment's own files, which enable installed extensions, outrank those of the home.
            "JUPYTER_PREFER_ENV_PATH": "0",
            "AWS_EC2_METADATA_DISABLED": "true",
            **(environment or {}),
        }

    def command(self, *args: str) -> list[str]:
        """What is run."""
        return [sys.executable, "-m", "bookstore", *args]

    def run(self, *args: str, cwd: Path | None = None, timeout: float = 120.0, **environment: str) -> Ran:
        """Run a command to its end."""
        done = subprocess.run(  # noqa: S603 - our own program
            self.command(*args),
            cwd=cwd or self.root,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
