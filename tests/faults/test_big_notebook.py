"""A large notebook: bookstore keeps the event loop for moments only, and copies it no more often than Jupyter does."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci.big_notebook import check_big_notebook

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="memory and waits for a processor are read from Linux's /proc"
)

ROW = "100 MB notebook"

#: Megabytes of the notebook, in every run.
SIZE = 100


def test_a_large_notebook_blocks_nobody_and_fits_into_memory(tmp_path, durable_bucket, report):
    wrong, figure = check_big_notebook(tmp_path, durable_bucket, megabytes=SIZE)
    report(ROW, **figure)
    assert wrong == []


# -- what the check must catch -----------------------------------------------------------------------------------------

ENCODES_ON_THE_LOOP = """
from bookstore.archiving.asynchronous import CapturingWrites

write = CapturingWrites._bookstore_write

async def mutated(self, os_path, serialise, draft):
    content = serialise()
    await write(self, os_path, lambda: content, draft)

CapturingWrites._bookstore_write = mutated
"""

HASHES_ON_THE_LOOP = """
import hashlib
from bookstore.delivery import Courier

deliver = Courier.deliver

async def mutated(self, parcel, key, content):
    hashlib.sha256(content), hashlib.md5(content)
    return await deliver(self, parcel, key, content)

Courier.deliver = mutated
"""

WAITS_FOR_THE_DISK_ON_THE_LOOP = """
import time
from bookstore.archiving.asynchronous import AsyncArchiving

settle = AsyncArchiving._bookstore_settle

async def mutated(self, call):
    for _, future in call.pending:
        time.sleep(0.3)
    await settle(self, call)

AsyncArchiving._bookstore_settle = mutated
"""

KEEPS_COPIES = """
from bookstore.intake import Intake

begin = Intake.begin
kept = []

def mutated(self, draft, content):
    kept.append([bytes(bytearray(content)) for _ in range(3)])
    return begin(self, draft, content)

Intake.begin = mutated
"""


@pytest.mark.parametrize(
    ("mutation", "megabytes", "found"),
    [
        pytest.param(HASHES_ON_THE_LOOP, 50, "computed on the event loop", id="hashes on the loop"),
        pytest.param(KEEPS_COPIES, 10, "in memory", id="keeps copies"),
        pytest.param(
            ENCODES_ON_THE_LOOP, 100, "computed on the event loop", id="encodes on the loop", marks=pytest.mark.long
        ),
        pytest.param(
            WAITS_FOR_THE_DISK_ON_THE_LOOP,
            10,
            "stood still",
            id="waits for the disk on the loop",
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_check_of_a_large_notebook_catches_a_product_that(tmp_path, durable_bucket, mutation, megabytes, found):
    wrong, _ = check_big_notebook(tmp_path, durable_bucket, megabytes=megabytes, rounds=1, mutation=mutation)
    assert any(found in violation for violation in wrong), wrong
