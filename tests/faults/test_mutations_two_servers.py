"""The checks of `test_two_servers` are worth what they catch: each of these changes to the product must fail one."""

from __future__ import annotations

import pytest

from ci.two_servers import LOCKS_OFF, NO_BEAT, check_one_outbox, check_one_path

A_LOST_RACE_PASSES_FOR_STORED = """
from bookstore.delivery import Courier
from bookstore.errors import PreconditionFailed
from bookstore.storage.base import Receipt

put = Courier._put

async def mutated(self, parcel, key, content, head):
    try:
        return await put(self, parcel, key, content, head)
    except PreconditionFailed:
        return Receipt(key, "a-version", "an-etag", len(content), verified=True)

Courier._put = mutated
"""

ENTRIES_ARE_COPIED_AND_NOBODY_LOOKS = """
import shutil
from bookstore.delivery import Courier
from bookstore.disk import Disk

rename = Disk.rename

def copy(self, old, new):
    if old.suffix == ".entry" and new.parent.name not in ("quarantine", "refused"):
        shutil.copy(old, new)
    else:
        rename(self, old, new)

async def find(self, parcel, key, newest):
    return None

Disk.rename = copy
Courier._find = find
"""


def test_the_check_of_one_path_catches_a_lost_race_that_passes_for_stored(
    tmp_path, durable_bucket, start_jupyter, seed
):
    wrong, _ = check_one_path(
        tmp_path, durable_bucket, start_jupyter, saves=30, drain=60.0, seed=seed, config=A_LOST_RACE_PASSES_FOR_STORED
    )
    assert any("lost" in violation for violation in wrong), wrong


@pytest.mark.long
def test_the_check_of_one_outbox_catches_entries_that_two_ship(tmp_path, durable_bucket, start_jupyter, seed):
    mutated = {"a": LOCKS_OFF, "b": LOCKS_OFF + ENTRIES_ARE_COPIED_AND_NOBODY_LOOKS, "c": NO_BEAT}
    wrong, _ = check_one_outbox(
        tmp_path, durable_bucket, start_jupyter, saves=10, drain=60.0, seed=seed, config=mutated
    )
    assert any("a second time" in violation for violation in wrong), wrong
