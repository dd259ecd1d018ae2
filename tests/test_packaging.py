"""What is installed is what a wheel promises, and what the oldest releases are tried with is what needs them."""

from __future__ import annotations

import ast
import configparser
import json
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

import bookstore
from ci.interface import INSTALLED

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = Path(bookstore.PACKAGE_DIR)


@pytest.fixture(scope="module")
def installed() -> Distribution:
    try:
        found = distribution("bookstore")
    except PackageNotFoundError:
        pytest.skip("bookstore was not installed")
    if found.read_text("WHEEL") is None or "editable" in (found.read_text("direct_url.json") or ""):
        pytest.skip("bookstore was not installed from a wheel")
    return found


def files_in(installed: Distribution, folder: str) -> dict[str, Path]:
    """Installed files below a folder of the environment, by their names there."""
    found = {}
    for file in installed.files or []:
        _, inside, name = file.as_posix().partition(f"{folder}/")
        if inside:
            found[name] = Path(str(installed.locate_file(file)))
    return found


def test_the_interface_is_where_jupyter_looks(installed):
    files = files_in(installed, INSTALLED)
    assert {"install.json", "package.json", "schemas/jupyterlab-bookstore/plugin.json"} <= set(files)
    package = json.loads(files["package.json"].read_text(encoding="utf-8"))
    assert package["name"] == "jupyterlab-bookstore"
    assert files[package["jupyterlab"]["_build"]["load"]].stat().st_size > 0
    assert json.loads(files["install.json"].read_text(encoding="utf-8"))["packageName"] == "bookstore"


def test_nothing_of_the_interface_is_shipped_twice(installed):
    assert not files_in(installed, "bookstore/labextension")
    assert not files_in(installed, "node_modules")


def test_the_server_extension_is_enabled_and_the_package_has_its_data(installed):
    (config,) = files_in(installed, "etc/jupyter/jupyter_server_config.d").values()
    assert json.loads(config.read_text(encoding="utf-8"))["ServerApp"]["jpserver_extensions"]["bookstore"] is True
    package = files_in(installed, "bookstore")
    assert {"py.typed", "openapi.json"} <= set(package)
    for kind in ("templates/*.html", "event_schemas/*.yaml", "locale/de_DE/LC_MESSAGES/*.json"):
        assert any(Path(name).match(kind) for name in package), kind


def imports_of(file: Path) -> set[str]:
    """Modules that a file imports, wherever in its text."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def needs_of(test: Path) -> set[str]:
    """What a test of bookstore's modules needs beside bookstore and Python."""
    waiting, seen, needs = [test], set(), set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in imports_of(file):
            top, *inner = name.split(".")
            place = PACKAGE.joinpath(*inner)
            if top == "bookstore" and inner:
                waiting += [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
            elif top not in sys.stdlib_module_names | {"bookstore", "ci"}:
                needs.add(top)
    return needs


def test_what_is_not_tried_with_the_oldest_releases_needs_none_of_them():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(CHECKOUT / "tox.ini", encoding="utf-8")
    ignored = re.findall(r"--ignore=tests/unit/(test_\w+)\.py", tox["testenv:oldest"]["commands"])
    assert "test_shipper" in ignored
    for name in sorted({*ignored} - {"test_benchmarks"}):
        needs = needs_of(CHECKOUT / "tests" / "unit" / f"{name}.py")
        assert needs <= {"pytest", "hypothesis", "tests"}, name
