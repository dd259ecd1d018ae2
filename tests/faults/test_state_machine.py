"""Any story of saves, crashes, outages and people: the bucket, the outboxes, the status and the histories are true."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bookstore.archiving.asynchronous import AsyncArchiving
from bookstore.delivery import Courier
from bookstore.lineage import Lineage
from bookstore.outbox import EntryRef, Outbox
from bookstore.service import ArchiveService
from bookstore.shipper import Shipper
from bookstore.status import ArchiveStatus
from ci.state_machine import FORMS, Tally, machine

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="what is open is not removed there")

ROW = "state machine"

#: Stories of each form, and steps of each.
EXAMPLES, STEPS = 15, 30

#: The long form, for each form: seconds after which no further lot of stories is begun.
LONG_SECONDS = 180.0
LONG_EXAMPLES, LONG_STEPS = 60, 80

#: Stories within which a change for the worse must be found.
BOUND = 120

FORMS_BY_NAME = {form.name: form for form in FORMS}


def tell_stories(directory, form, *, seed, examples, steps, shrinks=True):
    """Live through some stories; what they came to. Fails with the shortest story in which something does not hold."""
    tally = Tally()
    phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)
    run_state_machine_as_test(
        machine(form, directory, tally, seed),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            # A seed alone chooses the stories, whatever failed before.
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return tally


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_story_ends_with_all_that_was_saved_in_the_bucket(tmp_path, seed, report, form):
    tally = tell_stories(tmp_path, form, seed=seed, examples=EXAMPLES, steps=STEPS)
    assert tally.counts["steps"] > EXAMPLES
    report(ROW, form=form.name, **tally.figure())


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_many_long_stories_end_with_all_that_was_saved_in_the_bucket(tmp_path, seed, report, form):
    whole, begin, lot = Tally(), time.monotonic(), 0
    while time.monotonic() < begin + LONG_SECONDS:
        print(f"lot {lot}: seed {seed + lot}")
        tally = tell_stories(tmp_path, form, seed=seed + lot, examples=LONG_EXAMPLES, steps=LONG_STEPS)
        whole.counts.update(tally.counts)
        lot += 1
    report(ROW, form=form.name, **whole.figure())


# -- what the machine must find ------------------------------------------------------------------------------------


def find(directory, seed, form, what):
    """See that some story shows what was changed for the worse."""
    with pytest.raises(AssertionError, match=what):
        tell_stories(directory, FORMS_BY_NAME[form], seed=seed, examples=BOUND, steps=STEPS, shrinks=False)


def test_the_machine_finds_entries_removed_before_the_store_has_them(tmp_path, seed, monkeypatch):
    deliver = Courier.deliver

    async def remove_first(self, parcel, key, content):
        parcel.ref.file.unlink(missing_ok=True)
        return await deliver(self, parcel, key, content)

    monkeypatch.setattr(Courier, "deliver", remove_first)
    find(tmp_path, seed, "one server", "lost")


def test_the_machine_finds_a_path_shipped_out_of_order(tmp_path, seed, monkeypatch):
    def enqueue_first(self, parcel):
        lane = self._lane(parcel.entry.path)
        lane.parcels.insert(1 if lane.is_running else 0, parcel)
        self._stand_in_line(lane)

    monkeypatch.setattr(Shipper, "_enqueue", enqueue_first)
    find(tmp_path, seed, "one server, every save stored", "out of order")


def test_the_machine_finds_what_was_left_shipped_in_the_opposite_order(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(EntryRef, "order", property(lambda ref: -ref.entry.provenance.sequence))
    find(tmp_path, seed, "one server, every save stored", "out of order")


def test_the_machine_finds_that_nobody_looks_for_ones_own_record(tmp_path, seed, monkeypatch):
    async def find_nothing(self, parcel, key, newest):
        return None

    monkeypatch.setattr(Courier, "_find", find_nothing)
    find(tmp_path, seed, "one server, every save stored", "double")


def test_the_machine_finds_saves_acknowledged_before_they_are_entries(tmp_path, seed, monkeypatch):
    async def settle_nothing(self, call):
        call.pending.clear()

    monkeypatch.setattr(AsyncArchiving, "_bookstore_settle", settle_nothing)
    find(tmp_path, seed, "one server", "lost")


@pytest.mark.long
def test_the_machine_finds_a_new_server_that_overtakes_the_dead_one(tmp_path, seed, monkeypatch):
    init = ArchiveService.__init__

    def ship_at_once(self, *args, **options):
        init(self, *args, **options)
        self.shipper.is_paused = False

    monkeypatch.setattr(ArchiveService, "__init__", ship_at_once)
    find(tmp_path, seed, "one server, from host to host", "out of order")


def test_the_machine_finds_saves_skipped_that_are_not_the_newest(tmp_path, seed, monkeypatch):
    def is_like_any(self, parcel, head):
        return head is not None and head.sha256 == parcel.entry.provenance.sha256

    monkeypatch.setattr(Courier, "_is_unchanged", is_like_any)
    find(tmp_path, seed, "one server", "lost")


def test_the_machine_finds_a_status_that_tells_less_than_waits(tmp_path, seed, monkeypatch):
    status = ArchiveService.status

    def forget_one(self):
        told = status(self)
        return ArchiveStatus(**{**vars_of(told), "waiting": max(0, told.waiting - 1)})

    def vars_of(told):
        return {name: getattr(told, name) for name in ArchiveStatus.__slots__}

    monkeypatch.setattr(ArchiveService, "status", forget_one)
    find(tmp_path, seed, "one server", "saves wait")


def test_the_machine_finds_a_history_that_ends_at_a_rename(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(Lineage, "follow", lambda self, row, detail: None)
    find(tmp_path, seed, "one server", "lacks|labelling .* failed|restoring .* failed")


def test_the_machine_finds_a_claim_on_what_a_living_server_holds(tmp_path, seed, monkeypatch):
    adopt = Outbox.adopt

    class Blind:
        def is_alive(self, directory, owner):
            return False

        def is_undecided(self, directory):
            return False

    monkeypatch.setattr(Outbox, "adopt", lambda self, wants, watch: adopt(self, wants, Blind()))
    find(tmp_path, seed, "two servers, one outbox", "saves wait|logged|out of order|double")
