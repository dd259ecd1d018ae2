"""`bookstore.metrics`: Prometheus sees what waits, what arrived and what went wrong."""

from __future__ import annotations

import errno
import gc
import logging
import re
import weakref
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bookstore.bookstore_config import BookstoreSettings
from bookstore.errors import AccessDenied, ObjectRefused, StoreUnreachable
from bookstore.metrics import ArchiveMetrics, measure, process_metrics
from bookstore.service import ArchiveService
from bookstore.storage.memory import MemoryStore

LOG = logging.getLogger("test")
MONITORING = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "monitoring.md"


def value(registry, name, **labels):
    """What a scrape says."""
    samples = {
        (sample.name, *sample.labels.items()): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    return samples.get((name, *labels.items()))


def take(service, content, path="a.ipynb"):
    """Save, as the contents manager does."""
    service.submit([service.intake.take(service.draft(path), content)])


def fault(error):
    return lambda operation, key: error("no") if operation == "PutObject" else None


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return ArchiveMetrics(registry)


@pytest.fixture
async def make_service(tmp_path):
    made = []

    def make(**options):
        settings = BookstoreSettings(
            s3_bucket="bucket", outbox_dir=str(tmp_path / f"outbox-{len(made)}"), outbox_reserve=0, drain_timeout=0.0
        )
        service = ArchiveService(settings, root_dir=str(tmp_path), log=LOG, store=MemoryStore("bucket"), **options)
        made.append(service)
        return service

    yield make
    for service in made:
        await service.stop()


async def test_saves_that_become_versions_are_counted_and_timed(make_service, metrics, registry):
    service = make_service()
    metrics.watch(service)
    assert value(registry, "bookstore_versions_total") == 0
    for content in (b"one", b"two", b"two"):
        take(service, content)
        assert await service.flush(10) == 0
    assert value(registry, "bookstore_versions_total") == 2, "the third save's bytes were in the bucket already"
    assert value(registry, "bookstore_archive_latency_seconds_count") == 3
    assert 0 < value(registry, "bookstore_archive_latency_seconds_sum") < 60
    assert value(registry, "bookstore_archive_latency_seconds_bucket", le="60.0") == 3


async def test_what_waits_is_asked_at_each_scrape(make_service, metrics, registry, wait_until):
    service = make_service()
    metrics.watch(service)
    assert value(registry, "bookstore_saves_waiting") == 0
    assert value(registry, "bookstore_oldest_save_age_seconds") == 0
    service.store.faults = fault(StoreUnreachable)
    take(service, b"one")
    take(service, b"two", "b.ipynb")
    assert value(registry, "bookstore_saves_waiting") == 2
    first = value(registry, "bookstore_oldest_save_age_seconds")
    await wait_until(lambda: value(registry, "bookstore_oldest_save_age_seconds") > max(first, 0.01))
    assert value(registry, "bookstore_unprotected_saves") == 0, "they are in the outbox"
    service.store.faults = None
    assert await service.flush(10) == 0
    assert value(registry, "bookstore_saves_waiting") == 0
    assert value(registry, "bookstore_oldest_save_age_seconds") == 0


async def test_a_save_that_the_outbox_cannot_take_is_told_as_unprotected(make_service, metrics, registry, disk):
    service = make_service(disk=disk)
    metrics.watch(service)
    service.store.faults = fault(StoreUnreachable)
    disk.faults["write_new"] = OSError(errno.ENOSPC, "No space left on device")
    take(service, b"one")
    assert value(registry, "bookstore_unprotected_saves") == 1
    assert value(registry, "bookstore_saves_waiting") == 1


@pytest.mark.parametrize("error", [AccessDenied, ObjectRefused])
async def test_trouble_is_counted_by_its_code(make_service, metrics, registry, wait_until, error):
    service = make_service()
    metrics.watch(service)
    assert value(registry, "bookstore_failures_total", code=error.__name__) == 0, "an increase begins somewhere"
    service.store.faults = fault(error)
    take(service, b"one")
    await service.flush(0.2)
    await wait_until(lambda: value(registry, "bookstore_failures_total", code=error.__name__) == 1)
    others = ("StoreUnreachable", "OutboxFull", "PathError", "SettingsError")
    assert all(value(registry, "bookstore_failures_total", code=code) == 0 for code in others)


async def test_the_archives_of_one_process_are_measured_together(make_service, metrics, registry):
    services = [make_service(), make_service()]
    for service in services:
        metrics.watch(service)
        metrics.watch(service)
        service.store.faults = fault(StoreUnreachable)
        take(service, b"one")
    assert value(registry, "bookstore_saves_waiting") == 2
    for service in services:
        service.store.faults = None
        await service.flush(10)
    assert value(registry, "bookstore_versions_total") == 2, "who is watched twice is counted once"


async def test_jupyter_serves_one_set_of_metrics_however_many_servers_a_process_holds(make_service):
    services = [make_service(), make_service()]
    before = value(REGISTRY, "bookstore_versions_total") or 0
    for service in services:
        measure(service)
        take(service, b"one")
        assert await service.flush(10) == 0
    assert value(REGISTRY, "bookstore_versions_total") == before + 2
    assert process_metrics() is process_metrics()


async def test_being_measured_keeps_no_archive_alive_and_counts_stay(tmp_path, metrics, registry, wait_until):
    settings = BookstoreSettings(s3_bucket="bucket", outbox_dir=str(tmp_path / "outbox"), outbox_reserve=0)
    service = ArchiveService(settings, root_dir=str(tmp_path), log=LOG, store=MemoryStore("bucket"))
    metrics.watch(service)
    take(service, b"one")
    assert await service.flush(10) == 0
    await service.stop()
    gone = weakref.ref(service)
    del service

    def is_gone():
        gc.collect()
        return gone() is None

    await wait_until(is_gone)  # the event loop may hold it for a turn
    assert value(registry, "bookstore_versions_total") == 1
    assert value(registry, "bookstore_saves_waiting") == 0


def test_an_archive_without_a_bucket_has_figures_too(tmp_path, metrics, registry):
    service = ArchiveService(
        BookstoreSettings(s3_bucket=""), root_dir=str(tmp_path), log=LOG, store=MemoryStore("bucket")
    )
    metrics.watch(service)
    assert value(registry, "bookstore_saves_waiting") == 0


async def test_an_archive_that_cannot_tell_takes_no_other_metrics_with_it(make_service, metrics, registry, caplog):
    service = make_service()
    metrics.watch(service)

    def broken():
        raise RuntimeError("broken")

    service.status = broken
    assert value(registry, "bookstore_saves_waiting") is None, "no figure is better than a wrong one"
    assert value(registry, "bookstore_versions_total") == 0
    assert "the archive's state cannot be measured" in caplog.text


async def test_names_that_are_taken_keep_no_server_from_archiving(make_service, monkeypatch, caplog):
    registry = CollectorRegistry()
    ArchiveMetrics(registry)
    monkeypatch.setattr("bookstore.metrics.process_metrics", lambda: ArchiveMetrics(registry))
    service = make_service()
    measure(service)
    assert "no metrics are served" in caplog.text
    take(service, b"one")
    assert await service.flush(10) == 0


def test_the_documentation_names_every_metric_and_no_other(metrics, registry):
    served = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in registry.collect()
        if not family.name.endswith("_created")
    }
    told = re.findall(r"^\| `(bookstore_\w+)` \| (\w+) \|", MONITORING.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name, _ in told} == served
    used = set(re.findall(r"bookstore_\w+(?=[{\[ \n])", MONITORING.read_text(encoding="utf-8")))
    assert {name.removesuffix("_bucket") for name in used} <= served, "an alert must not wait for what never comes"
