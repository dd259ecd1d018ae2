"""Mixed work for long while the store fails now and then: nothing is lost, and memory and descriptors stay flat."""

from __future__ import annotations

import random

import pytest

from ci.soak import SHORT, Pace, Soak, page
from ci.soak_figures import BARS, Bar, Sample, theil_sen, trends
from ci.soak_ledger import Event, Stored, compare
from ci.soak_load import SIZES, file_content, notebook_content

ROW = "soak"

#: The short form.
MINUTES, RATE = 0.12, 12.0

#: The long form.
LONG_MINUTES, LONG_RATE = 60.0, 8.0

#: Keeps what every save held, often enough for a run of seconds, and a descriptor and a task for each.
LEAKS = """
import asyncio, os
from bookstore.delivery import Courier

KEPT = []
_deliver = Courier.deliver
async def deliver(self, parcel, key, content):
    KEPT.append([bytes(content) + bytes(copy) for copy in range(4)])
    KEPT.append((os.open(os.devnull, os.O_RDONLY), asyncio.create_task(asyncio.Event().wait())))
    return await _deliver(self, parcel, key, content)
Courier.deliver = deliver
"""

#: Says of every tenth save that it is stored, without having sent it.
FORGETS = """
import itertools
from bookstore.delivery import Courier, Delivered

_numbers = itertools.count(1)
_deliver_all = Courier.deliver
async def deliver_some(self, parcel, key, content):
    if next(_numbers) % 10 == 0:
        return Delivered(key, "forgotten", "stored")
    return await _deliver_all(self, parcel, key, content)
Courier.deliver = deliver_some
"""


def run_soak(directory, bucket, *, seed, minutes=MINUTES, rate=RATE, pace=SHORT, config=""):
    return Soak(directory, bucket, seed=seed, minutes=minutes, rate=rate, pace=pace, config=config).run()


def test_seconds_of_mixed_work_lose_nothing_and_leave_nothing_behind(tmp_path, durable_bucket, seed, report):
    outcome = run_soak(tmp_path, durable_bucket, seed=seed)
    report(ROW, **outcome.figure())
    assert outcome.violations() == []
    assert outcome.saves > 20
    assert str(outcome.versions) in page(outcome)


@pytest.mark.long
def test_an_hour_of_mixed_work_loses_nothing_and_leaves_nothing_behind(tmp_path, durable_bucket, seed, report):
    outcome = run_soak(tmp_path, durable_bucket, seed=seed, minutes=LONG_MINUTES, rate=LONG_RATE, pace=Pace())
    report(ROW, **outcome.figure())
    assert outcome.violations() == []


def test_a_soak_shows_what_leaks_and_what_is_lost(tmp_path, durable_bucket):
    outcome = run_soak(tmp_path, durable_bucket, seed=1, minutes=0.06, config=LEAKS + FORGETS)
    assert {"reachable_mb", "fds", "tasks"} <= set(outcome.growth())
    assert outcome.findings.lost


# -- the verdict ---------------------------------------------------------------------------------------------------


def samples(values, name="fds", settled=True):
    basis = {"phase": "settled", "settled": settled, "rss_mb": 100.0, "uss_mb": 100.0, "pss_mb": 100.0}
    return [Sample(**{"at": 10.0 * n, "fds": 20, "threads": 9, **basis, name: value}) for n, value in enumerate(values)]


def grows(values, name="fds"):
    return [trend.bar.name for trend in trends(samples(values, name)) if not trend.is_flat]


def test_noise_a_peak_and_what_shrinks_are_flat():
    rng = random.Random(1)  # noqa: S311
    assert grows([20 + rng.randrange(-3, 4) for _ in range(40)]) == []
    assert grows([20] * 20 + [500] * 2 + [20] * 18) == []
    assert grows([40 - n for n in range(30)]) == []


def test_what_happens_while_warming_up_does_not_count():
    assert grows([10 * n for n in range(8)] + [80] * 32) == []


def test_a_creep_and_a_step_are_growth():
    assert grows([20 + n for n in range(40)]) == ["fds"]
    assert grows([20] * 30 + [40] * 10) == ["fds"]
    assert grows([100 + n for n in range(40)], "uss_mb") == ["uss_mb"]


def test_only_settled_samples_are_compared():
    wild = samples(range(0, 4000, 100), settled=False)
    assert all(trend.is_flat for trend in trends([*wild, *samples([20] * 8)]))


