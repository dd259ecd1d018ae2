"""Versions that mean ill: nothing in them runs, wherever they are shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ci.browser_pages import SOON, Desk, code, markdown, notebook
from ci.browser_scene import Place, Planted

END = "the end of what was stored"
#: JupyterLab makes links of `data:` too, which browsers do not follow.
LINKS = "a[href^='javascript' i], a[href*='script:' i]:not([href^='data:' i]), [formaction]"


class Canary:
    """A server that hears whoever asks, from wherever."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.address = ""


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    canary = Canary()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            canary.asked.append(self.path)
            self.send_response(204)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        canary.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield canary
        server.shutdown()
        thread.join()


def evil(canary: Canary, who: str) -> list[str]:
    """HTML of which each piece tells that it runs: by a mark in the window, a dialog and a request."""

    def run(name: str) -> str:
        return f"top.ran = (top.ran || '') + '{who}-{name} '; fetch('{canary.address}/ran/{who}-{name}'); alert(1)"

    return [
        f"<script>{run('script')}</script>",
        f'<img src=x onerror="{run("onerror")}">',
        f'<svg onload="{run("svg")}"><rect width="9" height="9"/><script>{run("svgscript")}</script></svg>',
        f'<iframe srcdoc="<script>{run("srcdoc")}</script>"></iframe>',
        f'<iframe src="javascript:{run("frame")}"></iframe>',
        f'<details open ontoggle="{run("toggle")}"><summary>more</summary></details>',
        f'<input autofocus onfocus="{run("focus")}">',
        f'<video src=x onerror="{run("video")}"></video>',
        f'<style onload="{run("style")}"></style>',
        f'<a class="bad" href="javascript:{run("link")}">click</a>',
        f'<a class="bad" href="java&#10;script:{run("newline")}">click</a>',
        f'<form><button class="bad" formaction="javascript:{run("form")}">click</button></form>',
        f'<object data="data:text/html,<script>{run("object")}</script>"></object>',
        f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror={run('math')}&gt;'>",
    ]


def evil_formulas(pieces: list[str]) -> str:
    """TeX that would be markup, or lead to a script, if it were taken by its word."""
    texts = " ".join(f"$\\text{{{piece}}} x$" for piece in pieces[:2])
    return (
        f"$\\href{{javascript:top.ran=1}}{{x}}$ $\\class{{bad}}{{y}} \\cssId{{main}}{{z}}$ $a_{{<img src=x}}$ {texts}"
    )


def hostile(canary: Canary, who: str) -> bytes:
    """A notebook that says of itself that it is trusted."""
    pieces = evil(canary, who)
    everything = "\n\n".join(pieces)
    script = f"top.ran = (top.ran || '') + '{who}-js '; fetch('{canary.address}/ran/{who}-js'); alert(2)"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{script}"><script>{script}</script></svg>'
    data: list[dict[str, Any]] = [
        *({"text/html": piece, "text/plain": "plain"} for piece in pieces),
        {"application/javascript": script, "text/plain": "js"},
        {"text/javascript": script},
        {"image/svg+xml": svg},
        {"text/markdown": everything},
        {"text/latex": f"$\\href{{javascript:{script}}}{{x}}$ {everything}"},
        {"text/latex": evil_formulas(pieces)},
        {"image/png": f'x" onerror="{script}'},
    ]
    outputs: list[dict[str, Any]] = [{"output_type": "display_data", "metadata": {}, "data": one} for one in data]
    outputs += [
        {"output_type": "stream", "name": "stdout", "text": everything},
        {"output_type": "error", "ename": everything, "evalue": everything, "traceback": [everything]},
        {"output_type": "stream", "name": "stderr", "text": f"{END} {who}"},
    ]
    content = notebook(
        markdown(everything, trusted=True),
        markdown(evil_formulas(pieces), trusted=True),
        markdown(f"[x](javascript:{script.replace(' ', '')}) <b>{who}</b>", trusted=True),
        code(f"{who} = 1", *outputs, trusted=True),
        {"cell_type": "raw", "metadata": {"format": "text/html", "trusted": True}, "source": everything},
    )
    content["metadata"] = {**content["metadata"], "trusted": True, "title": everything}
    return json.dumps(content).encode()


class Witness:
    """What has run in a window."""

    def __init__(self, desk: Desk, canary: Canary) -> None:
        self._page = desk.page
        self._canary = canary
        self._dialogs: list[str] = []
        canary.asked.clear()
        desk.page.context.on("page", self._follow)
        self._follow(desk.page)

    def _follow(self, page: Any) -> None:
        page.on("dialog", lambda dialog: (self._dialogs.append(dialog.message), dialog.dismiss()))

    def check(self, page: Any, where: Any) -> None:
        """Click what offers itself; then nothing may have run."""
        assert where.locator(LINKS).count() == 0
        address = page.url
        where.locator(".bad").evaluate_all("nodes => nodes.forEach(node => node.click())")
        # What a broken image or a new frame would start has had its turn once the next one is there.
        page.evaluate(
            """() => new Promise(done => {
                const image = new Image();
                image.onerror = () => requestAnimationFrame(() => setTimeout(done, 100));
                image.src = 'data:image/png;base64,x';
            })"""
        )
        assert [page.evaluate("window.ran") for page in self._page.context.pages] == [None] * len(
            self._page.context.pages
        )
        assert not self._dialogs
        assert page.url == address, "no form leads away from what is not saved"
        assert not [path for path in self._canary.asked if path.startswith("/ran/")]


