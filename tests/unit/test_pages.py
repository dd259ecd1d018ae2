"""`bookstore.pages`: what people see before they clone, and what happens when they press the button."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bookstore.pages import human_size, human_time, render_clone_page, render_error_page
from bookstore.results import CloneSource

BASE_URL = "/user/kylek/"
SOURCE = CloneSource(
    source="s3://shared/team/report.ipynb",
    name="report.ipynb",
    size=1_400_000,
    last_modified="2025-11-20T10:36:00+00:00",
    version_id="v00000007",
    by="ann",
    sha256="ab" * 32,
)
from ci.contrast import contrast

BODY = {"s3_bucket": "shared", "s3_key": "team/report.ipynb", "s3_version_id": "v00000007"}
HOSTILE = "\"'><img src=x onerror=alert(1)></script><script>alert(2)</script>{{ 7*7 }}.ipynb"


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self._open.append(attributes.get("id") or tag)

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data

    def attributes(self, tag: str, **wanted: str) -> dict[str, str | None]:
        (found,) = [a for t, a in self.elements if t == tag and wanted.items() <= a.items()]
        return found

    def text(self) -> str:
        hidden = ("script", "style", "clone-data")
        return " ".join(" ".join(text.split()) for name, text in self.texts.items() if name not in hidden)


def clone_page(source: CloneSource = SOURCE, body: dict[str, Any] | None = None, **options: Any) -> str:
    settings = {
        "api_url": f"{BASE_URL}api/bookstore/clone",
        "base_url": BASE_URL,
        "xsrf_token": "from-the-page",
        "open_url_prefix": f"{BASE_URL}lab/tree/",
    }
    return render_clone_page(source=source, body=BODY if body is None else body, **(settings | options))


def data_of(page: Page) -> dict[str, Any]:
    return json.loads(page.texts["clone-data"])


def test_the_page_tells_what_will_be_copied_from_where():
    text = Page(clone_page()).text()
    for shown in ("shared", "team/report.ipynb", "v00000007", "1.4 MB", "1,400,000 bytes", "ann", "ab" * 32):
        assert shown in text
    assert "20 November 2025, 10:36 UTC" in text


def test_a_file_is_told_by_its_path_alone():
    source = CloneSource("data/table.csv", "table.csv", 12, "2025-11-20T10:36:00+00:00")
    page = Page(
        clone_page(source, {"relpath": "data/table.csv"}, api_url=f"{BASE_URL}api/bookstore/fs-clone"),
    )
    text = page.text()
    assert "data/table.csv" in text
    assert "12 bytes" in text
    assert "not known" in text
    assert "Bucket" not in text
    assert "notebook" not in text
    assert data_of(page)["body"] == {"relpath": "data/table.csv"}


def test_a_page_that_names_no_version_says_that_it_is_the_newest():
    body = {"s3_bucket": "shared", "s3_key": "team/report.ipynb"}
    assert "v00000007 (newest)" in Page(clone_page(body=body)).text()
    unversioned = CloneSource("s3://shared/a.txt", "a.txt", 1, "2025-11-20T10:36:00+00:00")
    assert "newest" in Page(clone_page(unversioned, body)).text()


def test_the_target_can_be_edited_and_is_the_name_of_the_source_at_first():
    page = Page(clone_page())
    target = page.attributes("input", id="target")
    assert target["value"] == "report.ipynb"
    assert page.attributes("label")["for"] == "target"
    assert page.attributes("p", id=target["aria-describedby"] or "")
    assert Page(clone_page(target_path="here/a.ipynb")).attributes("input", id="target")["value"] == "here/a.ipynb"


def test_results_are_told_in_a_live_region():
    message = Page(clone_page()).attributes("div", id="message")
    assert message["aria-live"] == "polite"


def test_without_scripts_nothing_can_be_pressed_and_a_sentence_says_why():
    page = Page(clone_page())
    assert "disabled" in page.attributes("button", id="submit")
    assert "disabled" in page.attributes("input", id="target")
    assert "hidden" not in page.attributes("div", id="no-script")
    assert "needs JavaScript" in page.text()


def test_every_script_and_style_carries_the_nonce_and_none_stands_in_an_attribute():
    for html in (clone_page(nonce="n0nce"), render_error_page(status=404, message="m", base_url="/", nonce="n0nce")):
        page = Page(html)
        kinds = {tag for tag, _ in page.elements if tag in ("script", "style")}
        assert "style" in kinds
        for tag, attributes in page.elements:
            if tag in ("script", "style"):
                assert attributes["nonce"] == "n0nce"
                assert "src" not in attributes
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]


def test_without_a_nonce_there_is_no_such_attribute():
    assert not [a for _, a in Page(clone_page()).elements if "nonce" in a]


def test_nothing_that_comes_from_outside_becomes_markup():
    source = CloneSource(f"s3://b/{HOSTILE}", HOSTILE, SOURCE.size, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    body = {"s3_bucket": HOSTILE, "s3_key": HOSTILE, "s3_version_id": HOSTILE}
    page = Page(
        clone_page(
            source,
            body,
            target_path=HOSTILE,
            xsrf_token=HOSTILE,
            open_url_prefix=HOSTILE,
            api_url=HOSTILE,
            nonce=HOSTILE,
        )
    )
    plain = Page(clone_page(nonce="n"))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert page.attributes("input", id="target")["value"] == HOSTILE
    assert data_of(page)["body"] == body
    assert "{{ 7*7 }}" in page.text()

    error = Page(render_error_page(status=400, message=HOSTILE, hint=HOSTILE, title=HOSTILE, base_url=HOSTILE))
    assert "img" not in {tag for tag, _ in error.elements}
    assert "script" not in {tag for tag, _ in error.elements}
    assert error.text().count("onerror") >= 3


def test_the_error_page_tells_the_reason_and_the_next_step():
    page = Page(render_error_page(status=403, message="Not this bucket.", hint="Ask for it.", base_url=BASE_URL))
    assert "Not this bucket." in page.text()
    assert "Ask for it." in page.text()
    assert "403" in page.text()
    assert page.attributes("a")["href"] == BASE_URL


def test_the_error_page_for_a_frame_leads_nowhere():
    told = {"status": 413, "message": "Too large.", "hint": "Ask for it.", "download_url": "/d", "base_url": BASE_URL}
    assert [tag for tag, _ in Page(render_error_page(**told)).elements].count("a") == 2
    page = Page(render_error_page(**told, is_embedded=True))
    assert "a" not in {tag for tag, _ in page.elements}
    for shown in ("Too large.", "Ask for it.", "413"):
        assert shown in page.text()


@pytest.mark.parametrize("name", ["clone", "error"])
def test_pages_are_whole_documents_with_language_heading_and_title(name):
    html = clone_page() if name == "clone" else render_error_page(status=500, message="m", base_url="/")
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert page.attributes("html")["lang"] == "en"
    assert page.attributes("main") == {}
    assert page.attributes("h1") == {}
    assert "bookstore" in page.texts["title"]
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground_in_light_and_in_dark(scheme):
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", re.findall(r":root \{(.*?)\}", clone_page(), re.DOTALL)[scheme]))
    for text, ground in [
        ("text", "page"),
        ("text", "card"),
        ("quiet", "card"),
        ("accent", "card"),
        ("on-accent", "accent"),
        ("on-accent", "accent-strong"),
        ("bad", "bad-card"),
        ("good", "good-card"),
    ]:
        assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
    assert contrast(colors["field"], colors["card"]) >= 3


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_400_000, "1.4 MB"),
        (2_500_000_000, "2.5 GB"),
        (5_000_000_000_000, "5.0 TB"),
    ],
)
def test_sizes_are_told_in_units_that_people_read(count, shown):
    assert human_size(count) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2025-11-20T10:36:00+00:00", "20 November 2025, 10:36 UTC"),
        ("2025-11-20T10:36:00Z", "20 November 2025, 10:36 UTC"),
        ("2025-11-20T12:36:00.5+02:00", "20 November 2025, 10:36 UTC"),
        ("2025-11-20T10:36:00", "20 November 2025, 10:36 UTC"),
        ("0001-01-01T00:00:00+02:00", "0001-01-01T00:00:00+02:00"),
        ("yesterday", "yesterday"),
        ("", ""),
    ],
)
def test_times_are_told_as_people_read_them(text, shown):
    assert human_time(text) == shown


# -- in a browser ------------------------------------------------------------------------------------------------------

POLICY = (
    "default-src 'none'; script-src 'nonce-n0nce'; style-src 'nonce-n0nce'; connect-src 'self'; img-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass
class Site:
    """A server with one clone page, whose answer to the POST a test sets."""

    address: str = ""
    page: str = ""
    cookies: list[str] = field(default_factory=list)
    answer: tuple[int, str, str] = (200, "application/json", '{"path": "report-1.ipynb"}')
    location: str = ""
    received: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(page=clone_page(nonce="n0nce"))
    site.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_page = self.path.split("?")[0] == f"{BASE_URL}bookstore/clone"
            html = site.page if is_page else "<!DOCTYPE html><title>elsewhere</title>"
            self.reply(200, "text/html; charset=utf-8", html, [("Set-Cookie", cookie) for cookie in site.cookies])

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            site.received.append(
                ({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}}, json.loads(content))
            )
            site.may_answer.wait(10)
            headers = [("Location", site.location)] if site.location else []
            self.reply(*site.answer, headers)

        def reply(self, status: int, kind: str, text: str, headers: list[tuple[str, str]]) -> None:
            content = text.encode()
            self.send_response(status)
            for name, value in [
                ("Content-Type", kind),
                ("Content-Length", str(len(content))),
                ("Content-Security-Policy", POLICY),
                *headers,
            ]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.address = f"http://127.0.0.1:{server.server_address[1]}{BASE_URL}bookstore/clone?s3_bucket=shared"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield site
        site.may_answer.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def visit(browser: Any, site: Site) -> Iterator[Callable[..., Any]]:
    """Open the site's page; a script that fails, or that the policy stops, fails the test."""
    contexts = []
    troubles: list[str] = []

    def visit(**options: Any) -> Any:
        context = browser.new_context(locale="en-GB", timezone_id="UTC", **options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda m: troubles.append(m.text) if "Security Policy" in m.text else None)
        page.goto(site.address)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not troubles


