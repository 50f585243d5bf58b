"""Clients that cost little, since they share the machine with what they measure: kept connections, one
loop."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

ANSWER_SECONDS = 60


class AnswerError(Exception):
    """Another answer than the one that was hoped for."""


class Connection:
    """One kept HTTP/1.1 connection. Opened on use; after an error on the next use."""

    def __init__(self, address: str) -> None:
        """`address`: host:port."""
        self.address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of the answer. Raises AnswerError for any status but 200, OSError, EOFError."""
        if self._streams is None:
            host, _, port = self.address.rpartition(":")
            self._streams = await asyncio.open_connection(host, int(port))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._exchange(*self._streams, method, path, body)
        except (OSError, EOFError):
            self.close()
            raise

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, path: str, body: bytes
    ) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        lengths = [line.partition(b":")[2] for line in lines if line.startswith(b"content-length:")]
        answer = await (reader.readexactly(int(lengths[0])) if lengths else _chunks(reader))
        if lines[0].split(b" ")[1] != b"200":
            raise AnswerError(f"{method} {path}: {lines[0].decode()}: {answer[:200]!r}")
        return answer

    def close(self) -> None:
        """Close it; the next question opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A body in chunks (RFC 9112 7.1), without trailers."""
    found = b""
    while length := int(await reader.readline(), 16):
        found += await reader.readexactly(length)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return found


@contextlib.asynccontextmanager
async def connections(addresses: Sequence[str], count: int) -> AsyncIterator[list[Connection]]:
    """`count` connections, spread evenly."""
    opened = [Connection(address) for address in itertools.islice(itertools.cycle(addresses), count)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


async def send_all(
    clients: Sequence[Connection],
    bodies: Sequence[bytes],
    send: Callable[[Connection, bytes], Awaitable[None]],
) -> list[float]:
    """Every client sends the next body as soon as its last one was answered; seconds of each."""
    waiting = iter(bodies)
    seconds: list[float] = []

    async def work(client: Connection) -> None:
        for body in waiting:
            began = time.perf_counter()
            await send(client, body)
            seconds.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(work(client))
    return seconds
