"""The threat model and its tests say the same: each promise names tests that are there, and no test is without one."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PAGE = REPOSITORY / "docs" / "explanation" / "threat-model.md"

#: ``**T7** *promise.* …``, up to the next promise or heading.
PROMISE = re.compile(r"^\*\*T(?P<number>\d+)\*\* (?P<text>.*?)(?=^\*\*T\d+\*\* |^#|\Z)", re.MULTILINE | re.DOTALL)
#: ``tests/security/test_paths.py::test_name``, in a list after "Shown by".
TEST = re.compile(r"`(tests/[\w/]+\.py)::(?:\w+::)?(test_\w+)`")


@dataclass(frozen=True)
class Promise:
    """One promise of the page."""

    number: int
    text: str
    tests: tuple[tuple[str, str], ...]


def promises(page):
    """The promises of a page, in its order."""
    return [
        Promise(int(found["number"]), found["text"], tuple(TEST.findall(found["text"])))
        for found in PROMISE.finditer(page)
    ]


@functools.cache
def functions_of(file):
    """The tests of a module: names of functions, those in classes too."""
    tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
    return {
        node.name: node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    }


def faults(page):
    """What is wrong with a page of promises."""
    found = promises(page)
    if [promise.number for promise in found] != list(range(1, len(found) + 1)):
        yield f"the numbers are {[promise.number for promise in found]}"
    for promise in found:
        if not promise.tests:
            yield f"T{promise.number} names no test"
        for file, name in promise.tests:
            if not (REPOSITORY / file).is_file():
                yield f"T{promise.number}: there is no {file}"
            elif name not in functions_of(file):
                yield f"T{promise.number}: {file} has no {name}"
            elif any("xfail" in ast.dump(mark) for mark in functions_of(file)[name].decorator_list):
                yield f"T{promise.number}: {name} is expected to fail"
    told = {test for promise in found for test in promise.tests}
    for name, file in {n: f for f in security_modules() for n in functions_of(f)}.items():
        if (file, name) not in told:
            yield f"no promise names {file}::{name}"


def security_modules():
    here = Path(__file__).parent
    return [f.relative_to(REPOSITORY).as_posix() for f in sorted(here.glob("test_*.py")) if f != Path(__file__)]


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


def test_every_promise_names_tests_that_are_there_and_every_test_is_named(page):
    assert len(promises(page)) > 20
    assert list(faults(page)) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("**T2** ", "**T3** "),
        ("::test_no_route_answers_who_is_not_known`", "::test_that_nobody_wrote`"),
        ("`tests/security/test_paths.py::", "`tests/security/test_nothing.py::"),
        ("`tests/", "`"),
    ],
)
def test_a_page_that_drifts_is_found(page, before, after):
    assert before in page
    assert list(faults(page.replace(before, after)))


def test_what_does_not_hold_is_told_of_everybody(page):
    sections = re.split(r"^## ", page, flags=re.MULTILINE)
    actors = [section for section in sections if section.startswith("From ")]
    assert len(actors) > 10
    for section in actors:
        assert section.count("\nWhat does not hold: ") == 1, section.partition("\n")[0]


def test_the_page_is_in_the_table_of_contents():
    assert "explanation/threat-model" in (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
