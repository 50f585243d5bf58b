"""Conan recipes and packages made by a few lines of code, as a client uploads them, and statements about
them."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from gzip import GzipFile

from tests.verify.support import OPERATOR_A, OPERATOR_B, dependencies, sha256_of, sign, statement_signer

from touchplate.api.conan.layout import MANIFEST, Reference, Revision, repository_url
from touchplate.verify.entry import Entry
from touchplate.verify.names import format_builder
from touchplate.verify.predicates.provenance import Dependency, Provenance, format_provenance
from touchplate.verify.statements import PROVENANCE_TYPE, make_statement, make_subject

OPERATORS = ((OPERATOR_A, "rebuilder-a"), (OPERATOR_B, "rebuilder-b"))
IDENTITY = "remote.example.org"


def md5(data: bytes) -> str:
    """Lower-case hex."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def archive(members: Mapping[str, bytes | str], *, form: str = "tgz") -> bytes:
    """A tar of files, and of links where the value is text; gzip or xz."""
    infos = []
    for name, value in members.items():
        info = tarfile.TarInfo(name)
        if isinstance(value, str):
            info.type, info.linkname = tarfile.SYMTYPE, value
        infos.append((info, b"" if isinstance(value, str) else value))
    return tar_of(infos, form=form)


def tar_of(infos: Sequence[tuple[tarfile.TarInfo, bytes]], *, form: str = "tgz") -> bytes:
    """A tar of any members whatever."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in infos:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    if form == "txz":
        return lzma.compress(plain.getvalue())
    packed = io.BytesIO()
    with GzipFile("", "wb", 9, packed, mtime=0) as file:
        file.write(plain.getvalue())
    return packed.getvalue()


def manifest_of(sums: Mapping[str, str], time: int = 1_800_000_000) -> bytes:
    """The text of a conanmanifest.txt."""
    return "\n".join([str(time), *(f"{name}: {sums[name]}" for name in sorted(sums)), ""]).encode()


@dataclass(frozen=True)
class Published:
    """A recipe or package revision with its files."""

    revision: Revision
    files: Mapping[str, bytes] = field(default_factory=dict)

    def with_files(self, **files: bytes) -> Published:
        """The same with other bytes; names are written with `_` for the last dot's place: `name__ext`."""
        changed = {name.replace("__", "."): data for name, data in files.items()}
        return replace(self, files={**self.files, **changed})


def make_recipe(
    name: str = "lib",
    version: str = "1.0",
    *,
    source: bytes = b"int one(void) { return 1; }\n",
    user: str = "",
) -> Published:
    """A recipe with an exported file and a source, with the revision that Conan gives it."""
    conanfile = f"class Lib:\n    name = {name!r}\n    version = {version!r}\n".encode()
    exported, sources = {"conandata.yml": b"sources: {}\n"}, {"src/lib.c": source}
    sums = {"conanfile.py": md5(conanfile)}
    sums |= {member: md5(data) for member, data in exported.items()}
    sums |= {f"export_source/{member}": md5(data) for member, data in sources.items()}
    files = {
        "conanfile.py": conanfile,
        "conan_export.tgz": archive(exported),
        "conan_sources.tgz": archive(sources),
        MANIFEST: manifest_of(sums),
    }
    reference = Reference(name, version, user or None, "stable" if user else None)
    return Published(Revision(reference, _summary(sums)), files)


def make_package(
    recipe: Published,
    members: Mapping[str, bytes | str] | None = None,
    *,
    info: bytes = b"[settings]\nos=Linux\n",
    form: str = "tgz",
) -> Published:
    """A package of a recipe, with the id and revision that Conan gives it."""
    members = {"lib/liblib.a": b"!<arch>\n" + recipe.revision.rrev.encode()} if members is None else members
    sums = {"conaninfo.txt": md5(info)}
    sums |= {name: md5(data.encode() if isinstance(data, str) else data) for name, data in members.items()}
    files = {
        f"conan_package.{form}": archive(members, form=form),
        "conaninfo.txt": info,
        MANIFEST: manifest_of(sums),
    }
    package_id = hashlib.sha1(info, usedforsecurity=False).hexdigest()
    return Published(replace(recipe.revision, package_id=package_id, prev=_summary(sums)), files)


def _summary(sums: Mapping[str, str]) -> str:
    return md5("\n".join([*(f"{name}: {sums[name]}" for name in sorted(sums)), ""]).encode())


def built(
    package: Published,
    recipe: Published,
    *,
    operators: Sequence[tuple[str, str]] = OPERATORS,
    identity: str = IDENTITY,
    leave_out: Sequence[str] = (),
) -> list[Entry]:
    """The statements of operators that they built this package from this recipe.

    `leave_out`: files of the recipe that they do not name.
    """
    return [
        sign(provenance(package, recipe, operator, identity, leave_out), statement_signer(key))
        for operator, key in operators
    ]


def provenance(
    package: Published, recipe: Published, operator: str, identity: str, leave_out: Sequence[str] = ()
) -> bytes:
    """Payload of one of them."""
    url = repository_url(identity)
    uris = {name: package.revision.package_url(name, url) for name in package.files if name != MANIFEST}
    inputs = [
        Dependency("source-release", sha256_of(data), str(recipe.revision.package_url(name, url)))
        for name, data in recipe.files.items()
        if name != MANIFEST and name not in leave_out
    ]
    statement = Provenance(
        build_type="https://touchplate.dev/buildtypes/conan/v1",
        package=next(iter(uris.values())),
        definition="conan",
        dependencies=(*inputs, *dependencies()),
        builder=format_builder(operator, "bubblewrap"),
        byproducts={
            name: hashlib.sha256(name.encode()).hexdigest() for name in ("build-log", "sandbox-report")
        },
    )
    subjects = [make_subject(uri, sha256_of(package.files[name])) for name, uri in uris.items()]
    return make_statement(subjects, PROVENANCE_TYPE, format_provenance(statement))
