"""Two servers meet at one path or in one outbox: every save becomes one version, whoever ships it."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bookstore.delivery import Courier, Parcel
from bookstore.disk import Disk
from bookstore.outbox import EntryRef, Outbox
from bookstore.outbox_entry import Entry
from bookstore.outbox_owner import Watch, this_process
from bookstore.provenance import Provenance
from bookstore.storage.memory import MemoryStore
from ci.two_servers import LOCKS_OFF, NO_BEAT, check_one_outbox, check_one_path

SHORT_SAVES, LONG_SAVES = 50, 500
SHORT_ENTRIES, LONG_ENTRIES = 10, 100
ROW = "two servers, one path, 2 x 500 saves; two servers, one outbox directory (locks off too)"

#: What the configurations of the servers say: one is killed, two live.
OUTBOXES = {
    "locks": {},
    "locks off": dict.fromkeys("abc", LOCKS_OFF),
    "taken for dead": {"a": LOCKS_OFF, "b": LOCKS_OFF, "c": NO_BEAT},
}

#: One stands for the others in the short form.
SHORT_OUTBOXES = ("locks off",)


def _try_one_path(tmp_path, bucket, start_jupyter, report, seed, saves, drain):
    wrong, figure = check_one_path(tmp_path, bucket, start_jupyter, saves=saves, drain=drain, seed=seed)
    report(ROW, case="one path", **figure)
    assert wrong == []


def test_two_servers_at_one_path_make_a_version_of_every_save(tmp_path, durable_bucket, start_jupyter, report, seed):
    _try_one_path(tmp_path, durable_bucket, start_jupyter, report, seed, SHORT_SAVES, 120.0)


@pytest.mark.long
def test_two_servers_at_one_path_make_a_thousand_versions(tmp_path, durable_bucket, start_jupyter, report, seed):
    _try_one_path(tmp_path, durable_bucket, start_jupyter, report, seed, LONG_SAVES, 1_800.0)


def _try_one_outbox(tmp_path, bucket, start_jupyter, report, seed, case, saves, drain):
    wrong, figure = check_one_outbox(
        tmp_path, bucket, start_jupyter, saves=saves, drain=drain, seed=seed, config=OUTBOXES[case]
    )
    report(ROW, case=f"one outbox, {case}", **figure)
    assert wrong == []
    if case == "taken for dead":
        # Otherwise nothing was tested: what the living server holds was claimed under it.
        assert figure["adoptions"] > 1


@pytest.mark.parametrize("case", SHORT_OUTBOXES)
def test_no_entry_of_a_shared_outbox_is_shipped_twice(tmp_path, durable_bucket, start_jupyter, report, seed, case):
    _try_one_outbox(tmp_path, durable_bucket, start_jupyter, report, seed, case, SHORT_ENTRIES, 120.0)


@pytest.mark.long
@pytest.mark.parametrize("case", OUTBOXES)
def test_no_entry_of_a_full_outbox_is_shipped_twice(tmp_path, durable_bucket, start_jupyter, report, seed, case):
    _try_one_outbox(tmp_path, durable_bucket, start_jupyter, report, seed, case, LONG_ENTRIES, 900.0)


class _Interrupting(Disk):
    """Lets something else happen once, after some entries were claimed."""

    def __init__(self, after, work):
        self.left, self.work = after, work

    def rename(self, old, new):
        super().rename(old, new)
        self.left -= 1
        if not self.left:
            self.work()


def test_of_two_servers_that_adopt_at_once_one_takes_all_of_a_path(tmp_path):
    def owner(instance):
        return this_process(instance, "/home/u", "https://s3.example/bucket")

    def take_all(outbox):
        return [ref.order for ref in outbox.adopt(lambda owner: True, Watch()).adopted]

    dead = Outbox(tmp_path, owner)
    dead.open()
    for number in range(6):
        content = b"%d" % number
        provenance = Provenance("", hashlib.sha256(content).hexdigest(), 1.0, instance=dead.instance, generation=1)
        made = replace(provenance, record_id=f"{number:032x}", sequence=dead.next_sequence())
        dead.put(Entry("a.ipynb", "workspace/a.ipynb", len(content), made), content)
    dead.close()
    taken = []
    second = Outbox(tmp_path, owner)
    first = Outbox(tmp_path, owner, disk=_Interrupting(3, lambda: taken.extend(take_all(second))))
    try:
        shares = [len(take_all(first)), len(taken)]
    finally:
        first.close()
        second.close()
    assert sum(shares) == 6
    assert 6 in shares


async def test_an_adopted_save_that_is_stored_below_older_ones_is_found():
    store = MemoryStore()
    courier = Courier(store, probe_key="probe", origin="h:/home/u")

    def parcel(sequence):
        content = b"save %d" % sequence
        provenance = Provenance(
            f"{sequence:032x}", hashlib.sha256(content).hexdigest(), time.time(), instance="i", sequence=sequence
        )
        entry = Entry("a.ipynb", "k", len(content), provenance)
        return Parcel(entry, EntryRef(Path(f"{sequence}.entry"), entry, adopted=True), uncertain=True), content

    # Its owner lives and stores the second save while the first has been claimed; then come the claimed ones.
    for sequence in (2, 1, 2):
        made, content = parcel(sequence)
        delivered = await courier.deliver(made, "k", content)
    assert delivered.how == "found"
