"""The resilience report tells of every test, of every mutation, and of nothing that is not there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ci import resilience
from ci.resilience import FAILED, FOLDER, HELD, NOT_RUN, PARTLY, ROWS, BrokenReport, Row, mark, page, read, section

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

KILLS, OUTAGE, CREDENTIALS = (
    next(row for row in ROWS if row.name.startswith(name)) for name in ("kill", "store down", "wrong")
)


@pytest.fixture
def collected(request) -> set[str]:
    """Every test of this folder, as pytest names it."""
    ours = {item.nodeid.removeprefix(FOLDER) for item in request.session.items}
    if all(
        forms(row) | set(row.mutations.values()) <= ours | {test.partition("[")[0] for test in ours} for row in ROWS
    ):
        return ours
    # The run is of a part of the folder only, or something is missing.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "--no-header",
        str(HERE),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return {line.removeprefix(FOLDER) for line in done.stdout.splitlines() if "::" in line}


def forms(row: Row) -> set[str]:
    return {name for proof in row.proofs for name in (proof.short, proof.long) if name}


def test_every_test_that_a_row_names_is_there(collected):
    functions = {test.partition("[")[0] for test in collected}
    for row in ROWS:
        assert forms(row) <= functions, row.name
        assert set(row.mutations.values()) <= collected, row.name


def test_every_row_has_a_short_form_and_a_mutation():
    for row in ROWS:
        assert any(proof.short for proof in row.proofs), row.name
        assert row.mutations, row.name


def test_every_row_of_the_design_is_there():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert sum(row.is_of_design for row in ROWS) == 14


def reports(file: Path) -> set[str]:
    """The tests of a file that report a figure: those that ask for the fixture."""
    functions = [
        node for node in ast.walk(ast.parse(file.read_text())) if hasattr(node, "args") and hasattr(node, "name")
    ]
    tests = [f for f in functions if f.name.startswith("test_") and "report" in {arg.arg for arg in f.args.args}]
    return {f"{file.name}::{function.name}" for function in tests}


def test_every_test_that_reports_a_figure_belongs_to_a_row():
    found = {test for file in HERE.glob("test_*.py") for test in reports(file)}
    assert found == {name for row in ROWS for name in forms(row)}


# -- the page ----------------------------------------------------------------------------------------------------------


def kills_line(test=KILLS.proofs[0].short, *, long=False, **figure):
    kinds = ("kills", "killed_at_start", "acknowledged", "unanswered", "lost", "torn", "double", "disorder")
    command = f"pytest {FOLDER}{test} --seed 5{' --long' if long else ''}"
    return {
        "test": FOLDER + test,
        "row": KILLS.name,
        "figure": {**dict.fromkeys(kinds, 0), **figure},
        "seed": 5,
        "command": command,
    }


def passed(test, passed=True):
    return {"test": FOLDER + test, "passed": passed}


def found(*tests):
    return {"collected": [FOLDER + test for test in tests]}


def read_lines(*lines):
    return read(map(json.dumps, lines))


def test_a_row_that_did_not_run_is_shown_as_such():
    text = page(read_lines())
    assert [f"| {row.name} | {row.bar} | {NOT_RUN} |" in text for row in ROWS] == [True] * len(ROWS)
    assert text.count(f": {NOT_RUN} (`") == sum(len(row.mutations) for row in ROWS)


def test_a_row_tells_its_figures_its_seed_its_command_and_what_was_caught():
    short, mutations = KILLS.proofs[0].short, list(KILLS.mutations.values())
    run = read_lines(
        kills_line(kills=3, acknowledged=1234), passed(short), passed(mutations[0]), passed(mutations[1], False)
    )
    text = section(KILLS, run)
    assert "3 kills" in text
    assert "1,234 acknowledged" in text
    assert "Seed 5." in text
    assert f"`pytest {FOLDER}{short}`" in text
    assert f"caught (`{mutations[0]}`)" in text
    assert f"**not caught** (`{mutations[1]}`)" in text
    assert f"{NOT_RUN} (`{mutations[2]}`)" in text


def test_the_long_form_stands_for_the_short_one():
    proof = KILLS.proofs[0]
    lines = [found(proof.short, proof.long)]
    lines += [kills_line(kills=3), passed(proof.short), *map(passed, KILLS.mutations.values())]
    assert mark(KILLS, read_lines(*lines)) == PARTLY
    lines = [lines[0], kills_line(proof.long, long=True, kills=200), passed(proof.long), *lines[1:]]
    assert mark(KILLS, read_lines(*lines)) == HELD
    assert mark(KILLS, read_lines(*lines[:-1])) == PARTLY
    text = section(KILLS, read_lines(*lines))
    assert "200 kills" in text
    assert "3 kills" not in text
    assert f"`pytest {FOLDER}{proof.long} --long`" in text


@pytest.mark.parametrize("what", ["the test failed", "it was broken off", "a mutation was not caught"])
def test_a_row_does_not_hold_if(what):
    short, mutation = KILLS.proofs[0].short, next(iter(KILLS.mutations.values()))
    further = {
        "the test failed": [passed(short, False)],
        "it was broken off": [],
        "a mutation was not caught": [passed(short), passed(mutation, False)],
    }
    assert mark(KILLS, read_lines(kills_line(kills=3), *further[what])) == FAILED


def whole_run(*cases, figure=None):
    """All of the row of kills was run, in these cases of its long form."""
    proof = KILLS.proofs[0]
    tests = [f"{proof.long}[{case}]" for case in cases]
    lines = [kills_line(proof.short), passed(proof.short), *map(passed, KILLS.mutations.values())]
    for test in tests:
        lines += [kills_line(test, long=True, **(figure or {})), passed(test)]
    return lines


def all_of(*cases):
    proof = KILLS.proofs[0]
    return found(proof.short, *(f"{proof.long}[{case}]" for case in cases))


def test_a_row_holds_only_if_every_case_that_was_found_was_run():
    assert mark(KILLS, read_lines(all_of("a", "b"), *whole_run("a", "b"))) == HELD
    run = read_lines(all_of("a", "b", "c"), *whole_run("a"))
    assert mark(KILLS, run) == PARTLY
    assert f"{NOT_RUN}: 2 of 4 cases" in section(KILLS, run)


def test_a_row_of_which_nobody_wrote_down_what_there_is_holds_as_far_as_it_was_run():
    run = read_lines(*whole_run("a", "b"))
    assert mark(KILLS, run) == PARTLY
    assert "which cases there are was not written down" in section(KILLS, run)


def test_what_cannot_run_there_is_not_asked_for_but_told():
    skipped = {"test": f"{FOLDER}{KILLS.proofs[0].long}[b]", "skipped": "no such disk"}
    run = read_lines(all_of("a", "b"), *whole_run("a"), skipped)
    assert mark(KILLS, run) == HELD
    assert "skipped: no such disk" in section(KILLS, run)


@pytest.mark.parametrize("kind", resilience.MUST_BE_ZERO)
def test_a_figure_that_counts_what_must_never_be_is_a_row_that_does_not_hold(kind):
    run = read_lines(all_of("a"), *whole_run("a", figure={kind: 7}))
    assert mark(KILLS, run) == FAILED
    assert f"7 {kind}" in section(KILLS, run)


def test_a_case_that_is_there_no_more_is_not_asked_for():
    assert mark(KILLS, read_lines(all_of("a", "old"), all_of("a"), *whole_run("a"))) == HELD


def test_a_test_that_is_broken_off_when_it_runs_once_more_has_not_passed():
    short = KILLS.proofs[0].short
    assert mark(KILLS, read_lines(kills_line(kills=1), passed(short), kills_line(kills=2))) == FAILED


def test_of_several_reports_the_later_one_counts(tmp_path, capsys):
    short, files = KILLS.proofs[0].short, [tmp_path / name for name in ("1.jsonl", "2.jsonl")]
    files[0].write_text("".join(json.dumps(line) + "\n" for line in (kills_line(kills=1), passed(short, False))))
    files[1].write_text("".join(json.dumps(line) + "\n" for line in (kills_line(kills=2), passed(short))))
    output = tmp_path / "page.md"
    assert resilience.main([*map(str, files), "--output", str(output)]) == 0
    assert f"| {KILLS.name} | {KILLS.bar} | {PARTLY} |" in output.read_text()
    assert "2 kills" in output.read_text()
    assert resilience.main([*map(str, reversed(files)), "--output", str(output)]) == 0
    assert f"| {KILLS.name} | {KILLS.bar} | {FAILED} |" in output.read_text()


def test_an_older_figure_may_lack_what_stands_in_brackets_a_new_one_may_not():
    test = OUTAGE.proofs[0].short
    names = ("saves", "failed_saves", "bytes", "p50_up_ms", "p50_down_ms", "p99_up_ms", "p99_down_ms")
    figure = dict.fromkeys((*names, "p99_down_minus_up_ms", "drained_after_s", "violations"), 0)
    line = {"test": FOLDER + test, "row": OUTAGE.name, "figure": figure, "seed": 1, "command": f"pytest {FOLDER}{test}"}
    assert "0 ms above normal (median" in section(OUTAGE, read_lines(line))
    with pytest.raises(BrokenReport, match="held_percentile"):
        resilience.Run(is_new=True).add(line)
    figure |= {"held_percentile": 50, "held_minus_up_ms": 1.5, "slower_allowed_ms": 250.0}
    held = "held: the 50th percentile, 1.5 ms above normal, where 250.0 ms are allowed"
    assert held in section(OUTAGE, read_lines(line))


@pytest.mark.parametrize(
    ("session", "is_written"),
    [
        ({}, True),
        ({"workerinput": {"workerid": "gw0"}}, True),
        ({"workerinput": {"workerid": "gw1"}}, False),
        ({"args": ["tests/faults/test_kills.py::test_a"]}, False),
        ({"lf": True}, False),
    ],
    ids=["all", "first worker", "another worker", "some cases only", "what failed only"],
)
def test_a_session_that_finds_all_tests_writes_down_once_which_there_are(request, tmp_path, session, is_written):
    plugins = request.config.pluginmanager.get_plugins()
    ours = next(plugin for plugin in plugins if str(getattr(plugin, "__file__", "")) == str(HERE / "conftest.py"))
    report = tmp_path / "report.jsonl"
    options = {"report": str(report), "long": True, "lf": session.pop("lf", False)}
    config = SimpleNamespace(getoption=lambda name, default=None: options.get(name, default), **{"args": [], **session})
    items = [SimpleNamespace(nodeid=test) for test in (f"{FOLDER}test_a.py::test_b[c]", "tests/unit/test_d.py::test_e")]
    ours.pytest_collection_modifyitems(config, items)
    lines = report.read_text().splitlines() if report.exists() else []
    assert lines == ([json.dumps(found("test_a.py::test_b[c]"))] if is_written else [])


def test_the_last_run_of_a_test_counts():
    short = KILLS.proofs[0].short
    run = read_lines(kills_line(kills=1), passed(short, False), kills_line(kills=2), passed(short))
    assert mark(KILLS, run) == PARTLY
    assert "2 kills" in section(KILLS, run)


def test_the_cases_of_a_row_are_told_together():
    test = CREDENTIALS.proofs[0].short
    lines = [
        {
            "test": f"{FOLDER}{test}[{case}]",
            "row": CREDENTIALS.name,
            "figure": {
                "case": case,
                "saves": 6,
                "shown_after_s": shown,
                "taken_up_after_s": 1.0,
                "pace_of_retries": 0.1,
                "violations": 0,
            },
            "seed": number,
            "command": f"pytest '{FOLDER}{test}[{case}]' --seed {number}",
        }
        for number, (case, shown) in enumerate([("wrong", 0.25), ("expired", 2.5)])
    ]
    text = section(CREDENTIALS, read_lines(*lines))
    assert "wrong, expired: 12 saves; shown after 2.5 s at most" in text
    assert "Seeds 0, 1." in text
    assert f"`pytest {FOLDER}{test}`" in text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: Expecting"),
        ("[]", "is no object"),
        (json.dumps({**kills_line(), "figure": None}), "'figure' is None"),
        (json.dumps({**kills_line(), "row": "kill -15"}), "'kill -15'"),
        (json.dumps(kills_line("test_kills.py::test_nobody_knows")), "test_nobody_knows reports a figure, but no row"),
        (json.dumps({**kills_line(), "figure": {"kills": 1}}), "tells nothing of 'killed_at_start'"),
        (json.dumps(kills_line(kills="many")), "not all of it are numbers"),
        (json.dumps({"test": "tests/unit/test_a.py::test_b", "passed": True}), "is not in tests/faults/"),
        (json.dumps({"test": f"{FOLDER}test_a.py::test_b"}), "'passed' is None"),
        (json.dumps({"test": f"{FOLDER}test_a.py::test_b", "skipped": None}), "'skipped' is None"),
        (json.dumps({"collected": f"{FOLDER}test_a.py::test_b"}), "which is no list of tests"),
    ],
)
def test_a_line_that_is_none_of_ours_is_refused_by_its_number(tmp_path, capsys, line, said):
    file, output = tmp_path / "report.jsonl", tmp_path / "page.md"
    file.write_text(json.dumps(kills_line(kills=1)) + "\n" + line + "\n")
    assert resilience.main([str(file), "--output", str(output)]) == 1
    told = capsys.readouterr().err
    assert f"{file}, line 2: " in told
    assert said in told
    assert not output.exists()


def test_the_command_writes_the_page(tmp_path, capsys):
    file, output = tmp_path / "report.jsonl", tmp_path / "page.md"
    file.write_text("")
    assert resilience.main([str(file), "--output", str(output)]) == 0
    assert output.read_text().startswith("## What must survive\n")
    assert len(re.findall("not run", capsys.readouterr().out)) == len(ROWS)


def test_a_figure_that_fits_no_row_fails_its_test(request):
    report = request.getfixturevalue("report")
    with pytest.raises(BrokenReport, match="no row in ci/resilience"):
        report("fuzzing: nothing", examples=1)
