"""The REST interface of a real Jupyter server, over HTTP, with a real bucket."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from ci.bucket import Bucket
from ci.jupyter_process import Browser, JupyterProcess, contents_url, notebook
from ci.s3_servers import MotoServer

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
BASE_URL = "/user/kylek/"
MAX_CONTENT_SIZE = 3 * 1024 * 1024
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def bucket(moto):
    return Bucket(moto, moto.create_bucket("rest"))


@pytest.fixture(scope="module")
def basedir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shared")
    (directory / "notes").mkdir()
    (directory / "notes" / "read me.txt").write_text("to clone")
    secret = tmp_path_factory.mktemp("secret") / "secret.txt"
    secret.write_text("nobody's business")
    (directory / "out.txt").symlink_to(secret)
    return directory


@pytest.fixture(scope="module")
def jupyter(bucket, basedir, tmp_path_factory) -> Iterator[JupyterProcess]:
    chosen = {
        "fs_cloning_basedir": str(basedir),
        "s3_cloning_buckets": ["rest", "missing-*"],
        "max_content_size": MAX_CONTENT_SIZE,
    }
    lines = [f"c.BookstoreSettings.{name} = {value!r}\n" for name, value in chosen.items()]
    with JupyterProcess(
        tmp_path_factory.mktemp("rest"),
        environment=bucket.environment,
        base_url=BASE_URL,
        config={"jupyter_server_config.py": "".join(lines)},
    ) as process:
        yield process


@pytest.fixture(scope="module")
def browser(jupyter) -> Browser:
    return jupyter.browser()


def route(verb: str, path: str = "", /, **query: str) -> str:
    address = f"/api/bookstore/{verb}/{quote(path)}" if path else f"/api/bookstore/{verb}"
    return f"{address}?{urlencode(query)}" if query else address


def with_slash(address: str) -> str:
    path, mark, query = address.partition("?")
    return f"{path}/{mark}{query}"


def history(jupyter, path, **query):
    return jupyter.ok("GET", route("versions", path, **query))["versions"]


def saved(jupyter, path, *texts):
    """Save a notebook with each text; its versions, oldest first."""
    for text in texts:
        jupyter.save(path, notebook(text))
    jupyter.flush()
    return history(jupyter, path)[::-1]


def assert_error(answer, status, code, *words):
    assert answer.status == status, answer.body
    document = answer.json()
    assert set(document) == {"message", "reason", "hint", "code"}
    assert document["code"] == code
    for word in words:
        assert word in document["message"] + document["hint"]
    return document


# -- 1: every route ----------------------------------------------------------------------------------------------------


def requests_of_every_operation(path, version_id):
    """Method, address and body of a request to each operation that succeeds; in an order in which they do."""
    clone = {"s3_bucket": "rest", "s3_key": f"workspace/{path}"}
    model = {"type": "notebook", "content": notebook("published")}
    return [
        ("GET", "/api/bookstore", None),
        ("GET", route("status"), None),
        ("GET", route("status", path=path), None),
        ("GET", route("openapi.json"), None),
        ("POST", route("flush"), {"timeout": 5}),
        ("GET", route("versions", path), None),
        ("GET", route("content", path), None),
        ("HEAD", route("content", path), None),
        ("GET", route("diff", path, before=version_id), None),
        ("POST", route("diff", path), {"before": version_id, **model}),
        ("PATCH", route("label", path), {"version_id": version_id, "name": "first", "pinned": True}),
        ("POST", route("restore", path), {"version_id": version_id}),
        ("POST", route("archive", path), {"timeout": 5}),
        ("POST", route("archive", path), None),
        ("PUT", route("publish", path), model),
        ("PUT", route("published", path), model),
        ("PUT", route("publish", path), None),
        ("GET", route("published"), None),
        ("GET", route("published", path), None),
        ("DELETE", route("published", path), None),
        ("PUT", route("publish", path), None),
        ("DELETE", route("publish", path), None),
        ("PUT", route("schedule", path), {"version_id": version_id, "parameters": {"alpha": 0.1}}),
        ("PUT", route("scheduled", path), None),
        ("GET", route("scheduled"), None),
        ("GET", route("scheduled", path), None),
        ("DELETE", route("scheduled", path), None),
        ("PUT", route("scheduled", path), None),
        ("DELETE", route("schedule", path), None),
        ("GET", f"/bookstore/view/{quote(path)}", None),
        ("HEAD", f"/bookstore/view/{quote(path)}", None),
        ("GET", f"/bookstore/clone?{urlencode(clone)}", None),
        ("HEAD", f"/bookstore/clone?{urlencode(clone)}", None),
        ("GET", route("cloned", **clone), None),
        ("HEAD", route("cloned", **clone), None),
        ("POST", route("clone"), clone),
        ("POST", route("cloned"), clone),
        ("GET", "/bookstore/fs-clone?relpath=notes/read+me.txt", None),
        ("HEAD", "/bookstore/fs-clone?relpath=notes/read+me.txt", None),
        ("POST", route("fs-clone"), {"relpath": "notes/read me.txt"}),
    ]


@pytest.mark.parametrize("who", ["with a token", "with a cookie and the XSRF header"])
@pytest.mark.parametrize("slash", [False, True], ids=["without a slash", "with a slash"])
def test_every_operation_answers_below_a_base_url(jupyter, browser, who, slash):
    path = f"every {who} {slash} ü+%41.ipynb"
    version_id = saved(jupyter, path, "one", "two")[0]["version_id"]
    asked = set()
    for method, address, body in requests_of_every_operation(path, version_id):
        asked.add((method, address.split("?")[0].replace(quote(path), "{path}")))
        ask = jupyter.request if who == "with a token" else browser.request
        answer = ask(method, with_slash(address) if slash else address, body)
        assert answer.status == 200, f"{method} {address}: {answer.status} {answer.body!r}"
    paths = jupyter.ok("GET", route("openapi.json"))["paths"]
    refusing = {("PUT", "/api/bookstore/publish"), ("PUT", "/api/bookstore/published")}
    assert asked | refusing == {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_a_cookie_alone_changes_nothing(jupyter, browser):
    version_id = saved(jupyter, "forged.ipynb", "one")[0]["version_id"]
    for method, address, body in requests_of_every_operation("forged.ipynb", version_id):
        if method not in ("GET", "HEAD"):
            answer = browser.request(method, address, body, xsrf=False)
            assert_error(answer, 403, "Forbidden", "_xsrf")


def test_who_is_not_known_gets_nothing_and_is_led_to_the_login_by_pages(jupyter):
    for method, address, body in requests_of_every_operation("some.ipynb", "1"):
        answer = jupyter.request(method, address, body, headers={"Authorization": None})
        if method in ("GET", "HEAD") and (
            any(page in address for page in ("/bookstore/clone", "fs-clone", "cloned", "/bookstore/view"))
        ):
            assert answer.status == 302, address
            assert answer.headers["location"].startswith(f"{BASE_URL}login?next=")
        else:
            assert answer.status == 403, f"{method} {address}"


def test_a_method_that_a_route_does_not_have_is_told_those_that_it_has(jupyter):
    answer = jupyter.request("DELETE", route("published"))
    assert_error(answer, 405, "MethodNotAllowed")
    assert answer.headers["allow"] == "GET, PUT, OPTIONS"


def test_routes_of_what_is_switched_off_are_not_there(start_jupyter, bucket):
    off = ["--BookstoreSettings.enable_s3_cloning=False", "--BookstoreSettings.published_prefix="]
    jupyter = start_jupyter(bucket, arguments=off)
    for method, address in [
        ("PUT", route("publish", "a.ipynb")),
        ("GET", route("published")),
        ("POST", route("clone")),
        ("GET", "/bookstore/clone"),
        ("POST", route("fs-clone")),
    ]:
        answer = jupyter.request(method, address, {})
        assert answer.status == 404, address
        if address.startswith("/api/"):
            assert_error(answer, 404, "NotFound", address.rpartition("/")[2], "the settings allow")
    assert jupyter.request("GET", route("versions", "a.ipynb")).status == 200
    about = jupyter.ok("GET", "/api/bookstore")
    assert about["features"]["publish_valid"] is False
    assert about["workspace_clonable"] is False


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "PATCH", "DELETE"])
def test_an_address_that_is_no_route_is_told_so_and_the_next_step(jupyter, browser, method):
    answer = jupyter.request(method, "/api/bookstore/no/such%20route")
    assert_error(answer, 404, "NotFound", "/api/bookstore/no/such route", "openapi.json")
    assert jupyter.request("HEAD", "/api/bookstore/no").status == 404
    nobody = jupyter.request(method, "/api/bookstore/no", headers={"Authorization": None})
    assert_error(nobody, 403, "Forbidden")
    if method != "GET":
        assert_error(browser.request(method, "/api/bookstore/no", {}, xsrf=False), 403, "Forbidden", "_xsrf")


def test_who_is_refused_is_told_so_after_a_large_body_and_not_cut_off(jupyter, browser):
    body = b'{"type": "notebook", "content": "' + b"x" * (20 * MIB) + b'"}'
    for method, address in [
        ("PUT", route("publish", "refused.ipynb")),
        ("POST", route("clone")),
        ("POST", route("no-route")),
    ]:
        answer = jupyter.request(method, address, data=body, headers={"Authorization": None})
        assert_error(answer, 403, "Forbidden")
        answer = jupyter.request(method, address, data=body, headers={"Authorization": "token wrong"})
        assert_error(answer, 403, "Forbidden")
        assert_error(browser.request(method, address, data=body, xsrf=False), 403, "Forbidden", "_xsrf")
    assert jupyter.request("GET", route("content", "refused.ipynb", area="published")).status == 404


#: For Jupyter Server's own question an answer that is awaited is a yes in its oldest releases; for ours it may be.
AUTHORIZER = """
import asyncio
from jupyter_server.auth import Authorizer

