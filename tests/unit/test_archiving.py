"""What a manager takes is queued, whatever becomes of whoever asked."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from bookstore.archive import ArchiveRecord, BookstoreContentsArchiver, service_of


@pytest.fixture
def archiver(tmp_path, monkeypatch):
    # Nothing listens there: what is taken waits.
    monkeypatch.setenv("JPYNB_S3_BUCKET", "nowhere")
    monkeypatch.setenv("JPYNB_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return BookstoreContentsArchiver(root_dir=str(tmp_path))


async def test_a_record_whose_archiving_is_broken_off_is_queued_before_the_next(archiver, monkeypatch):
    service = service_of(archiver)
    take, begun, go = service.intake.take, threading.Event(), threading.Event()

    def slow(draft, content):
        begun.set()
        go.wait(10)
        return take(draft, content)

    monkeypatch.setattr(service.intake, "take", slow)
    first = asyncio.create_task(archiver.archive(ArchiveRecord("a.ipynb", "first", time.time())))
    await asyncio.to_thread(begun.wait, 10)
    first.cancel()
    second = asyncio.create_task(archiver.archive(ArchiveRecord("a.ipynb", "second", time.time())))
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait([second], timeout=30)
    waiting = [bytes(service.outbox.read(parcel.ref)) for parcel in service.shipper.parcels()]
    await service.stop()
    assert waiting == [b"first", b"second"]
