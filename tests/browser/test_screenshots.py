"""The pictures of the documentation are of the interface as it is; ``--screenshots FOLDER`` makes them anew."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from ci.browser_pages import SOON, Desk, code, markdown, notebook, printed
from ci.browser_scene import Place, Planted

KEPT = Path(__file__).resolve().parents[2] / "docs" / "_static" / "screenshots"

#: Bytes of a picture at most.
LIMIT = 150_000
#: Mean difference of the pixels, of 255: times, ids and the fonts of the machine are never the same.
BOUND = 12.0

DAY = 86_400


def sales(months: str, mean: str, *more: dict[str, Any]) -> bytes:
    """A notebook as people have them."""
    cells = [
        markdown("# Sales of the quarter\n\nWhat was sold, by month."),
        code(f"import statistics\n\nmonths = [{months}]"),
        code("statistics.mean(months)", printed(f"{mean}\n")),
        *more,
    ]
    return json.dumps(notebook(*cells)).encode()


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Callable[[Any, str], None]:
    """Write a picture of a page, or compare it with the one that is kept."""
    folder = request.config.getoption("--screenshots")

    def keep(page: Any, name: str) -> None:
        page.mouse.move(640, 799)
        picture = Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide"))).convert("RGB")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            # 256 colours are enough for an interface, and a third of the bytes.
            picture.quantize(256).save(Path(folder) / f"{name}.png", optimize=True)
            return
        file = KEPT / f"{name}.png"
        assert file.stat().st_size <= LIMIT
        kept = Image.open(file).convert("RGB")
        assert kept.size == picture.size
        difference = sum(ImageStat.Stat(ImageChops.difference(kept, picture)).mean) / 3
        assert difference <= BOUND, f"{name} is not as it is kept; pytest tests/browser --screenshots {KEPT} makes it"

    return keep


def planted(start: Any, seaweed: Any, application: str) -> Place:
    """A server with one notebook that has a past."""
    place: Place = start(application, seaweed)
    now = time.time()
    versions = [
        Planted(sales("3, 5", "4"), now - 5 * DAY, "bo"),
        Planted(sales("3, 5, 8", "5.33"), now - DAY - 3000, "bo"),
        Planted(sales("3, 5, 8", "5.33", markdown("Checked with the shop.")), now - DAY, "ann"),
        Planted(sales("3, 5, 9", "5.67"), now - 4000, "ann"),
        Planted(sales("3, 5, 9, 4", "5.25", markdown("April is an estimate.")), now - 900, "ann"),
    ]
    place.plant("sales.ipynb", versions)
    rows = place.jupyter.ok("GET", "/api/bookstore/versions/sales.ipynb")["versions"]
    label = {"version_id": rows[2]["version_id"], "name": "as sent to the board", "pinned": True}
    place.jupyter.ok("PATCH", "/api/bookstore/label/sales.ipynb", label)
    return place


def opened(place: Place, sit_down: Any) -> Desk:
    """The panel, with its rows and the pinned one."""
    desk: Desk = sit_down(place, "sales.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(5)
    panel.pinned.first.wait_for(timeout=SOON)
    return desk


def test_the_pictures_of_lab(start, seaweed, sit_down, keep):
    place = planted(start, seaweed, "lab")
    desk = opened(place, sit_down)
    panel = desk.panel
    desk.page.get_by_text("| Idle").wait_for(timeout=SOON)
    keep(desk.page, "lab-history")

    panel.do(2, "restore-version")
    desk.dialog.wait("Restore sales.ipynb?")
    keep(desk.page, "lab-restore")
    desk.dialog.press("Cancel")
    desk.status.click()
    desk.dialog.wait("Everything is archived")
    keep(desk.page, "lab-status")
    desk.dialog.press("Close")
    panel.do(2, "compare-with-current")
    desk.view.comparison.locator(".jp-Notebook-diff .cm-content").nth(1).wait_for(timeout=SOON)
    keep(desk.page, "lab-compare")
    desk.view.close()

    with desk.page.context.expect_page() as view:
        panel.do(2, "view-as-page")
    view.value.get_by_text("Checked with the shop.").wait_for(timeout=SOON)
    keep(view.value, "view-page")
    view.value.get_by_role("link", name="Open the clone page").click()
    view.value.get_by_label("Clone to").wait_for(timeout=SOON)
    keep(view.value, "clone-page")


def test_the_picture_of_notebook(start, seaweed, sit_down, keep):
    place = planted(start, seaweed, "notebook")
    desk = opened(place, sit_down)
    desk.panel.expand(2)
    desk.page.locator("[data-status='idle']").first.wait_for(timeout=SOON)
    keep(desk.page, "notebook-history")
