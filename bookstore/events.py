"""Hands what happens in the archive to Jupyter's event logger: for an administrator's log, and for the browser."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_events import EventLogger

    from bookstore.service import ArchiveService

#: What is told; each has its schema in ``event_schemas/``.
EVENTS = ("archived", "published", "cloned", "restored", "waiting", "failed", "recovered")


def schema_id(event: str) -> str:
    """The ``$id`` of an event's schema, under which Jupyter knows it."""
    return f"https://events.jupyter.org/bookstore/{event}/v1"


def schema_text(event: str) -> str:
    """An event's schema, as YAML."""
    return (resources.files("bookstore") / "event_schemas" / f"{event}.yaml").read_text(encoding="utf-8")


def emit_events(service: ArchiveService, logger: EventLogger | None) -> None:
    """Emit the archive's events from now on; a second call changes nothing.

    Trouble with the schemas is logged: the server runs, and archives, without events.

    Parameters
    ----------
    service : ArchiveService
    logger : EventLogger or None
        The server's, if it has one.
    """
    if logger is None:
        return
    try:
        for event in EVENTS:
            if schema_id(event) not in logger.schemas:
                logger.register_event_schema(schema_text(event))
    except Exception:
        service.log.exception("bookstore: no events are emitted")
        return
    emitter = Emitter(logger)
    if emitter not in service.listeners:
        service.listeners.append(emitter)


@dataclass(frozen=True)
class Emitter:
    """Emits what it hears; it is called on the event loop, after the save's own work is done.

    Attributes
    ----------
    logger : EventLogger
        Where nobody listens it does nothing at all, not even validate.
    """

    logger: EventLogger

    def __call__(self, event: str, details: dict[str, Any]) -> None:
        """Emit one event; what has no schema is nothing for others.

        Raises
        ------
        Exception
            The details do not fit the schema, or something that an administrator added to Jupyter's events failed. The
            archive logs it and goes on.
        """
        if event in EVENTS:
            self.logger.emit(schema_id=schema_id(event), data=dict(details))
