"""ABCI's socket protocol: messages with their length in front, on a unix socket that only its owner opens.

The engine opens a handful of connections and expects answers in order on each; after a question it sends
`flush`, and reads no answer before that. One thread per connection: the questions about blocks come one
after another, and those about waiting transactions on a connection of their own.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from io import BufferedReader
from logging import getLogger
from pathlib import Path
from threading import Lock, Thread

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


def read_message(stream: BufferedReader, limit: int = MAX_MESSAGE_BYTES) -> bytes | None:
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


def _read_length(stream: BufferedReader) -> int | None:
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
        try:
            with connection, connection.makefile("rb") as stream:
                self._converse(connection, stream)
        except (RequestError, DecodeError) as error:
            logger.error("a connection of the engine is cut: %s", error)
        except OSError as error:
            logger.info("a connection of the engine broke: %s", error)
        finally:
            with self._lock:
                self._open.discard(connection)

    def _converse(self, connection: socket.socket, stream: BufferedReader) -> None:
        waiting = bytearray()
        while (data := read_message(stream)) is not None:
            request = abci.Request.FromString(data)
            is_flush = request.WhichOneof("value") == "flush"
            response = abci.Response(flush=abci.Empty()) if is_flush else self._answer(request)
            waiting += encode_message(response)
            failed = response.WhichOneof("value") == "exception"
            if is_flush or failed or len(waiting) > MAX_UNFLUSHED_BYTES:
                connection.sendall(waiting)
                waiting.clear()
