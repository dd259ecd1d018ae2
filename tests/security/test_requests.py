"""Who may ask what over HTTP: every route of a real server, asked by those who may not, and from where they may not."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

import pytest

from ci.jupyter_process import notebook

#: Nothing that answers one of these was reached.
REFUSALS = (302, 403, 404)

#: How a form, or a script that may send only "simple" requests, sends what another site has written.
SIMPLE = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain")


@pytest.fixture(scope="module")
def versions(make_versions):
    return make_versions("some.ipynb", "one", "two")


@pytest.fixture(scope="module")
def browser(jupyter):
    return jupyter.browser()


def state_of(jupyter, bucket, path):
    """All that a request could change: the key's versions, the bucket's keys, the files and the outbox."""
    jupyter.flush()
    keys = sorted(bucket.keys())
    rows = [(key, len(bucket.rows(key))) for key in keys if "some" in key or path in key]
    files = {}
    for where in (jupyter.root, jupyter.data):
        for file in sorted(where.rglob("*")):
            if file.is_file() and not file.name.startswith(("heartbeat", "nbsignatures", "notebook_secret")):
                files[str(file)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return keys, rows, files


@pytest.mark.parametrize("authorization", [None, "token wrong", "token ", "Bearer null", "Basic Og=="])
def test_no_route_answers_who_is_not_known(jupyter, operations, versions, bucket, authorization):
    before = state_of(jupyter, bucket, "some.ipynb")
    for one in operations:
        answer = jupyter.request(
            one.method, one.address(), one.body(version_id=versions[0]), headers={"Authorization": authorization}
        )
        assert answer.status in (302, 403), f"{one}: {answer.status}"
        if answer.status == 302:
            assert "/login" in answer.headers["location"]
        assert versions[0].encode() not in answer.body
    assert state_of(jupyter, bucket, "some.ipynb") == before


def test_every_route_asks_the_authorizer_and_does_nothing_if_it_refuses(jupyter, operations, versions, bucket):
    before = state_of(jupyter, bucket, "some.ipynb")
    for one in operations:
        body = one.body(version_id=versions[0])
        refused = {"X-Refuse": f"{one.action} bookstore"}
        answer = jupyter.request(one.method, one.address(), body, headers=refused)
        assert answer.status == 403, f"{one}: {answer.status}"
        assert versions[0].encode() not in answer.body
    assert state_of(jupyter, bucket, "some.ipynb") == before


def test_reading_changes_nothing(jupyter, operations, versions, bucket):
    before = state_of(jupyter, bucket, "some.ipynb")
    reading = [one for one in operations if not one.changes]
    answered = set()
    for one in reading:
        for query in ("", f"path=some.ipynb&before={versions[0]}&after={versions[1]}&version_id={versions[0]}"):
            answer = jupyter.request(one.method, one.address(query=query))
            assert answer.status in (200, 404), f"{one}: {answer.body!r}"
            if answer.status == 200:
                answered.add(one)
    # Nothing of this name is published or scheduled.
    assert {one.route for one in set(reading) - answered} <= {"/api/bookstore/scheduled/{path}"}
    assert state_of(jupyter, bucket, "some.ipynb") == before


def test_the_methods_that_http_calls_safe_never_change_by_a_parameter(jupyter, operations, versions, bucket):
    before = state_of(jupyter, bucket, "some.ipynb")
    for one in operations:
        if one.changes:
            tricks = f"_method={one.method}&version_id={versions[0]}&name=x"
            headers = {"X-HTTP-Method-Override": one.method, "X-HTTP-Method": one.method}
            answer = jupyter.request("GET", one.address(query=tricks), headers=headers)
            assert answer.status in (200, 400, 404, 405), f"{one}: {answer.body!r}"
    assert state_of(jupyter, bucket, "some.ipynb") == before


def test_another_site_can_send_nothing_that_changes_something(jupyter, browser, operations, versions, bucket):
    before = state_of(jupyter, bucket, "some.ipynb")
    cookies = {"Cookie": browser_cookies(browser), "Authorization": None}
    for one in operations:
        if not one.changes:
            continue
        for kind in SIMPLE:
            body = b'_xsrf=guess&{"version_id": "x"}'
            headers = {**cookies, "Content-Type": kind, "Origin": "https://evil.example"}
            answer = jupyter.request(one.method, one.address(query="_xsrf=guess"), data=body, headers=headers)
            assert answer.status in (403, 404), f"{one}: {answer.status}"
    assert state_of(jupyter, bucket, "some.ipynb") == before


def test_another_site_reads_no_answer(jupyter, browser, operations):
    cookies = {"Cookie": browser_cookies(browser), "Authorization": None}
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{jupyter.port}.evil.example"):
        for one in operations:
            answer = jupyter.request(one.method, one.address(), one.body(), headers={**cookies, "Origin": origin})
            assert "access-control-allow-origin" not in answer.headers, one
            assert answer.status in REFUSALS, f"{one}: {answer.status}"
    preflight = {**cookies, "Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    for one in operations:
        answer = jupyter.request("OPTIONS", one.address(), headers=preflight)
        assert "access-control-allow-origin" not in answer.headers, one


def test_a_name_that_is_made_to_mean_this_machine_is_refused(jupyter, browser, operations):
    # DNS rebinding: the browser holds the answer for one of evil.example's, and sends its name.
    for one in operations:
        headers = {"Host": "evil.example", "Cookie": browser_cookies(browser), "Authorization": None}
        answer = jupyter.request(one.method, one.address(), one.body(), headers=headers)
        assert answer.status in (302, 403), f"{one}: {answer.status}"


def test_no_request_chooses_the_endpoint_the_region_or_the_credentials(
    jupyter, operations, versions, elsewhere, bucket
):
    chosen = {
        "s3_endpoint_url": elsewhere.url,
        "endpoint_url": elsewhere.url,
        "s3_region_name": "x.evil.example/",
        "s3_access_key_id": "other",
        "s3_ca_bundle": "/etc/passwd",
        "BookstoreSettings.s3_endpoint_url": elsewhere.url,
    }
    before = jupyter.status()["destination"]
    query = "&".join(f"{name}={quote(value)}" for name, value in chosen.items())
    headers = {"X-Amz-Endpoint": elsewhere.url, "X-Forwarded-Host": elsewhere.url.removeprefix("http://")}
    for one in operations:
        body = one.body(version_id=versions[0])
        answer = jupyter.request(
            one.method, one.address(query=query), None if body is None else {**body, **chosen}, headers=headers
        )
        is_model = "publish" in one.route  # of a contents model nothing but the content counts
        assert answer.status == 400 or not one.changes or is_model or one.method == "DELETE", f"{one}: {answer.body!r}"
        assert elsewhere.url.encode() not in answer.body or answer.status == 400
    assert jupyter.status()["destination"] == before
    assert elsewhere.seen == []
    assert not any("evil.example" in key for key in sorted(bucket.keys()))


@pytest.mark.parametrize(
    "bucket_name",
    [
        "security/../other",
        "http://127.0.0.1",
        "arn:aws:s3:us-east-1:123456789012:accesspoint/x",
        "arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/x",
        "..",
        "user@security",
        "security?x",
        "security#x",
        "security:80",
        "security%2f..",
        "security\r\nHost: evil.example",
        "127.0.0.1",
        "[::1]",
        "169.254.169.254",
        "localhost",
        "evil.example",
        "SECURITY",
        "s\u0435curity",  # with a Cyrillic letter
        "security ",
        "security-2",
        "x--use1-az4--x-s3",
    ],
)
def test_a_clone_names_a_bucket_of_the_list_and_nothing_else(jupyter, bucket_name):
    asked = {"s3_bucket": bucket_name, "s3_key": "workspace/some.ipynb"}
    before = {file.name for file in jupyter.root.iterdir()}
    page = jupyter.request("GET", "/bookstore/clone?" + "&".join(f"{n}={quote(v, safe='')}" for n, v in asked.items()))
    for answer in (jupyter.request("POST", "/api/bookstore/clone", asked), page):
        assert answer.status in (400, 403), answer.body
    assert {file.name for file in jupyter.root.iterdir()} == before


def test_every_answer_tells_the_browser_to_run_and_frame_nothing(jupyter, operations, versions):
    for one in operations:
        if one.changes:
            continue
        answer = jupyter.request(one.method, one.address())
        assert answer.headers["x-content-type-options"] == "nosniff", one
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"], one
        assert "no-store" in answer.headers["cache-control"] or "private" in answer.headers["cache-control"], one
        if "/content/" in one.route:
            assert answer.headers["content-disposition"].startswith("attachment;")
            assert "sandbox" in answer.headers["content-security-policy"]
        elif answer.headers["content-type"].startswith("text/html"):
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
        else:
            assert answer.headers["content-type"].startswith("application/json"), one


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "1e3", "9" * 400, "٣", "NaN", "0x10", "1 "])
def test_no_page_is_larger_than_a_page(jupyter, versions, limit):
    for route in ("versions/some.ipynb", "published", "scheduled"):
        answer = jupyter.request("GET", f"/api/bookstore/{route}?limit={quote(limit)}")
        assert answer.status == 400, answer.body


@pytest.mark.parametrize("cursor", ["A" * 60_000, "%00", "../../", "eyJhIjoxfQ", "=", "-" * 200])
def test_a_cursor_that_was_made_up_reads_nothing(jupyter, versions, cursor):
    for route in ("versions/some.ipynb", "published", "scheduled"):
        answer = jupyter.request("GET", f"/api/bookstore/{route}?cursor={cursor}")
        assert answer.status in (400, 414), answer.body[:200]


def test_a_cursor_of_another_history_does_not_open_it(jupyter, make_versions):
    make_versions("mine.ipynb", "1", "2")
    make_versions("theirs.ipynb", "1", "2")
    cursor = jupyter.ok("GET", "/api/bookstore/versions/mine.ipynb?limit=1")["cursor"]
    assert cursor
    answer = jupyter.request("GET", f"/api/bookstore/versions/theirs.ipynb?limit=1&cursor={quote(cursor)}")
    assert answer.status == 400


def test_the_worst_json_is_refused_and_the_server_goes_on(jupyter, versions):
    bodies = [
        b"[" * 200_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"version_id": ' + b"9" * 100_000 + b"}",
        b'{"version_id": "1", "name": 1e999}',
        b'{"timeout": 1e999}',
        b'{"version_id": "' + b"x" * 500_000 + b'"}',
        b"\x00" * 1000,
        b"\xff\xfe{\x00}\x00",
    ]
    for route in ("label/some.ipynb", "restore/some.ipynb", "archive/some.ipynb", "schedule/some.ipynb", "clone"):
        method = {"label": "PATCH", "schedule": "PUT"}.get(route.partition("/")[0], "POST")
        for body in bodies:
            answer = jupyter.request(method, f"/api/bookstore/{route}", data=body)
            assert answer.status == 400, f"{route}: {answer.status} {answer.body[:200]!r}"
            assert len(answer.body) < 2000
    assert jupyter.request("GET", "/api/bookstore").status == 200


def test_a_save_that_a_cookie_alone_makes_is_no_version(jupyter, browser, name, bucket):
    # Jupyter's own protection, on which ours stands.
    model = {"type": "notebook", "content": notebook("forged")}
    assert browser.request("PUT", f"/api/contents/{name}", model, xsrf=False).status == 403
    jupyter.flush()
    assert f"workspace/{name}" not in set(bucket.keys())


def browser_cookies(browser):
    """What a browser sends along, wherever the request comes from."""
    return "; ".join(f"{name}={value}" for name, value in browser._cookies.items())
