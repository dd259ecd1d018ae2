"""A server extension that measures how long the event loop stands still; for benchmarks only."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

#: Seconds between two ticks.
TICK = 0.001


class Gauge:
    """Remembers the longest time by which a tick came late."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        """Tick for ever."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(TICK)
            self.longest = max(self.longest, loop.time() - before - TICK)


class GaugeHandler(APIHandler):
    """Tells the longest stall since it was last asked, in seconds."""

    @web.authenticated
    async def get(self) -> None:
        """Answer and begin anew."""
        gauge: Gauge = self.settings["loop_gauge"]
        longest, gauge.longest = gauge.longest, 0.0
        self.finish(json.dumps({"longest": longest}))


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "benchmarks.loop_gauge"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    serverapp.web_app.settings["loop_gauge"] = gauge = Gauge()
    route = url_path_join(serverapp.web_app.settings["base_url"], "/benchmark/loop")
    serverapp.web_app.add_handlers(".*$", [(route, GaugeHandler)])
    serverapp.io_loop.add_callback(gauge.run)
