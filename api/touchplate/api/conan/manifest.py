"""`conanmanifest.txt`: first a time, then `file: md5` for every file of a recipe or package, sorted.

Two people who build the same files get manifests that differ in the first line only. So a manifest is never
evidence and has no record: it passes when all its other lines are what the judged files give.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from touchplate.api.conan.archive import digest_members
from touchplate.api.conan.layout import CONANFILE, CONANINFO, MANIFEST
from touchplate.api.errors import RefusedError
from touchplate.api.links import Link

MAX_MANIFEST_BYTES = 32 * 1024**2
"""Bytes of one manifest: 200,000 files with long names."""

_TIME = re.compile(rb"[0-9]{1,12}\Z")


def expected_sums(files: Mapping[str, Link], path_of: Callable[[str], Path]) -> dict[str, str]:
    """MD5 by name of everything that the manifest of these files has to list.

    `files`: those of one revision, by name, without the manifest; `path_of`: where a blob lies, by its
    sha256. Raises RefusedError for an archive that cannot be read or must not be unpacked.
    """
    sums = {name: link.md5 for name, link in files.items() if name in (CONANFILE, CONANINFO)}
    taken = {*files, MANIFEST}
    for name, link in files.items():
        if name in sums:
            continue
        stem, _, suffix = name.partition(".")
        for member, md5 in digest_members(path_of(link.sha256), suffix).items():
            place = f"export_source/{member}" if stem == "conan_sources" else member
            if place in taken:
                # Clients put both into one folder, so which of them stays is a matter of the order.
                raise RefusedError(f"two of its files are named {place[:120]!r}", reason="unsafe-archive")
            taken.add(place)
            sums[place] = md5
    return sums


def check_manifest(body: bytes, sums: Mapping[str, str]) -> None:
    """Raises RefusedError (`wrong-manifest`) unless every line but the first is what `sums` give."""
    first, _, rest = body.partition(b"\n")
    if not _TIME.match(first.strip()):
        raise RefusedError("its conanmanifest.txt does not begin with a time", reason="wrong-manifest")
    wanted = "".join(f"{name}: {md5}\n" for name, md5 in sorted(sums.items())).encode()
    given = rest.replace(b"\r\n", b"\n")
    if given.rstrip(b"\n") == wanted.rstrip(b"\n"):
        return
    lines = set(wanted.split(b"\n")), set(given.split(b"\n"))
    strange = sorted(lines[0] ^ lines[1]) or [b"the order"]
    name = strange[0].decode("utf-8", "replace")[:120]
    raise RefusedError(f"its conanmanifest.txt differs from its files in {name!r}", reason="wrong-manifest")