def test_pressing_clone_posts_what_the_page_shows_and_opens_the_copy(site, visit):
    site.cookies = [f"_xsrf=from-the-cookie; Path={BASE_URL}"]
    site.answer = (200, "application/json", '{"path": "my work/ü#1?.ipynb"}')
    page = visit()
    page.get_by_label("Clone to").fill("my work/ü#1?.ipynb")
    page.get_by_role("button", name="Clone").click()
    page.wait_for_url("**/lab/tree/**")
    assert page.url.endswith(f"{BASE_URL}lab/tree/my%20work/%C3%BC%231%3F.ipynb")
    ((headers, body),) = site.received
    assert headers["path"] == f"{BASE_URL}api/bookstore/clone"
    assert headers["content-type"] == "application/json"
    assert headers["x-xsrftoken"] == "from-the-cookie"
    assert "from-the-cookie" in headers["cookie"]
    assert body == {**BODY, "target_path": "my work/ü#1?.ipynb"}


def test_the_page_stays_on_the_server_that_it_came_from(site, visit):
    site.page = clone_page(
        nonce="n0nce",
        api_url=f"http://inside.example:8888{BASE_URL}api/bookstore/clone",
        open_url_prefix=f"http://inside.example:8888{BASE_URL}tree",
    )
    page = visit()
    page.get_by_role("button", name="Clone").click()
    page.wait_for_url("**/tree/report-1.ipynb")
    assert page.url.split(BASE_URL)[0] == site.address.split(BASE_URL)[0]
    ((headers, _),) = site.received
    assert headers["path"] == f"{BASE_URL}api/bookstore/clone"


