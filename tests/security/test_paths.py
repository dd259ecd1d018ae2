"""Where a path may lead: every path that a request can name, against everything outside of the root directory."""

from __future__ import annotations

import json
import os
import sys
from urllib.parse import quote

import pytest

from ci.jupyter_process import notebook

#: As they stand in an address. None of them is a path of a file below the root directory.
OUTSIDE = [
    "..",
    "../outside.ipynb",
    "%2e%2e/outside.ipynb",
    "%2E%2E%2Foutside.ipynb",
    "a/../../outside.ipynb",
    "a/%2e%2e/%2e%2e/outside.ipynb",
    "a/..",
    "some.ipynb/..",
    "some.ipynb%2f..%2f..%2foutside.ipynb",
    ".",
    "outside%00.ipynb",
    "%00",
    "%ff.ipynb",
    "%ed%a0%80.ipynb",
    ".bookstore/labels/some.ipynb.json",
    ".bookstore/probe",
    "x" * 3000 + ".ipynb",
    "d/" * 600 + "x.ipynb",
]

#: They look like ways out, and are names like any other: what they name is not there.
ONLY_NAMES = [
    "%252e%252e/outside.ipynb",
    "..%5coutside.ipynb",
    "a%5c..%5c..%5coutside.ipynb",
    "C:%5coutside.ipynb",
    "~/outside.ipynb",
    "%7Eroot/outside.ipynb",
    "/etc/outside.ipynb",
    "//etc/outside.ipynb",
    "file:///etc/outside.ipynb",
    "%E2%80%AE/outside.ipynb",
    "$HOME/outside.ipynb",
    "%60id%60.ipynb",
    "some.ipynb/inside-of-a-file.ipynb",
]

#: Paths that Jupyter itself neither shows nor writes, as they stand in a body.
HIDDEN = [".hidden.ipynb", ".secret/inside.ipynb", "a/.secret/x.ipynb", ".ipynb_checkpoints/some.ipynb", "~/.profile"]

#: What bookstore may write below.
PREFIXES = ("workspace/", "published/", "scheduled/")


@pytest.fixture(scope="module")
def version_id(make_versions):
    return make_versions("some.ipynb", "one")[0]


@pytest.fixture(scope="module")
def outside(jupyter):
    """Notebooks beside the root directory, and hidden ones in it, which no request may read or write."""
    content = json.dumps(notebook("nobody's business"))
    (jupyter.root.parent / "outside.ipynb").write_text(content)
    for path in (".hidden.ipynb", ".secret/inside.ipynb"):
        (jupyter.root / path).parent.mkdir(exist_ok=True)
        (jupyter.root / path).write_text(content)
    return jupyter.root.parent


def files_of(directory):
    """Every file below a directory, and its content."""
    kept = ("heartbeat", "nbsignatures", "jupyter.log", "jpserver", "jupyter_cookie")
    return {
        str(file): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file() and not file.name.startswith(kept) and "outbox" not in file.parts
    }


def with_a_path(operations):
    return [one for one in operations if "{path}" in one.route]


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path[:40])
def test_no_route_takes_a_path_that_leads_out(jupyter, operations, version_id, outside, bucket, path):
    jupyter.flush()
    before, keys = files_of(outside), bucket.keys()
    asked = with_a_path(operations)
    assert len(asked) > 12
    for one in asked:
        answer = jupyter.request(one.method, one.address(path), one.body(version_id=version_id))
        assert answer.status in (400, 404), f"{one}: {answer.status} {answer.body[:300]!r}"
        assert b"nobody's business" not in answer.body
        assert str(outside).encode() not in answer.body
    assert files_of(outside) == before
    assert bucket.keys() == keys


@pytest.mark.parametrize("path", ONLY_NAMES)
def test_what_only_looks_like_a_way_out_is_a_name(jupyter, operations, version_id, outside, bucket, path):
    before = files_of(outside)
    for one in with_a_path(operations):
        body = None if "publish" in one.route else one.body(version_id=version_id)
        answer = jupyter.request(one.method, one.address(path), body)
        # An empty history is an answer too.
        assert answer.status in (400, 404) or (one.method == "GET" and b'"versions": []' in answer.body), (
            f"{one}: {answer.status} {answer.body[:300]!r}"
        )
        assert b"nobody's business" not in answer.body
    assert files_of(outside) == before
    assert all(key.startswith((*PREFIXES, "theirs/")) for key in sorted(bucket.keys()))


