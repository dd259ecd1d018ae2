"""JupyterLab and Notebook with the interface of bookstore, as somebody in front of them finds their parts."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from ci.jupyter_process import JupyterProcess

#: Where each application opens a file; in Lab each window has a layout of its own.
_OPENS: Final = {"lab": "lab/workspaces/w{number}/tree", "notebook": "notebooks"}

_NUMBERS: Final = itertools.count(1)

#: Milliseconds for what a shared machine may take long for: the first page of JupyterLab.
FIRST_PAGE: Final = 90_000

#: Milliseconds for anything else.
SOON: Final = 30_000


#: As Lab writes them for the kernel of this Python: then opening a notebook does not change it.
_KERNEL: Final = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": platform.python_version(),
    },
}


def code(source: str, *outputs: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """A code cell."""
    return {
        "cell_type": "code",
        "metadata": metadata,
        "execution_count": 1 if outputs else None,
        "outputs": list(outputs),
        "source": source,
    }


def markdown(source: str, **metadata: Any) -> dict[str, Any]:
    """A markdown cell."""
    return {"cell_type": "markdown", "metadata": metadata, "source": source}


def printed(text: str) -> dict[str, Any]:
    """What a cell has printed."""
    return {"output_type": "stream", "name": "stdout", "text": text}


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    """A notebook that opening does not change."""
    numbered = [{**cell, "id": f"cell-{number}"} for number, cell in enumerate(cells)]
    return {"cells": numbered, "metadata": _KERNEL, "nbformat": 4, "nbformat_minor": 5}


class Desk:
    """One window of an application, with a document open.

    Parameters
    ----------
    page : playwright.sync_api.Page
    application : str
        ``lab`` or ``notebook``.
    """

    def __init__(self, page: Any, application: str) -> None:
        self.page = page
        self.application = application
        self.panel = Panel(self)
        self.status = page.locator(".jp-bookstore-status")

    @classmethod
    def open(cls, page: Any, application: str, jupyter: JupyterProcess, path: str, ready: str = ".jp-Notebook") -> Desk:
        """Open a path, as somebody who is signed in.

        Parameters
        ----------
        page : playwright.sync_api.Page
        application : str
        jupyter : JupyterProcess
        path : str
        ready : str
            What is there once the document is.
        """
        desk = cls(page, application)
        site = f"http://127.0.0.1:{jupyter.port}{jupyter.base_url}"
        page.context.request.get(f"{site}login?token={jupyter.token}")
        page.goto(f"{site}{_OPENS[application].format(number=next(_NUMBERS))}/{quote(path)}")
        page.wait_for_selector(f"{ready}:visible", timeout=FIRST_PAGE)
        desk.status.wait_for(timeout=FIRST_PAGE)
        return desk

    @property
    def is_lab(self) -> bool:
        """Whether there is room for more than one document."""
        return self.application == "lab"

    @property
    def document(self) -> Any:
        """The document in front."""
        return self.page.locator(".jp-NotebookPanel:visible")

    def reload(self) -> None:
        """Load the page anew."""
        self.page.reload()
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Cell:visible", timeout=FIRST_PAGE)
        self.status.wait_for(timeout=FIRST_PAGE)

    def type(self, text: str, cell: int = 0) -> None:
        """Type at the end of a code cell."""
        editor = self.document.locator(".jp-CodeCell").nth(cell).locator(".cm-content")
        editor.click()
        self.page.keyboard.press("ControlOrMeta+End")
        self.page.keyboard.insert_text(text)
        editor.get_by_text(text.strip().splitlines()[-1]).first.wait_for(timeout=SOON)

    def save(self) -> str:
        """Save by the keyboard and wait until the version is there; its id."""
        before = self.version_shown()
        self.page.keyboard.press("ControlOrMeta+s")
        self.page.wait_for_function(
            """before => {
                const item = document.querySelector('.jp-bookstore-status');
                return item && item.dataset.state === 'ok' && item.title.includes('version') && item.title !== before;
            }""",
            arg=before,
            timeout=SOON,
        )
        return self.version_shown().rsplit(" ", 1)[-1]

    def version_shown(self) -> str:
        """What the status says of the version that was archived last."""
        return str(self.status.get_attribute("title"))

    def wait_for_state(self, state: str, timeout: float = SOON) -> None:
        """Wait until the status shows a state."""
        self.page.locator(f'.jp-bookstore-status[data-state="{state}"]').wait_for(timeout=timeout)

    def choose_in_menu(self, menu: str, item: str) -> None:
        """Choose an item of the menu bar."""
        self.page.locator(".lm-MenuBar-item", has_text=menu).first.click()
        self.page.locator(".lm-Menu-item", has_text=item).click()

    def choose_in_palette(self, command: str) -> None:
        """Choose a command by typing its name."""
        self.page.keyboard.press("ControlOrMeta+Shift+c")
        self.page.locator(".lm-CommandPalette-input:visible").fill(command)
        self.page.locator(".lm-CommandPalette-item:visible", has_text=command).first.click()

    def press_in_toolbar(self, name: str) -> None:
        """Press a button above the document, by its name in the settings."""
        item = self.document.locator(f'.jp-Toolbar [data-jp-item-name="{name}"]')
        item.locator("button, jp-button").first.click()

    def show_history(self) -> Panel:
        """Show the panel, by the button above the document."""
        self.press_in_toolbar("bookstore-history")
        self.panel.node.wait_for(timeout=SOON)
        return self.panel

    def hide_history(self) -> None:
        """Hide the panel again."""
        if self.is_lab:
            self.page.locator(".jp-SideBar.jp-mod-right .lm-TabBar-tab.lm-mod-current").click()
        else:
            self.page.locator("#jp-right-stack .jp-SidePanel-collapse, .jp-SidePanel-collapse:visible").first.click()
        self.panel.node.wait_for(state="hidden", timeout=SOON)

    @property
    def dialog(self) -> Dialog:
        """The question, or the answer, in front."""
        return Dialog(self.page.locator("dialog.jp-Dialog, .jp-Dialog").last)

    @property
    def view(self) -> View:
        """The version, or the comparison, in front: a tab in Lab, over the document in Notebook."""
        return View(self)


class Panel:
    """The panel with the history."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.node = desk.page.locator(".jp-bookstore-panel:visible")
        self.banner = self.node.locator(".jp-bookstore-banner:visible")
        self.state = self.node.locator(".jp-bookstore-state")
        self.rows = self.node.locator(".jp-bookstore-list > section:not(.jp-bookstore-pinned) .jp-bookstore-version")
        self.pinned = self.node.locator(".jp-bookstore-pinned .jp-bookstore-version")
        self.days = self.node.locator(".jp-bookstore-day")

    def wait_for_rows(self, count: int, timeout: float = SOON) -> None:
        """Wait until there are so many versions, pinned ones not counted again."""
        self._desk.page.wait_for_function(
            """count => document.querySelectorAll(
                '.jp-bookstore-list > section:not(.jp-bookstore-pinned) .jp-bookstore-version').length === count""",
            arg=count,
            timeout=timeout,
        )

    def expand(self, place: int) -> Any:
        """Show what can be done with a version, by its place in the list; the row."""
        row = self.rows.nth(place)
        if row.get_attribute("aria-expanded") != "true":
            row.click()
        return row.locator("..")

    def version_ids(self) -> list[str]:
        """The ids of the versions, in the order of the list."""
        ids: list[str] = self.rows.evaluate_all("rows => rows.map(row => row.parentElement.dataset.versionId)")
        return ids

    def do(self, place: int, verb: str) -> None:
        """Do something with a version, by the button below it."""
        self.expand(place).locator(f'[data-command="bookstore:{verb}"]').click()


