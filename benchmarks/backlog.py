"""A server extension that makes a backlog without a client's help; for benchmarks only."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from bookstore.handlers import SERVICE_SETTING

#: Threads that take saves at the same time, as those of several people would be.
THREADS = 4

#: Saves queued between two turns of the event loop.
CHUNK = 20

_HELD = "benchmark_held"


class BacklogHandler(APIHandler):
    """Takes saves as the contents manager does once the bytes are there, and queues them at once or later."""

    @web.authenticated
    async def post(self) -> None:
        """Take ``count`` saves of ``size`` random bytes, spread over ``paths``; ``held`` ones wait for a PUT."""
        wanted = json.loads(self.request.body)
        service = self.settings[SERVICE_SETTING]
        count, size, paths = wanted["count"], wanted["size"], wanted["paths"]

        def take(thread: int) -> list[Any]:
            # A path belongs to one thread, so that its saves stay in their order.
            numbers = [number for number in range(count) if number % paths % THREADS == thread]
            return [
                service.intake.take(service.draft(f"backlog/{number % paths}.ipynb"), os.urandom(size))
                for number in numbers
            ]

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(THREADS) as pool:
            taken = await asyncio.gather(*(loop.run_in_executor(pool, take, thread) for thread in range(THREADS)))
        parcels = [parcel for part in taken for parcel in part if parcel is not None]
        self.settings[_HELD] = parcels
        if not wanted["held"]:
            await self._submit()
        self.finish(json.dumps({"taken": len(parcels)}))

    @web.authenticated
    async def get(self) -> None:
        """Tell how many saves were shipped; the whole status goes through all that wait, and would be felt."""
        self.finish(json.dumps({"shipped": self.settings[SERVICE_SETTING].shipper.shipped}))

    @web.authenticated
    async def put(self) -> None:
        """Queue what was held."""
        await self._submit()
        self.finish("{}")

    async def _submit(self) -> None:
        service, parcels = self.settings[SERVICE_SETTING], self.settings.pop(_HELD)
        for start in range(0, len(parcels), CHUNK):
            service.submit(parcels[start : start + CHUNK])
            await asyncio.sleep(0)  # people's saves come one by one, too


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "benchmarks.backlog"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    route = url_path_join(serverapp.web_app.settings["base_url"], "/benchmark/backlog")
    serverapp.web_app.add_handlers(".*$", [(route, BacklogHandler)])