def test_an_empty_target_is_left_to_the_server(site, visit):
    page = visit()
    page.get_by_label("Clone to").fill("  ")
    page.get_by_label("Clone to").press("Enter")
    page.wait_for_url("**/lab/tree/report-1.ipynb")
    ((_, body),) = site.received
    assert body == BODY


def test_the_token_of_the_page_serves_where_scripts_cannot_read_the_cookie(site, visit):
    site.cookies = [f"_xsrf=from-the-cookie; Path={BASE_URL}; HttpOnly"]
    page = visit()
    page.get_by_role("button", name="Clone").click()
    page.wait_for_url("**/lab/tree/**")
    ((headers, _),) = site.received
    assert headers["x-xsrftoken"] == "from-the-page"


def test_of_two_cookies_the_one_is_sent_that_the_server_takes(site, visit):
    from tornado.httputil import parse_cookie

    site.cookies = ["_xsrf=of-the-hub; Path=/", f"_xsrf=of-the-server; Path={BASE_URL}"]
    page = visit()
    page.get_by_role("button", name="Clone").click()
    page.wait_for_url("**/lab/tree/**")
    ((headers, _),) = site.received
    assert headers["x-xsrftoken"] == parse_cookie(headers["cookie"])["_xsrf"]


def test_an_error_is_told_with_its_hint_and_the_button_works_again(site, visit):
    error = {"message": "<b>Not</b> this bucket.", "reason": None, "hint": "Ask for it.", "code": "CloningForbidden"}
    site.answer = (403, "application/json", json.dumps(error))
    page = visit()
    page.get_by_role("button", name="Clone").click()
    notice = page.locator("#message")
    notice.get_by_text("<b>Not</b> this bucket.").wait_for()
    notice.get_by_text("Ask for it.").wait_for()
    site.answer = (200, "application/json", '{"path": "report.ipynb"}')
    page.get_by_role("button", name="Clone").click()
    page.wait_for_url("**/lab/tree/report.ipynb")


