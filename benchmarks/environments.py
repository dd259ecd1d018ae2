"""Virtual environments to compare with: made when they are needed, of what can be installed here."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Seconds that making an environment may take.
LIMIT = 300.0


class CannotInstall(RuntimeError):
    """An environment cannot be made here; the message says why, in one line."""


def python_of(directory: Path) -> Path:
    """The interpreter of an environment."""
    return directory / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make(directory: Path, requirements: Sequence[str], *, like_here: bool = False) -> Path:
    """Make an environment, or take the one that is there from an earlier run.

    Parameters
    ----------
    directory : Path
    requirements : sequence of str
        As ``pip install`` takes them.
    like_here : bool
        Take the releases that are installed beside this interpreter, wherever there is a choice.

    Returns
    -------
    Path
        The interpreter.

    Raises
    ------
    CannotInstall
    """
    python, done = python_of(directory), directory / "made"
    if done.exists() and done.read_text(encoding="utf-8") == "\n".join(requirements):
        return python
    shutil.rmtree(directory, ignore_errors=True)
    constraints: list[str] = []
    if like_here:
        file = directory.with_suffix(".constraints")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(_releases_here()), encoding="utf-8")
        constraints = ["-c", str(file)]
    uv = _uv()
    if uv is not None:
        _call([uv, "venv", "-q", "-p", sys.executable, str(directory)])
        _call([uv, "pip", "install", "-q", "-p", str(python), *constraints, *requirements])
    else:
        _call([sys.executable, "-m", "venv", str(directory)])
        _call([str(python), "-m", "pip", "install", "-q", *constraints, *requirements])
    # Who starts a server measures that, and not how long it takes to compile.
    _call([str(python), "-m", "compileall", "-q", str(directory)], check=False)
    done.write_text("\n".join(requirements), encoding="utf-8")
    return python


def release(python: Path, package: str) -> str:
    """The release of a package in an environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return _call([str(python), "-c", code]).strip()


def _releases_here() -> list[str]:
    return sorted(
        f"{found.metadata['Name']}=={found.version}"
        for found in importlib.metadata.distributions()
        if found.metadata["Name"] and found.metadata["Name"] != "bookstore"
    )


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _call(command: list[str], *, check: bool = True) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, env=kept, cwd=ROOT.parent, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise CannotInstall(f"{Path(command[0]).name} took longer than {LIMIT:.0f} s") from e
    if check and done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise CannotInstall(f"{Path(command[0]).name} {command[1]} failed: {words[-1] if words else 'without a word'}")
    return done.stdout
