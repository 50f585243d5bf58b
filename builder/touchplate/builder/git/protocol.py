"""Asking a git server for one commit: protocol version 2 over HTTP, one request, one answer.

The supervisor speaks it itself, so that git, which has to take a stranger's pack apart, needs no way out of
its sandbox. Source: gitprotocol-v2(5), gitprotocol-common(5), gitprotocol-http(5). A server of version 2
gives any commit that it has, whether or not a branch leads there.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from touchplate.base.errors import FetchError, ResponseTooLargeError
from touchplate.base.http import HTTPClient
from touchplate.builder.errors import UPSTREAM_FAILED, ArchiveError, DefinitionError, HostLack
from touchplate.builder.plan import MIB

COMMIT = r"(?:[0-9a-f]{40}|[0-9a-f]{64})"
"""The id of a commit, SHA-1 or SHA-256: never a name, which leads elsewhere tomorrow."""

MAX_PACK_BYTES = 512 * MIB
"""Of an answer: one commit without its history, packed; as much as a source archive may have."""

MAX_REFS_BYTES = MIB
"""Of the tags whose names begin like the one that is asked for: 10,000 of them."""

_TAGS = "refs/tags/"
_SERVICE = "git-upload-pack"
_HEADERS = {
    "Git-Protocol": "version=2",
    "Content-Type": f"application/x-{_SERVICE}-request",
    "Accept": f"application/x-{_SERVICE}-result",
}
_FLUSH, _DELIMITER, _RESPONSE_END = 0, 1, 2
_DATA, _PROGRESS, _FATAL = 1, 2, 3  # bands of the pack's section
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
_SAID = 300  # characters of a server's text that are repeated
_NO_COMMIT = ("not our ref", "bad object", "could not find", "unknown revision")


class ServerSaysError(Exception):
    """The server's own refusal, as it words it."""


class MalformedAnswerError(Exception):
    """An answer that is not one of this protocol."""


@dataclass(frozen=True)
class Remote:
    """A repository behind a client. `url`: without a final slash; `name`: what errors call it."""

    client: HTTPClient
    url: str
    name: str

    def fetch(self, commit: str, write: Callable[[bytes], object]) -> None:
        """Pass the pack of `commit`, without its parents, to `write` piece by piece.

        Raises DefinitionError when there is no such repository or commit, ArchiveError when it is too large,
        HostLack when the server cannot be read or speaks otherwise. What was written is then worth nothing.
        """
        self._ask(fetch_request(commit), PackReader(write), MAX_PACK_BYTES)

    def find_tag(self, tag: str) -> str | None:
        """Id of the commit that `tag` names now; None when there is no such tag.

        Raises as `fetch` does.
        """
        try:
            lines = self._list_tags(tag)
        except HostLack as lack:
            if not isinstance(lack.__cause__, MalformedAnswerError | ServerSaysError):
                raise
            # Unasked for, the ids are SHA-1, and a repository of the other kind does not answer.
            try:
                lines = self._list_tags(tag, "object-format=sha256")
            except (HostLack, DefinitionError):
                raise lack from lack.__cause__
        for line in lines:
            oid, _, rest = line.decode(errors="replace").strip().partition(" ")
            name, *attributes = rest.split(" ")
            if name == f"{_TAGS}{tag}":
                peeled = [one.removeprefix("peeled:") for one in attributes if one.startswith("peeled:")]
                found = (peeled or [oid])[0]
                if re.fullmatch(COMMIT, found) is None:
                    raise HostLack(f"{self.name} gives {found[:80]!r} for a tag", reason=UPSTREAM_FAILED)
                return found
        return None

    def _list_tags(self, prefix: str, *capabilities: str) -> list[bytes]:
        lines: list[bytes] = []
        body = request("ls-refs", ["peel", f"ref-prefix {_TAGS}{prefix}"], capabilities)
        self._ask(body, LineReader(lines.append), MAX_REFS_BYTES)
        return lines

    def _ask(self, body: bytes, reader: "LineReader", max_bytes: int) -> None:
        url = f"{self.url}/{_SERVICE}"
        try:
            response = self.client.stream(url, reader.take, max_bytes=max_bytes, headers=_HEADERS, body=body)
            if response.status == 200:
                reader.finish()
        except ResponseTooLargeError as error:
            raise ArchiveError(f"{self.name} answers with more than {max_bytes} bytes") from error
        except FetchError as error:
            raise HostLack(f"{self.name} cannot be read: {error}", reason=UPSTREAM_FAILED) from error
        except ServerSaysError as error:
            if any(text in str(error) for text in _NO_COMMIT):
                raise DefinitionError(f"{self.name} has no such commit: {error}") from error
            raise HostLack(f"{self.name} refuses: {error}", reason=UPSTREAM_FAILED) from error
        except MalformedAnswerError as error:
            detail = f"{self.name} does not speak git's protocol version 2: {error}"
            raise HostLack(detail, reason=UPSTREAM_FAILED) from error
        if response.status in (404, 410):
            raise DefinitionError(f"{self.name}: there is no such repository (status {response.status})")
        if response.status != 200:
            raise HostLack(f"{self.name} answers {response.status}", reason=UPSTREAM_FAILED)


