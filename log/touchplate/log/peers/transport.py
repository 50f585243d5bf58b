"""ABCI's socket protocol: messages with their length in front, on a unix socket that only its owner opens.

The engine opens a handful of connections and expects answers in order on each; after a question it sends
`flush`, and reads no answer before that. Two threads per connection: one answers, one question after the
other; one reads ahead. An engine that cannot get rid of its questions costs a whole core, since its timer for
the next flush (CometBFT 0.38, abci/client/socket_client.go) then fires every 20 nanoseconds instead of every
20 milliseconds: so somebody always has to take them from it.
"""

import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import Protocol

from google.protobuf.message import DecodeError

from touchplate.base.durable import make_folder
from touchplate.base.errors import StorageError
from touchplate.log.errors import RequestError
from touchplate.proto.abci import abci_pb2 as abci

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Bytes of one message: a full block of 2 MiB or a genesis of 4 MiB fits several times."""

MAX_CONNECTIONS = 8
"""Connections at once: an engine opens four, and one that was restarted may still have its old ones."""

MAX_UNFLUSHED_BYTES = 1024 * 1024
"""Answers that wait for a flush; beyond it they are sent at once."""

MAX_AHEAD_BYTES = 16 * 1024 * 1024
"""Bytes of questions that were read and wait for their turn, per connection: two full mempools of this peer
and three others. Beyond it the engine waits."""

READ_BYTES = 64 * 1024
"""Bytes per read. What is missing of a longer message is read in one go, straight into its place."""

MAX_VARINT_BYTES = 5
"""Bytes of a length: four would be enough for every length that is allowed."""

Answer = Callable[[abci.Request], abci.Response]

logger = getLogger(__name__)


def encode_message(message: abci.Request | abci.Response) -> bytes:
    """A message with its length as an unsigned varint in front."""
    data = message.SerializeToString(deterministic=True)
    length, head = len(data), bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + data


class Readable(Protocol):
    """A stream of bytes, such as io.BufferedReader."""

    def read(self, size: int, /) -> bytes:
        """So many bytes; fewer at the end only."""


class SocketStream:
    """The bytes that come out of a socket. A long message is read without handing its pieces to Python."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._held = b""
        self._at = 0

    def read(self, size: int, /) -> bytes:
        """See Readable. Raises OSError."""
        end = self._at + size
        if end <= len(self._held):
            found = self._held[self._at : end]
            self._at = end
            return found
        head = self._held[self._at :]
        self._held, self._at = b"", 0
        if size - len(head) >= READ_BYTES:
            return head + self._read_exactly(size - len(head))
        while len(head) < size and (more := self._connection.recv(READ_BYTES)):
            head += more
        self._held, self._at = head, min(size, len(head))
        return head[:size]

    def _read_exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size and (more := self._connection.recv_into(view[got:], 0, socket.MSG_WAITALL)):
            got += more
        return bytes(view[:got])


def read_message(stream: Readable, limit: int = MAX_MESSAGE_BYTES) -> bytes | None:
    """The bytes of the next message; None at the end of the stream. Raises RequestError."""
    length = _read_length(stream)
    if length is None:
        return None
    if length > limit:
        raise RequestError(f"a message of {length} bytes, more than {limit}", reason="too-large")
    data = stream.read(length)
    if len(data) != length:
        raise RequestError(f"a message of {length} bytes ends after {len(data)}")
    return data


def _read_length(stream: Readable) -> int | None:
    length = 0
    for number in range(MAX_VARINT_BYTES):
        byte = stream.read(1)
        if not byte:
            if number:
                raise RequestError("the stream ends within a length")
            return None
        length |= (byte[0] & 0x7F) << (7 * number)
        if not byte[0] & 0x80:
            return length
    raise RequestError(f"a length of more than {MAX_VARINT_BYTES} bytes")


class _Ahead:
    """Messages between the thread that reads them and the one that answers them."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._messages: deque[bytes] = deque()  # under _changed
        self._bytes = 0  # under _changed
        self._ended = False  # by either side; under _changed
        self.error: Exception | None = None
        """Why reading ended, if it was not the end of the stream."""

    def read_all(self, stream: Readable) -> None:
        """Read until the stream or the other side ends."""
        try:
            while (message := read_message(stream)) is not None:
                with self._changed:
                    self._changed.wait_for(lambda: self._ended or self._bytes < MAX_AHEAD_BYTES)
                    if self._ended:
                        return
                    self._messages.append(message)
                    self._bytes += len(message)
                    self._changed.notify_all()
        except (RequestError, OSError) as error:
            self.error = error
        finally:
            self.end()

    def end(self) -> None:
        """Nothing more is read."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self) -> bytes | None:
        """The next message; None at the end. Raises what ended the reading."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self._ended)
            if self._messages:
                message = self._messages.popleft()
                self._bytes -= len(message)
                self._changed.notify_all()
                return message
        if self.error is not None:
            raise self.error
        return None


class Listener:
    """Answers engines on the unix socket `path`. `start`, then `stop`, each once."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._lock = Lock()
        self._open: set[socket.socket] = set()  # under _lock
        self._stopping = False  # under _lock
        self._socket: socket.socket | None = None
        self._thread: Thread | None = None

    def start(self) -> None:
        """Listen. Raises StorageError."""
        try:
            make_folder(self._path.parent, 0o700)
            self._path.parent.chmod(0o700)
            self._path.unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            # By way of the folder's descriptor: the name of a socket has at most 107 bytes.
            descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._socket.bind(f"/proc/self/fd/{descriptor}/{self._path.name}")
            finally:
                os.close(descriptor)
            self._path.chmod(0o600)
            self._socket.listen(MAX_CONNECTIONS)
        except OSError as error:
            raise StorageError(f"cannot listen on {self._path}: {error.strerror or error}") from error
        self._thread = Thread(target=self._accept, name="abci-accept", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close all connections and stop listening. Safe to call twice."""
        with self._lock:
            self._stopping = True
            left = list(self._open)
        if self._socket is not None:
            # Closing alone does not wake a thread in accept.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _accept(self) -> None:
        assert self._socket is not None
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                with self._lock:
                    if self._stopping:
                        return
                raise
            with self._lock:
                if self._stopping or len(self._open) >= MAX_CONNECTIONS:
                    connection.close()
                    continue
                self._open.add(connection)
            Thread(target=self._serve, args=(connection,), name="abci", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        ahead = _Ahead()
        reader = Thread(
            target=ahead.read_all, args=(SocketStream(connection),), name="abci-read", daemon=True
        )
        try:
            with connection:
                reader.start()
                try:
                    self._converse(connection, ahead)
                finally:
                    ahead.end()
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)  # wakes the reader
                    reader.join()
        except (RequestError, DecodeError) as error:
            logger.error("a connection of the engine is cut: %s", error)
        except OSError as error:
            logger.info("a connection of the engine broke: %s", error)
        finally:
            with self._lock:
                self._open.discard(connection)

    def _converse(self, connection: socket.socket, ahead: _Ahead) -> None:
        waiting = bytearray()
        while (data := ahead.take()) is not None:
            request = abci.Request.FromString(data)
            is_flush = request.WhichOneof("value") == "flush"
            response = abci.Response(flush=abci.Empty()) if is_flush else self._answer(request)
            waiting += encode_message(response)
            failed = response.WhichOneof("value") == "exception"
            if is_flush or failed or len(waiting) > MAX_UNFLUSHED_BYTES:
                connection.sendall(waiting)
                waiting.clear()
