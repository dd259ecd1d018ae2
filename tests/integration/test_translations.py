"""JupyterLab's server serves the translations of the interface, to people who have chosen the language."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DOMAIN = "jupyterlab_bookstore"
PACK = "jupyterlab_language_pack_de_DE"


def language_pack(folder: Path) -> dict[str, str]:
    """A language pack without a message of its own, as pip would install it; what a process needs to find it."""
    (folder / PACK).mkdir(parents=True)
    (folder / PACK / "__init__.py").touch()
    told = folder / f"{PACK}-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACK}\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(f"[jupyterlab.languagepack]\nde_DE = {PACK}\n")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))}


@pytest.mark.parametrize("application", ["lab", "notebook"])
def test_with_a_language_pack_the_interface_is_in_its_language(start_jupyter, tmp_path, application):
    jupyter = start_jupyter(application=application, environment=language_pack(tmp_path / "packs"))
    # The same place for both: Notebook takes its translations from JupyterLab's server.
    answer = jupyter.request("GET", "/lab/api/translations/de_DE").json()
    assert not answer["message"].strip()
    german = answer["data"][DOMAIN]
    assert german["Restore"] == ["Wiederherstellen"]
    assert german["settings\x04Ask before publishing"] == ["Vor dem Veröffentlichen fragen"]
    assert german["%1 save waits"] == ["%1 Version wartet", "%1 Versionen warten"]
    assert german[""]["language"] == "de-DE"


def test_without_a_language_pack_jupyterlab_knows_no_language_but_english(start_jupyter):
    jupyter = start_jupyter(application="lab")
    assert set(jupyter.request("GET", "/lab/api/translations").json()["data"]) == {"en"}
    answer = jupyter.request("GET", "/lab/api/translations/de_DE").json()
    assert answer["data"] == {}
    assert "not installed" in answer["message"]
