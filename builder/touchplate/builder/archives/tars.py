"""Tars of strangers, member by member: what `tarfile` leaves open is bounded here.

tarfile reads all records about a member into memory, whatever their size; keeps every member; gives each a
copy of all records that hold for the whole archive; and calls itself for each header about a header. Any of
these takes a supervisor's memory, or ends it, with an archive of a few kilobytes.
"""

import lzma
import sys
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, Protocol

from touchplate.builder.errors import ArchiveError, BuilderError

MAX_HEADER_BYTES = 256 * 1024
"""Headers about one member, its own included: a path, a link target, attributes; real ones have 10 kB."""

MAX_GLOBAL_RECORDS = 100
"""Records that hold for the whole archive: `git archive` writes one."""

UNBOUNDED = sys.maxsize
"""`max_bytes` of an archive that lies unpacked on disk already."""

TAR_DAMAGE: tuple[type[Exception], ...] = (
    *(tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(ValueError, LookupError, OverflowError),
)
"""What reading a damaged or hostile tar, packed or not, raises beside the errors that are named here."""

PIECE_BYTES = 256 * 1024
"""Most that is read of a member at once."""


class Readable(Protocol):
    """What gives bytes, as many as are asked for until its end."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        ...


class TarReader:
    """Members of the tar in `file`, forward only. An archive that goes back in itself is refused.

    `max_bytes`: of the archive, unpacked. `refuse`: the error for what is beyond the bounds.
    """

    def __init__(self, file: Readable, max_bytes: int, refuse: type[BuilderError] = ArchiveError) -> None:
        self._stream = _Forward(file, max_bytes, refuse)
        self._refuse = refuse

    def members(self) -> Iterator[tarfile.TarInfo]:
        """One after the other; a member's content can be read until the next one is asked for.

        Raises `refuse`, and TAR_DAMAGE.
        """
        try:
            self._archive = tarfile.open(fileobj=self._stream, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
            while (member := self._archive.next()) is not None:
                if len(self._archive.pax_headers) > MAX_GLOBAL_RECORDS:
                    raise self._refuse(f"it has more than {MAX_GLOBAL_RECORDS} records for all its members")
                if member.size < 0:
                    raise self._refuse(f"it has a member {member.name[:80]!r} of {member.size} bytes")
                self._stream.header_left = None
                yield member
                self._archive.members = []  # else each one is kept
                self._stream.header_left = MAX_HEADER_BYTES
        except RecursionError as error:
            raise self._refuse("it has too many headers about one member") from error

    @property
    def next_at(self) -> int:
        """Where the header behind the member that was given last begins, as tarfile sees it."""
        at: int = self._archive.offset
        return at

    @property
    def ended_at_zeros(self) -> bool:
        """Whether what was read behind the last member, once all were given, is the end as everybody sees it,
        or that of the file."""
        return not any(self._stream.last_header)

    def ends_in_zeros(self) -> bool:
        """Whether nothing but zeros stands behind the last member, once all were given. tarfile ends as well
        at a header that is none, and behind that other readers go on. Raises `refuse`, and TAR_DAMAGE."""
        piece = self._stream.last_header
        while piece and not any(piece):
            piece = self._stream.skip()
        return not piece

    def open(self, member: tarfile.TarInfo) -> IO[bytes] | None:
        """The member that was given last, to be read in pieces of up to PIECE_BYTES; None for one without
        content."""
        content: IO[bytes] | None = self._archive.extractfile(member)
        return content

    def pieces(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """Content of the member that was given last, in bounded pieces; nothing for one without content."""
        file = self.open(member)
        while file is not None and (piece := file.read(PIECE_BYTES)):
            yield piece


class _Forward:
    """The archive as tarfile reads it."""

    def __init__(self, file: Readable, max_bytes: int, refuse: type[BuilderError]) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._refuse = refuse
        self._at = 0
        self.header_left: int | None = MAX_HEADER_BYTES
        """Bytes that may still be read as headers of the next member; None while content is read."""
        self.last_header = b""
        """What was read as a header last: behind the last member, what was none."""

    def tell(self) -> int:
        return self._at

    def seek(self, to: int) -> int:
        # tarfile goes forward from member to member.
        while self._at < to and self._pull(min(PIECE_BYTES, to - self._at)):
            pass
        if self._at > to:
            raise self._refuse("the archive goes back in itself")
        return self._at

    def read(self, size: int) -> bytes:
        if self.header_left is not None:
            if not 0 <= size <= self.header_left:
                raise self._refuse(f"it has headers of more than {MAX_HEADER_BYTES} bytes about one member")
            self.header_left -= size
            self.last_header = self._pull(size)
            return self.last_header
        if not 0 <= size <= PIECE_BYTES:
            raise self._refuse(f"the archive has a piece of {size} bytes")
        return self._pull(size)

    def skip(self) -> bytes:
        """The next piece, whatever it is; empty at the end."""
        return self._pull(PIECE_BYTES)

    def _pull(self, size: int) -> bytes:
        piece = self._file.read(size)
        self._at += len(piece)
        if self._at > self._max_bytes:
            raise self._refuse(f"the archive unpacks to more than {self._max_bytes} bytes")
        return piece
