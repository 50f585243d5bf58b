"""The log of a node's configuration in a process of its own: its service and its HTTP face behind the node's
server, and nothing else of the node. `python -m tests.bench.log_server node.toml`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from touchplate.base.collector import settle
from touchplate.base.shutdown import Shutdown
from touchplate.log.service import LogService, log_folder
from touchplate.node.config import load_config
from touchplate.node.serve import BACKLOG, choose_port, format_url


class Face:
    """The log's ASGI application; its lifespan starts and stops the log."""

    def __init__(self, service: LogService) -> None:
        self._service = service
        self.is_up = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] != "lifespan":
            await self._service.asgi(scope, receive, send)
            return
        await receive()
        self._service.start()
        await send({"type": "lifespan.startup.complete"})
        self.is_up.set()
        await receive()
        await asyncio.to_thread(self._service.stop)
        await send({"type": "lifespan.shutdown.complete"})


async def serve(path: Path) -> None:
    """Serve until SIGTERM."""
    config = load_config(path)
    host, port = choose_port(*config.http.address)
    face = Face(LogService(config.log, log_folder(config.data)))
    server = Server(
        face,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        log_level=LogLevels.error,
    )
    async with Shutdown() as shutdown:
        serving = asyncio.create_task(server.serve())
        await face.is_up.wait()
        settle()
        print(f"log: ready at {format_url(host, port)}", flush=True)
        await shutdown.wait()
        server.stop()  # type: ignore[no-untyped-call]
        await serving


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1])))
