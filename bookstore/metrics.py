"""The archive's figures for Prometheus, beside Jupyter's own under ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bookstore.errors import BookstoreError, OutboxError, PathError, SettingsError, StorageError

if TYPE_CHECKING:
    from bookstore.service import ArchiveService
    from bookstore.status import ArchiveStatus

#: Bounds in seconds. Shipping begins a tenth of a second after a save; after an outage, waiting may have taken days.
LATENCY_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0)

#: The families of errors that a failure may be told with.
_TOLD = (StorageError, OutboxError, PathError, SettingsError)

_WAITING = ("bookstore_saves_waiting", "Saves that the bucket is not proven to hold.")
_UNPROTECTED = ("bookstore_unprotected_saves", "Saves that are neither in the bucket nor in the outbox.")
_OLDEST = ("bookstore_oldest_save_age_seconds", "Age of the save that has waited longest; 0 where none waits.")


class ArchiveMetrics(Collector):
    """What is measured of the archives of this process, all of them together.

    How many saves wait is asked of the archives whenever somebody scrapes. What has happened is counted as it happens,
    so that a count does not fall when an archive ends. Archives are held weakly: being measured keeps none alive.

    Parameters
    ----------
    registry : CollectorRegistry
        Refuses the names if they are taken: there is one of these for each registry.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._services: WeakSet[ArchiveService] = WeakSet()
        self._versions = Counter("bookstore_versions", "Saves that became a version in the bucket.", registry=registry)
        self._failures = Counter(
            "bookstore_failures",
            "Troubles that began and saves that were set aside, by the code that the status tells.",
            ["code"],
            registry=registry,
        )
        self._latency = Histogram(
            "bookstore_archive_latency_seconds",
            "Time from a save until the bucket is proven to hold it.",
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        for code in sorted(_codes(*_TOLD)):
            self._failures.labels(code)  # from zero: else an increase() never sees the first one
        registry.register(self)

    def watch(self, service: ArchiveService) -> None:
        """Measure an archive from now on; a second call changes nothing."""
        if service not in self._services:
            self._services.add(service)
            service.listeners.append(self._hear)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The gauges' names, without asking the archives."""
        for name, documentation in (_WAITING, _UNPROTECTED, _OLDEST):
            yield GaugeMetricFamily(name, documentation)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as they are now; none if the archives cannot tell, so that Jupyter's other metrics are seen."""
        states: list[ArchiveStatus] = []
        for service in list(self._services):
            try:
                states.append(service.status())
            except Exception:
                service.log.exception("bookstore: the archive's state cannot be measured")
                return  # too few would be a lie
        yield GaugeMetricFamily(*_WAITING, value=sum(state.waiting for state in states))
        yield GaugeMetricFamily(*_UNPROTECTED, value=sum(state.unprotected for state in states))
        yield GaugeMetricFamily(*_OLDEST, value=max((state.oldest_age or 0.0 for state in states), default=0.0))

    def _hear(self, event: str, details: dict[str, Any]) -> None:
        if event == "archived":
            self._latency.observe(details["latency"])
            if details["how"] != "unchanged":
                self._versions.inc()
        elif event == "failed":
            self._failures.labels(details["code"]).inc()


def _codes(*families: type[BookstoreError]) -> set[str]:
    """The codes of families of errors, and of what is more special than they."""
    codes: set[str] = set()
    for family in families:
        codes |= {family.__name__} | _codes(*family.__subclasses__())
    return codes


@cache
def process_metrics() -> ArchiveMetrics:
    """What Jupyter serves under ``/metrics``; made once, however many servers this process holds."""
    return ArchiveMetrics(REGISTRY)


def measure(service: ArchiveService) -> None:
    """Measure an archive for Jupyter's ``/metrics``; trouble is logged, and the server archives without metrics."""
    try:
        process_metrics().watch(service)
    except Exception:
        service.log.exception("bookstore: no metrics are served")