def test_the_pieces_run_where_they_are_let(browser, canary):
    page = browser.new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    canary.asked.clear()
    page.set_content("".join(evil(canary, "control")))
    page.locator("a.bad").evaluate_all("nodes => nodes.forEach(node => node.click())")
    page.wait_for_function("(window.ran ?? '').includes('control-newline')")
    ran = page.evaluate("window.ran")
    for name in ("script", "onerror", "svg", "srcdoc", "toggle", "video", "style", "link"):
        assert f"control-{name} " in ran
    assert dialogs
    assert any(path.startswith("/ran/") for path in canary.asked)
    page.close()


@pytest.fixture
def scene(place: Place, sit_down: Any, canary: Canary) -> tuple[Desk, Witness]:
    """The panel over a notebook that means ill."""
    if not (place.jupyter.root / "hostile.ipynb").exists():
        place.plant("hostile.ipynb", [Planted(hostile(canary, "first")), Planted(hostile(canary, "second"))])
    desk: Desk = sit_down(place, "hostile.ipynb")
    witness = Witness(desk, canary)
    desk.show_history().wait_for_rows(2)
    return desk, witness


def test_a_preview_runs_nothing(scene):
    desk, witness = scene
    desk.panel.do(1, "preview-version")
    shown = desk.view.preview
    shown.get_by_text(f"{END} first").first.wait_for(timeout=SOON)
    witness.check(desk.page, shown)


def test_a_mark_of_trust_that_is_smuggled_in_is_none(place, sit_down, canary):
    html = {"text/html": "".join(evil(canary, "smuggled")) + END}
    output = {"output_type": "display_data", "metadata": {}, "data": html}
    # What a copy of the metadata would take for its prototype, and find there.
    content = notebook(code("x = 1", output, __proto__={"trusted": True}))
    if not (place.jupyter.root / "smuggled.ipynb").exists():
        place.plant("smuggled.ipynb", [Planted(json.dumps(content).encode())])
    desk = sit_down(place, "smuggled.ipynb")
    witness = Witness(desk, canary)
    desk.show_history().wait_for_rows(1)
    desk.panel.do(0, "preview-version")
    desk.view.preview.get_by_text(END).first.wait_for(timeout=SOON)
    witness.check(desk.page, desk.view.preview)


def test_a_comparison_runs_nothing_and_offers_no_trust(scene):
    desk, witness = scene
    for verb, unsaved in [("compare-with-previous", ""), ("compare-with-current", "\nunsaved = 1")]:
        if unsaved:
            desk.type(unsaved)
        desk.panel.do(0 if verb == "compare-with-previous" else 1, verb)
        shown = desk.view.comparison
        shown.locator(".jp-Notebook-diff").get_by_text(f"{END} second").first.wait_for(timeout=SOON)
        shown.locator(".jp-Diff-trustOutputButton").first.wait_for(state="attached", timeout=SOON)
        assert shown.locator(".jp-Diff-trustOutputButton:visible").count() == 0
        assert shown.get_by_role("button", name="Trust").count() == 0
        witness.check(desk.page, shown)
        desk.view.close()


def test_a_page_runs_nothing(scene, watch):
    desk, witness = scene
    # The policy of the page tells what it has stopped.
    watch.expected.append("Content Security Policy")
    with desk.page.context.expect_page() as opened:
        desk.panel.do(1, "view-as-page")
    opened.value.get_by_text(f"{END} first").first.wait_for(timeout=SOON)
    # Where no script may run, none of ours can wait either.
    witness.check(desk.page, opened.value.locator("body"))


def test_names_and_notes_are_text(place, sit_down, canary):
    path = "named-<img src=x onerror=alert(1)>.ipynb".replace("/", "")
    place.make(path, notebook(code("x = 1")), notebook(code("x = 2")))
    desk = sit_down(place, path)
    witness = Witness(desk, canary)
    panel = desk.show_history()
    panel.wait_for_rows(2)
    name = f"<img src=x onerror=\"fetch('{canary.address}/ran/name')\">"
    panel.do(1, "label-version")
    dialog = desk.dialog.wait("Name the version")
    dialog.node.get_by_label("Name").fill(name)
    dialog.node.get_by_label("Note").fill(name)
    dialog.press("Save")
    panel.rows.nth(1).get_by_text(name).wait_for(timeout=SOON)
    panel.do(1, "pin-version")
    panel.pinned.first.wait_for(timeout=SOON)
    panel.do(1, "restore-version")
    desk.dialog.wait("Restore").press("Cancel")
    panel.do(1, "compare-with-current")
    desk.view.comparison.locator(".jp-bookstore-sides").get_by_text(name).wait_for(timeout=SOON)
    witness.check(desk.page, desk.view.comparison)
