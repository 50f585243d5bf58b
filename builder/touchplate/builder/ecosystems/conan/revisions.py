"""What Conan calls a recipe or package revision: MD5 over the MD5 of its files, as its manifests list them.

Labels only, for people and for a first look: MD5 proves nothing, and files are compared by sha256. (Conan's
`internal/model/manifest.py`: lines `name: md5`, sorted, each with a line end.)
"""

import hashlib
from collections.abc import Mapping

from touchplate.builder.ecosystems.conan.archive import digest_members
from touchplate.builder.ecosystems.conan.reference import (
    CONANFILE,
    CONANINFO,
    EXPORTED,
    EXPORTED_SOURCES,
    PACKAGE,
)


def recipe_revision(files: Mapping[str, bytes]) -> str:
    """The revision of a recipe with these files (`revision_mode = "hash"`). Raises ArchiveError."""
    sums = {CONANFILE: _md5(files[CONANFILE])}
    for archive, folder in ((EXPORTED, ""), (EXPORTED_SOURCES, "export_source/")):
        if archive in files:
            sums |= {f"{folder}{name}": each.md5 for name, each in digest_members(files[archive]).items()}
    return _summary(sums)


def package_revision(files: Mapping[str, bytes]) -> str:
    """The revision of a package with these files. Raises ArchiveError."""
    sums = {CONANINFO: _md5(files[CONANINFO])}
    sums |= {name: each.md5 for name, each in digest_members(files[PACKAGE]).items()}
    return _summary(sums)


def _summary(sums: Mapping[str, str]) -> str:
    return _md5("".join(f"{name}: {sums[name]}\n" for name in sorted(sums)).encode())


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
