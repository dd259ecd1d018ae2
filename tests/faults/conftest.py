"""What the fault tests share: long forms on demand, seeds that a failure tells, and figures for the report."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ci.resilience import FOLDER, Run


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bookstore's faults")
    group.addoption("--long", action="store_true", help="run the long forms, which take minutes")
    group.addoption("--report", metavar="FILE", help="add each figure as a line of JSON to this file")
    group.addoption("--seed", type=int, metavar="N", help="the seed, instead of each test's own")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; runs with --long only")


LONG_ONLY = "takes minutes: run it with --long (tox -e faults)"


@pytest.hookimpl(tryfirst=True)  # before any are deselected
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _write_collected(config, items)
    if config.getoption("long", default=False):
        return
    skip = pytest.mark.skip(reason=LONG_ONLY)
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(skip)


def _write_collected(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Write down which tests there are, so that the report can tell which of them were not run."""
    # All workers find the same; where there are workers, their master finds nothing.
    is_first = getattr(config, "workerinput", {"workerid": "gw0"})["workerid"] == "gw0"
    # Whoever asks for some cases of a function is told of no others.
    is_whole = not any("::" in argument for argument in config.args) and not config.getoption("lf", default=False)
    ours = [item.nodeid for item in items if item.nodeid.startswith(FOLDER)]
    if is_first and is_whole and ours:
        _write(config, {"collected": ours})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Tell, where a test failed, its seed and what repeats it; and write down which passed."""
    report = yield
    used = dict(item.user_properties).get("seed")
    if report.failed or (report.when == "call" and report.passed):
        _write(item.config, {"test": item.nodeid, "passed": report.passed})
    elif report.skipped and (reason := _reason(report)) != LONG_ONLY:
        _write(item.config, {"test": item.nodeid, "skipped": reason})
    if report.failed and used is not None:
        report.sections.append(("Seed", f"seed {used}; to repeat it: {command_of(item, used)}"))
    return report


def _reason(report: pytest.TestReport) -> str:
    """Why a test was skipped."""
    # Where, which line, and "Skipped: why"; a test that was expected to fail has a traceback there.
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "")
    return str(told).removeprefix("Skipped: ")


def command_of(item: pytest.Item, seed: int | None) -> str:
    """The command that runs one test as it was run."""
    long = " --long" if item.get_closest_marker("long") is not None else ""
    told = "" if seed is None else f" --seed {seed}"
    nodeid = f"'{item.nodeid}'" if any(c in item.nodeid for c in " [") else item.nodeid
    return f"pytest {nodeid}{long}{told}"


@pytest.fixture(scope="session", autouse=True)
def sdk_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the settings of whoever runs the tests out of them."""
    nowhere = tmp_path_factory.mktemp("aws") / "missing"
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("AWS_", "JPYNB_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", str(nowhere))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A test's own seed, the same in every run; ``--seed`` gives another."""
    given: int | None = request.config.getoption("seed", default=None)
    chosen = zlib.crc32(request.node.name.encode()) if given is None else given
    request.node.user_properties.append(("seed", chosen))
    return chosen


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Adds a figure to the file that ``--report`` names: ``report("row of the table", lost=0, …)``.

    Each is looked at as `ci.resilience` will, so that a figure which fits no row fails its test and not the report.
    """

    def add(row: str, **figure: Any) -> None:
        used = dict(request.node.user_properties).get("seed")
        command = command_of(request.node, used)
        line = {"test": request.node.nodeid, "row": row, "figure": figure, "seed": used, "command": command}
        Run(is_new=True).add(line)
        _write(request.config, line)

    return add


def _write(config: pytest.Config, line: dict[str, Any]) -> None:
    file = config.getoption("report", default=None)
    if file is not None:
        # In one go: other workers write to it too.
        with open(file, "ab", buffering=0) as lines:  # noqa: PTH123 - as the option has it
            lines.write(json.dumps(line).encode() + b"\n")
