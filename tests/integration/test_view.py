"""The page that shows a version: from a real Jupyter server, in a real browser, with notebooks that mean ill."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from bookstore.rendering import MAX_VIEWED
from ci.bucket import Bucket
from ci.jupyter_process import JupyterProcess, contents_url, notebook

BASE_URL = "/user/kylek/"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" onload="alert(\'svg\')"><script>alert(1)</script>'
    '<image href="http://evil.example/svg.png" width="9" height="9"/><rect width="40" height="40"/></svg>'
)
#: Each would run or load something if it were let.
EVIL_HTML = [
    "<script>alert('script'); fetch('http://evil.example/script')</script>",
    "<img src=x onerror=\"alert('onerror')\">",
    "<img src=http://evil.example/pixel.png srcset='http://evil.example/2x.png 2x'>",
    "<a id=bad href=\"javascript:alert('link')\">click me</a>",
    "<a href=\"java&#10;script:alert('link')\">click me</a>",
    "<a href=\"data:text/html,<script>alert('data')</script>\">click me</a>",
    SVG,
    "<iframe srcdoc=\"<script>parent.alert('srcdoc')</script>\"></iframe>",
    "<iframe src=http://evil.example/frame></iframe>",
    "<style>@import 'http://evil.example/import.css'; body { background: url(http://evil.example/bg.png) }</style>",
    "<style>#T_1_a, .bs-head { display: none } #T_1 { background: url(http://evil.example/t.png) }</style>",
    "<p style=\"position: fixed; top: 0; left: 0; background: url('http://evil.example/attribute.png')\">over</p>",
    "<link rel=stylesheet href=http://evil.example/link.css><base href=http://evil.example/>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/refresh'>",
    "<form action=http://evil.example/form><button autofocus onfocus=\"alert('focus')\">send</button></form>",
    "<object data=http://evil.example/object></object><embed src=http://evil.example/embed>",
    "<video autoplay src=http://evil.example/video onerror=\"alert('video')\"></video>",
    "<details open ontoggle=\"alert('toggle')\"><summary>more</summary></details>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'></math>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'></svg>",
    "<template><script>alert('template')</script></template><textarea></textarea><img src=x onerror=alert(1)>",
    "</div></section></div></main><h1 class='bs-head notice'>Not yours</h1><div class=bs-head id=bs>mine</div>",
    "<marquee onstart=\"alert('marquee')\">x</marquee><body onload=\"alert('body')\">",
    "<a ping=http://evil.example/ping href=https://example.org/good>good</a>",
]


def hostile_notebook() -> dict[str, Any]:
    """A notebook with everything that runs or loads something where it is let, in each place that may hold it."""
    everything = "\n\n".join(EVIL_HTML)
    evil_name = "</title></style><script>alert('name')</script>\"'><img src=x onerror=alert(1)>"
    data = [
        *({"text/html": html, "text/plain": "plain"} for html in [*EVIL_HTML, everything]),
        {"application/javascript": "alert('javascript'); fetch('http://evil.example/js')", "text/plain": "js"},
        {"text/javascript": "alert('javascript')"},
        {"image/svg+xml": SVG},
        {"image/png": "x\" onerror=\"alert('png')"},
        {"text/markdown": everything},
        {"text/latex": f"${evil_name}$"},
        {"application/vnd.jupyter.widget-view+json": {"model_id": evil_name}, "text/plain": evil_name},
        {evil_name: evil_name},
    ]
    outputs: list[dict[str, Any]] = [{"output_type": "display_data", "metadata": {}, "data": one} for one in data]
    outputs += [
        {"output_type": "stream", "name": "stdout", "text": everything},
        {"output_type": "stream", "name": "stderr", "text": f"\x1b[31m{everything}\x1b[0m"},
        {"output_type": "error", "ename": evil_name, "evalue": evil_name, "traceback": [everything]},
    ]
    code = {"cell_type": "code", "metadata": {"tags": [evil_name]}, "execution_count": 1, "source": everything}
    return {
        "cells": [
            {"cell_type": "markdown", "id": "m1", "metadata": {}, "source": everything},
            {
                "cell_type": "markdown",
                "id": "m2",
                "metadata": {},
                "source": "[x](javascript:alert('md')) ![x](http://evil.example/md.png) ![y](attachment:a) $<img src>$"
                "\n\n```html\n<script>alert('fence')</script>\n```\n\n```<img/src=x/onerror=alert(1)>\nx\n```",
                "attachments": {"a": {"image/png": "x' onerror='alert(1)"}},
            },
            {**code, "id": "c1", "outputs": outputs},
            {"cell_type": "raw", "id": "r1", "metadata": {"format": "text/html"}, "source": everything},
        ],
        "metadata": {
            "title": evil_name,
            "kernelspec": {"name": evil_name, "display_name": evil_name, "language": evil_name},
            "language_info": {"name": evil_name, "pygments_lexer": evil_name},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@pytest.fixture(scope="module")
def bucket(moto):
    return Bucket(moto, moto.create_bucket("view"))


@pytest.fixture(scope="module")
def jupyter(bucket, tmp_path_factory) -> Iterator[JupyterProcess]:
    chosen = {"s3_cloning_buckets": ["view"], "archive_globs": ["*"]}
    lines = [f"c.BookstoreSettings.{name} = {value!r}\n" for name, value in chosen.items()]
    with JupyterProcess(
        tmp_path_factory.mktemp("view"),
        environment=bucket.environment,
        base_url=BASE_URL,
        config={"jupyter_server_config.py": "".join(lines)},
    ) as process:
        yield process


def view(path: str, **query: str) -> str:
    return f"/bookstore/view/{quote(path)}" + (f"?{urlencode(query)}" if query else "")


def saved(jupyter: JupyterProcess, path: str, content: dict[str, Any]) -> str:
    """Save a notebook; its version."""
    jupyter.save(path, content)
    jupyter.flush()
    return newest(jupyter, path)


def put(jupyter: JupyterProcess, path: str, data: bytes) -> str:
    """Save a file; its version."""
    model = {"type": "file", "format": "base64", "content": base64.b64encode(data).decode()}
    jupyter.ok("PUT", contents_url(path), model)
    jupyter.flush()
    return newest(jupyter, path)


def newest(jupyter: JupyterProcess, path: str) -> str:
    version_id: str = jupyter.ok("GET", f"/api/bookstore/versions/{quote(path)}")["versions"][0]["version_id"]
    return version_id


def test_the_page_shows_the_version_that_was_asked_for_and_where_it_comes_from(jupyter):
    path = "a folder ü+ 'x'.ipynb"
    old = saved(jupyter, path, notebook("the_old_one = 1"))
    saved(jupyter, path, notebook("the_new_one = 2"))
    answer = jupyter.request("GET", view(path))
    page = answer.body.decode()
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=UTF-8"
    assert "the_new_one" in page
    assert "the_old_one" not in page
    answer = jupyter.request("GET", view(path, version_id=old))
    page = answer.body.decode()
    assert "the_old_one" in page
    assert "the_new_one" not in page
    assert old in page
    assert answer.headers["x-bookstore-version-id"] == old
    links = dict(re.findall(r'href="([^"]+)">(Download|Open the clone page|Back to Jupyter)<', page))
    by_text = {text: address.replace("&amp;", "&") for address, text in links.items()}
    download = jupyter.request("GET", by_text["Download"].removeprefix(BASE_URL.rstrip("/")))
    assert b"the_old_one" in download.body
    clone = urlsplit(by_text["Open the clone page"])
    assert clone.path == f"{BASE_URL}bookstore/clone"
    assert parse_qs(clone.query)["s3_version_id"] == [old]
    assert by_text["Back to Jupyter"] == BASE_URL


def test_a_published_version_is_shown_too(jupyter):
    saved(jupyter, "to publish.ipynb", notebook("published_here"))
    jupyter.ok("PUT", f"/api/bookstore/publish/{quote('to publish.ipynb')}")
    answer = jupyter.request("GET", view("to publish.ipynb", area="published"))
    assert answer.status == 200
    assert b"published_here" in answer.body
    assert b"area=published" in answer.body
    assert jupyter.request("GET", view("to publish.ipynb", area="nowhere")).status == 400


def test_where_cloning_is_off_no_link_leads_to_it(start_jupyter, bucket):
    jupyter = start_jupyter(bucket, arguments=["--BookstoreSettings.enable_s3_cloning=False"])
    saved(jupyter, "no clone.ipynb", notebook("x"))
    answer = jupyter.request("GET", view("no clone.ipynb"))
    assert answer.status == 200
    assert b"clone page" not in answer.body


def test_the_browser_may_keep_the_page_and_asks_each_time(jupyter):
    saved(jupyter, "kept.ipynb", notebook("one"))
    first = jupyter.request("GET", view("kept.ipynb"))
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for method in ("GET", "HEAD"):
        again = jupyter.request(method, view("kept.ipynb"), headers={"If-None-Match": tag})
        assert again.status == 304
        assert again.body == b""
        # What the browser kept has the nonce of the first answer, and the headers of this one.
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    saved(jupyter, "kept.ipynb", notebook("two"))
    after = jupyter.request("GET", view("kept.ipynb"), headers={"If-None-Match": tag})
    assert after.status == 200
    assert after.headers["etag"] != tag
    assert after.headers["content-security-policy"] != first.headers["content-security-policy"]


def test_the_page_for_a_frame_is_one_of_its_own_without_head_and_links(jupyter):
    saved(jupyter, "framed.ipynb", notebook("the_content = 1"))
    whole, also_whole, framed = (
        jupyter.request("GET", view("framed.ipynb", **asked))
        for asked in ({}, {"embedded": "false"}, {"embedded": "true"})
    )
    assert also_whole.body == whole.body
    page = framed.body.decode()
    assert "the_content" in page
    assert "bs-head" in whole.body.decode().partition("<body>")[2]
    assert "bs-head" not in page.partition("<body>")[2]
    assert "<a " not in page
    assert framed.headers["etag"] != whole.headers["etag"] == also_whole.headers["etag"]
    assert framed.headers["content-security-policy"].startswith("sandbox; default-src 'none'; ")
    for method in ("GET", "HEAD"):
        for asked, answer, other in (({}, whole, framed), ({"embedded": "true"}, framed, whole)):
            known = {"If-None-Match": answer.headers["etag"]}
            again = jupyter.request(method, view("framed.ipynb", **asked), headers=known)
            assert again.status == 304
            assert again.headers["content-security-policy"] == answer.headers["content-security-policy"]
            known = {"If-None-Match": other.headers["etag"]}
            assert jupyter.request(method, view("framed.ipynb", **asked), headers=known).status == 200


def test_an_error_in_a_frame_has_no_links_either(jupyter):
    answer = jupyter.request("GET", view("nowhere.ipynb", embedded="true"))
    assert answer.status == 404
    assert b"This cannot be shown" in answer.body
    assert b"<a " not in answer.body
    assert answer.headers["content-security-policy"].startswith("sandbox; ")
    put(jupyter, "large framed.txt", b"x" * (MAX_VIEWED + 1))
    answer = jupyter.request("GET", view("large framed.txt", embedded="true"))
    assert answer.status == 413
    assert b"<a " not in answer.body
    for nonsense in ("yes", "TRUE", "1"):
        answer = jupyter.request("GET", view("nowhere.ipynb", embedded=nonsense))
        assert answer.status == 400
        assert b"embedded is to be true or false" in answer.body
    assert jupyter.request("GET", f"{view('nowhere.ipynb')}?embedded=%ff").status == 400


def test_head_tells_what_get_would(jupyter):
    saved(jupyter, "head.ipynb", notebook("one"))
    get, head = (jupyter.request(method, view("head.ipynb")) for method in ("GET", "HEAD"))
    assert head.status == 200
    assert head.body == b""
    for name in ("content-type", "etag", "cache-control", "content-security-policy", "x-bookstore-version-id"):
        assert head.headers[name] == get.headers[name]


def test_what_is_not_there_or_too_large_is_told_by_a_page(jupyter):
    answer = jupyter.request("GET", view("nowhere.ipynb"))
    assert answer.status == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert b"This cannot be shown" in answer.body
    put(jupyter, "large.txt", b"x" * (MAX_VIEWED + 1))
    answer = jupyter.request("GET", view("large.txt"))
    assert answer.status == 413
    assert f'href="{BASE_URL}api/bookstore/content/large.txt"'.encode() in answer.body
    assert "etag" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


def test_files_are_shown_as_what_they_are(jupyter):
    put(jupyter, "some.py", b"import os  # <b>\n")
    put(jupyter, "some.html", b"<h1>not a page</h1><script>alert(1)</script>")
    put(jupyter, "some.png", base64.b64decode(PNG))
    put(jupyter, "some.svg", SVG.encode())
    put(jupyter, "some.bin", b"\x00\xff\x00")
    names = ["py", "html", "png", "svg", "bin"]
    pages = {name: jupyter.request("GET", view(f"some.{name}")).body.decode() for name in names}
    assert "&lt;b&gt;" in pages["py"]
    assert "alert(1)" in re.sub(r"<[^>]+>", "", pages["html"])
    assert "<script" not in pages["html"]
    assert f'src="data:image/png;base64,{PNG}"' in pages["png"]
    assert 'src="data:image/svg+xml;base64,' in pages["svg"]
    assert "<svg" not in pages["svg"]
    assert "download it" in pages["bin"]


def test_who_is_not_known_is_led_to_the_login(jupyter):
    answer = jupyter.request("GET", view("kept.ipynb"), headers={"Authorization": None})
    assert answer.status == 302
    assert answer.headers["location"].startswith(f"{BASE_URL}login?next=")


def test_the_policy_lets_nothing_run_and_nothing_be_loaded(jupyter):
    saved(jupyter, "policy.ipynb", notebook("one"))
    answer = jupyter.request("GET", view("policy.ipynb"))
    parts = [part.partition(" ") for part in answer.headers["content-security-policy"].split("; ")]
    policy = {name: rest for name, _, rest in parts}
    assert set(policy["sandbox"].split()) == {
        "allow-downloads",
        "allow-popups",
        "allow-popups-to-escape-sandbox",
    }
    assert policy["default-src"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["img-src"] == "data:"
    assert policy["frame-ancestors"] == "'self'"
    assert "script-src" not in policy
    assert re.fullmatch(r"'nonce-[\w-]{20,}'", policy["style-src"])
    assert " style=" not in answer.body.decode()


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture
def visit(browser: Any, jupyter: JupyterProcess) -> Iterator[Callable[..., Any]]:
    """Open a page as somebody who is logged in; it tells every request, dialog and new window."""
    contexts = []

    def visit(address: str, seen: list[str], **options: Any) -> Any:
        context = browser.new_context(**options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        site = f"http://127.0.0.1:{jupyter.port}{BASE_URL}"
        context.request.get(f"{site}login?token={jupyter.token}")
        context.route(lambda url: "127.0.0.1" not in url, lambda route: route.fulfill(body="elsewhere"))
        page = context.new_page()
        # A policy that stopped something shows that only one fence was left.
        page.on("console", lambda message: seen.append(f"console {message.text}"))
        page.on("dialog", lambda dialog: (seen.append(f"dialog {dialog.message}"), dialog.dismiss()))
        context.on("request", lambda request: seen.append(f"request {request.url}"))
        page.goto(site + address.removeprefix("/"))
        return page

    yield visit
    for context in contexts:
        context.close()


def test_a_hostile_notebook_runs_nothing_and_loads_nothing(jupyter, visit):
    saved(jupyter, "hostile.ipynb", hostile_notebook())
    seen: list[str] = []
    page = visit(view("hostile.ipynb"), seen)
    page.wait_for_load_state("networkidle")
    for link in page.locator(".bs-content a:not([href])").all():
        link.click(timeout=3000, force=True)
    page.wait_for_load_state("networkidle")
    loaded = [one for one in seen if not one.startswith("request data:")]
    assert [re.sub(r"127.0.0.1:\d+", "here", one) for one in loaded] == [
        f"request http://here{BASE_URL}bookstore/view/hostile.ipynb"
    ]
    assert page.url.endswith("/bookstore/view/hostile.ipynb")
    # Nothing that it holds got out of its box, or covers what the page itself says.
    assert page.locator(".bs-head").count() == 1
    box, head = page.locator(".bs-content").bounding_box(), page.locator(".bs-head").bounding_box()
    assert head["y"] + head["height"] <= box["y"] + 0.5
    texts = page.locator(".bs-content h1, .bs-content p").all()
    assert texts
    assert all(one.bounding_box()["y"] >= box["y"] for one in texts if one.bounding_box())
    for bad in ("script", "iframe", "object", "embed", "form", "link[href^=http]", "meta[http-equiv]", "base", "svg"):
        assert page.locator(bad).count() == 0, bad
    html = page.content()
    assert not re.search(r"<[^>]*\son\w+=", re.sub(r'"[^"]*"', '""', html))
    images, parts = page.locator(".bs-head .notice p").all_inner_texts()
    assert re.match(r"\d+ images .* are left out", images)
    assert re.match(r"\d+ parts .* are left out", parts)
    assert page.title().startswith("hostile.ipynb ")


def test_a_frame_that_allows_nothing_shows_the_page_for_it(jupyter, visit):
    saved(jupyter, "hostile framed.ipynb", hostile_notebook())
    seen: list[str] = []
    page = visit("/login", [])
    asked: list[str] = []
    page.on("console", lambda message: seen.append(message.text))
    page.context.on("request", lambda request: asked.append(request.url))
    address = f"{BASE_URL.rstrip('/')}{view('hostile framed.ipynb', embedded='true')}"
    page.evaluate(
        """address => {
            const frame = document.createElement("iframe");
            frame.setAttribute("sandbox", "");
            frame.setAttribute("width", "900");
            frame.setAttribute("height", "600");
            frame.src = address;
            document.body.replaceChildren(frame);
        }""",
        address,
    )
    frame = page.frame_locator("iframe")
    frame.locator(".bs-content").wait_for()
    page.wait_for_load_state("networkidle")
    # The page around it asks for its icon, maybe not before now.
    loaded = [one for one in asked if not one.startswith("data:") and "/static/favicon" not in one]
    assert [one.rpartition("/")[2] for one in loaded] == ["hostile%20framed.ipynb?embedded=true"]
    assert seen == []
    assert frame.locator("h1:not(.bs-content h1)").count() == 0
    assert re.match(r"\d+ images .* are left out", frame.locator("header .notice p").first.inner_text())
    # Only links of the notebook are left, and those lead nowhere from here.
    assert frame.locator("a[href]:not(.bs-content a)").count() == 0
    pages = len(page.context.pages)
    frame.locator(".bs-content a[href^='https:']").first.click(force=True)
    frame.locator(".bs-content").click(position={"x": 2, "y": 2})
    assert len(page.context.pages) == pages
    assert frame.locator(".bs-content").count() == 1
    # It takes the whole frame, and needs no scrolling sideways of its own.
    box = frame.locator("main").bounding_box()
    outer = page.locator("iframe").bounding_box()
    assert outer["width"] - 25 <= box["width"] <= outer["width"]


def test_the_second_fence_holds_where_the_first_is_gone(jupyter, visit, browser):
    answer = jupyter.request("GET", view("hostile.ipynb"))
    evil = "".join(EVIL_HTML)
    page_text = answer.body.decode().replace('<div class="bs-content"', f'{evil}<div class="bs-content"')
    context = browser.new_context()
    loaded: list[str] = []
    asked: list[str] = []
    context.on("requestfinished", lambda request: loaded.append(request.url))
    page = context.new_page()
    page.on("dialog", lambda dialog: (loaded.append(dialog.message), dialog.dismiss()))
    headers = {name: answer.headers[name] for name in ("content-type", "content-security-policy")}

    def reply(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(body=page_text, headers=headers) if route.request.url == "http://here.test/" else route.abort()

    context.route("**/*", reply)
    page.goto("http://here.test/", wait_until="commit")
    page.wait_for_selector(".bs-content")
    assert [one for one in loaded if not one.startswith("data:")] == ["http://here.test/"]
    assert asked == ["http://here.test/"]
    context.close()


def test_the_links_of_the_page_work_in_its_sandbox(jupyter, visit):
    saved(jupyter, "links.ipynb", notebook("to be cloned"))
    page = visit(view("links.ipynb"), [])
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "links.ipynb"
    assert json.loads(download.value.path().read_text())["nbformat"] == 4
    page.get_by_role("link", name="Open the clone page").click()
    page.wait_for_url("**/bookstore/clone?**")
    page.get_by_role("button", name="Clone").click()
    page.wait_for_url("**/links-1.ipynb")


def test_links_of_a_notebook_open_in_a_window_of_their_own(jupyter, visit):
    content = notebook("x")
    content["cells"][0] = {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "[go](https://example.org/x)"}
    saved(jupyter, "outside.ipynb", content)
    page = visit(view("outside.ipynb"), [])
    with page.expect_popup() as popup:
        page.get_by_role("link", name="go").click()
    assert popup.value.url == "https://example.org/x"
    assert popup.value.evaluate("window.opener") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_no_screen_needs_sideways_scrolling_of_the_page(jupyter, visit, scheme, width):
    content = notebook("x = '" + "y" * 500 + "'")
    content["cells"][0]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "z" * 900},
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {"text/html": "<table><tr>" + "<td>wide column</td>" * 60 + "</tr></table>"},
        },
    ]
    saved(jupyter, f"wide {scheme} {width}.ipynb", content)
    seen: list[str] = []
    page = visit(
        view(f"wide {scheme} {width}.ipynb"), seen, viewport={"width": width, "height": 700}, color_scheme=scheme
    )
    assert page.locator("body").evaluate("e => e.ownerDocument.documentElement.scrollWidth") <= width
    background = page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
    assert (background == "rgb(24, 24, 27)") is (scheme == "dark")
    assert not [one for one in seen if one.startswith("console")]
