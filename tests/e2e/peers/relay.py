"""The upstream of the peers: all that the real one has, until it is switched off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.base.support import Handler, running
from tests.node.peered import Everywhere

from touchplate.base.addresses import AddressRules
from touchplate.base.errors import FetchError
from touchplate.base.http import HTTPClient
from touchplate.base.upstreams import maven_central

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of one file: Maven's own plugins have a few megabytes at most."""


@dataclass
class Relay:
    """An upstream at `url`. `asked`: paths that were asked for while it was on."""

    url: str
    central: str
    client: HTTPClient
    is_off: bool = False
    asked: list[str] = field(default_factory=list)

    def answer(self, handler: Handler) -> None:
        """One request."""
        path = handler.path.removeprefix("/")
        if self.is_off:
            handler.raw(b"")
            return
        self.asked.append(path)
        try:
            response = self.client.get(f"{self.central}/{path}", max_bytes=MAX_BYTES)
        except FetchError:
            handler.raw(b"")
            return
        handler.reply(response.status, response.body)


@contextlib.contextmanager
def running_relay() -> Iterator[Relay]:
    """An upstream that is on."""
    central = maven_central().rstrip("/")
    # Named by the settings of this machine's Maven, so wherever it is.
    rules = AddressRules(hosts=frozenset({str(urlsplit(central).hostname)}))
    with running() as server, HTTPClient(rules) as client:
        relay = Relay(server.url(""), central, client)
        server.actions = Everywhere(relay.answer)
        yield relay
