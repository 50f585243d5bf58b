"""A published file to be found, in archives of the tests."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

from touchplate.builder.inputs.answer import AnswerFinder

PUBLISHED = b"the published jar"
FINDER = AnswerFinder(frozenset({hashlib.sha256(PUBLISHED).hexdigest()}))


def zipped(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("before.txt", "before")
        archive.writestr(name, content)
        archive.writestr("after.txt", "after")
    return buffer.getvalue()


def find(tmp_path: Path, content: bytes) -> str | None:
    path = tmp_path / "input"
    path.write_bytes(content)
    return FINDER.find(path)


def tarred(format_: int = tarfile.USTAR_FORMAT, kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as archive:
        member = tarfile.TarInfo("a.jar")
        member.size, member.type = len(PUBLISHED), kind
        archive.addfile(member, io.BytesIO(PUBLISHED))
    return buffer.getvalue()
