"""What somebody does with the history, from the first save to the last restore, in JupyterLab and in Notebook."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ci.browser_pages import SOON, Desk, code, markdown, notebook, printed, until
from ci.browser_scene import Planted

OLD = notebook(markdown("# Sales"), code("print('old')", printed("old\n")))
MIDDLE = notebook(markdown("# Sales"), code("print('middle')", printed("middle\n")))
NEW = notebook(markdown("# Sales"), code("print('new')", printed("new\n")))


def sources(content: bytes) -> str:
    """What the cells of a notebook hold."""
    return "\n".join("".join(cell["source"]) for cell in json.loads(content)["cells"])


def waiting_for(desk: Desk, text: str) -> Any:
    """The document in front, once it shows a text."""
    desk.document.get_by_text(text).first.wait_for(timeout=SOON)
    return desk.document


def test_a_save_is_shown_as_a_version_and_the_history_opens_from_everywhere(place, sit_down):
    place.make("saved.ipynb", OLD)
    desk = sit_down(place, "saved.ipynb")
    desk.type("\nx = 1")
    version = desk.save()
    assert place.bucket.rows("workspace/saved.ipynb")[-1]["VersionId"] == version
    assert "x = 1" in sources(place.bucket.read("workspace/saved.ipynb"))
    assert "Archived" in desk.status.inner_text()

    panel = desk.show_history()
    panel.wait_for_rows(2)
    assert panel.version_ids()[0] == version
    desk.type("\ny = 2")
    newer = desk.save()
    panel.wait_for_rows(3)  # by itself
    assert panel.version_ids()[0] == newer
    desk.hide_history()
    desk.choose_in_menu("File", "Show History")
    panel.node.wait_for(timeout=SOON)
    desk.hide_history()
    desk.choose_in_palette("Show History")
    panel.node.wait_for(timeout=SOON)


def test_rows_tell_the_day_the_time_the_author_and_the_size(place, sit_down):
    now = time.time()
    contents = [json.dumps(notebook(code(f"x = {n}"))).encode() for n in range(3)]
    place.plant(
        "authors.ipynb",
        [
            Planted(contents[0], now - 40 * 86400, "cleo"),
            Planted(contents[1] + b" " * 1_400_000, now - 86400, "bo"),
            Planted(contents[2], now, "ann"),
        ],
    )
    desk = sit_down(place, "authors.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(3)
    days = panel.days.all_inner_texts()
    assert days[:2] == ["Today", "Yesterday"]
    assert time.strftime("%Y", time.gmtime(now - 40 * 86400)) in days[2]
    texts = panel.rows.all_text_contents()  # also of rows that are not painted yet
    assert [user for user in ("ann", "bo", "cleo") for text in texts if user in text] == ["ann", "bo", "cleo"]
    assert "bytes" in texts[0]
    assert "1.4 MB" in texts[1]
    assert time.strftime("%H:%M:%S", time.gmtime(now)) in texts[0]


def test_a_version_is_previewed_and_compared_with_what_there_is_now(place, sit_down):
    place.make("compared.ipynb", OLD, MIDDLE, NEW)
    desk = sit_down(place, "compared.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(3)

    panel.do(2, "preview-version")
    preview = desk.view.preview
    preview.locator(".jp-RenderedMarkdown h1", has_text="Sales").wait_for(timeout=SOON)
    preview.locator(".jp-OutputArea", has_text="old").wait_for(timeout=SOON)
    preview.locator(".jp-CodeCell .cm-content").click()
    desk.page.keyboard.insert_text("typed")
    assert "typed" not in preview.inner_text()
    desk.view.close()

    panel.do(2, "compare-with-current")
    assert difference(desk) == ("print('old')", "print('new')")
    assert "compared.ipynb now" in desk.view.comparison.locator(".jp-bookstore-sides").inner_text()
    desk.view.close()

    desk.type("\nunsaved = 1")
    panel.do(2, "compare-with-current")
    assert difference(desk) == ("print('old')", "unsaved = 1")
    assert "not saved" in desk.view.comparison.locator(".jp-bookstore-sides").inner_text()
    desk.view.close()

    panel.do(1, "compare-with-previous")
    assert difference(desk) == ("print('old')", "print('middle')")
    desk.view.close()

    panel.do(0, "compare-with-other")
    panel.node.get_by_text("Choose the version").wait_for(timeout=SOON)
    panel.rows.nth(2).click()
    assert difference(desk) == ("print('old')", "print('new')")
    assert panel.node.get_by_text("Choose the version").count() == 0
    desk.view.close()


def difference(desk: Desk) -> tuple[str, str]:
    """The last lines of the two editors of nbdime's widget that shows the code."""
    shown = desk.view.comparison
    shown.locator(".jp-Notebook-diff .cm-content").nth(1).wait_for(timeout=SOON)
    before, after = (
        shown.locator(".jp-Notebook-diff .cm-diff-left-editor .cm-line").last,
        shown.locator(".jp-Notebook-diff .cm-diff-right-editor .cm-line").last,
    )
    return before.inner_text().strip(), after.inner_text().strip()


