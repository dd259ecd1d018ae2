"""What the program does not do at all, so that nobody need wonder with whose data it does it."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bookstore
from bookstore.errors import AccessDenied
from bookstore.storage.apart import probe_apart
from bookstore.storage.s3 import S3Options

from .conftest import ACCESS_KEY, BUCKET, SECRET, SECRETS, TOKEN

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(bookstore.__file__).parent
REPOSITORY = Path(__file__).resolve().parent.parent.parent

#: Each makes objects, or programs, of bytes.
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve", "jsonpickle", "telnetlib", "ftplib", "pdb"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
UNSAFE_CALLS |= {"yaml.full_load", "Markup", "markupsafe.Markup", "tempfile.mktemp", "ssl._create_unverified_context"}

#: Whatever starts a program.
STARTERS = {"subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output", "subprocess.check_call"}
STARTERS |= {"asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "os.execv", "os.execvp", "os.spawnv"}

#: The modules that start one: the demo its S3 server and its Jupyter, and a server one that looks at the bucket.
MAY_START = {"embedded_s3.py", "embedded_supervisor.py", "cli/demo_jupyter.py", "storage/apart.py"}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def dotted(node):
    """The name that a call goes by; empty for what is not called by a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}".strip(".")
    return ""


@functools.cache
def nodes_of(source):
    return list(ast.walk(ast.parse(source)))


def calls(file):
    return [node for node in nodes_of(file.read_text(encoding="utf-8")) if isinstance(node, ast.Call)]


def unsafe_parts(source):
    """What in a module makes objects or programs of bytes."""
    found = []
    for node in nodes_of(source):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNSAFE_MODULES:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            found += [name for name in [dotted(node.func)] if name in UNSAFE_CALLS]
            found += ["shell=True" for word in node.keywords if word.arg == "shell"]
    return found


def test_no_module_makes_objects_or_programs_of_bytes():
    assert len(modules()) > 60
    for file in modules():
        assert unsafe_parts(file.read_text(encoding="utf-8")) == [], file


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from marshal import loads", "yaml.load(x)", "eval('1')", "subprocess.run('x', shell=True)"],
)
def test_this_would_be_found(source):
    assert unsafe_parts(source)


def test_only_these_modules_start_programs():
    starting = {
        file.relative_to(PACKAGE).as_posix()
        for file in modules()
        if any(dotted(call.func) in STARTERS for call in calls(file))
    }
    assert starting == MAY_START


async def test_the_look_at_the_bucket_runs_no_code_of_the_notebooks_and_shows_no_secret(hostile, tmp_path, monkeypatch):
    # A server runs where its notebooks are, and some of them may be somebody else's.
    for name in ("json.py", "asyncio.py", "aiobotocore.py", "sitecustomize.py", "bookstore/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"open({str(tmp_path / 'was-run')!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    started = []
    popen = subprocess.Popen

    def start(command, **options):
        started.append((command, options))
        return popen(command, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    hostile.reply = lambda _: (403, {}, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
    with pytest.raises(AccessDenied):
        await probe_apart(S3Options(BUCKET, hostile.url, "us-east-1", ACCESS_KEY, SECRET, TOKEN))
    assert hostile.seen
    assert not (tmp_path / "was-run").exists()
    assert len(started) == 1
    for secret in SECRETS:
        assert secret not in repr(started)
        assert secret not in repr(os.environ)


def test_templates_escape_what_they_are_given():
    from bookstore.pages import _environment

    assert _environment().autoescape is True
    for file in (PACKAGE / "templates").glob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", "")
        assert "autoescape" not in text
        assert not re.search(r"\son[a-z]+=", text)  # no script in an attribute
        assert "javascript:" not in text


def test_only_what_was_rebuilt_or_escaped_is_put_into_a_page_as_it_is():
    made = {
        (file.relative_to(PACKAGE).as_posix(), ast.unparse(call.args[0]) if call.args else "")
        for file in modules()
        for call in calls(file)
        if dotted(call.func).endswith("Harmless")
    }
    assert {file for file, _ in made} == {"formulas.py", "sanitizing.py", "rendering.py"}
    written = ("''.join(self.written)", "''.join(_written(root, 0))", "'\\n'.join(renderer.rules)")
    for _, what in made:
        # Nothing; what a template made, which escapes; or what was written element by element, and its rules.
        assert not what or what in written or what.startswith("page_template("), what
    takes_as_it_is = {
        f.relative_to(PACKAGE).as_posix() for f in modules() if "__html__" in f.read_text(encoding="utf-8")
    }
    assert takes_as_it_is == {"sanitizing.py"}


def test_the_linter_looks_for_what_is_unsafe_and_each_exception_says_why():
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    lint = config["lint"]
    assert "S" in lint["select"]
    assert not [rule for rule in lint["ignore"] if re.match(r"S(\d|$)", rule)]
    assert "exclude" not in config
    for places, rules in lint["per-file-ignores"].items():
        if places.startswith("bookstore"):
            assert not [rule for rule in rules if re.match(r"S(\d|$)", rule)], places
    for file in modules():
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"noqa: [A-Z0-9, ]*\bS\d", line):
                assert re.search(r"noqa: [A-Z0-9, ]+ +(-|#|\()\s*\w", line), f"{file}:{number} does not say why"
            assert "nosec" not in line, f"{file}:{number}"