@pytest.mark.parametrize(
    ("status", "kind", "text", "shown"),
    [
        (502, "text/html", "<h1>Bad gateway</h1>", "The server answered 502"),
        (200, "text/html", "<h1>Sign in</h1>", "Load this page again"),
        (200, "application/json", "[]", "The server answered 200"),
        (403, "application/json", '{"message": "\'_xsrf\' argument missing from POST"}', "sign in"),
        (404, "application/json", '{"message": "There is no such key.", "reason": null}', "There is no such key."),
    ],
)
def test_every_other_answer_is_told_too(site, visit, status, kind, text, shown):
    site.answer = (status, kind, text)
    page = visit()
    page.get_by_role("button", name="Clone").click()
    page.locator("#message").get_by_text(shown).wait_for()
    assert page.url == site.address


def test_a_redirect_to_a_sign_in_page_is_not_taken_for_success(site, visit):
    site.answer = (302, "text/html", "")
    site.location = f"{BASE_URL}login"
    page = visit()
    page.get_by_role("button", name="Clone").click()
    page.locator("#message").get_by_text("not signed in").wait_for()


def test_a_server_that_is_gone_is_told(site, visit):
    page = visit()
    page.route("**/api/bookstore/clone", lambda route: route.abort())
    page.get_by_role("button", name="Clone").click()
    page.locator("#message").get_by_text("did not answer").wait_for()


def test_pressing_twice_clones_once(site, visit):
    site.may_answer.clear()
    page = visit()
    button = page.locator("#submit")
    button.click()
    page.locator("#message").get_by_text("Cloning…").wait_for()
    button.click(force=True)
    page.get_by_label("Clone to").press("Enter")
    site.may_answer.set()
    page.wait_for_url("**/lab/tree/**")
    assert len(site.received) == 1


def test_without_scripts_the_browser_shows_the_sentence(site, visit):
    page = visit(java_script_enabled=False)
    assert page.locator("#no-script").is_visible()
    assert page.locator("#submit").is_disabled()
    page = visit()
    assert not page.locator("#no-script").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_sideways_scrolling(site, visit, scheme):
    site.page = clone_page(
        CloneSource("s3://b/" + "x" * 900, "x" * 200 + ".ipynb", 1, SOURCE.last_modified, "v" * 60, "a" * 90, "a" * 64),
        {"s3_bucket": "b", "s3_key": "x" * 900},
        nonce="n0nce",
    )
    page = visit(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(24, 24, 27)") is (scheme == "dark")