def test_a_restore_asks_shows_the_old_content_at_once_and_adds_a_version(place, sit_down):
    place.make("restored.ipynb", OLD, NEW)
    desk = sit_down(place, "restored.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(2)

    panel.do(1, "restore-version")
    desk.dialog.wait("Restore restored.ipynb?").press("Cancel")
    assert "new" in sources(place.jupyter.on_disk("restored.ipynb"))
    panel.do(1, "restore-version")
    desk.dialog.wait("Restore restored.ipynb?").press("Restore")
    waiting_for(desk, "print('old')")
    panel.wait_for_rows(3)
    panel.rows.first.get_by_text("Restored").first.wait_for(timeout=SOON)
    assert "old" in sources(place.jupyter.on_disk("restored.ipynb"))
    assert len(place.bucket.rows("workspace/restored.ipynb")) == 3


def test_what_was_typed_is_kept_as_a_version_before_a_restore(place, sit_down):
    place.make("typed.ipynb", OLD, NEW)
    desk = sit_down(place, "typed.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(2)
    desk.type("\nunsaved = 1")
    panel.do(1, "restore-version")
    dialog = desk.dialog.wait("Restore typed.ipynb?")
    assert "saved first" in dialog.text()
    dialog.press("Save and Restore")
    waiting_for(desk, "print('old')")
    panel.wait_for_rows(4)
    kept = [sources(version) for version in place.bucket.versions("workspace/typed.ipynb")]
    assert "unsaved = 1" in kept[2]
    assert "old" in kept[3]
    assert desk.document.get_by_text("unsaved = 1").count() == 0


def test_nothing_can_be_typed_while_a_version_is_restored(place, sit_down):
    place.make("held.ipynb", OLD, NEW)
    desk = sit_down(place, "held.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(2)
    desk.type("\nunsaved = 1")
    held: list[Any] = []
    desk.page.route(
        "**/api/contents/held.ipynb*",
        lambda route: held.append(route) if route.request.method == "PUT" else route.continue_(),
    )
    panel.do(1, "restore-version")
    desk.dialog.wait("Restore held.ipynb?").press("Save and Restore")
    curtain = desk.page.locator(".jp-bookstore-curtain")
    curtain.get_by_text("Restoring held.ipynb").wait_for(timeout=SOON)
    until(lambda: held, desk.page)
    editor = desk.document.locator(".jp-CodeCell .cm-content").first
    editor.click(force=True)
    desk.page.keyboard.insert_text("too late")
    desk.page.keyboard.press("x")
    assert editor.inner_text().endswith("unsaved = 1")
    held[0].continue_()
    waiting_for(desk, "print('old')")
    curtain.wait_for(state="detached", timeout=SOON)
    panel.wait_for_rows(4)
    assert "unsaved = 1" in sources(place.bucket.versions("workspace/held.ipynb")[2])


def test_a_file_that_was_changed_on_disk_is_not_written_over_unasked(place, sit_down, watch):
    watch.expected.append("409 (Conflict)")
    place.make("meanwhile.ipynb", OLD, NEW)
    desk = sit_down(place, "meanwhile.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(2)
    other = notebook(code("written = 'by another program'"))
    later = time.time() + 60
    path = place.jupyter.root / "meanwhile.ipynb"
    path.write_text(json.dumps(other))
    os.utime(path, (later, later))

    panel.do(1, "restore-version")
    desk.dialog.wait("Restore meanwhile.ipynb?").press("Restore")
    desk.dialog.wait("was changed on disk").press("Cancel")
    assert "another program" in sources(place.jupyter.on_disk("meanwhile.ipynb"))
    panel.do(1, "restore-version")
    desk.dialog.wait("Restore meanwhile.ipynb?").press("Restore")
    desk.dialog.wait("was changed on disk").press("Restore Anyway")
    waiting_for(desk, "print('old')")
    until(lambda: len(place.bucket.rows("workspace/meanwhile.ipynb")) == 4, desk.page)
    kept = [sources(version) for version in place.bucket.versions("workspace/meanwhile.ipynb")]
    assert "another program" in kept[2]
    assert "old" in kept[3]
    panel.wait_for_rows(4)


def test_names_and_pins_stay(place, sit_down):
    place.make("named.ipynb", OLD, MIDDLE, NEW)
    desk = sit_down(place, "named.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(3)

    panel.do(2, "label-version")
    dialog = desk.dialog.wait("Name the version")
    dialog.node.get_by_label("Name").fill("before the review")
    dialog.node.get_by_label("Note").fill("as it was <b>sent</b>")
    dialog.press("Save")
    panel.rows.nth(2).get_by_text("before the review").wait_for(timeout=SOON)
    panel.node.get_by_text("as it was <b>sent</b>").wait_for(timeout=SOON)

    panel.do(2, "pin-version")
    panel.pinned.first.wait_for(timeout=SOON)
    assert panel.days.first.inner_text() == "Pinned"
    panel.pinned.first.get_by_text("before the review").wait_for(timeout=SOON)

    desk.reload()
    if not panel.node.is_visible():
        desk.show_history()
    panel.wait_for_rows(3)
    panel.pinned.first.wait_for(timeout=SOON)
    assert panel.pinned.count() == 1
    panel.rows.nth(2).get_by_text("before the review").wait_for(timeout=SOON)
    panel.do(2, "pin-version")
    panel.pinned.first.wait_for(state="detached", timeout=SOON)
    panel.rows.nth(2).get_by_text("before the review").wait_for(timeout=SOON)


def test_a_link_leads_others_to_the_version(place, sit_down):
    place.make("linked.ipynb", OLD, NEW)
    desk = sit_down(place, "linked.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(2)
    panel.do(1, "copy-link")
    desk.page.get_by_text("The link is in the clipboard").first.wait_for(timeout=SOON)
    link = desk.page.evaluate("navigator.clipboard.readText()")
    assert panel.version_ids()[1] in link
    page = desk.page.context.new_page()
    page.goto(link)
    page.get_by_label("Clone to").fill(f"cloned-{place.application}.ipynb")
    page.get_by_role("button", name="Clone").click()
    page.wait_for_url(f"**/cloned-{place.application}.ipynb")
    assert "old" in sources(place.jupyter.on_disk(f"cloned-{place.application}.ipynb"))
    page.close()


def test_a_version_becomes_a_new_file(place, sit_down):
    place.make("copied.ipynb", OLD, NEW)
    desk = sit_down(place, "copied.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(2)
    before = set(place.jupyter.root.glob("copied-*.ipynb"))
    if desk.is_lab:
        panel.do(1, "open-as-new")
        waiting_for(desk, "print('old')")
    else:
        with desk.page.context.expect_page() as opened:
            panel.do(1, "open-as-new")
        opened.value.get_by_text("print('old')").first.wait_for(timeout=SOON)
    (made,) = set(place.jupyter.root.glob("copied-*.ipynb")) - before
    assert "old" in sources(made.read_bytes())
    assert "new" in sources(place.jupyter.on_disk("copied.ipynb"))


def test_a_version_is_seen_as_a_page(place, sit_down):
    place.make("paged.ipynb", OLD, NEW)
    desk = sit_down(place, "paged.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(2)
    with desk.page.context.expect_page() as opened:
        panel.do(1, "view-as-page")
    opened.value.get_by_role("heading", name="Sales").wait_for(timeout=SOON)
    opened.value.get_by_text("print('old')").wait_for(timeout=SOON)
    assert opened.value.evaluate("window.opener") is None


def test_publishing_tells_where_the_notebook_is_and_it_is_there(place, sit_down):
    path = f"published-{place.application}.ipynb"
    place.make(path, OLD)
    desk = sit_down(place, path)
    desk.type("\nlast = 1")
    desk.press_in_toolbar("bookstore-publish")
    dialog = desk.dialog.wait(f"Publish {path}?")
    assert "saved first" in dialog.text()
    dialog.press("Publish")
    dialog = desk.dialog.wait(f"{path} is published")
    text = dialog.text()
    assert f"s3://{place.bucket.name}/published/{path}" in text
    (row,) = place.bucket.rows(f"published/{path}")
    assert row["VersionId"] in text
    assert "last = 1" in sources(place.bucket.read(f"published/{path}"))
    dialog.press("Copy Address")
    desk.page.get_by_text("The address is in the clipboard").first.wait_for(timeout=SOON)
    assert desk.page.evaluate("navigator.clipboard.readText()") == f"s3://{place.bucket.name}/published/{path}"


def test_everything_is_done_with_the_keyboard_alone(place, sit_down):
    place.make("keys.ipynb", *(notebook(code(f"x = {n}")) for n in range(5)))
    desk = sit_down(place, "keys.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(5)
    keys = desk.page.keyboard
    panel.rows.first.focus()
    for key, place_after in [("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", 4), ("Home", 0)]:
        keys.press(key)
        assert focused_row(desk) == place_after, key
    for key, place_after in [("PageDown", 4), ("ArrowDown", 4), ("PageUp", 0), ("ArrowUp", 0), ("ArrowDown", 1)]:
        keys.press(key)
        assert focused_row(desk) == place_after, key
    # One stop for Tab in the list, however long it is.
    assert panel.rows.evaluate_all("rows => rows.filter(row => row.tabIndex === 0).length") == 1

    keys.press("Enter")
    panel.node.locator(".jp-bookstore-details").wait_for(timeout=SOON)
    assert focused_row(desk) == 1
    assert outline(desk) != "none"
    keys.press("Tab")
    assert focused(desk)["command"] == "bookstore:preview-version"
    assert outline(desk) != "none"
    keys.press("Shift+Tab")
    keys.press("Escape")
    panel.node.locator(".jp-bookstore-details").wait_for(state="detached", timeout=SOON)
    assert focused_row(desk) == 1

    # From an action Escape leads back to the row: what was focused is gone.
    keys.press("Enter")
    keys.press("Tab")
    keys.press("Escape")
    panel.node.locator(".jp-bookstore-details").wait_for(state="detached", timeout=SOON)
    assert focused_row(desk) == 1


def test_the_focus_stays_where_it_is_when_a_version_comes_in(place, sit_down):
    place.make("focus.ipynb", *(notebook(code(f"x = {n}")) for n in range(3)))
    desk = sit_down(place, "focus.ipynb")
    panel = desk.show_history()
    panel.wait_for_rows(3)
    panel.rows.nth(1).focus()
    focused_id = panel.version_ids()[1]
    place.make("focus.ipynb", notebook(code("x = 3")))
    panel.wait_for_rows(4)
    assert focused(desk)["version"] == focused_id
    # What a question was asked about is focused again after it.
    keys = desk.page.keyboard
    keys.press("Enter")
    panel.node.locator("[data-command='bookstore:label-version']").focus()
    keys.press("Enter")
    desk.dialog.wait("Name the version")
    keys.press("Escape")
    desk.dialog.node.wait_for(state="detached", timeout=SOON)
    until(lambda: focused(desk)["command"] == "bookstore:label-version", desk.page, 5_000)
    # A pinned version stands in two places; the button that was pressed is still the one with the focus.
    panel.node.locator("[data-command='bookstore:pin-version']").focus()
    keys.press("Enter")
    panel.pinned.first.wait_for(timeout=SOON)
    assert focused(desk)["command"] == "bookstore:pin-version"
    assert focused(desk)["version"] == focused_id


def focused(desk: Desk) -> dict[str, Any]:
    """What has the focus."""
    told: dict[str, Any] = desk.page.evaluate(
        """() => {
            const node = document.activeElement;
            return {
                command: node.dataset.command ?? '',
                version: node.closest('.jp-bookstore-row')?.dataset.versionId ?? '',
                name: node.className,
            };
        }"""
    )
    return told


def focused_row(desk: Desk) -> int:
    """The place in the list of the row that has the focus; -1 if none has."""
    place: int = desk.panel.rows.evaluate_all("rows => rows.indexOf(document.activeElement)")
    return place


def outline(desk: Desk) -> str:
    """How what has the focus is marked."""
    return str(desk.page.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
