"""A server extension that tells what only the process itself knows of its memory and tasks; for the soak only."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import sys
from functools import cache
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

#: Where it answers, below the server's base URL.
ROUTE = "/soak/gauge"


class _MallocInfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33 and later (mallinfo(3)); it sums all arenas."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


@cache
def _mallinfo() -> Any:
    """The C library's function; None where it has none."""
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):
        return None
    function.restype = _MallocInfo
    return function


def malloc_bytes() -> tuple[int | None, int | None]:
    """Bytes that the C library has handed out, and those that it holds back for reuse; None where it cannot tell.

    What Python keeps small objects in comes from elsewhere: `sys.getallocatedblocks` counts those.
    """
    function = _mallinfo()
    if function is None:
        return None, None
    info = function()
    return info.uordblks + info.hblkhd, info.fordblks


class GaugeHandler(APIHandler):
    """Tells tasks, threads and memory in use."""

    @web.authenticated
    async def get(self) -> None:
        """Answer; with ``collect``, tell also what is left once garbage is collected.

        Cyclic garbage may lie about for minutes, with contents of notebooks in it. It is no leak, and would drown one.
        """
        in_use, held = malloc_bytes()
        document = {
            "tasks": len(asyncio.all_tasks()),
            "blocks": sys.getallocatedblocks(),
            "malloc_in_use": in_use,
            "malloc_held": held,
        }
        if self.get_query_argument("collect", ""):
            gc.collect()
            document["blocks"] = sys.getallocatedblocks()
            document["malloc_reachable"], _ = malloc_bytes()
        self.finish(json.dumps(document))


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "ci.soak_gauge"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    route = url_path_join(serverapp.web_app.settings["base_url"], ROUTE)
    serverapp.web_app.add_handlers(".*$", [(route, GaugeHandler)])
