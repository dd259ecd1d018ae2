"""What the interface tells while the archive cannot be reached, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ci.browser_pages import SOON, code, notebook
from ci.s3_servers import SeaweedServer

#: Milliseconds until the archive is reached again: its own tries are up to a minute apart.
BACK = 90_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """An S3 server that the tests stop."""
    with SeaweedServer(tmp_path_factory.mktemp("stopped")) as server:
        yield server


@pytest.mark.parametrize("application", ["lab", "notebook"])
def test_an_outage_is_told_at_once_and_so_is_its_end(application, start, store, sit_down, watch):
    watch.expected.append("Failed to load resource")
    place = start(application, store)
    place.make("outage.ipynb", notebook(code("x = 1")))
    desk = sit_down(place, "outage.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(1)
    store.stop()
    desk.type("\ny = 2")
    desk.page.keyboard.press("ControlOrMeta+s")
    desk.page.wait_for_function(
        "['waiting', 'trouble'].includes(document.querySelector('.jp-bookstore-status').dataset.state)", timeout=2_000
    )
    desk.status.get_by_text("1 save waits").wait_for(timeout=SOON)
    panel.banner.get_by_text("1 save is safe on the disk").wait_for(timeout=SOON)
    assert panel.rows.count() == 1  # what was known stays

    store.start()
    desk.wait_for_state("ok", BACK)
    panel.wait_for_rows(2, BACK)
    panel.banner.wait_for(state="hidden", timeout=SOON)
    assert len(place.bucket.rows("workspace/outage.ipynb")) == 2


def test_where_the_events_do_not_arrive_saves_are_shown_all_the_same(place, sit_down, watch):
    refused: list[str] = []

    def refuse(socket):
        refused.append(socket.url)
        socket.close()

    watch.expected.append("api/events/subscribe")
    place.make("proxied.ipynb", notebook(code("x = 1")))
    desk = sit_down(
        place, "proxied.ipynb", prepare=lambda context: context.route_web_socket("**/api/events/subscribe*", refuse)
    )
    panel = desk.show_history()
    panel.wait_for_rows(1)
    desk.type("\ny = 2")
    version = desk.save()
    assert refused
    panel.wait_for_rows(2)
    assert panel.version_ids()[0] == version
    assert "Archived" in desk.status.inner_text()


@pytest.mark.parametrize("application", ["lab", "notebook"])
def test_without_a_bucket_the_next_step_is_told(application, start, sit_down):
    place = start(application, None)
    place.jupyter.save("none.ipynb", notebook(code("x = 1")))
    desk = sit_down(place, "none.ipynb")
    desk.wait_for_state("off")
    assert "Not archived" in desk.status.inner_text()
    panel = desk.show_history()
    panel.state.get_by_text("Not configured yet").wait_for(timeout=SOON)
    text = panel.state.inner_text()
    assert "s3_bucket" in text
    assert "JPYNB_S3_BUCKET" in text
    assert "bookstore doctor" in text


def test_a_server_that_is_gone_is_told(start, store, sit_down, watch):
    watch.expected.append("")
    place = start("lab", store)
    place.make("gone.ipynb", notebook(code("x = 1")))
    desk = sit_down(place, "gone.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(1)
    place.jupyter.kill()
    # Not by the mouse: sooner or later JupyterLab's own message lies in front of everything.
    panel.node.get_by_role("button", name="Refresh").dispatch_event("click")
    desk.wait_for_state("away")
    panel.banner.get_by_text("The server does not answer").wait_for(timeout=SOON)
    assert "no answer" in desk.status.inner_text()
    assert panel.rows.count() == 1
