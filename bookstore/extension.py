"""The server extension: adds archiving to the user's contents manager, serves the REST routes, starts and stops."""

from __future__ import annotations

from typing import Any, ClassVar

from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp

from bookstore.archive import archiving_class, service_of
from bookstore.bookstore_config import BookstoreSettings
from bookstore.errors import SettingsError
from bookstore.events import emit_events
from bookstore.handlers import LIBRARY_SETTING, SERVICE_SETTING, collect_handlers
from bookstore.library import Library
from bookstore.metrics import measure


class BookstoreExtension(ExtensionApp):
    """Bookstore inside a Jupyter server."""

    name = "bookstore"
    load_other_extensions = True
    classes: ClassVar[list[type]] = [BookstoreSettings]  # type: ignore[misc]

    def _link_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        super()._link_jupyter_server_extension(serverapp)
        add_archiving(serverapp)

    def initialize_settings(self) -> None:
        """Make the archive, and the verbs over it, known to the handlers."""
        if self.serverapp is None:
            return
        manager = self.serverapp.contents_manager
        service = self.settings[SERVICE_SETTING] = service_of(manager)
        try:
            self.settings[LIBRARY_SETTING] = Library(service, manager)
        except SettingsError as e:  # a manager that could not be made to archive; the status is told all the same
            self.log.warning("bookstore: %s %s", e, e.hint)
            self.settings[LIBRARY_SETTING] = e
        emit_events(service, self.serverapp.event_logger)
        measure(service)

    def initialize_handlers(self) -> None:
        """Serve the routes that the settings allow."""
        service = self.settings[SERVICE_SETTING]
        # The server's base URL is put in front of each route by the extension application.
        self.handlers.extend(collect_handlers(self.log, "/", service.features))

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:
        self.settings[SERVICE_SETTING].ensure_started()

    async def stop_extension(self) -> None:
        """Ship what waits for a bounded time; the rest stays in the outbox."""
        service = self.settings.get(SERVICE_SETTING)
        if service is not None:
            await service.stop()


def add_archiving(serverapp: ServerApp) -> None:
    """Make the server build its contents manager with archiving added, whatever class the user configured.

    The class is looked at just before the manager is built: until then other extensions' configuration files, those of
    JupyterLab and Notebook included, may still name another one.
    """
    build = serverapp.init_configurables

    def build_with_archiving() -> None:
        try:
            serverapp.contents_manager_class = archiving_class(serverapp.contents_manager_class)
        except Exception:
            serverapp.log.exception("bookstore: saves of this contents manager cannot be archived")
        build()

    serverapp.init_configurables = build_with_archiving  # type: ignore[method-assign]


def load_jupyter_server_extension(serverapp: ServerApp) -> Any:
    """Load the extension the way configuration files of old name it."""
    return BookstoreExtension._load_jupyter_server_extension(serverapp)  # noqa: SLF001 - Jupyter's own name for it
