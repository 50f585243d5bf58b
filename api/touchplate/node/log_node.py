"""A log without adapters, alone or as one of several frontends: served over HTTP. `touchplate log serve`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from touchplate.base.config import load_file
from touchplate.log.service import LogConfig, log_folder, open_log
from touchplate.node.config import HTTPConfig
from touchplate.node.peer import PeerNode, make_peer_app
from touchplate.node.serve import run_app


@dataclass(frozen=True)
class LogNodeConfig:
    """The configuration of `touchplate log serve`: what `touchplate serve` takes, without gate and
    upstreams."""

    data: Path
    log: LogConfig
    http: HTTPConfig = field(default_factory=HTTPConfig)

    def check(self) -> list[str]:
        """A peer is started by its own command, which looks after its engine."""
        return ['log: mode is "peers"; run `touchplate peer start` instead'] if self.log.peers else []


def load_log_config(path: Path) -> LogNodeConfig:
    """The configuration in the file `path`. Raises ConfigError with all its mistakes."""
    return load_file(LogNodeConfig, path)


def serve_log(config: LogNodeConfig, announce: Callable[[str], None]) -> None:
    """Run the log until it is told to stop; `announce` gets its URL. Raises what `open_log` raises."""
    node = PeerNode(open_log(config.log, log_folder(config.data)))
    run_app(make_peer_app(node), config.http.address, node, announce)
