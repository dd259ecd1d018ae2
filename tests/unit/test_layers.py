"""Imports point down only, and only the storage package knows an SDK."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import bookstore

PACKAGE = Path(bookstore.PACKAGE_DIR)

#: From the bottom up; a module imports from lower lines only. A name stands for a whole package too.
LAYERS = [
    {"_version", "errors", "results"},
    {
        "s3_paths",
        "media_types",
        "nesting",
        "nbdime_diffs",
        "provenance",
        "disk",
        "path_locks",
        "retry",
        "identity",
        "turnstile",
        "sanitizing",
    },
    {"bookstore_config", "outbox_owner", "outbox_entry", "formulas"},
    {"storage", "outbox"},
    {"labels", "version_details", "echoes", "notebook_rules", "cloning", "compare", "verifying"},
    {"lineage", "publishing", "pages"},
    {"lineage_cursor", "scheduling", "rendering"},
    {"versions"},
    {"delivery", "status"},
    {"intake", "shipper"},
    {"service"},
    {"archiving"},
    {"archive"},
    {"library"},
    {"events", "metrics"},
    {"rest"},
    {"handlers", "clone", "publish"},
    {"extension"},
    {"jupyter_servers", "outbox_survey", "embedded_s3", "embedded_supervisor"},
    {"client"},
    {"cli"},
    {"papermill_io"},
    {"__init__", "__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))
SDK = {"aiobotocore", "aiohttp", "boto3", "botocore"}


def unit_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports_of(file: Path) -> set[str]:
    """Everything that a module imports, wherever in its text, but what only a type checker sees."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    unseen = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    skipped = {id(inner) for node in unseen for inner in ast.walk(node)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            found |= {
                f"{node.module}.{alias.name}" if node.module == "bookstore" else node.module for alias in node.names
            }
    return found


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down(file):
    relative = file.relative_to(PACKAGE)
    unit = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    assert unit in RANK, f"{unit} has no place among the layers"
    for name in imports_of(file):
        if name.split(".")[0] != "bookstore":
            continue
        other = unit_of(name)
        other = other if other in RANK else "__init__"
        if other not in (unit, "__init__"):
            assert RANK[other] < RANK[unit], f"{relative} imports {name}, which is not below it"


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_storage_imports_an_sdk(file):
    used = {name.split(".")[0] for name in imports_of(file)} & SDK
    assert not used or file.parent.name == "storage"


def test_the_public_names_are_there():
    expected = {
        "PACKAGE_DIR",
        "BookstoreContentsArchiver",
        "BookstoreSettings",
        "__version__",
        "load_jupyter_server_extension",
        "version_info",
    }
    assert set(bookstore.__all__) == expected
    for name in expected:
        assert getattr(bookstore, name) is not None
