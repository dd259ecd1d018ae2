"""What axe finds in the parts that are ours, in light and in dark: nothing serious."""

from __future__ import annotations

import time
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from ci.browser_pages import SOON, Desk, code, markdown, notebook, printed
from ci.browser_scene import Place

OLD = notebook(markdown("# Sales"), code("print('old')", printed("old\n")))
NEW = notebook(markdown("# Sales"), code("print('new')", printed("new\n")))

#: What would keep people out.
GRAVE = ("serious", "critical")

#: Drawn by JupyterLab and nbdime inside of our parts: their editors, outputs, prompts and buttons.
OTHERS = [".cm-editor", ".jp-Cell", ".jp-Notebook-diff", "jp-toolbar", ".jp-Toolbar"]


def check(page: Any, *parts: str) -> None:
    """See that axe has nothing grave to say of parts of a page."""
    found = Axe().run(page, context={"include": [[part] for part in parts], "exclude": [[other] for other in OTHERS]})
    grave = [
        f"{violation['id']} ({violation['impact']}): {node['html'][:200]} {node['failureSummary'][:300]}"
        for violation in found.response["violations"]
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]
    assert not grave, "\n".join(grave)


def darken(desk: Desk) -> None:
    """Choose the dark theme."""
    desk.page.evaluate("document.body.dataset.jpThemeLight")
    desk.page.locator(".lm-MenuBar-item", has_text="Settings").first.click()
    desk.page.locator(".lm-Menu-item", has_text="Theme").first.hover()
    desk.page.locator(".lm-Menu-item", has_text="JupyterLab Dark").first.click()
    desk.page.locator("body[data-jp-theme-light='false']").wait_for(state="attached", timeout=SOON)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_parts_of_the_interface_keep_nobody_out(place: Place, theme: str, sit_down: Any) -> None:
    path = f"axe-{theme}-{place.application}.ipynb"
    place.make(path, OLD, NEW)
    desk: Desk = sit_down(place, path)
    if theme == "dark":
        darken(desk)
    panel = desk.show_history()
    panel.wait_for_rows(2)
    panel.do(1, "pin-version")
    panel.pinned.first.wait_for(timeout=SOON)
    panel.do(1, "compare-with-other")
    panel.banner.first.wait_for(timeout=SOON)
    check(desk.page, ".jp-bookstore-panel", ".jp-bookstore-status")
    panel.banner.get_by_role("button", name="Cancel").click()

    panel.do(1, "label-version")
    desk.dialog.wait("Name the version")
    check(desk.page, ".jp-Dialog-content")
    desk.dialog.press("Cancel")
    panel.do(1, "restore-version")
    desk.dialog.wait("Restore")
    check(desk.page, ".jp-Dialog-content")
    desk.dialog.press("Cancel")
    desk.status.click()
    desk.dialog.wait("Everything is archived")
    check(desk.page, ".jp-Dialog-content")
    desk.dialog.press("Close")

    panel.do(1, "preview-version")
    desk.view.preview.get_by_text("old").first.wait_for(timeout=SOON)
    check(desk.page, ".jp-bookstore-preview")
    desk.view.close()
    panel.do(1, "compare-with-current")
    desk.view.comparison.locator(".jp-Notebook-diff .cm-content").nth(1).wait_for(timeout=SOON)
    check(desk.page, ".jp-bookstore-compare")
    desk.view.close()
    if theme == "dark":
        lighten(desk)


def lighten(desk: Desk) -> None:
    """Choose the light theme again: the other tests share the settings."""
    desk.page.locator(".lm-MenuBar-item", has_text="Settings").first.click()
    desk.page.locator(".lm-Menu-item", has_text="Theme").first.hover()
    desk.page.locator(".lm-Menu-item", has_text="JupyterLab Light").first.click()
    desk.page.locator("body[data-jp-theme-light='true']").wait_for(state="attached", timeout=SOON)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_of_the_server_keep_nobody_out(places: Any, theme: str, sit_down: Any) -> None:
    place: Place = places("lab")
    path = f"pages-{theme}-{int(time.time())}.ipynb"
    place.make(path, OLD, NEW)
    desk: Desk = sit_down(place, path, color_scheme=theme)
    panel = desk.show_history()
    panel.wait_for_rows(2)
    with desk.page.context.expect_page() as opened:
        panel.do(1, "view-as-page")
    view = opened.value
    view.get_by_text("print('old')").wait_for(timeout=SOON)
    address = view.get_by_role("link", name="Open the clone page").get_attribute("href")
    clone = desk.page.context.new_page()
    clone.goto(f"http://127.0.0.1:{place.jupyter.port}{address}")
    clone.get_by_label("Clone to").wait_for(timeout=SOON)
    check(clone, "body")
    check_behind_policy(view)


def check_behind_policy(page: Any) -> None:
    """The same for a page on which no script may run: its text in a page without a policy."""
    html = page.content()
    other = page.context.new_page()
    other.set_content(html)
    check(other, "body")
