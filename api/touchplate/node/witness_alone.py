"""A witness by itself: one process, one port. `touchplate log witness`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from touchplate.base.config import load_file
from touchplate.log.errors import NotFoundError
from touchplate.log.http.answers import problem_of, send_answer
from touchplate.log.http.witness import WitnessFace
from touchplate.log.witness.config import WitnessConfig
from touchplate.node.app import ASGI, Receive, Scope, Send
from touchplate.node.config import HTTPConfig
from touchplate.node.serve import run_app
from touchplate.node.witness import WitnessNode, open_witness


@dataclass(frozen=True)
class WitnessNodeConfig:
    """The configuration of `touchplate log witness`."""

    data: Path
    witness: WitnessConfig
    http: HTTPConfig = field(default_factory=HTTPConfig)


def load_witness_config(path: Path) -> WitnessNodeConfig:
    """The configuration in the file `path`. Raises ConfigError with all its mistakes."""
    return load_file(WitnessNodeConfig, path)


def make_witness_app(node: WitnessNode) -> ASGI:
    """The witness at the root, and its end with the server's."""
    face = WitnessFace(node.witness, "")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            node.stop()
            await send({"type": "lifespan.shutdown.complete"})
        elif face.handles(scope):
            await face(scope, receive, send)
        else:
            await send_answer(send, problem_of(NotFoundError("this witness answers HTTP only")))

    return app


def serve_witness(config: WitnessNodeConfig, announce: Callable[[str], None]) -> None:
    """Run a witness until it is told to stop; `announce` gets its URL. Raises what `open_witness` raises."""
    node = open_witness(config.witness, config.data)
    run_app(make_witness_app(node), config.http.address, node, announce)