class Dialog:
    """A dialog."""

    def __init__(self, node: Any) -> None:
        self.node = node

    def wait(self, title: str) -> Dialog:
        """Wait for the dialog of a title."""
        self.node.locator(".jp-Dialog-header", has_text=title).wait_for(timeout=SOON)
        return self

    def text(self) -> str:
        """What it says."""
        return str(self.node.inner_text())

    def press(self, label: str) -> None:
        """Press a button, and wait until the dialog is gone."""
        self.node.get_by_role("button", name=label, exact=True).click()


class View:
    """A version, or a comparison."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        over = "" if desk.is_lab else ".jp-bookstore-over "
        self.preview = desk.page.locator(f"{over}.jp-bookstore-preview:visible")
        self.comparison = desk.page.locator(f"{over}.jp-bookstore-compare:visible")

    def press(self, label: str) -> None:
        """Press a button above it."""
        over = self._desk.page.locator("body" if self._desk.is_lab else ".jp-bookstore-over")
        over.locator(".jp-Toolbar:visible").get_by_role("button", name=label).click()

    def close(self) -> None:
        """Close it, and return to the document."""
        page = self._desk.page
        if not self._desk.is_lab:
            Dialog(page.locator(".jp-bookstore-over")).press("Close")
            page.locator(".jp-bookstore-over").wait_for(state="detached", timeout=SOON)
            return
        page.locator("#jp-main-dock-panel .lm-TabBar-tab.jp-mod-current .lm-TabBar-tabCloseIcon").click()
        self._desk.document.wait_for(timeout=SOON)


def until(holds: Callable[[], object], page: Any, timeout: float = SOON) -> None:
    """Wait until something holds that no selector can say, while the page goes on."""
    for _ in range(int(timeout / 50)):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("the condition did not come true in time")