def fetch_request(commit: str) -> bytes:
    """The body that asks for `commit` alone."""
    form = ["object-format=sha256"] if len(commit) == 64 else []
    return request("fetch", ["no-progress", "ofs-delta", "deepen 1", f"want {commit}", "done"], form)


def request(command: str, arguments: list[str], capabilities: Sequence[str] = ()) -> bytes:
    """The body of a request."""
    head = [f"command={command}", *capabilities]
    lines = [*(_line(one) for one in head), b"0001", *(_line(one) for one in arguments), b"0000"]
    return b"".join(lines)


def _line(text: str) -> bytes:
    data = text.encode() + b"\n"
    return b"%04x" % (len(data) + 4) + data


class LineReader:
    """Takes an answer as it comes, and passes each line of it on."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._buffer = bytearray()
        self._is_done = False

    def take(self, chunk: bytes) -> None:
        """The next bytes. Raises ServerSaysError, MalformedAnswerError."""
        self._buffer += chunk
        at = 0
        while len(self._buffer) - at >= 4:
            length = self._length(bytes(self._buffer[at : at + 4]))
            if length <= _RESPONSE_END:
                self._end(length)
                at += 4
            elif len(self._buffer) - at < length:
                break
            else:
                self._packet(bytes(self._buffer[at + 4 : at + length]))
                at += length
        del self._buffer[:at]

    def finish(self) -> None:
        """Raise MalformedAnswerError unless the answer was whole."""
        if self._buffer or not self._is_done:
            raise MalformedAnswerError("the answer ends in the middle")

    def _length(self, text: bytes) -> int:
        if self._is_done:
            raise MalformedAnswerError("the answer goes on after its end")
        if _LENGTH.fullmatch(text) is None or (length := int(text, 16)) == 3:
            raise MalformedAnswerError(f"{text!r} is no length of a line")
        return length

    def _end(self, mark: int) -> None:
        if mark != _FLUSH:
            raise MalformedAnswerError("a mark where none belongs")
        self._is_done = True

    def _packet(self, data: bytes) -> None:
        if data.startswith(b"ERR "):
            raise ServerSaysError(_shown(data[4:].decode(errors="replace").strip()))
        self._write(data)


class PackReader(LineReader):
    """Takes the answer to `fetch_request` as it comes, and passes the pack on."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        super().__init__(write)
        self._section = ""
        self._has_pack = False

    def finish(self) -> None:
        """Raise MalformedAnswerError unless the answer was whole, and held a pack."""
        super().finish()
        if not self._has_pack:
            raise MalformedAnswerError("the answer has no pack")

    def _end(self, mark: int) -> None:
        if mark == _DELIMITER and self._section != "packfile":
            self._section = ""
        else:
            super()._end(mark)

    def _packet(self, data: bytes) -> None:
        if self._section == "packfile":
            self._take_band(data)
            return
        text = data.decode(errors="replace").strip()
        if text.startswith("ERR "):
            raise ServerSaysError(_shown(text[4:]))
        if not self._section:
            self._section = text
            if text not in ("shallow-info", "packfile"):
                raise MalformedAnswerError(f"{text[:40]!r} is no section that was asked for")

    def _take_band(self, data: bytes) -> None:
        band = data[0] if data else 0
        if band == _DATA:
            self._has_pack = True
            self._write(data[1:])
        elif band == _FATAL:
            raise ServerSaysError(_shown(data[1:].decode(errors="replace").strip()))
        elif band != _PROGRESS:
            raise MalformedAnswerError(f"the pack has a band {band}")


def _shown(text: str) -> str:
    return repr(text[:_SAID])
