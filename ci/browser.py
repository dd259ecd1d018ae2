"""Finds a Chromium for the tests, starts it, and sees to it that there is one: ``python -m ci.browser``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

#: Names the program, where it is to be another one than the first that is found.
VARIABLE: Final = "BOOKSTORE_TEST_CHROMIUM"

#: What Chromium is called on PATH, by system and vendor.
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: It asks nobody but the page: no updates, no account, no welcome, no protocol that a proxy cannot see.
_ALONE: Final = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)

_OS_RELEASE = Path("/etc/os-release")


class BrowserMissing(Exception):
    """There is no browser, or none can be driven; the message ends with what to do."""


def options() -> dict[str, Any]:
    """How Chromium is started: here, as whoever this is, with the network or without."""
    # Chromium's own sandbox refuses to work for root, as whom containers run.
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return {"args": [*_ALONE, *(["--no-sandbox"] if is_root else [])]}


def program_on_machine() -> Path | None:
    """The program that the variable names, or the first on PATH.

    Raises
    ------
    BrowserMissing
        If the variable names none.
    """
    named = os.environ.get(VARIABLE, "")
    if named:
        found = shutil.which(named)
        if found is None:
            raise BrowserMissing(f"{VARIABLE}={named} is no program. Next: correct it, or unset it.")
        return Path(found)
    return next((Path(found) for found in map(shutil.which, _NAMES) if found), None)


def program(playwright: Any) -> Path:
    """The machine's Chromium, or the one that playwright keeps.

    Parameters
    ----------
    playwright : playwright.sync_api.Playwright

    Raises
    ------
    BrowserMissing
        If there is neither.
    """
    found = program_on_machine() or Path(playwright.chromium.executable_path)
    if not found.is_file():
        raise BrowserMissing("There is no Chromium. Next: python -m ci.browser")
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """A Chromium without a window, as playwright's ``Browser``.

    Raises
    ------
    BrowserMissing
        If playwright or the browser is not there.
    """
    if importlib.util.find_spec("playwright") is None:
        raise BrowserMissing("Playwright is not installed. Next: pip install -r requirements-browser.txt")
    from playwright.sync_api import (  # type: ignore[import-not-found,unused-ignore]
        sync_playwright,
    )

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(playwright), **options())
        try:
            yield browser
        finally:
            browser.close()


def is_required() -> bool:
    """Whether a browser, or an interface, that is not there is a failure: where they are what is tested."""
    return os.environ.get("BOOKSTORE_UI") == "require"


def install() -> None:
    """Install a Chromium: the distribution's on Debian for root, else the one that playwright offers.

    Raises
    ------
    BrowserMissing
        If that did not work.
    """
    for command in _commands():
        print("$", " ".join(command), flush=True)
        if subprocess.run(command, check=False).returncode:  # noqa: S603 - known programs
            raise BrowserMissing(
                f"Chromium could not be installed (see above). Next: install it by hand, and name it by {VARIABLE}."
            )


def _commands() -> list[list[str]]:
    apt = shutil.which("apt-get")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    # Elsewhere the package of that name is a promise that another installer keeps.
    if apt and is_root and "ID=debian" in (_OS_RELEASE.read_text().splitlines() if _OS_RELEASE.exists() else []):
        return [[apt, "update"], [apt, "install", "--yes", "--no-install-recommends", "chromium"]]
    extra = ["--with-deps"] if apt and is_root else []
    return [[sys.executable, "-m", "playwright", "install", *extra, "chromium"]]


def main() -> int:
    """See that a Chromium is there and starts; the exit code."""
    try:
        try:
            told = _start()
        except BrowserMissing:
            if os.environ.get(VARIABLE) or importlib.util.find_spec("playwright") is None:
                raise
            install()
            told = _start()
    except BrowserMissing as error:
        print(error, file=sys.stderr)
        return 1
    print(told)
    return 0


def _start() -> str:
    with chromium() as browser:
        return f"Chromium {browser.version} starts."


if __name__ == "__main__":
    sys.exit(main())
