"""Where a log is read from: its URL, or a folder with the same paths (a mirror, a copy on a disk).

Everything is bounded, nothing is believed: what comes back is bytes for the strict parsers.
"""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from touchplate.verify.encoding import parse_decimal
from touchplate.verify.errors import NotFoundError, TransportError, shown

if TYPE_CHECKING:
    from ssl import SSLContext

_MAX_INDEX_BYTES = 32  # a decimal below 2^63 and a newline


class AnswerError(TransportError):
    """The log answered with a status that is no success.

    `status`: the HTTP status; `retry_after`: seconds after which to ask again, when the log said so.
    `reason` is the log's own word when it sent one (problem+json), `busy` for 429 and 503.
    """

    default_reason = "unexpected-status"

    def __init__(
        self, message: str, status: int, *, retry_after: int | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.status = status
        self.retry_after = retry_after


class LogSource(Protocol):
    """A log's paths, by whatever transport."""

    def read(self, path: str, max_bytes: int) -> bytes:
        """The bytes at `path` (relative, as tlog-tiles names them), at most `max_bytes` of them.

        Raises NotFoundError when nothing is there, TransportError (`too-large` beyond the limit) otherwise.
        """

    def post(self, path: str, body: bytes, headers: dict[str, str], max_bytes: int) -> bytes:
        """The answer to a POST of `body`. Raises TransportError; AnswerError when the log refused."""


class FolderSource:
    """A log in a folder: `checkpoint`, `tile/…`. It cannot be written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def read(self, path: str, max_bytes: int) -> bytes:
        """The bytes of a file; see LogSource."""
        try:
            # Not to wait for the other end of a pipe, which a copied folder may hold.
            descriptor = os.open(self._folder / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb", closefd=True) as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise OSError(0, "it is no regular file")
                data = file.read(max_bytes + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(
                f"there is no {shown(path)} in the folder {shown(str(self._folder))}"
            ) from error
        except OSError as error:
            raise TransportError(
                f"{shown(path)} in {shown(str(self._folder))} cannot be read: {error.strerror}"
            ) from error
        if len(data) > max_bytes:
            raise TransportError(f"{shown(path)} is larger than {max_bytes} bytes", reason="too-large")
        return data

    def post(self, path: str, body: bytes, headers: dict[str, str], max_bytes: int) -> bytes:
        """Always raises TransportError `read-only`."""
        raise TransportError(
            f"the folder {shown(str(self._folder))} is a copy of a log: append to the log's URL",
            reason="read-only",
        )


def open_source(source: str | Path, tls: "SSLContext | None" = None) -> LogSource:
    """The source behind an http(s) URL or a folder's path. `tls`: whom to trust for https; None: as OpenSSL
    is told on this machine. Raises TransportError for a URL that cannot be one."""
    if isinstance(source, str) and "://" in source:
        # Imported on use: urllib doubles the time that an offline check takes to start.
        from touchplate.verify.http_source import HTTPSource

        return HTTPSource(source, tls=tls)
    return FolderSource(Path(source))


def add_envelope(source: LogSource, envelope: bytes, key_sha256: bytes | None = None) -> int:
    """Put an envelope into the log behind `source`; its index, once it is durable and integrated.

    `key_sha256`: SHA-256 of the signer's SPKI, which spares the log the search. Raises AnswerError with the
    log's reason (`unknown-key`, `busy`…), TransportError otherwise. The answer is not proven.
    """
    headers = {"Content-Type": "application/json"}
    if key_sha256 is not None:
        headers["Touchplate-Key"] = key_sha256.hex()
    answer = source.post("add", envelope, headers, _MAX_INDEX_BYTES)
    return parse_decimal(answer.decode("ascii", "replace").removesuffix("\n"), "the log's answer to add")