class Refusing(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        answer = handler.request.headers.get("X-Refuse") != f"{action} {resource}"
        return asyncio.sleep(0, answer) if resource == "contents" else answer

c.ServerApp.authorizer_class = Refusing
"""


def test_who_may_not_use_the_contents_api_reads_and_writes_no_file_by_this_one(start_jupyter, bucket, basedir):
    fs = f"c.BookstoreSettings.fs_cloning_basedir = {str(basedir)!r}\n"
    prefixes = "".join(f"c.BookstoreSettings.{name}_prefix = 'guarded/{name}'\n" for name in ("published", "scheduled"))
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": AUTHORIZER + fs + prefixes})
    path = "guarded.ipynb"
    first, second = (version["version_id"] for version in saved(jupyter, path, "one", "two"))
    before = jupyter.on_disk(path)
    clone = {"s3_bucket": bucket.name, "s3_key": f"workspace/{path}"}
    model = {"type": "notebook", "content": notebook("published")}
    needs = [
        ("write", "POST", route("restore", path), {"version_id": first}),
        ("write", "POST", route("clone"), clone),
        ("write", "POST", route("cloned"), clone),
        ("write", "POST", route("fs-clone"), {"relpath": "notes/read me.txt"}),
        ("read", "POST", route("archive", path), {}),
        ("read", "GET", route("diff", path), None),
        ("read", "PUT", route("publish", path), None),
        ("read", "PUT", route("published", path), None),
        ("read", "PUT", route("schedule", path), {}),
        ("read", "PUT", route("scheduled", path), None),
    ]
    files = sorted(file.name for file in jupyter.root.iterdir())
    for action, method, address, body in needs:
        answer = jupyter.request(method, address, body, headers={"X-Refuse": f"{action} contents"})
        assert_error(answer, 403, "Forbidden", f"{action} on resource: contents", "administrator")
    assert sorted(file.name for file in jupyter.root.iterdir()) == files
    assert jupyter.on_disk(path) == before
    assert jupyter.ok("GET", route("published"))["items"] == jupyter.ok("GET", route("scheduled"))["items"] == []
    for method, address, body in [
        ("GET", route("diff", path, before=first, after=second), None),
        ("POST", route("diff", path), {"before": first, **model}),
        ("PUT", route("publish", path), model),
        ("PUT", route("schedule", path), {"version_id": first}),
    ]:
        for action in ("read", "write"):
            answer = jupyter.request(method, address, body, headers={"X-Refuse": f"{action} contents"})
            assert answer.status == 200, answer.body
    # A comparison with what the request brings is reading, though it is a POST.
    diff = ("POST", route("diff", path), {"before": first, **model})
    assert jupyter.request(*diff, headers={"X-Refuse": "write bookstore"}).status == 200
    assert_error(jupyter.request(*diff, headers={"X-Refuse": "read bookstore"}), 403, "Forbidden")
    for action, method, address, body in needs:
        other = {"read": "write", "write": "read"}[action]
        answer = jupyter.request(method, address, body, headers={"X-Refuse": f"{other} contents"})
        assert answer.status == 200, f"{address}: {answer.body!r}"


def test_without_a_bucket_there_is_a_status_and_no_history(start_jupyter):
    jupyter = start_jupyter()
    assert jupyter.ok("GET", route("status", path="a.ipynb"))["state"] == "off"
    assert jupyter.ok("GET", "/api/bookstore")["s3_bucket"] == ""
    assert jupyter.request("GET", route("versions", "a.ipynb")).status == 404


MANAGER_THAT_CANNOT_ARCHIVE = """
import bookstore.extension

def refuse(manager_class):
    raise TypeError("this class cannot be added to")

bookstore.extension.archiving_class = refuse
"""


def test_a_manager_that_does_not_archive_is_told_and_the_rest_is_served(start_jupyter, bucket):
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": MANAGER_THAT_CANNOT_ARCHIVE})
    assert jupyter.request("GET", "/api/bookstore").status == 200
    assert jupyter.ok("GET", route("status", path="a.ipynb"))["path"]["problem"]["code"] == "SettingsError"
    assert_error(jupyter.request("GET", route("versions", "a.ipynb")), 503, "SettingsError", "does not archive")


# -- what is asked for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"null", ["JSON object", "null"]),
        (b"  \n ", ["not JSON"]),
        (b"[]", ["JSON object"]),
        (b'{"version_id": "1"', ["not JSON"]),
        (b'{"version_id": "\xff"}', ["UTF-8"]),
        (b'{"version_id": "1", "name": "\\ud800"}', ["surrogate"]),
        (b'{"version_id": "1", "nmae": "x", "colour": 1}', ["Unknown fields", "nmae", "colour", "pinned"]),
        (b'{"name": "x"}', ["version_id is missing"]),
        (b'{"version_id": 7, "name": "x"}', ["version_id is to be a string, not 7"]),
        (b'{"version_id": "1", "pinned": 1}', ["pinned is to be true or false, not 1"]),
        (b'{"version_id": "1", "pinned": NaN}', ["NaN"]),
        (b'{"version_id": "1"}', ["Nothing is to be changed"]),
        (b'{"version_id": "\\u00fc", "name": "x"}', ["no version id"]),
        (b"[" * 100_000, ["nested too deeply"]),
    ],
)
def test_a_body_that_makes_no_sense_is_told_what_is_wrong(jupyter, body, words):
    answer = jupyter.request("PATCH", route("label", "some.ipynb"), data=body)
    assert_error(answer, 400, "InvalidRequest", *words)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", ["limit"]),
        ("limit=1001", ["limit"]),
        ("limit=-1", ["limit", "whole number"]),
        ("limit=ten", ["limit", "ten"]),
        ("limit=%D9%A3", ["limit"]),
        ("details=yes", ["details", "true or false"]),
        ("area=attic", ["attic", "workspace, published, scheduled"]),
        ("cursor=forged", ["cursor"]),
    ],
)
def test_an_argument_that_makes_no_sense_is_told_what_is_right(jupyter, query, words):
    answer = jupyter.request("GET", f"{route('versions', 'some.ipynb')}?{query}")
    assert_error(answer, 400, "InvalidRequest", *words)


def test_small_bodies_have_a_limit(jupyter):
    body = {"version_id": "1", "note": "x" * MIB}
    assert_error(jupyter.request("PATCH", route("label", "some.ipynb"), body), 413, "ContentTooLarge", str(MIB))


def test_a_body_that_does_not_tell_its_size_has_the_same_limit(jupyter):
    connection = http.client.HTTPConnection("127.0.0.1", jupyter.port)
    pieces = iter([b'{"note": "', *[b"x" * 65536] * 20, b'"}'])
    connection.request(
        "PATCH",
        f"{BASE_URL}api/bookstore/label/some.ipynb",
        pieces,
        {"Authorization": f"token {jupyter.token}"},
        encode_chunked=True,
    )
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["code"] == "ContentTooLarge"
    connection.close()


def test_a_publication_may_be_as_large_as_the_setting_says(jupyter):
    content = notebook("x" * (2 * MIB))
    jupyter.ok("PUT", route("publish", "large.ipynb"), {"type": "notebook", "content": content})
    content = notebook("x" * MAX_CONTENT_SIZE)
    answer = jupyter.request("PUT", route("publish", "larger.ipynb"), {"type": "notebook", "content": content})
    assert_error(answer, 413, "ContentTooLarge", "max_content_size")


@pytest.mark.parametrize("path", ["../../etc/passwd", "/../secret.ipynb", "a/../../b.ipynb", "..", "a%00.ipynb"])
def test_no_path_leads_outside(jupyter, path):
    for verb in ("versions", "content", "diff"):
        encoded = path.replace("/", "%2F").replace(".", "%2E")
        answer = jupyter.request("GET", f"/api/bookstore/{verb}/{encoded}")
        assert answer.status == 400, f"{verb} {answer.body!r}"
        assert str(jupyter.root) not in answer.body.decode()


# -- 2: the history over a rename --------------------------------------------------------------------------------------


def test_a_history_goes_on_over_a_rename_and_a_restore_adds_to_it(jupyter):
    on_disk = []
    for number in range(5):
        jupyter.save("before.ipynb", notebook(f"before {number}"))
        on_disk.append(jupyter.on_disk("before.ipynb"))
    jupyter.ok("PATCH", contents_url("before.ipynb"), {"path": "after.ipynb"})
    on_disk.append(jupyter.on_disk("after.ipynb"))
    for number in range(3):
        jupyter.save("after.ipynb", notebook(f"after {number}"))
        on_disk.append(jupyter.on_disk("after.ipynb"))
    jupyter.flush()

    versions = history(jupyter, "after.ipynb")[::-1]
    assert [version["sha256"] for version in versions] == [hashlib.sha256(one).hexdigest() for one in on_disk]
    assert [version["reason"] for version in versions] == ["new", *["save"] * 4, "rename", *["save"] * 3]
    assert [version["path"] for version in versions] == [*["before.ipynb"] * 5, *["after.ipynb"] * 4]
    assert [version["is_unchanged"] for version in versions] == [*[False] * 5, True, *[False] * 3]
    assert all(version["user"] and version["saved_at"] and version["version_id"] for version in versions)
    names = {version["version_id"] for version in versions}
    assert len(names) == 9

    second = versions[1]["version_id"]
    assert jupyter.request("GET", route("content", "after.ipynb", version_id=second)).body == on_disk[1]
    restored = jupyter.ok("POST", route("restore", "after.ipynb"), {"version_id": second})
    assert jupyter.on_disk("after.ipynb") == on_disk[1]
    assert restored["sha256"] == hashlib.sha256(on_disk[1]).hexdigest()
    assert restored["from_version"] == second
    now = history(jupyter, "after.ipynb")
    assert now[0]["version_id"] == restored["archived"]["version_id"]
    assert now[0]["reason"] == "restore"
    assert {version["version_id"] for version in now[1:]} == names
    assert not (jupyter.root / "before.ipynb").exists()


def test_a_restore_of_what_archive_globs_leave_out_adds_to_its_history_too(jupyter):
    told = jupyter.ok("GET", route("versions", "left out.py"))
    assert (told["versions"], told["is_archived"]) == ([], False)
    versions = []
    for text in ("one", "two", "three"):
        jupyter.ok("PUT", contents_url("left out.py"), {"type": "file", "format": "text", "content": text})
        if text != "three":
            versions.append(jupyter.ok("POST", route("archive", "left out.py"))["version_id"])
    restored = jupyter.ok("POST", route("restore", "left out.py"), {"version_id": versions[0]})
    assert jupyter.on_disk("left out.py") == b"one"
    newest, before, *older = history(jupyter, "left out.py")
    assert restored["archived"]["version_id"] == newest["version_id"]
    assert (newest["reason"], newest["from_version"]) == ("restore", versions[0])
    assert jupyter.request("GET", route("content", "left out.py", version_id=before["version_id"])).body == b"three"
    assert [version["version_id"] for version in older] == versions[::-1]


def test_a_history_tells_whether_saves_are_added_to_it(jupyter):
    for query in ({}, {"pinned": "true"}):
        assert jupyter.ok("GET", route("versions", "any.ipynb", **query))["is_archived"] is True
        assert jupyter.ok("GET", route("versions", "any.py", **query))["is_archived"] is False
        assert jupyter.ok("GET", route("versions", "any.ipynb", area="published", **query))["is_archived"] is False
    assert jupyter.ok("GET", "/api/bookstore")["workspace_clonable"] is True


def test_a_history_comes_in_pages(jupyter):
    versions = saved(jupyter, "paged.ipynb", *map(str, range(7)))[::-1]
    seen, cursor, pages = [], None, 0
    while True:
        page = jupyter.ok("GET", route("versions", "paged.ipynb", limit="3", **({"cursor": cursor} if cursor else {})))
        seen += page["versions"]
        pages += 1
        if (cursor := page["cursor"]) is None:
            break
    assert seen == versions
    assert pages == 3


def test_a_restore_does_not_write_over_a_file_that_changed_since_the_caller_looked(jupyter):
    first, _ = saved(jupyter, "raced.ipynb", "one", "two")
    seen = hashlib.sha256(jupyter.on_disk("raced.ipynb")).hexdigest()
    jupyter.save("raced.ipynb", notebook("three"))
    body = {"version_id": first["version_id"], "expected_hash": seen}
    assert_error(jupyter.request("POST", route("restore", "raced.ipynb"), body), 409, "FileChanged", "raced.ipynb")
    assert b"three" in jupyter.on_disk("raced.ipynb")
    jupyter.ok("POST", route("restore", "raced.ipynb"), {**body, "force": True})
    assert b"one" in jupyter.on_disk("raced.ipynb")


@pytest.mark.parametrize("expected", ["expected_hash", "expected_last_modified"])
def test_a_restore_takes_what_the_contents_api_told_of_the_file(jupyter, expected):
    path = f"looked at by {expected}.ipynb"
    first, second = saved(jupyter, path, "one", "two")
    looked = jupyter.ok("GET", f"{contents_url(path)}?content=0&hash=1")
    # Of the oldest Jupyter Server, contents have no hash.
    digest = looked.get("hash") or hashlib.sha256(jupyter.on_disk(path)).hexdigest()
    told = {"expected_hash": digest, "expected_last_modified": looked["last_modified"]}[expected]
    body = {"version_id": first["version_id"], expected: told}
    restored = jupyter.ok("POST", route("restore", path), body)
    assert b"one" in jupyter.on_disk(path)
    now = jupyter.ok("GET", f"{contents_url(path)}?content=0")
    assert restored["model"]["last_modified"].replace("+00:00", "Z") == now["last_modified"]
    again = {**body, "version_id": second["version_id"]}
    assert_error(jupyter.request("POST", route("restore", path), again), 409, "FileChanged", path)
    assert b"one" in jupyter.on_disk(path)
    looked = jupyter.ok("GET", f"{contents_url(path)}?hash=1")
    digest = looked.get("hash") or hashlib.sha256(jupyter.on_disk(path)).hexdigest()
    told = {"expected_hash": digest, "expected_last_modified": looked["last_modified"]}[expected]
    jupyter.ok("POST", route("restore", path), {**again, expected: told})
    assert b"two" in jupyter.on_disk(path)


def test_an_older_version_of_the_own_workspace_is_cloned_by_what_the_server_tells(jupyter, bucket):
    first, _ = saved(jupyter, "to clone.ipynb", "one", "two")
    own = jupyter.ok("GET", "/api/bookstore")["s3_bucket"]
    assert own == bucket.name
    asked = {"s3_bucket": own, "s3_key": first["key"], "s3_version_id": first["version_id"]}
    cloned = jupyter.ok("POST", route("clone"), asked)
    assert (cloned["type"], cloned["versionID"]) == ("notebook", first["version_id"])
    assert cloned["path"] != "to clone.ipynb"
    assert jupyter.on_disk(cloned["path"]) == bucket.read(first["key"], first["version_id"])
    shown = jupyter.ok("GET", f"{contents_url(cloned['path'])}?content=0")
    assert {name: cloned[name] for name in ("name", "path", "type", "writable")} == {
        name: shown[name] for name in ("name", "path", "type", "writable")
    }
    page = jupyter.request("GET", f"/bookstore/clone?{urlencode(asked)}")
    assert (page.status, first["version_id"].encode() in page.body) == (200, True)


def test_a_label_stays_with_its_version(jupyter):
    first, second = saved(jupyter, "labelled.ipynb", "one", "two")
    body = {"version_id": first["version_id"], "name": "for the paper", "note": "figure 3", "pinned": True}
    label = jupyter.ok("PATCH", route("label", "labelled.ipynb"), body)["label"]
    assert label["name"] == "for the paper"
    jupyter.ok("PATCH", route("label", "labelled.ipynb"), {"version_id": first["version_id"], "name": ""})
    newest, oldest = history(jupyter, "labelled.ipynb")
    assert newest["label"] is None
    assert newest["version_id"] == second["version_id"]
    assert (oldest["label"]["name"], oldest["label"]["note"], oldest["label"]["pinned"]) == ("", "figure 3", True)
    assert oldest["label"]["by"]
    answer = jupyter.request("PATCH", route("label", "labelled.ipynb"), {"version_id": "nosuch", "name": "x"})
    assert_error(answer, 404, "ObjectMissing")


def test_the_difference_of_two_versions_names_the_changed_cell(jupyter):
    jupyter.save("compared.ipynb", notebook("same", cells=3))
    content = notebook("same", cells=3)
    content["cells"][1]["source"] = "another thing"
    jupyter.save("compared.ipynb", content)
    jupyter.flush()
    newest, oldest = history(jupyter, "compared.ipynb")
    between = route("diff", "compared.ipynb", before=oldest["version_id"], after=newest["version_id"])
    comparison = jupyter.ok("GET", between)
    assert comparison["kind"] == "notebook"
    assert not comparison["identical"]
    (change,) = comparison["cells"]
    assert (change["kind"], change["cell_id"], change["changed"]) == ("changed", "cell-1", ["source"])
    assert "+another thing" in change["source_diff"]
    assert comparison["base"] is None
    told = jupyter.ok("GET", f"{between}&notebook=true")
    assert [cell["source"] for cell in told["base"]["cells"]] == [f"same # {number}" for number in range(3)]
    assert told == {**comparison, "base": told["base"]}
    assert jupyter.ok("GET", route("diff", "compared.ipynb"))["identical"]


def test_what_is_in_the_editor_is_compared_and_nothing_is_written(jupyter, bucket):
    oldest, newest = saved(jupyter, "edited.ipynb", "one", "two")
    before = bucket.keys(), bucket.rows("workspace/edited.ipynb"), sorted(jupyter.root.rglob("*"))
    model = {"type": "notebook", "format": "json", "content": notebook("three")}
    address = route("diff", "edited.ipynb")
    comparison = jupyter.ok("POST", address, model)
    assert comparison["before"]["version_id"] == newest["version_id"]
    assert (comparison["after"]["version_id"], comparison["after"]["saved_at"]) == (None, "")
    assert (comparison["kind"], comparison["base"]) == ("notebook", None)
    [change] = comparison["cells"]
    assert "-two # 0" in change["source_diff"]
    assert "+three # 0" in change["source_diff"]
    for body, query in (({"notebook": True}, {}), ({}, {"notebook": "true"})):
        asked = {**model, **body, "before": oldest["version_id"]}
        comparison = jupyter.ok("POST", route("diff", "edited.ipynb", **query), asked)
        assert comparison["before"]["version_id"] == oldest["version_id"]
        assert comparison["base"]["cells"][0]["source"] == "one # 0"
        assert comparison["nbdime"]
    # A frontend marks what it trusts, which no file holds.
    trusted = notebook("two")
    trusted["cells"][0]["metadata"]["trusted"] = True
    same = jupyter.ok("POST", address, {"type": "notebook", "content": trusted})
    assert (same["identical"], same["after"]["sha256"]) == (True, newest["sha256"])
    text = jupyter.ok("POST", address, {"type": "file", "format": "text", "content": "no notebook"})
    assert (text["kind"], text["base"]) == ("text", None)
    odd = jupyter.ok("POST", address, {"type": "notebook", "content": {"nbformat": 4, "cells": 7}})
    assert odd["kind"] == "text"
    jupyter.flush()
    assert (bucket.keys(), bucket.rows("workspace/edited.ipynb"), sorted(jupyter.root.rglob("*"))) == before


def test_what_cannot_be_compared_with_a_version_is_told_why(jupyter, browser):
    saved(jupyter, "edited.ipynb", "one")
    address = route("diff", "edited.ipynb")
    model = {"type": "notebook", "content": notebook("x")}
    for body in (
        {},
        {"type": "notebook"},
        {"type": "directory", "content": []},
        {"type": "file", "format": "base64", "content": "eA=="},
        {**model, "before": 7},
        {**model, "notebook": "yes"},
        {**model, "name": "edited.ipynb"},
    ):
        assert_error(jupyter.request("POST", address, body), 400, "InvalidRequest")
    assert_error(jupyter.request("POST", address, {**model, "before": "nosuch"}), 404, "ObjectMissing")
    assert_error(jupyter.request("POST", route("diff", "never.ipynb"), model), 404, "ObjectMissing")
    assert_error(browser.request("POST", address, model, xsrf=False), 403, "Forbidden", "_xsrf")
    large = {"type": "file", "format": "text", "content": "x" * MAX_CONTENT_SIZE}
    assert_error(jupyter.request("POST", address, large), 413, "ContentTooLarge", "max_content_size")


def test_the_pinned_versions_are_told_without_the_others(jupyter):
    first, second, third = saved(jupyter, "pinned.ipynb", "one", "two", "three")
    assert jupyter.ok("GET", route("versions", "pinned.ipynb", pinned="true"))["versions"] == []
    for version in (third, first):
        jupyter.ok("PATCH", route("label", "pinned.ipynb"), {"version_id": version["version_id"], "pinned": True})
    page = jupyter.ok("GET", route("versions", "pinned.ipynb", pinned="true", limit="1"))
    assert page["cursor"] is None
    rows = {row["version_id"]: row for row in history(jupyter, "pinned.ipynb")}
    assert page["versions"] == [rows[third["version_id"]], rows[first["version_id"]]]
    assert [row["version_id"] for row in history(jupyter, "pinned.ipynb", pinned="false")] == [
        version["version_id"] for version in (third, second, first)
    ]
    assert_error(jupyter.request("GET", route("versions", "pinned.ipynb", pinned="1")), 400, "InvalidRequest")

    model = jupyter.ok("PATCH", contents_url("pinned.ipynb"), {"path": "pinned elsewhere.ipynb"})
    jupyter.flush()
    page = jupyter.ok("GET", route("versions", model["path"], pinned="true"))
    assert [row["version_id"] for row in page["versions"]] == [third["version_id"], first["version_id"]]
    assert {row["path"] for row in page["versions"]} == {"pinned.ipynb"}


# -- content -----------------------------------------------------------------------------------------------------------


def test_content_is_sent_with_what_a_browser_must_know(jupyter):
    path = "a folder ü+/käse%41 'x'.ipynb"
    jupyter.ok("PUT", contents_url("a folder ü+"), {"type": "directory"})
    (version,) = saved(jupyter, path, "content")
    answer = jupyter.request("GET", route("content", path))
    assert answer.body == jupyter.on_disk(path)
    assert answer.headers["content-type"] == "application/x-ipynb+json"
    assert answer.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''" + quote("käse%41 'x'.ipynb", safe="")
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-bookstore-version-id"] == version["version_id"]
    assert answer.headers["etag"] == f'"{version["sha256"]}"'
    assert answer.headers["accept-ranges"] == "none"
    head = jupyter.request("HEAD", route("content", path))
    kept = ("content-type", "content-disposition", "content-length", "etag", "x-bookstore-version-id")
    assert {name: head.headers[name] for name in kept} == {name: answer.headers[name] for name in kept}
    assert head.body == b""
    for tag in (answer.headers["etag"], f'"other", W/{answer.headers["etag"]}', "*"):
        known = jupyter.request("GET", route("content", path), headers={"If-None-Match": tag})
        assert (known.status, known.body) == (304, b"")
        assert known.headers["etag"] == answer.headers["etag"]
    assert jupyter.request("GET", route("content", path), headers={"If-None-Match": '"other"'}).status == 200


def test_content_that_is_not_there_is_missing(jupyter):
    saved(jupyter, "there.ipynb", "x")
    assert_error(jupyter.request("GET", route("content", "not there.ipynb")), 404, "ObjectMissing")
    answer = jupyter.request("GET", route("content", "there.ipynb", version_id="nosuch"))
    assert_error(answer, 404, "ObjectMissing")


def test_content_that_was_altered_behind_our_back_never_arrives_whole(jupyter, bucket):
    jupyter.save("altered.ipynb", notebook("original"))
    jupyter.flush()
    metadata = bucket.metadata("workspace/altered.ipynb")
    with bucket.server.client() as client:
        client.put_object(Bucket="rest", Key="workspace/altered.ipynb", Body=b"x" * (5 * MIB), Metadata=metadata)
    with pytest.raises(http.client.IncompleteRead):
        jupyter.request("GET", route("content", "altered.ipynb"))
    with bucket.server.client() as client:
        client.put_object(Bucket="rest", Key="workspace/altered.ipynb", Body=b"short", Metadata=metadata)
    assert_error(jupyter.request("GET", route("content", "altered.ipynb")), 502, "IntegrityError", "altered.ipynb")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells a process's memory on Linux")
def test_content_is_sent_no_faster_than_it_is_read(jupyter, bucket):
    content = b"0123456789abcdef" * (6 * MIB)
    with bucket.server.client() as client:
        client.put_object(Bucket="rest", Key="workspace/large.ipynb", Body=content)
    before = memory_of(jupyter)
    connection = http.client.HTTPConnection("127.0.0.1", jupyter.port)
    address = f"{BASE_URL}api/bookstore/content/large.ipynb"
    connection.request("GET", address, headers={"Authorization": f"token {jupyter.token}"})
    answer = connection.getresponse()
    digest = hashlib.sha256(answer.read(MIB))
    highest = before
    # Long enough for all of it to come from the store, if nothing held it back.
    end = time.monotonic() + 3
    while time.monotonic() < end:
        jupyter.ok("GET", "/api/bookstore")
        highest = max(highest, memory_of(jupyter))
    assert highest - before < len(content) / 3
    while piece := answer.read(MIB):
        digest.update(piece)
    assert digest.digest() == hashlib.sha256(content).digest()
    connection.close()


@pytest.fixture(scope="module")
def large(bucket) -> str:
    """The path of a content that fits into no buffer on its way."""
    with bucket.server.client() as client:
        client.put_object(Bucket=bucket.name, Key="workspace/large.bin", Body=b"x" * (64 * MIB))
    return "large.bin"


@contextlib.contextmanager
def reading(jupyter, path) -> Iterator[http.client.HTTPResponse]:
    """An answer with a content of which nothing was read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", jupyter.port)
    try:
        connection.request("GET", route("content", path), headers={"Authorization": f"token {jupyter.token}"})
        yield connection.getresponse()
    finally:
        connection.close()


def test_who_reads_too_little_or_nothing_any_more_loses_the_connection(start_jupyter, bucket, large):
    # So fast nobody is, so that all waiting counts.
    config = "from bookstore.rest import history\nhistory.GRACE = 1.0\nhistory.SLOWEST = 10**12\n"
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": config})
    told = "less than 1000000000000 bytes a second"
    with reading(jupyter, large) as answer:
        deadline = time.monotonic() + 60
        while told not in jupyter.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
    # No single piece takes its reader long, all of them together do.
    received = 0
    with reading(jupyter, large) as answer, contextlib.suppress(http.client.IncompleteRead, ConnectionError):
        while piece := answer.read(256 * 1024):
            received += len(piece)
            time.sleep(0.05)
    assert received < 64 * MIB
    assert jupyter.log.read_text().count(told) == 2


CROWDED = """
import asyncio
from pathlib import Path
from bookstore.library import Library
from bookstore.rest import history

c.BookstoreSettings.max_threads = 4
history.CONTENT_PATIENCE = 0.2
history.COMPARISON_WAITING = 0
history.MAX_COMPARISON = 20_000

compare = Library.compare

async def slow(self, path, *args, **kwargs):
    if path == "slow.ipynb":
        Path("begun").touch()
        while not Path("go on").exists():
            await asyncio.sleep(0.01)
    return await compare(self, path, *args, **kwargs)

Library.compare = slow
"""


@pytest.fixture(scope="module")
def crowded(bucket, tmp_path_factory) -> Iterator[JupyterProcess]:
    home = tmp_path_factory.mktemp("crowded")
    config = CROWDED.replace('"begun"', repr(str(home / "begun"))).replace('"go on"', repr(str(home / "go on")))
    with JupyterProcess(
        home / "jupyter", environment=bucket.environment, config={"jupyter_server_config.py": config}
    ) as process:
        yield process


def test_slow_readers_keep_nobody_from_small_contents_and_others_are_told_when_to_come_back(crowded, large):
    saved(crowded, "small.ipynb", "x")
    with reading(crowded, large):
        busy = crowded.request("GET", route("content", large))
        assert_error(busy, 503, "ServerBusy", "0.2 s", "few seconds")
        assert 0 < int(busy.headers["retry-after"]) < 60
        assert crowded.request("GET", route("content", "small.ipynb")).body == crowded.on_disk("small.ipynb")
        assert crowded.request("HEAD", route("content", large)).status == 200
    deadline = time.monotonic() + 30
    while (answer := crowded.request("GET", route("content", large))).status == 503:
        assert time.monotonic() < deadline
    assert len(answer.body) == 64 * MIB


def test_comparisons_are_made_one_at_a_time_and_not_all_that_want_one_may_wait(crowded):
    for path in ("slow.ipynb", "other.ipynb"):
        saved(crowded, path, "one", "two")
    home = crowded.root.parent.parent
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(crowded.request, "GET", route("diff", "slow.ipynb"))
        deadline = time.monotonic() + 30
        while not (home / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        busy = crowded.request("GET", route("diff", "other.ipynb"))
        assert_error(busy, 503, "ServerBusy", "comparisons")
        assert busy.headers["retry-after"]
        (home / "go on").touch()
        assert first.result().status == 200
    assert crowded.request("GET", route("diff", "other.ipynb")).status == 200


def test_a_difference_that_is_too_long_is_refused_and_not_cut(crowded):
    for letter in "ab":
        model = {"type": "file", "format": "text", "content": f"{letter}\n" * 20_000}
        crowded.ok("PUT", contents_url("long.txt"), model)
        crowded.ok("POST", route("archive", "long.txt"))
    newest, oldest = (version["version_id"] for version in history(crowded, "long.txt"))
    answer = crowded.request("GET", route("diff", "long.txt", before=oldest, after=newest))
    assert_error(answer, 413, "ContentTooLarge", "20,000 characters", "/api/bookstore/content")


def memory_of(jupyter):
    """Bytes that a server has in memory."""
    told = Path(f"/proc/{jupyter.process.pid}/status").read_text().splitlines()
    (line,) = [line for line in told if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


# -- status ------------------------------------------------------------------------------------------------------------


def test_the_status_of_a_path_tells_its_last_version(jupyter):
    (version,) = saved(jupyter, "told.ipynb", "x")
    told = jupyter.ok("GET", route("status", path="told.ipynb"))
    assert told["state"] == "ok"
    assert told["path"]["waiting"] == 0
    assert told["path"]["last_version"]["version_id"] == version["version_id"]
    assert jupyter.ok("GET", route("status", path="never.ipynb"))["path"]["last_version"] is None


# -- 4: publishing -----------------------------------------------------------------------------------------------------


def test_what_cannot_be_published_is_told_why(jupyter):
    bad = notebook("x")
    bad["cells"][0]["outputs"] = "none"
    model = {"type": "notebook", "content": bad}
    assert_error(
        jupyter.request("PUT", route("publish", "bad.ipynb"), model), 422, "NotebookInvalid", "cell 1", "cell-0"
    )
    empty = {"type": "notebook", "content": {**notebook(), "cells": []}}
    assert_error(jupyter.request("PUT", route("publish", "bad.ipynb"), empty), 422, "NotebookInvalid", "cells")
    no_content = {"type": "notebook"}
    assert_error(jupyter.request("PUT", route("publish", "bad.ipynb"), no_content), 422, "NotebookInvalid")
    file = {"type": "file", "format": "text", "content": "x"}
    assert_error(jupyter.request("PUT", route("publish", "bad.ipynb"), file), 415, "NotANotebook", "file")
    assert_error(jupyter.request("PUT", route("publish", "bad.txt"), model), 415, "NotANotebook", "bad.txt")
    assert_error(jupyter.request("PUT", route("publish", "bad.ipynb"), {}), 400, "InvalidRequest", "empty")
    assert_error(jupyter.request("PUT", route("publish", "not there.ipynb")), 404, "FileMissing", "not there")
    for address in (route("publish"), with_slash(route("publish")), route("published"), with_slash(route("published"))):
        assert_error(jupyter.request("PUT", address, model), 400, "InvalidRequest", "path")
    for body in (b"null", b" "):
        answer = jupyter.request("PUT", route("publish", "bad.ipynb"), data=body)
        assert_error(answer, 400, "InvalidRequest")
    assert "bad.ipynb" not in {item["path"] for item in jupyter.ok("GET", route("published"))["items"]}


def test_what_else_a_contents_model_has_is_passed_over(jupyter, bucket):
    jupyter.save("model.ipynb", notebook("the model"))
    model = jupyter.ok("GET", contents_url("model.ipynb"))
    more = {"chunk": 1, "message": None, "hash": 7, "writable": "perhaps", "of their own": {"deep": [1]}}
    jupyter.ok("PUT", route("publish", "model.ipynb"), {**model, **more})
    assert b"the model" in bucket.read("published/model.ipynb")
    wrong = jupyter.request("PUT", route("publish", "model.ipynb"), {**model, "type": 7})
    assert_error(wrong, 400, "InvalidRequest", "type is to be a string")


def test_publishing_twice_makes_two_versions_that_can_both_be_read(jupyter, bucket):
    published = [
        jupyter.ok("PUT", route("publish", "twice.ipynb"), {"type": "notebook", "content": notebook(text)})
        for text in ("first", "second")
    ]
    assert published[0]["s3_path"] == "s3://rest/published/twice.ipynb"
    assert len({one["versionID"] for one in published}) == 2
    for one, text in zip(published, (b"first", b"second"), strict=True):
        content = jupyter.request("GET", route("content", "twice.ipynb", area="published", version_id=one["versionID"]))
        assert text in content.body
        assert text in bucket.read("published/twice.ipynb", one["versionID"])
    versions = jupyter.ok("GET", route("published", "twice.ipynb"))["versions"]
    assert [version["version_id"] for version in versions] == [one["versionID"] for one in published[::-1]]


def test_a_body_of_zero_length_publishes_the_file_and_its_version(jupyter, bucket):
    jupyter.save("file.ipynb", notebook("the file"))
    published = jupyter.ok("PUT", route("published", "file.ipynb"))
    newest = history(jupyter, "file.ipynb")[0]
    assert (published["from_key"], published["from_version"]) == ("workspace/file.ipynb", newest["version_id"])
    assert bucket.read("published/file.ipynb") == jupyter.on_disk("file.ipynb")
    removed = jupyter.ok("DELETE", route("publish", "file.ipynb"))
    assert removed["marker"]
    marker, version = jupyter.ok("GET", route("published", "file.ipynb"))["versions"]
    assert marker["is_delete_marker"]
    assert version["version_id"] == published["versionID"]
    assert_error(jupyter.request("DELETE", route("publish", "file.ipynb")), 404, "ObjectMissing")


def test_a_scheduled_copy_is_pinned_to_a_version_and_has_parameters(jupyter, bucket):
    first, _ = saved(jupyter, "nightly.ipynb", "one", "two")
    body = {"version_id": first["version_id"], "parameters": {"alpha": 0.1, "names": ["a", "b"]}}
    scheduled = jupyter.ok("PUT", route("schedule", "nightly.ipynb"), body)
    copy = jupyter.ok("GET", route("scheduled", "nightly.ipynb"))
    assert copy == scheduled
    assert copy["from_version"] == first["version_id"]
    assert copy["parameters"] == body["parameters"]
    assert bucket.read("scheduled/nightly.ipynb") == bucket.read("workspace/nightly.ipynb", first["version_id"])
    assert "nightly.ipynb" in {item["path"] for item in jupyter.ok("GET", route("scheduled"))["items"]}
    wrong = {"parameters": {"not a name": 1}}
    assert_error(jupyter.request("PUT", route("schedule", "nightly.ipynb"), wrong), 400, "InvalidRequest", "not a name")


# -- 5: cloning --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def foreign(bucket):
    """Objects that others wrote: name → bytes of each version, oldest first."""
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": [], "metadata": {}}]}
    objects = {
        "theirs/book.ipynb": [json.dumps(notebook(text)).encode() for text in ("first", "second")],
        "theirs/old.ipynb": [json.dumps(old, indent=3).encode()],
        "theirs/text.txt": ["Käse\r\n".encode()],
        "theirs/picture.png": [PNG],
    }
    versions = {}
    with bucket.server.client() as client:
        for key, contents in objects.items():
            versions[key] = [
                client.put_object(Bucket="rest", Key=key, Body=content)["VersionId"] for content in contents
            ]
    return {key: list(zip(versions[key], contents, strict=True)) for key, contents in objects.items()}


def test_notebooks_texts_and_pictures_are_cloned_byte_for_byte(jupyter, foreign):
    for key, versions in foreign.items():
        version_id, content = versions[-1]
        cloned = jupyter.ok("POST", route("clone"), {"s3_bucket": "rest", "s3_key": key})
        name = key.rpartition("/")[2]
        assert (cloned["name"], cloned["path"]) == (name, name)
        assert cloned["type"] == ("notebook" if name.endswith(".ipynb") else "file")
        assert (cloned["s3_path"], cloned["versionID"]) == (f"s3://rest/{key}", version_id)
        assert jupyter.on_disk(name) == content


def test_a_version_is_cloned_to_where_one_wants_it_and_nothing_is_overwritten(jupyter, foreign):
    (version_id, content), _ = foreign["theirs/book.ipynb"]
    jupyter.save("mine.ipynb", notebook("mine"))
    mine = jupyter.on_disk("mine.ipynb")
    body = {
        "s3_bucket": "rest",
        "s3_key": "theirs/book.ipynb",
        "s3_version_id": version_id,
        "target_path": "mine.ipynb",
    }
    assert jupyter.ok("POST", route("clone"), body)["path"] == "mine-1.ipynb"
    assert jupyter.on_disk("mine-1.ipynb") == content
    assert jupyter.on_disk("mine.ipynb") == mine


def test_a_clone_is_not_trusted(jupyter, bucket):
    trusted = notebook("print('theirs')")
    trusted["cells"][0]["metadata"]["trusted"] = True
    with bucket.server.client() as client:
        client.put_object(Bucket="rest", Key="theirs/trusted.ipynb", Body=json.dumps(trusted).encode())
    path = jupyter.ok("POST", route("clone"), {"s3_bucket": "rest", "s3_key": "theirs/trusted.ipynb"})["path"]
    (cell,) = jupyter.ok("GET", contents_url(path))["content"]["cells"]
    assert cell["metadata"].get("trusted") is False


def test_what_cannot_be_cloned_is_told_why(jupyter):
    def clone(**body):
        return jupyter.request("POST", route("clone"), body)

    assert_error(clone(s3_key="a"), 400, "InvalidRequest", "s3_bucket")
    assert_error(clone(s3_bucket="rest"), 400, "InvalidRequest", "s3_key")
    assert_error(clone(s3_bucket="others", s3_key="a"), 403, "CloningForbidden", "others")
    assert_error(clone(s3_bucket="rest", s3_key="not/there.ipynb"), 404, "ObjectMissing", "not/there.ipynb")
    missing = assert_error(clone(s3_bucket="missing-bucket", s3_key="a"), 404, "BucketMissing", "missing-bucket")
    assert "Create the bucket" not in missing["hint"]


def test_a_target_that_cannot_be_written_is_told_why(jupyter, foreign):
    source = {"s3_bucket": "rest", "s3_key": "theirs/text.txt"}
    for target, status, code in [
        ("../../out.txt", 400, "InvalidRequest"),
        ("no/such/directory/x.txt", 404, "FileMissing"),
        (".hidden.txt", 404, "FileMissing"),
        ("n" * 300, 400, "InvalidRequest"),
    ]:
        answer = jupyter.request("POST", route("clone"), {**source, "target_path": target})
        assert_error(answer, status, code)
        assert str(jupyter.root).encode() not in answer.body


def test_a_store_that_is_down_is_told(start_jupyter):
    with MotoServer() as server:
        own = Bucket(server, server.create_bucket("down"))
        jupyter = start_jupyter(own)
        jupyter.save("waits.ipynb", notebook("x"))
        jupyter.flush()
    body = {"s3_bucket": "down", "s3_key": "workspace/waits.ipynb"}
    for method, address, sent in [
        ("POST", route("clone"), body),
        ("GET", route("versions", "waits.ipynb"), None),
        ("GET", route("content", "waits.ipynb"), None),
        ("GET", route("published"), None),
    ]:
        assert_error(jupyter.request(method, address, sent), 503, "StoreUnreachable", "s3_endpoint_url")
    page = jupyter.request("GET", f"/bookstore/clone?{urlencode(body)}")
    assert page.status == 503
    assert page.headers["content-type"].startswith("text/html")
    assert b"s3_endpoint_url" in page.body
    told = jupyter.ok("GET", route("status", path="waits.ipynb"))
    assert told["path"]["problem"]["code"] == "StoreUnreachable"


def test_files_are_cloned_from_the_base_directory_and_from_nowhere_else(jupyter, basedir):
    cloned = jupyter.ok("POST", route("fs-clone"), {"relpath": "notes/read me.txt", "target_path": "copied.txt"})
    assert cloned["path"] == "copied.txt"
    assert jupyter.on_disk("copied.txt") == b"to clone"
    for relpath in ("../../etc/passwd", "out.txt", "/etc/passwd", "notes", "notes/../../x", "not there.txt", "a\0b"):
        answer = jupyter.request("POST", route("fs-clone"), {"relpath": relpath})
        assert_error(answer, 404, "FileMissing")
        page = jupyter.request("GET", f"/bookstore/fs-clone?{urlencode({'relpath': relpath})}")
        assert page.status == 404
        for told in (answer.body, page.body):
            assert str(basedir).encode() not in told
            assert b"secret" not in told
    assert_error(jupyter.request("POST", route("fs-clone"), {}), 400, "InvalidRequest", "relpath")


def test_the_page_tells_what_would_be_cloned_and_runs_only_its_own_script(jupyter, foreign):
    (version_id, content), _ = foreign["theirs/book.ipynb"]
    query = urlencode({"s3_bucket": "rest", "s3_key": "theirs/book.ipynb", "s3_version_id": version_id})
    page = jupyter.request("GET", f"/bookstore/clone?{query}")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=UTF-8"
    text = page.body.decode()
    for told in ("book.ipynb", "rest", version_id, f"{len(content)} bytes", f"{BASE_URL}api/bookstore/clone"):
        assert told in text
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    nonce = policy["script-src"].removeprefix("'nonce-").removesuffix("'")
    assert f'<script nonce="{nonce}">' in text
    head = jupyter.request("HEAD", f"/bookstore/clone?{query}")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == "text/html; charset=UTF-8"
    assert "nonce" in head.headers["content-security-policy"]
    assert jupyter.request("HEAD", "/bookstore/clone?s3_bucket=others&s3_key=a").status == 403
    again = jupyter.request("GET", f"/bookstore/clone?{query}").headers["content-security-policy"]
    assert nonce not in again
    refused = jupyter.request("GET", "/bookstore/clone?s3_bucket=others&s3_key=%3Cscript%3Ealert(1)%3C/script%3E")
    assert refused.status == 403
    assert b"<script>alert" not in refused.body
    assert jupyter.request("GET", "/bookstore/clone?s3_bucket=rest").status == 400


# -- errors ------------------------------------------------------------------------------------------------------------


def test_an_error_that_nobody_foresaw_tells_nothing_of_the_inside(start_jupyter, bucket):
    config = (
        "import bookstore.library\n"
        "async def fail(*args, **kwargs):\n"
        "    raise RuntimeError('the secret is xyzzy')\n"
        "bookstore.library.Library.history = fail\n"
    )
    jupyter = start_jupyter(bucket, config={"jupyter_server_config.py": config})
    answer = jupyter.request("GET", route("versions", "a.ipynb"))
    assert_error(answer, 500, "InternalServerError", "inside the server")
    assert b"xyzzy" not in answer.body
    assert b"Traceback" not in answer.body
    assert "xyzzy" in jupyter.log.read_text()


def test_bookstore_2_s_names_are_there():
    from bookstore.clone import (
        BookstoreCloneAPIHandler,
        BookstoreCloneHandler,
        BookstoreFSCloneAPIHandler,
        BookstoreFSCloneHandler,
        build_file_model,
        build_notebook_model,
        validate_relpath,
    )
    from bookstore.handlers import BookstoreVersionHandler, build_settings_dict
    from bookstore.publish import BookstorePublishAPIHandler

    for handler in (BookstoreCloneAPIHandler, BookstoreFSCloneAPIHandler):
        assert "post" in vars(handler)
    for handler in (BookstoreCloneHandler, BookstoreFSCloneHandler, BookstoreVersionHandler):
        assert "get" in vars(handler)
    assert "put" in vars(BookstorePublishAPIHandler)
    assert all(map(callable, (build_file_model, build_notebook_model, validate_relpath)))
    assert build_settings_dict({"archive_valid": True})["features"] == {"archive_valid": True}
