"""A peer without adapters: the log it shares with the others, served over HTTP. `touchplate peer start`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from touchplate.base.config import load_file
from touchplate.log.service import LogConfig, LogService, log_folder, open_log
from touchplate.node.app import ASGI, Receive, Scope, Send
from touchplate.node.config import HTTPConfig
from touchplate.node.serve import run_app


@dataclass(frozen=True)
class PeerNodeConfig:
    """The configuration of `touchplate peer start`: what `touchplate serve` takes, without gate and
    upstreams."""

    data: Path
    log: LogConfig
    http: HTTPConfig = field(default_factory=HTTPConfig)

    def check(self) -> list[str]:
        """A peer has peers."""
        return (
            [] if self.log.mode == "peers" else ['log: mode is not "peers"; run `touchplate serve` instead']
        )


def load_peer_config(path: Path) -> PeerNodeConfig:
    """The configuration in the file `path`. Raises ConfigError with all its mistakes."""
    return load_file(PeerNodeConfig, path)


class PeerNode:
    """A log behind an HTTP face and nothing else."""

    def __init__(self, log: LogService) -> None:
        self.log = log
        self._stopped = False

    def interrupt(self) -> None:
        """Nothing here takes long."""

    def stop(self) -> None:
        """End in order. Safe to call twice."""
        if not self._stopped:
            self._stopped = True
            self.log.stop()


def make_peer_app(node: PeerNode) -> ASGI:
    """The log's hot paths in front, its JSON routes behind them."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(node.log.start)
        try:
            yield
        finally:
            await run_in_threadpool(node.stop)

    behind = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    behind.include_router(node.log.routes())
    hot = node.log.asgi

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if hot.handles(scope):
            await hot(scope, receive, send)
        else:
            await behind(scope, receive, send)

    return front


def serve_peer(config: PeerNodeConfig, announce: Callable[[str], None]) -> None:
    """Run a peer until it is told to stop; `announce` gets its URL. Raises what `open_log` raises."""
    node = PeerNode(open_log(config.log, log_folder(config.data)))
    run_app(make_peer_app(node), config.http.address, node, announce)
