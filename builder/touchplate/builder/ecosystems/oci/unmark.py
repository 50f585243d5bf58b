"""Run inside the sandbox of images: take the kernel's overlay notes out of an image's own layers.

    unmark.py FOLDER DIFF_ID…

An overlay keeps notes about its upper files in extended attributes: `trusted.overlay.*` where real root
mounts it, `user.overlay.*` in a user namespace. buildah 1.28 writes attributes that begin with `user.` into
layers and others not, so the same build has notes in its layers here and none at a publisher who is root.
FOLDER holds an image in `dir:` form with unpacked layers. Layers named by DIFF_ID (those of base images)
stay as they are; from all others the records are removed, and the layers' digests in config and manifest
follow. Nothing else of a layer changes.
Only the standard library: it is run as `python3 -I -S`.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

NOTES = b"SCHILY.xattr.user.overlay."
"""What the names of these records begin with (pax, as the `SCHILY` vendor writes attributes)."""

_BLOCK = 512
_CHUNK = 1024 * 1024
_SIZE = slice(124, 136)
_CHECKSUM = slice(148, 156)
_KIND = slice(156, 157)
_EXTENDED = b"x"


def main(arguments: list[str]) -> int:
    """0; an image that cannot be read ends with a traceback, which is another exit code."""
    folder, *kept = arguments
    manifest = _read(f"{folder}/manifest.json")
    config_digest = json.loads(manifest)["config"]["digest"]
    config = _read(f"{folder}/{_name(config_digest)}")
    for layer, diff_id in zip(
        json.loads(manifest)["layers"], json.loads(config)["rootfs"]["diff_ids"], strict=True
    ):
        if diff_id not in kept and (digest := _unmark_file(folder, layer["digest"])) != diff_id:
            config = config.replace(diff_id, digest)
            old, new = (f'"digest":"{one}","size":' for one in (diff_id, digest))
            size = os.stat(f"{folder}/{_name(digest)}").st_size  # noqa: PTH116
            manifest = manifest.replace(f"{old}{layer['size']}", f"{new}{size}")
    new_digest = f"sha256:{hashlib.sha256(config.encode()).hexdigest()}"
    _write(f"{folder}/{_name(new_digest)}", config)
    _write(f"{folder}/manifest.json", manifest.replace(config_digest, new_digest))
    return 0


def unmark(source: BinaryIO) -> Iterator[bytes]:
    """The tar archive in `source` without the notes, piece by piece."""
    while len(header := source.read(_BLOCK)) == _BLOCK and header.strip(b"\0"):
        size = int(header[_SIZE].strip(b"\0 ") or b"0", 8)
        padded = -(-size // _BLOCK) * _BLOCK
        if header[_KIND] == _EXTENDED:
            records = source.read(padded)[:size]
            kept = b"".join(record for record in _records(records) if not _is_note(record))
            if kept:
                yield header if kept == records else _with_size(header, len(kept))
                yield kept + bytes(-len(kept) % _BLOCK)
            continue
        yield header
        while padded:
            piece = source.read(min(padded, _CHUNK))
            if not piece:
                return
            padded -= len(piece)
            yield piece
    yield header
    while piece := source.read(_CHUNK):
        yield piece


def _unmark_file(folder: str, digest: str) -> str:
    """Put the layer's new form beside it; its digest."""
    sha256, path = hashlib.sha256(), f"{folder}/new"
    with open(f"{folder}/{_name(digest)}", "rb") as source, open(path, "wb") as target:  # noqa: PTH123
        for piece in unmark(source):
            sha256.update(piece)
            target.write(piece)
    os.rename(path, f"{folder}/{sha256.hexdigest()}")  # noqa: PTH104
    return f"sha256:{sha256.hexdigest()}"


def _records(data: bytes) -> Iterator[bytes]:
    """pax records: decimal length of the whole record, space, name, equals sign, value, line feed."""
    while data:
        length = int(data.partition(b" ")[0])
        yield data[:length]
        data = data[length:]


def _is_note(record: bytes) -> bool:
    return record.partition(b" ")[2].startswith(NOTES)


def _with_size(header: bytes, size: int) -> bytes:
    changed = bytearray(header)
    changed[_SIZE] = b"%011o\0" % size
    changed[_CHECKSUM] = b" " * 8
    changed[_CHECKSUM] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def _name(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
