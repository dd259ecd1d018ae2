"""A real server ended with SIGKILL at random moments: no acknowledged save is lost, torn or double."""

from __future__ import annotations

import json

import pytest

from bookstore.archiving.content import notebook_bytes
from ci.killer import CLIENTS, Findings, Killer, Save, compare, sent_notebook

ROW = "kill -9 of the server at random points while saving"

#: The short form.
KILLS = 3
SAVES_PER_LIFE = 40

#: The long form.
LONG_KILLS = 200
LONG_SAVES = 10_000

#: Answers while the entry is still on its way to the disk.
ANSWERS_EARLY = """
import time
from bookstore.archiving.asynchronous import AsyncArchiving
from bookstore.outbox import Outbox

_put = Outbox.put
def put(self, entry, content):
    time.sleep(0.2)
    return _put(self, entry, content)
Outbox.put = put

async def settle(self, call):
    call.pending.clear()
AsyncArchiving._bookstore_settle = settle
"""

#: Removes the entry before the store has acknowledged it.
DELETES_EARLY = """
import asyncio
from bookstore.delivery import Courier

_deliver = Courier.deliver
async def deliver(self, parcel, key, content):
    if parcel.ref is not None:
        parcel.ref.file.unlink(missing_ok=True)
    await asyncio.sleep(0.5)
    return await _deliver(self, parcel, key, content)
Courier.deliver = deliver
"""

#: Ships what a dead server left in the opposite order.
TURNS_ORDER = """
from bookstore.outbox import EntryRef

EntryRef.order = property(lambda ref: -ref.entry.provenance.sequence)
"""

#: Ships what a dead server left without looking whether the store has it, and keeps everything.
LOOKS_NOWHERE = """
from bookstore.delivery import Courier
from bookstore.outbox import Outbox

async def find(self, parcel, key, newest):
    return None
Courier._find = find
Outbox.remove = lambda self, ref, for_good=False: None
"""


def run_kills(directory, bucket, *, seed, kills, saves=0, saves_per_life=SAVES_PER_LIFE, **options):
    killer = Killer(directory, bucket, seed=seed, saves_per_life=saves_per_life, **options)
    return killer.run(kills, saves)


def test_every_acknowledged_save_survives_kills(tmp_path, durable_bucket, seed, report):
    outcome = run_kills(tmp_path, durable_bucket, seed=seed, kills=KILLS)
    assert outcome.findings.violations() == []
    assert outcome.acknowledged >= KILLS
    report(ROW, **outcome.figure())


@pytest.mark.long
def test_every_acknowledged_save_survives_many_kills(tmp_path, durable_bucket, seed, report):
    saves_per_life = round(1.3 * LONG_SAVES / LONG_KILLS)
    outcome = run_kills(
        tmp_path, durable_bucket, seed=seed, kills=LONG_KILLS, saves=LONG_SAVES, saves_per_life=saves_per_life
    )
    assert outcome.findings.violations() == []
    assert outcome.kills >= LONG_KILLS
    assert outcome.acknowledged >= LONG_SAVES
    report(ROW, **outcome.figure())


@pytest.mark.parametrize(
    ("mutation", "kind", "seed"),
    [
        pytest.param(ANSWERS_EARLY, "lost", 1, id="answers early"),
        pytest.param(DELETES_EARLY, "lost", 15, id="deletes early"),
        pytest.param(TURNS_ORDER, "disorder", 1, id="turns the order", marks=pytest.mark.long),
        pytest.param(LOOKS_NOWHERE, "double", 15, id="looks nowhere", marks=pytest.mark.long),
    ],
)
def test_kills_show_what_a_broken_product_does(tmp_path, durable_bucket, mutation, kind, seed):
    # One life is enough; the next start drains what it left. With seed 15 it ends while it ships.
    outcome = run_kills(
        tmp_path,
        durable_bucket,
        seed=seed,
        kills=1,
        config={"jupyter_server_config.py": mutation},
        dies_at_start=0.0,
    )
    assert getattr(outcome.findings, kind), outcome.figure()


# -- the comparison itself -----------------------------------------------------------------------------------------


def bytes_of(client, number, seed=7):
    return notebook_bytes(_node(sent_notebook(seed, client, number)))


def _node(content):
    import nbformat

    return nbformat.from_dict(content)


def histories(**versions):
    return {path: [bytes_of(*save) for save in versions.get(path.partition(".")[0], [])] for path in CLIENTS.values()}


SAVES = [Save("cat", 1, sent=1, acknowledged=2), Save("cat", 2, sent=3, acknowledged=4), Save("cat", 3, sent=5)]


def test_a_faithful_history_passes_with_and_without_the_unanswered_save():
    assert compare(7, SAVES, histories(one=[("cat", 1), ("cat", 2)])).violations() == []
    assert compare(7, SAVES, histories(one=[("cat", 1), ("cat", 2), ("cat", 3)])).violations() == []


def test_saves_at_the_same_time_have_no_order():
    saves = [Save("ann", 1, sent=1, acknowledged=4), Save("ben", 1, sent=2, acknowledged=3)]
    for order in ([("ann", 1), ("ben", 1)], [("ben", 1), ("ann", 1)]):
        assert compare(7, saves, histories(shared=order)).violations() == []


@pytest.mark.parametrize(
    ("versions", "kind"),
    [
        ([("cat", 1)], "lost"),
        ([("cat", 2), ("cat", 1)], "disorder"),
        ([("cat", 1), ("cat", 2), ("cat", 2)], "double"),
        ([("cat", 1), ("cat", 2), ("cat", 4)], "torn"),
    ],
)
def test_an_unfaithful_history_is_recognised(versions, kind):
    found = compare(7, SAVES, histories(one=versions))
    assert [violation.partition(":")[0] for violation in found.violations()] == [kind]


def test_a_torn_version_is_recognised_wherever_it_is_torn():
    whole = bytes_of("cat", 1)
    for end in (0, 1, len(whole) // 2, len(whole) - 3):
        found = compare(7, SAVES[:1], {"one.ipynb": [whole[:end], whole]})
        assert len(found.torn) == 1
    altered = json.loads(whole)
    altered["cells"][0]["source"] = "x"
    assert compare(7, SAVES[:1], {"one.ipynb": [json.dumps(altered).encode(), whole]}).torn


def test_findings_name_their_kind():
    assert Findings(lost=["a"], double=["b"]).violations() == ["lost: a", "double: b"]
