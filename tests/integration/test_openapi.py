"""The OpenAPI document against a running server: whatever is sent, the answer is one that the document knows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import bookstore
from ci.bucket import Bucket
from ci.jupyter_process import JupyterProcess, notebook

schemathesis = pytest.importorskip("schemathesis", reason="pip install -r requirements-dev.txt")

from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

DOCUMENT = json.loads((Path(bookstore.__file__).parent / "openapi.json").read_text(encoding="utf-8"))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]
#: A file that is there, with versions, published and scheduled: what is made up seldom is.
PATH = "a folder/notebook ü+.ipynb"

ANSWERS: Counter[tuple[str, int]] = Counter()


@pytest.fixture(scope="module")
def versions() -> dict[str, str]:
    return {}


@pytest.fixture(scope="module")
def jupyter(seaweed, tmp_path_factory, versions) -> Iterator[JupyterProcess]:
    bucket = Bucket(seaweed, seaweed.create_bucket("openapi"))
    home = tmp_path_factory.mktemp("openapi")
    base = home / "base"
    base.mkdir()
    (base / "file.txt").write_text("to clone")
    with JupyterProcess(
        home / "jupyter",
        environment=bucket.environment,
        arguments=[f"--BookstoreSettings.fs_cloning_basedir={base}"],
        base_url="/user/kylek/",
    ) as process:
        (process.root / "a folder").mkdir()
        for number in range(3):
            process.save(PATH, notebook(f"{number}"))
        process.flush()
        process.ok("PUT", f"/api/bookstore/publish/{_quoted(PATH)}")
        scheduled = process.ok("PUT", f"/api/bookstore/schedule/{_quoted(PATH)}", {"parameters": {"alpha": 1}})
        versions["scheduled"] = scheduled["versionID"]
        history = process.ok("GET", f"/api/bookstore/versions/{_quoted(PATH)}")
        versions["oldest"] = history["versions"][-1]["version_id"]
        yield process


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _make_real(case, versions) -> None:
    """Let every other case be about what is there."""
    if case.path_parameters and "path" in case.path_parameters:
        case.path_parameters["path"] = PATH
    is_scheduled = case.operation.label.startswith("GET /api/bookstore/scheduled/")
    real = {
        "version_id": versions["scheduled" if is_scheduled else "oldest"],
        "before": versions["oldest"],
        "s3_bucket": "openapi",
        "s3_key": f"workspace/{PATH}",
        "s3_version_id": versions["oldest"],
        "relpath": "file.txt",
        "type": "notebook",
        "content": notebook("published"),
    }
    for holder in (case.query, case.body):
        if isinstance(holder, dict):
            holder.update({name: value for name, value in real.items() if name in holder})


@pytest.mark.parametrize("real", [False, True], ids=["made up", "about what is there"])
@SCHEMA.parametrize()
@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_document_knows(case, real, jupyter, versions):
    if real:
        _make_real(case, versions)
    response = case.call(
        base_url=f"http://127.0.0.1:{jupyter.port}/user/kylek",
        headers={"Authorization": f"token {jupyter.token}"},
        allow_redirects=False,
    )
    ANSWERS[f"{case.method.lower()} {case.operation.path}", response.status_code] += 1
    case.validate_response(response, checks=CHECKS)


def test_every_operation_of_the_document_succeeded_at_least_once():
    succeeded = {operation for operation, status in ANSWERS if status == 200 and not operation.startswith("options")}
    assert succeeded == {
        f"{method} {path}"
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
        if "200" in operation["responses"]
    }
