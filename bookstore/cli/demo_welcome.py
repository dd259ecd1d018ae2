"""The notebook that greets in the demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CELLS = (
    (
        "markdown",
        "welcome",
        (
            "# Every save is a version\n\nChange this notebook and save it (Ctrl-S, or ⌘S), a few times. Each save "
            "becomes an immutable version in the demo's bucket within a second. *File*, *Show History* opens the panel "
            "in which they are looked at, compared and restored."
        ),
    ),
    ("code", "try-it", "print('Change me and save.')"),
    (
        "markdown",
        "what-next",
        (
            "In a terminal in this notebook's directory (*File*, *New*, *Terminal*), `bookstore versions "
            "welcome.ipynb` lists the versions, and `bookstore restore welcome.ipynb latest~1` brings the one before "
            "the newest back. `bookstore status` tells the state. The terminal in which the demo runs shows where the "
            "bucket is, and how other S3 programs read it.\n\n"
            "With a bucket of your own: set `c.BookstoreSettings.s3_bucket` in `jupyter_server_config.py`, and let "
            "`bookstore doctor` check the way to it."
        ),
    ),
)


def welcome_notebook() -> dict[str, Any]:
    """The notebook, in nbformat 4.5."""
    cells = []
    for kind, name, source in _CELLS:
        cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {}, "source": source}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        cells.append(cell)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def write_welcome(notebooks: Path) -> None:
    """Write the notebook where there is none at all."""
    if any(notebooks.rglob("*.ipynb")):
        return
    text = json.dumps(welcome_notebook(), indent=1, sort_keys=True, ensure_ascii=False)
    (notebooks / "welcome.ipynb").write_text(f"{text}\n", encoding="utf-8")
