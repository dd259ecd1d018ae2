"""`bookstore.rendering` and `bookstore.sanitizing`: what people see of a version, and what does not get that far."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookstore import rendering
from bookstore.pages import clone_page_url, content_url, render_view_page
from bookstore.rendering import render
from bookstore.results import Version
from bookstore.sanitizing import (
    _ATTRIBUTES,
    _ATTRIBUTES_OF,
    TAGS,
    Harmless,
    data_image,
    safe_declarations,
    sanitize,
)
from ci.contrast import contrast

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Elements(HTMLParser):
    """The elements of a piece of HTML, and whether each is closed in its turn."""

    VOID = ("br", "col", "hr", "img", "wbr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def notebook(*cells: dict[str, Any], **metadata: Any) -> bytes:
    document = {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(document).encode()


def code(source: str = "", *outputs: dict[str, Any], count: int | None = None) -> dict[str, Any]:
    cell = {"cell_type": "code", "metadata": {}, "source": source}
    return cell | {"execution_count": count, "outputs": list(outputs)}


def shown(**data: Any) -> dict[str, Any]:
    """An output with these forms; ``__`` stands for the slash."""
    forms = {name.replace("__", "/"): value for name, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": forms}


def markdown(source: str, **more: Any) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source, **more}


def html_of(*cells: dict[str, Any], **metadata: Any) -> str:
    rendered = render("a.ipynb", notebook(*cells, **metadata))
    assert rendered.kind == "notebook", rendered
    return rendered.html


def text_of(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


# -- what is kept of HTML ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<p onclick='x()'>a<b>b", "<p>a<b>b</b></p>"),
        ("a<script>b</script>c", "ac"),
        ("a<script>b", "a"),
        ("<svg><p>x</p></svg>y", "y"),
        ("<svg/>y", "y"),
        ("<math><mi/><mi>x</mi></math>y", "y"),
        ("<iframe><iframe>x</iframe></iframe>y", "y"),
        ("</p></div>x", "x"),
        ("<b><i>x</b>y</i>", "<b><i>x</i></b>y"),
        ("<!-- x --><?x?><!DOCTYPE y>z", "z"),
        ("1 < 2 & 3 > 2", "1 &lt; 2 &amp; 3 &gt; 2"),
        ("&lt;script&gt;", "&lt;script&gt;"),
        ("<form><input type=text value=x>y</form>", "y"),
        ("<a href='javascript:x()'>x</a>", "<a>x</a>"),
        ("<a href='JaVaScRiPt:x()'>x</a>", "<a>x</a>"),
        ("<a href='\x01javascript:x()'>x</a>", "<a>x</a>"),
        ("<a href='vbscript:x'>x</a>", "<a>x</a>"),
        ("<a href='data:text/html,x'>x</a>", "<a>x</a>"),
        ("<a href='//evil.example/'>x</a>", "<a>x</a>"),
        ("<a href='/logout'>x</a>", "<a>x</a>"),
        ("<a href='#Part-1'>x</a>", '<a href="#nb-Part-1">x</a>'),
        ("<p id=bs class='bs-head notice highlight dataframe'>x", '<p class="highlight dataframe" id="nb-bs">x</p>'),
        ("<p title='\"><script>x</script>'>x", '<p title="&quot;&gt;&lt;script&gt;x&lt;/script&gt;">x</p>'),
        ("<a><a>x</a></a>", "<a>x</a>"),
        ("<input type=checkbox checked>x<input type=checkbox>y", "☑ x☐ y"),
    ],
)
def test_html_is_rebuilt_of_what_is_harmless(before, after):
    assert sanitize(before).html == after


def test_links_to_web_sites_open_a_window_that_knows_nothing_of_this_one():
    ((_, link),) = Elements(sanitize("<a href='https://example.org/?a=1&amp;b=2'>x</a>").html).found
    assert link["href"] == "https://example.org/?a=1&b=2"
    assert link["target"] == "_blank"
    assert {"noopener", "noreferrer"} <= set((link["rel"] or "").split())


def test_images_are_shown_only_where_they_stand_in_the_page():
    found = sanitize(f"<img src='data:image/png;base64,{PNG}' alt=a><img src=https://x.example/y.png alt='<b>'><img>")
    assert found.images_left_out == 2
    assert [tag for tag, _ in Elements(found.html).found] == ["img", "span", "span"]
    assert "x.example" not in found.html
    assert "&lt;b&gt;" in found.html
    for address in (
        "data:text/html;base64,eA==",
        "data:image/png,x",
        "data:image/svg+xml,<svg>",
        "http://x.example/data:image/png;base64,eA==",
        f'data:image/png;base64,{PNG}"',
        "data:image/png;base64,",
        "file:///etc/passwd",
    ):
        assert data_image(address) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("color: red; text-align:right", "color: red; text-align: right"),
        ("background: linear-gradient(90deg, #d65f5f 50.0%, transparent 50.0%)",) * 2,
        ("color: rgb(1, 2, 3) !important", "color: rgb(1, 2, 3)"),
        ("position: fixed; top: 0", ""),
        ("background: url(http://x.example/)", ""),
        ("background: URL (x)", ""),
        ("background: image-set('x')", ""),
        ("background: u\\72l(x)", ""),
        ("color: var(--x); width: attr(x)", ""),
        ("margin: -100px; margin-top: calc(1px - 9px)", ""),
        ("color: red} body {display: none", ""),
        ("color: red/**/", ""),
        ("content: 'x'; behavior: x; -moz-binding: x; z-index: 9; transform: none", ""),
    ],
)
def test_of_styles_only_looks_are_kept(before, after):
    assert safe_declarations(before) == after


def test_styles_become_rules_of_the_page_and_reach_only_their_own_elements():
    found = sanitize(
        "<style>#T_1_row0_col0, #T_1 th.x { color: #fff; position: fixed } body { color: red } #T_1, p { color: red }"
        "@import url(x); @media all { p { color: red } } </style><p style='color: red'>a</p><p style='color:red'>b"
    )
    assert " style=" not in found.html
    assert len(found.rules) == 2
    assert found.rules[0] == ".bs-html #nb-T_1_row0_col0, .bs-html #nb-T_1 th.x { color: #fff }"
    names = {attributes["class"] for _, attributes in Elements(found.html).found}
    assert len(names) == 1
    assert found.rules[1] == f".bs-html .{names.pop()} {{ color: red }}"


PIECES = st.sampled_from(
    ["<", ">", "</", "<!--", "-->", "<![CDATA[", "]]>", "<!", "<?", "/>", "=", '"', "'", "&", "&#", ";", "&lt;", "\0"]
    + ["\n", "javascript:", "onerror=", "src=", "href=", "style=", "x", " "]
    + [f"<{tag}" for tag in ("p", "svg", "math", "style", "script", "img", "a", "table", "template", "noscript", "xmp")]
    + [f"</{tag}>" for tag in ("p", "svg", "math", "style", "script", "a", "table", "title", "textarea", "plaintext")]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=40).map("".join))
def test_whatever_comes_in_only_known_elements_come_out_and_stay_what_they_are(text):
    found = sanitize(text)
    for tag, attributes in Elements(found.html).found:
        assert tag in TAGS
        allowed = _ATTRIBUTES | _ATTRIBUTES_OF.get(tag, frozenset()) | {"src", "target", "rel"}
        assert attributes.keys() <= allowed - {"style"}
        assert not (attributes.get("href") or "").lower().startswith("javascript")
        assert (attributes.get("src") or "data:image/").startswith("data:image/")
    assert all(re.fullmatch(r"[^{}<]+\{[^{}<]+\}", rule) for rule in found.rules)
    assert "\0" not in found.html


def test_elements_within_one_another_have_an_end():
    assert sanitize("<b>" * 100_000 + "x").html.count("<b>") == 100


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<!",
        "<a ",
        "<!--",
        "<![",
        "</",
        "</a ",
        "<a x='",
        "<?",
        "&#",
        "<style>{",
        "#T_a,",
        "<p>",
        "<td a=1>",
        "</b>",
    ],
)
def test_no_html_takes_longer_than_its_length(piece):
    # The parser of Python's library takes the square of it for most of these.
    begun = time.monotonic()
    sanitize("<style>" * (piece[0] == "#") + piece * (600_000 // len(piece)))
    assert time.monotonic() - begun < 20


def test_what_is_made_of_harmless_html_is_a_text_again():
    html = Harmless("<b>")
    assert html.__html__() == "<b>"
    for made in (html + "<i>", html[:1], f"{html}", html.upper(), html.strip()):
        assert not isinstance(made, Harmless)


# -- notebooks ---------------------------------------------------------------------------------------------------------


def test_a_notebook_is_shown_cell_by_cell_with_its_outputs():
    html = html_of(
        markdown("# Title\n\ntext with **weight**"),
        code("x = 1", {"output_type": "stream", "name": "stdout", "text": ["a\n", "b"]}, count=3),
        {"cell_type": "raw", "metadata": {}, "source": "<raw>"},
    )
    assert "<h1>Title</h1>" in html
    assert "<strong>weight</strong>" in html
    assert "[3]:" in html
    assert "a\nb" in html
    assert "&lt;raw&gt;" in html
    Elements(html.replace('tabindex="0"', ""))


@pytest.mark.parametrize("language", ["python", "R", "julia", "no such language", "<b>", None])
def test_code_is_coloured_where_its_language_is_known(language):
    metadata = {"language_info": {"name": language}} if language is not None else {}
    html = html_of(code("if x: 'text'"), **metadata)
    assert "if" in text_of(html)
    assert ('<span class="k">' in html) is (language in ("python", "julia", None))


def test_pieces_of_one_stream_are_one_output():
    outputs = [{"output_type": "stream", "name": name, "text": name} for name in ("stdout", "stdout", "stderr")]
    html = html_of(code("", *outputs))
    assert "stdoutstdout" in html
    assert html.count("bs-output") == 2


def test_tracebacks_have_the_colours_of_the_terminal_and_no_escapes():
    lines = ["\x1b[0;31mZeroDivisionError\x1b[0m: <b>no</b>", "\x1b]0;title\x07\x1b[2Jx"]
    html = html_of(code("", {"output_type": "error", "ename": "E", "evalue": "v", "traceback": lines}))
    assert '<span class="ansi-red-fg">ZeroDivisionError</span>: &lt;b&gt;no&lt;/b&gt;' in html
    html = html_of(code("", {"output_type": "error", "ename": "E", "evalue": "v", "traceback": []}))
    assert "E: v" in html


def test_the_richest_form_that_can_be_shown_is():
    image = {"image__png": PNG, "text__plain": "plain"}
    assert "<b>x</b>" in html_of(code("", shown(text__html="<b>x</b>", **image)))
    # HTML of which nothing is left would hide what there is to see.
    html = html_of(code("", shown(text__html="<script>draw()</script><div id=plot></div>", **image)))
    assert f'src="data:image/png;base64,{PNG}"' in html
    assert "plain" in html_of(code("", shown(application__javascript="x()", text__plain="plain")))
    assert "plain" in html_of(code("", shown(image__png='x" onerror="y', text__plain="plain")))
    assert "<em>x</em>" in html_of(code("", shown(text__markdown="*x*")))
    assert "<mi>x</mi>" in html_of(code("", shown(text__latex="$x$", **image)))
    assert f'src="data:image/png;base64,{PNG}"' in html_of(code("", shown(text__latex="$\\mine x$", **image)))
    assert "$\\mine x$" in html_of(code("", shown(text__latex="$\\mine x$", text__plain="plain")))
    assert "&#34;a&#34;: 1" in html_of(code("", shown(application__json={"a": 1})))
    assert "x/&lt;y&gt;" in html_of(code("", shown(**{"x__<y>": "z"})))


def test_drawings_are_images_so_that_nothing_in_them_runs():
    svg = "<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>"
    html = html_of(code("", shown(image__svg=svg, **{"image__svg+xml": svg})))
    (image,) = [attributes for tag, attributes in Elements(html.replace('tabindex="0"', "")).found if tag == "img"]
    assert image["src"] == f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    assert "onload" not in html


def test_half_a_character_is_shown_as_one_that_is_missing():
    html = html_of(markdown("a \ud800 $x$"), code("b = '\udc00'"))
    assert html.encode().decode() == html
    assert "a ? <math" in html


def test_formulas_are_typeset():
    html = html_of(markdown("where $a_1 < b$ and\n\n$$\\sum_i x_i$$\n\n\\begin{align}a&=b\\end{align}"))
    assert "where <math" in html
    assert "<msub><mi>a</mi><mn>1</mn></msub><mo>&lt;</mo><mi>b</mi>" in html
    assert html.count('<math display="inline">') == 1
    assert html.count('<math display="block">') == 2
    assert "<mtable" in html
    Elements(re.sub(r' tabindex="0"', "", html))


def test_formulas_that_are_not_understood_stay_as_they_were_written():
    html = html_of(markdown("where $\\mine{a} < b$ and\n\n$$\\mine x$$\n\n\\begin{mine}a<b\\end{mine}"))
    assert '<code class="bs-tex">\\mine{a} &lt; b</code>' in html
    assert '<p class="bs-tex">\\mine x</p>' in html
    assert "\\begin{mine}a&lt;b\\end{mine}" in html
    assert "<math" not in html


def test_a_formula_is_characters_where_only_characters_can_be():
    quote = '$\\text{" onerror="x()}$'
    attached = markdown(f"![{quote}](attachment:a.png '{quote}') ![{quote}](b.png)")
    attached["attachments"] = {"a.png": {"image/png": PNG}}
    html = html_of(attached)
    (image,) = [attributes for tag, attributes in Elements(html).found if tag == "img"]
    assert set(image) == {"alt", "src", "title"}
    assert "onerror" in (image["alt"] or "")
    assert "<math" not in html


def test_nobody_can_ask_for_another_formula():
    text = "\ue0000\ue001 \ue000" + "0" * 16 + "0\ue001"
    html = html_of(markdown(f"$x$ {text}"))
    assert html.count("<math") == 1
    assert text in html


def test_attached_images_are_shown_and_no_files():
    attached = markdown("![a](attachment:a.png) ![b](attachment:b) ![c](/etc/passwd) ![d](attachment:d)")
    attached["attachments"] = {"a.png": {"image/png": PNG}, "d": {"image/png": "' onerror='"}}
    rendered = render("a.ipynb", notebook(attached))
    assert f'src="data:image/png;base64,{PNG}"' in rendered.html
    assert rendered.html.count("<img") == 1
    assert rendered.html.count("image left out") == 3
    assert rendered.remarks == ("3 images that would have to be loaded from elsewhere are left out.",)


def test_what_is_left_out_is_counted():
    html = "<p>x</p><script>a</script><iframe></iframe><img src=http://x.example/>"
    rendered = render("a.ipynb", notebook(code("", shown(text__html=html))))
    assert rendered.remarks == (
        "1 image that would have to be loaded from elsewhere is left out.",
        "2 parts that would run or draw something in the browser (scripts, frames, widgets) are left out.",
    )
    assert render("a.ipynb", notebook(code("x"))).remarks == ()


def test_a_notebook_of_an_old_format_is_upgraded_to_be_shown():
    cells = [
        {"cell_type": "heading", "level": 2, "metadata": {}, "source": "Old"},
        {
            "cell_type": "code",
            "metadata": {},
            "language": "python",
            "input": "print(1)",
            "prompt_number": 1,
            "collapsed": False,
            "outputs": [{"output_type": "stream", "stream": "stdout", "text": "one"}],
        },
    ]
    document = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]}
    rendered = render("a.ipynb", json.dumps(document).encode())
    assert rendered.kind == "notebook"
    assert "<h2>Old</h2>" in rendered.html
    assert "print" in rendered.html
    assert "one" in rendered.html


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff<b>",
        b"<b>no json",
        b"[]",
        b'{"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "<b>"}]}]}',
        b'{"nbformat": 2, "worksheets": 7}',
        b'{"nbformat": 1, "cells": [7]}',
        b'{"nbformat": 99, "nbformat_minor": 0, "cells": [{}]}',
        b'{"nbformat": 4, "nbformat_minor": 0, "metadata": {}, "cells": ["<b>"]}',
        b'{"nbformat": 4, "nbformat_minor": 0, "metadata": {}, "cells": [{"cell_type": "code"}]}',
        b"[" * 100_000,
        b'{"nbformat": 4, "nbformat_minor": 0, "metadata": {"x": ' + b"[" * 150 + b"]" * 150 + b'}, "cells": []}',
    ],
)
def test_what_is_no_valid_notebook_is_shown_as_text_and_says_so(content):
    rendered = render("a.ipynb", content)
    assert rendered.kind == "text"
    assert "shown as the text that it is" in rendered.remarks[0]
    assert "<b>" not in rendered.html


def test_a_notebook_without_cells_says_so():
    assert "no cells" in html_of()


def test_long_outputs_are_cut_and_say_so(monkeypatch):
    monkeypatch.setattr(rendering, "MAX_TEXT", 100)
    html = html_of(code("", {"output_type": "stream", "name": "stdout", "text": "x" * 150}))
    assert "x" * 100 in html
    assert "x" * 101 not in html
    assert "50 characters more" in html


def test_what_takes_too_long_is_shown_plain(monkeypatch):
    monkeypatch.setattr(rendering, "MAX_SECONDS", -1.0)
    rendered = render("a.ipynb", notebook(markdown("# *x*"), code("if <b>:", shown(text__html="<i>", text__plain="p"))))
    assert "# *x*" in rendered.html
    assert "if &lt;b&gt;:" in rendered.html
    assert "took long" in rendered.remarks[0]


def test_markdown_that_cannot_be_made_html_is_shown_as_text(monkeypatch):
    def fail(*_: object) -> str:
        raise RecursionError

    monkeypatch.setattr(rendering._Renderer, "_from_markdown", fail)
    assert "# &lt;b&gt;" in html_of(markdown("# <b>"))


@pytest.mark.parametrize(
    "source", [">" * 5000, "[" * 5000, "* " * 2000, "`" * 5001, "<" * 20_000, "$" * 5001, "_a" * 9000]
)
def test_markdown_that_means_ill_has_an_end(source):
    done: list[str] = []
    worker = threading.Thread(target=lambda: done.append(html_of(markdown(source))), daemon=True)
    worker.start()
    worker.join(30)
    assert done


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.py", b"import os", "text"),
        ("a.html", b"<h1>x</h1>", "text"),
        ("no extension", "ü".encode(), "text"),
        ("a.txt", b"\xff", "binary"),
        ("a.txt", b"a\0b", "binary"),
        ("a.txt", base64.b64decode(PNG), "image"),
        ("a.png", b"<script>", "text"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "image"),
        ("a.gif", b"GIF89a", "image"),
        ("a.webp", b"RIFF\0\0\0\0WEBPVP8 ", "image"),
        ("a.svg", b"<svg onload='x()'/>", "image"),
        ("a.svg", b"x", "text"),
        ("empty.txt", b"", "text"),
    ],
)
def test_a_file_is_shown_as_what_its_bytes_are(name, content, kind):
    rendered = render(name, content)
    assert rendered.kind == kind
    assert "<h1>" not in rendered.html
    assert "<script" not in rendered.html
    assert "<svg" not in rendered.html


def test_a_long_text_is_cut_and_says_so(monkeypatch):
    monkeypatch.setattr(rendering, "MAX_FILE", 1000)
    rendered = render("a.txt", b"x" * 1500)
    assert rendered.html.count("x" * 1000) == 1
    assert "first 1,000 of 1,500" in rendered.remarks[0]


# -- the page ----------------------------------------------------------------------------------------------------------


def view_page(**changed: Any) -> str:
    version = Version("d/a.ipynb", "w/d/a.ipynb", "v7", 1_400_000, "e", "2025-11-20T10:36:00+00:00", user="ann")
    values: dict[str, Any] = {
        "version": version,
        "name": "a.ipynb",
        "area": "workspace",
        "kind": "text",
        "content": Harmless("<pre>content</pre>"),
        "rules": Harmless(),
        "download_url": "/d",
        "clone_url": "/c",
        "base_url": "/user/kylek/",
        "nonce": "n0nce",
    }
    return render_view_page(**(values | changed))


def test_the_page_tells_what_is_shown():
    page = view_page()
    for told in ("a.ipynb", "20 November 2025, 10:36 UTC", "ann", "1.4 MB", "v7", "<pre>content</pre>"):
        assert told in page
    assert "Open the clone page" in page
    assert "Open the clone page" not in view_page(clone_url="")
    assert "published" in view_page(area="published")
    assert view_page().count("<style") == view_page().count('<style nonce="n0nce"') == 1
    assert "<script" not in page


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_the_page_for_a_frame_has_the_content_and_the_remarks_and_nothing_to_follow(kind):
    whole = view_page(kind=kind, remarks=["2 images are left out."])
    page = view_page(kind=kind, remarks=["2 images are left out."], is_embedded=True)
    assert "<a " in whole
    assert "<a " not in page
    assert "<h1" not in page
    for told in ("ann", "v7", "20 November 2025", 'class="actions"'):
        assert told in whole
        assert told not in page
    assert "2 images are left out." in page
    assert ("<pre>content</pre>" if kind == "text" else "has 1.4 MB") in page
    assert page.count("<style") == page.count('<style nonce="n0nce"') == 1
    assert "<header" not in view_page(is_embedded=True), "nothing stands above the content"


def test_only_harmless_html_gets_into_the_page_as_it_is():
    hostile = "</style><script>alert(1)</script>"
    version = Version(hostile, hostile, hostile, 1, hostile, hostile, user=hostile)
    page = view_page(
        version=version,
        name=hostile,
        area=hostile,
        content=hostile,
        rules=hostile,
        remarks=[hostile],
        download_url=hostile,
        clone_url=hostile,
        base_url=hostile,
    )
    assert "<script" not in page
    assert page.count("</style>") == 1


def test_addresses_are_encoded():
    assert (
        content_url("/u/", "a b/ü?.ipynb", "v/1") == "/u/api/bookstore/content/a%20b/%C3%BC%3F.ipynb?version_id=v%2F1"
    )
    assert content_url("/", "a", area="published") == "/api/bookstore/content/a?area=published"
    assert clone_page_url("/", "b", "k&x") == "/bookstore/clone?s3_bucket=b&s3_key=k%26x"


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_code_and_terminal_colours_stand_out_from_their_ground(scheme):
    roots = re.findall(r":root \{(.*?)\}", view_page(), re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#\w{6})", roots[scheme] + roots[scheme + 2]))
    for name in colors:
        if name.startswith("c-"):
            assert contrast(colors[name], colors["code"]) >= 4.5, name
        if name.startswith(("a-", "prompt-")):
            assert contrast(colors[name], colors["card"]) >= 4.5, name
        if name.startswith("a-"):
            assert contrast(colors[name], colors["bad-card"]) >= 4.5, name
    assert contrast(colors["text"], colors["stripe"]) >= 4.5
