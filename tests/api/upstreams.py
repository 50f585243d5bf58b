"""What the doubles of all upstream services have in common, and the configuration of a node before them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.api.support import write_node
from tests.base.support import Handler, Server
from tests.verify.cases import rebuilder_block, recorder_block
from tests.verify.support import OPERATOR_A, OPERATOR_B, RECORDER


class _Everywhere(dict[str, Callable[[Handler], None]]):
    """Actions of a server: the same one for every path."""

    def __init__(self, action: Callable[[Handler], None]) -> None:
        self._action = action

    def get(self, _key: str, _default: object = None) -> Any:
        return self._action


@dataclass
class FakeUpstream:
    """A real server on loopback. `acts`: paths with an answer of their own; `is_down`: hangs up on
    everybody."""

    server: Server
    acts: dict[str, Callable[[Handler], None]] = field(default_factory=dict)
    is_down: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.server.actions = _Everywhere(self._answer)

    @property
    def url(self) -> str:
        """Its root."""
        return self.server.url("")

    def path(self, handler: Handler) -> str:
        """How `acts` calls what is asked for."""
        return urlsplit(handler.path).path

    def note(self, handler: Handler, path: str) -> None:
        """Remember a request; one at a time."""

    def serve(self, handler: Handler, path: str) -> None:
        """The answer of an upstream that behaves."""
        raise NotImplementedError

    def _answer(self, handler: Handler) -> None:
        path = self.path(handler)
        with self.lock:
            self.note(handler, path)
        if self.is_down:
            handler.raw(b"")
        elif path in self.acts:
            self.acts[path](handler)
        else:
            self.serve(handler, path)


def blocks(ecosystem: str) -> list[str]:
    """Who may write and is believed, for this ecosystem and Maven."""
    ecosystems = (ecosystem, "maven")
    return [
        rebuilder_block(OPERATOR_A, "rebuilder-a", ecosystems=ecosystems),
        rebuilder_block(OPERATOR_B, "rebuilder-b", ecosystems=ecosystems),
        recorder_block(RECORDER, "recorder", ecosystems=ecosystems),
    ]


def upstream_block(ecosystem: str, name: str, identity: str, url: str, *lines: str, record: bool) -> str:
    """An `[[upstream]]` block."""
    return "\n".join(
        [
            "[[upstream]]", f'name = "{name}"', f'ecosystem = "{ecosystem}"', f'identity = "{identity}"',
            f'url = "{url}"', f"record = {str(record).lower()}", "allow_private = true", *lines, "",
        ]
    )  # fmt: skip


def write_pulling_node(folder: Path, ecosystem: str, upstreams: str, rules: str, levels: str = "") -> Path:
    """The configuration of a node with these upstreams."""
    listed = blocks(ecosystem)
    path = write_node(folder, "http://127.0.0.1:9/", rules=rules + upstreams, blocks=listed, levels=levels)
    (folder / "admission.toml").write_text("\n".join(listed))
    return path