@pytest.mark.parametrize("path", [".hidden.ipynb", ".secret/inside.ipynb"])
def test_a_hidden_file_is_neither_archived_nor_published_nor_scheduled_nor_compared(
    jupyter, outside, bucket, version_id, path
):
    for method, verb, body in [
        ("POST", "archive", {}),
        ("PUT", "publish", None),
        ("PUT", "schedule", {}),
        ("GET", "diff", None),
    ]:
        answer = jupyter.request(method, f"/api/bookstore/{verb}/{path}", body)
        assert answer.status == 404, f"{verb}: {answer.body!r}"
        assert b"nobody's business" not in answer.body
    jupyter.flush()
    assert not [key for key in sorted(bucket.keys()) if path in key]


@pytest.mark.parametrize(
    "target",
    [
        "..",
        "../out.ipynb",
        "a/../../out.ipynb",
        "/../out.ipynb",
        "//etc/out.ipynb",
        "/etc/out.ipynb",
        "no/such/directory/out.ipynb",
        "out\0.ipynb",
        "x" * 300 + ".ipynb",
        "some.ipynb/out.ipynb",
        *HIDDEN,
    ],
    ids=lambda target: repr(target[:30]),
)
def test_no_target_lies_outside_or_is_hidden(jupyter, version_id, outside, target):
    before = files_of(outside)
    for route, body in [
        ("clone", {"s3_bucket": "security", "s3_key": "workspace/some.ipynb"}),
        ("fs-clone", {"relpath": "notes/shared.txt"}),
        ("restore/some.ipynb", {"version_id": version_id}),
        ("restore/some.ipynb", {"version_id": version_id, "force": True}),
    ]:
        answer = jupyter.request("POST", f"/api/bookstore/{route}", {**body, "target_path": target})
        assert answer.status in (400, 404), f"{route}: {answer.status} {answer.body!r}"
        assert str(outside).encode() not in answer.body
    assert files_of(outside) == before


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("theirs/.bashrc", "bashrc"),
        ("theirs/..", "clone"),
        ("theirs/...ipynb", "ipynb"),
        ("theirs/ .profile", "profile"),
        ("theirs/a\\..\\b.ipynb", "a_.._b.ipynb"),
        ("theirs/%2e%2e%2fx.ipynb", "%2e%2e%2fx.ipynb"),
        ("theirs/<img src=x onerror=alert(1)>.ipynb", "<img src=x onerror=alert(1)>.ipynb"),
    ],
)
def test_a_key_cannot_choose_a_hidden_file_or_another_directory(jupyter, bucket, key, expected):
    with bucket.server.client() as client:
        client.put_object(Bucket=bucket.name, Key=key, Body=b"theirs")
    cloned = jupyter.ok("POST", "/api/bookstore/clone", {"s3_bucket": bucket.name, "s3_key": key})
    stem, _, suffix = expected.rpartition(".")
    assert cloned["path"] == expected or (stem and cloned["path"].startswith(stem) and cloned["path"].endswith(suffix))
    assert (jupyter.root / cloned["path"]).read_bytes() == b"theirs"
    assert (jupyter.root / cloned["path"]).parent == jupyter.root


@pytest.mark.skipif(sys.platform == "win32", reason="the modes of POSIX")
def test_a_clone_cannot_be_run_as_a_program(jupyter, bucket):
    with bucket.server.client() as client:
        client.put_object(Bucket=bucket.name, Key="theirs/run-me.sh", Body=b"#!/bin/sh\nid\n")
    path = jupyter.ok("POST", "/api/bookstore/clone", {"s3_bucket": bucket.name, "s3_key": "theirs/run-me.sh"})["path"]
    assert not os.access(jupyter.root / path, os.X_OK) or os.geteuid() == 0
    assert (jupyter.root / path).stat().st_mode & 0o111 == 0


@pytest.mark.parametrize("path", ["../x.ipynb", ".bookstore/labels/x", "a/../../x", "x\0y"])
def test_a_label_is_kept_with_its_path_and_nowhere_else(jupyter, bucket, version_id, path):
    jupyter.flush()
    keys = bucket.keys()
    body = {"version_id": version_id, "name": "moved"}
    answer = jupyter.request("PATCH", f"/api/bookstore/label/{quote(path, safe='')}", body)
    assert answer.status == 400
    assert bucket.keys() == keys
