"""Runs a node: one process, one port, from start to an orderly stop on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any, Protocol

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from touchplate.base.collector import settle
from touchplate.base.errors import ConfigError, TouchplateError
from touchplate.base.open_files import room_for
from touchplate.base.shutdown import Shutdown
from touchplate.base.threads import take_short_turns
from touchplate.node.app import ASGI, make_app
from touchplate.node.config import NodeConfig
from touchplate.node.wiring import Node

BACKLOG = 1024
"""Connections that wait to be accepted: a parallel build opens dozens at once."""

CONNECTIONS = 12_000
"""Connections that are open at once: ten thousand clients, and those who ask meanwhile. One more waits to be
accepted; whoever sends no whole request head within 30 seconds is cut (granian)."""

_log = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""Time for running requests and the parts to end; systemd kills after 90 seconds."""

_PROBE_SECONDS = 0.02
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    # The server's own lines go where all others go.
    "loggers": {"_granian": {"propagate": True}},
    "handlers": {},
    "formatters": {},
}

Announce = Callable[[str], None]


def serve(config: NodeConfig, announce: Announce) -> None:
    """Run a node until it is told to stop; `announce` gets its URL once it answers.

    Raises ConfigError and what the parts raise when they cannot be opened, ShutdownError for an unclean stop.
    """
    node = Node(config)
    run_app(make_app(node), node.config.http.address, node, announce)


class Parts(Protocol):
    """What is behind an application: started and stopped by its lifespan."""

    def interrupt(self) -> None:
        """Break off what may take long."""

    def stop(self) -> None:
        """End in order. Safe to call twice."""


def run_app(app: ASGI, address: tuple[str, int], parts: Parts, announce: Announce) -> None:
    """Serve `app` at `address` until it is told to stop; see `serve`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, address, parts, announce))


async def _serve(app: ASGI, address: tuple[str, int], parts: Parts, announce: Announce) -> None:
    host, port = choose_port(*address)
    started = _Started(app)
    server = Server(
        started,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=room_for(CONNECTIONS),  # by default as many as may wait
        log_level=LogLevels.error,  # its chatter about starting does not interest anybody
        log_dictconfig=_LOGGING,
    )
    async with Shutdown() as shutdown:
        serving = asyncio.create_task(server.serve())
        stopping = asyncio.create_task(shutdown.wait())
        ready = asyncio.create_task(_answers(host, port, started))
        await asyncio.wait({serving, stopping, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and not stopping.done():
            take_short_turns()
            settle()
            announce(format_url(host, port))
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (ready, stopping):
            task.cancel()
        parts.interrupt()
        server.stop()  # type: ignore[no-untyped-call]
        try:
            await _finish(serving, parts)
        except Exception:
            # The server only says that the start failed; what failed is known here.
            if started.failure is None:
                raise
    if started.failure is not None:
        await asyncio.to_thread(parts.stop)  # parts that were started before the one which failed
        raise started.failure
    if not shutdown.is_requested:
        raise TouchplateError("the server stopped by itself; the log lines above say why")


async def _finish(serving: asyncio.Task[None], parts: Parts) -> None:
    """Wait for the running requests, but not for ever: a client that reads nothing must not keep the
    process."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await serving
    except TimeoutError:
        _log.warning("some connections did not end within %g s; they are cut", STOP_SECONDS)
        await asyncio.to_thread(parts.stop)


class _Started:
    """The application, with what came of its start: the server logs a failure there and tells nobody."""

    def __init__(self, app: ASGI) -> None:
        self._app = app
        self.failure: Exception | None = None
        self.is_up = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def watch(message: Any) -> None:
            self.is_up = self.is_up or message["type"] == "lifespan.startup.complete"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            self.failure = error
            raise


async def _answers(host: str, port: int, started: _Started) -> None:
    """Return once the parts run and the port takes connections."""
    while True:
        if started.is_up:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return
        await asyncio.sleep(_PROBE_SECONDS)


def choose_port(host: str, port: int) -> tuple[str, int]:
    """A port that can be listened on: `port`, or a free one for 0 (the server would not say which it took).

    Raises ConfigError when the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            what = error.strerror or str(error)
            raise ConfigError(
                "http.listen", (f"cannot listen on {format_url(host, port)}: {what}",)
            ) from error
        chosen: int = probe.getsockname()[1]
    return host, chosen


def format_url(host: str, port: int) -> str:
    """The address as a URL; a node that listens everywhere is reached by its loopback address from here."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