def test_too_few_samples_allow_no_verdict():
    for count in (0, 3):
        with pytest.raises(ValueError, match="settled sample"):
            trends(samples([20] * count))


def test_what_a_system_does_not_tell_is_not_judged():
    assert "reachable_mb" not in {trend.bar.name for trend in trends(samples([20] * 8))}


def test_the_slope_is_that_of_most_pairs():
    assert theil_sen([(n, 2.0 * n) for n in range(9)] + [(9, 1e6)]) == 2.0
    assert theil_sen([(1.0, 5.0), (1.0, 7.0)]) == 0.0


def test_the_larger_of_both_bars_counts():
    bar = Bar("uss_mb", "memory", "MB", absolute=16.0, share=0.1)
    assert (bar.allowed(100.0), bar.allowed(300.0)) == (16.0, 30.0)
    assert len({bar.name for bar in BARS}) == len(BARS)


# -- the comparison ------------------------------------------------------------------------------------------------


def events(*rows):
    """Each row: bytes, kind, and whether it was acknowledged; one after the other."""
    return [Event(sha, 1, what, 2 * n + 1, 2 * n + 2 if done else 0) for n, (sha, what, done) in enumerate(rows)]


def found(history, *rows):
    findings, echoes = compare({"k": events(*rows)}, {"k": [Stored(*version.split("/")) for version in history]})
    return [violation.partition(":")[0] for violation in findings.violations()], echoes


SAVES = (("a", "save", True), ("b", "save", True), ("c", "save", False))


@pytest.mark.parametrize(
    ("history", "kinds"),
    [
        (["a", "b"], []),
        (["a", "b", "c"], []),
        (["a"], ["lost"]),
        (["b", "a"], ["disorder"]),
        (["a", "b", "b"], ["double"]),
        (["a", "b", "x"], ["torn"]),
        (["a/1", "b/2", "b/2"], ["double"]),
    ],
)
def test_every_acknowledged_save_is_wanted_once_and_in_order(history, kinds):
    assert found(history, *SAVES) == (kinds, 0)


def test_a_copy_of_the_newest_bytes_needs_no_version_and_a_rename_does():
    assert found(["a"], ("a", "save", True), ("a", "copy", True))[0] == []
    assert found(["a", "a"], ("a", "save", True), ("a", "copy", True))[0] == []
    assert found(["a"], ("a", "save", True), ("a", "rename", True))[0] == ["lost"]
    # After a save without an answer nobody knows what the newest bytes were.
    assert found(["a", "b"], ("a", "save", True), ("b", "save", False), ("a", "copy", True))[0] == []
    assert found(["a", "b"], ("a", "save", True), ("b", "save", True), ("a", "copy", True))[0] == ["lost"]


def test_a_restore_brings_the_same_bytes_once_more():
    rows = (("a", "save", True), ("b", "save", True), ("b", "archive", False), ("a", "restore", True))
    assert found(["a", "b", "a"], *rows)[0] == []
    assert found(["a", "b", "b", "a"], *rows)[0] == []
    assert found(["a", "b"], *rows)[0] == ["lost"]
    assert found(["a", "b", "a", "a"], *rows)[0] == ["double"]


def test_only_a_repeated_record_over_the_same_bytes_is_an_echo():
    rows = (("a", "save", True), ("a", "rename", True))
    assert found(["a/1", "a/2", "a/2"], *rows) == ([], 1)
    assert found(["a/1", "a/2", "a/3"], *rows) == (["double"], 0)
    assert found(["a/2", "a/2"], *rows[1:]) == (["double"], 0)
    assert found(["a/1", "a/2", "a/3", "a/2"], *rows, rows[1]) == ([], 1)
    assert found(["a/1", "a/2", "b/3", "a/2"], *rows, ("b", "save", True)) == (["double"], 0)


def test_no_two_contents_are_equal_and_each_is_as_large_as_asked():
    rng = random.Random(1)  # noqa: S311
    made = [notebook_content(rng, str(n), 20_000) for n in range(3)] + [file_content(rng, "x", 9_000) for _ in range(6)]
    assert len({content.sha256 for content in made}) == len(made)
    for size in SIZES:
        assert 0.8 * size < len(notebook_content(rng, "large", size).data) < 1.4 * size
