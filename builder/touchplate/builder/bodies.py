"""The body of a request as it comes (ASGI), for the builder's routes."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from touchplate.base.errors import TouchplateError


class ClientGoneError(TouchplateError):
    """The client went away before its body was complete: a worker that was killed, mostly. Nobody reads the
    answer."""

    default_reason = "client-gone"


async def read_pieces(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> AsyncIterator[bytes]:
    """The pieces of a body, however long; whoever reads them bounds them. Raises ClientGoneError."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client went away before its body was complete")
        yield message.get("body", b"")
        more = message.get("more_body", False)
