"""The translations of the interface: complete, with the same placeholders, and up to date with what it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import bookstore

LOCALE = Path(bookstore.PACKAGE_DIR) / "locale"
CHECKOUT = Path(__file__).resolve().parents[2]
UI = CHECKOUT / "ui"
DOMAIN = "jupyterlab_bookstore"
LANGUAGES = sorted(folder.name for folder in LOCALE.iterdir() if folder.is_dir())

TEXT = r'"(?:[^"\\]|\\.)*"'
FIELD = re.compile(rf"^(msgctxt|msgid_plural|msgid|msgstr(?:\[\d\])?) ({TEXT}(?:\n{TEXT})*)", re.MULTILINE)


def messages(catalog: Path) -> dict[tuple[str, str], dict[str, str]]:
    """The entries of a file in gettext's format, by context and message."""
    found = {}
    for block in catalog.read_text(encoding="utf-8").split("\n\n"):
        fields = {name: "".join(json.loads(line) for line in text.splitlines()) for name, text in FIELD.findall(block)}
        if fields.get("msgid"):
            found[fields.get("msgctxt", ""), fields["msgid"]] = fields
    return found


def translated(language: str) -> dict[str, list[str]]:
    """What JupyterLab reads, without its header."""
    found = json.loads((LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.json").read_text(encoding="utf-8"))
    return {key: texts for key, texts in found.items() if key}


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\d+", text))


@pytest.fixture(scope="module")
def catalog() -> dict[tuple[str, str], dict[str, str]]:
    """All that the interface says; it is in the sources only."""
    template = CHECKOUT / "bookstore" / "locale" / f"{DOMAIN}.pot"
    found = messages(template)
    assert len(found) > 100
    return found


def test_german_is_there():
    assert "de_DE" in LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_is_translated(catalog, language):
    assert set(translated(language)) == {f"{context}\x04{text}" if context else text for context, text in catalog}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_placeholders_of_its_message_in_each_of_its_forms(catalog, language):
    texts = translated(language)
    for (context, text), fields in catalog.items():
        forms = texts[f"{context}\x04{text}" if context else text]
        assert (len(forms) > 1) == ("msgid_plural" in fields), text
        for form in forms:
            assert form.strip() == form != "", text
            assert placeholders(form) == placeholders(text), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_header_is_what_jupyterlab_wants(language):
    found = json.loads((LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.json").read_text(encoding="utf-8"))
    header = found[""]
    assert header["domain"] == DOMAIN
    assert header["language"] == language.replace("_", "-")
    # JupyterLab evaluates it, and refuses what is not of this form.
    assert re.fullmatch(r"nplurals=\d; plural=[\s\-?|&=!<>+*/%:;n0-9_()]+", header["pluralForms"])


def test_the_settings_are_looked_up_where_the_interface_looks_its_messages_up():
    schema = json.loads((UI / "schema" / "plugin.json").read_text(encoding="utf-8"))
    assert schema["jupyter.lab.internationalization"] == {"domain": DOMAIN}
    assert f"translator.load('{DOMAIN}')" in (UI / "src" / "index.ts").read_text(encoding="utf-8")


needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (UI / "node_modules" / "typescript").is_dir(),
    reason="needs Node and the packages of ui/",
)


def gather(ui: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command that gathers the messages."""
    command = ["node", "scripts/messages.mjs", *words]
    return subprocess.run(command, cwd=ui, capture_output=True, text=True, timeout=60, check=False)


@needs_node
def test_the_catalogs_are_up_to_date():
    checked = gather(UI, "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


SCHEMA = {
    "title": "A title",
    "jupyter.lab.internationalization": {"domain": DOMAIN},
    "jupyter.lab.menus": {"main": [{"id": "no-message", "label": "A menu", "items": [{"command": "no:message"}]}]},
    "properties": {"one": {"title": "A setting", "description": "What it does", "type": "string", "default": "none"}},
}


@pytest.fixture
def other_ui(tmp_path):
    """An interface that says little, with a translation of some of it."""
    ui = tmp_path / "ui"
    for folder in ("src", "schema", "scripts"):
        (ui / folder).mkdir(parents=True)
    shutil.copy(UI / "scripts" / "messages.mjs", ui / "scripts")
    (ui / "node_modules").symlink_to(UI / "node_modules")
    (ui / "package.json").write_text('{"version": "7.8.9"}')
    (ui / "schema" / "plugin.json").write_text(json.dumps(SCHEMA))
    (ui / "src" / "a.tsx").write_text(
        "const a = <p>{trans.__('Say “%1”', x)}</p>; other.__not('x'); trans._p('verb', 'Open');\n"
        "trans.__('Open'); trans._n('%1 cell', '%1 cells', n, n); trans.__('one ' +\n'line'); trans.__(`back`);\n"
        "trans.__('a\\tb \\\\ \"c\"')"
    )
    (ui / "src" / "a.spec.ts").write_text("trans.__('only in a test')")
    return ui


@needs_node
def test_every_message_is_gathered_once_with_its_context(other_ui):
    (other_ui / "src" / "b.ts").write_text("trans.__('Open')")
    assert gather(other_ui).returncode == 0
    found = messages(other_ui.parent / "bookstore" / "locale" / f"{DOMAIN}.pot")
    assert set(found) == {
        ("", "Say “%1”"),
        ("verb", "Open"),
        ("", "Open"),
        ("", "%1 cell"),
        ("", "one line"),
        ("", "back"),
        ("", 'a\tb \\ "c"'),
        ("schema", "A title"),
        ("menu", "A menu"),
        ("settings", "A setting"),
        ("settings", "What it does"),
    }
    assert found["", "%1 cell"]["msgid_plural"] == "%1 cells"


@needs_node
@pytest.mark.parametrize("call", ["trans.__(text)", "trans.__(`a ${b}`)", "trans._n('a', b, n)", "trans.__('')"])
def test_a_message_that_cannot_be_gathered_is_told_with_its_place(other_ui, call):
    (other_ui / "src" / "b.ts").write_text(f"\n{call}")
    refused = gather(other_ui)
    assert refused.returncode != 0
    assert "src/b.ts:2" in refused.stderr


@needs_node
def test_settings_of_another_domain_are_told(other_ui):
    (other_ui / "schema" / "plugin.json").write_text(json.dumps({**SCHEMA, "jupyter.lab.internationalization": {}}))
    refused = gather(other_ui)
    assert refused.returncode != 0
    assert "ui/schema/plugin.json" in refused.stderr


@needs_node
def test_a_translation_is_kept_while_its_message_is_said_and_served_once_it_is_sure(other_ui):
    assert gather(other_ui, "--add", "fr_FR").returncode == 0
    folder = other_ui.parent / "bookstore" / "locale" / "fr_FR" / "LC_MESSAGES"
    catalog = folder / f"{DOMAIN}.po"
    text = catalog.read_text()
    assert "plural=(n > 1)" in text
    text = text.replace('msgid "back"\nmsgstr ""', '# A word of the translator.\nmsgid "back"\nmsgstr "arrière"')
    text = text.replace('msgid "Open"\nmsgstr ""', 'msgid "Open"\nmsgstr "Ouvrir"')
    text = text.replace('msgid "one line"\nmsgstr ""', '#, fuzzy\nmsgid "one line"\nmsgstr "ligne"')
    text = text.replace('msgstr[0] ""\nmsgstr[1] ""', 'msgstr[0] "%1 cellule"\nmsgstr[1] "%1 cellules"')
    text = text.replace('msgid "A title"\nmsgstr ""', 'msgid "A title"\nmsgstr ""\n"Un "\n"titre"')
    catalog.write_text(text)

    assert gather(other_ui, "--check").returncode == 1
    assert gather(other_ui).returncode == 0
    assert gather(other_ui, "--check").returncode == 0
    served = json.loads((folder / f"{DOMAIN}.json").read_text())
    assert served.pop("")["version"] == "7.8.9"
    assert served == {
        "back": ["arrière"],
        "verb\x04Open": ["Ouvrir"],
        "Open": ["Ouvrir"],
        "%1 cell": ["%1 cellule", "%1 cellules"],
        "schema\x04A title": ["Un titre"],
    }

    (other_ui / "src" / "a.tsx").write_text("trans.__('back'); trans.__('new')")
    assert gather(other_ui).returncode == 0
    assert set(messages(catalog)) >= {("", "back"), ("", "new")}
    assert ("", "Open") not in messages(catalog)
    assert "# A word of the translator." in catalog.read_text()
    assert set(json.loads((folder / f"{DOMAIN}.json").read_text())) == {"", "back", "schema\x04A title"}


@needs_node
@pytest.mark.parametrize("words", [["--what"], ["--add", "../x"], ["--add", "german"]])
def test_a_command_that_is_none_writes_nothing(other_ui, words):
    assert gather(other_ui, *words).returncode == 2
    assert not (other_ui.parent / "bookstore").exists()
