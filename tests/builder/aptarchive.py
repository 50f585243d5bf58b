"""A small signed archive for apt, and a base image in which this host's own apt runs."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.builder.sandboxes import Site

from touchplate.base.environment import read_environment

PACKAGES = (
    *("apt", "dpkg", "tar", "coreutils", "dash", "bash", "libc-bin", "gpgv", "sed", "grep", "findutils"),
    *("debianutils", "mawk", "diffutils", "perl-base", "gzip"),
)
"""Of this host: what apt and dpkg need to run. Their libraries follow from the programs."""

TOOLS = ("dpkg", "dpkg-deb", "apt-get", "gpg", "gpgv", "ldd")

_LEFT_OUT = ("/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/info", "/usr/share/lintian")
_FOLDERS = (
    *("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d", "etc/dpkg/dpkg.cfg.d", "root"),
    *(
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "var/lib/dpkg/triggers",
        "var/lib/dpkg/parts",
        "var/log/apt",
    ),
    *(
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "proc",
        "sys",
        "dev",
        "run",
        "var/lib/dpkg",
    ),
)
_KEYRING = "usr/share/keyrings/test-archive.gpg"
SETTINGS = "etc/apt/apt.conf.d/00test"
"""A file of the base without any setting: whoever mounts another one over it leaves no trace."""


def require_apt_tools() -> None:
    """Skip loudly (fail under CI) where apt does not run or no archive can be made."""
    environment = read_environment()
    lacking = [name for name in TOOLS if environment.find_program(name) is None]
    if lacking and environment.is_ci:
        pytest.fail(f"tests of apt in images need {lacking}")
    if lacking:
        pytest.skip(f"APT IN IMAGES NOT TESTED: this needs {lacking}")


@dataclass
class Archive:
    """An archive of packages below a site's `debian/`, signed by a key of its own."""

    site: Site
    folder: Path
    packages: dict[str, bytes] = field(default_factory=dict)
    indexes: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o700)
        self._gpg("--quick-gen-key", "archive@example.org", "ed25519", "sign", "never")

    @property
    def url(self) -> str:
        """What stands in sources."""
        return f"{self.site.url}/debian"

    @property
    def public_key(self) -> bytes:
        return self._gpg("--export")

    def add(self, name: str, version: str, files: Mapping[str, str], postinst: str = "") -> None:
        """Make a package and put it into the pool."""
        tree = self.folder / f"{name}-{version}"
        for path, text in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
            (tree / path).chmod(0o755 if text.startswith("#!") else 0o644)
        control = tree / "DEBIAN"
        control.mkdir(parents=True)
        (control / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\n"
            f"Description: a package of a test\n"
        )
        if postinst:
            (control / "postinst").write_text(f"#!/bin/sh\nset -e\n{postinst}\n")
            (control / "postinst").chmod(0o755)
        deb = self.folder / f"{name}_{version}_all.deb"
        _run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(deb)])
        self.packages[f"pool/main/{deb.name}"] = deb.read_bytes()

    def release(self, *, valid_for: timedelta = timedelta(days=7), by_hash: bool = False) -> None:
        """Index what is in the pool, sign it, and put it all on the site."""
        listed = "".join(self._stanza(path, data) for path, data in sorted(self.packages.items()))
        packages = listed.encode()
        self.indexes = {
            f"main/binary-{architecture()}/Packages": packages,
            f"main/binary-{architecture()}/Packages.xz": lzma.compress(packages),
        }
        now = datetime.now(UTC)
        made = min(now, now + valid_for) - timedelta(hours=1)
        lines = [
            "Origin: test",
            "Suite: stable",
            "Codename: stable",
            f"Date: {made:%a, %d %b %Y %H:%M:%S} UTC",
            f"Valid-Until: {now + valid_for:%a, %d %b %Y %H:%M:%S} UTC",
            *(["Acquire-By-Hash: yes"] if by_hash else []),
            f"Architectures: {architecture()} all",
            "Components: main",
            "SHA256:",
            *(f" {_sha256(data)} {len(data)} {path}" for path, data in self.indexes.items()),
        ]
        release = "\n".join(lines).encode() + b"\n"
        pages = {f"dists/stable/{path}": data for path, data in self.indexes.items() if path.endswith(".xz")}
        if by_hash:
            pages = {
                f"{path.rpartition('/')[0]}/by-hash/SHA256/{_sha256(data)}": data
                for path, data in pages.items()
            }
        pages["dists/stable/InRelease"] = self._gpg("--clearsign", stdin=release)
        self.site.pages |= {f"debian/{path}": data for path, data in (pages | self.packages).items()}

    def _stanza(self, path: str, data: bytes) -> str:
        name, version, _ = path.rpartition("/")[2].split("_")
        described = "Maintainer: A <a@example.org>\nDescription: a package of a test\n"
        return (
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n{described}"
            f"Filename: {path}\nSize: {len(data)}\nSHA256: {_sha256(data)}\n\n"
        )

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        common = ["gpg", "--homedir", str(self.folder), "--batch", "--quiet", "--passphrase", ""]
        return subprocess.run([*common, *arguments], input=stdin, capture_output=True, check=True).stdout

    def close(self) -> None:
        """End the agent that gpg has started."""
        subprocess.run(
            ["gpgconf", "--homedir", str(self.folder), "--kill", "all"], capture_output=True, check=False
        )


def apt_root(archive: Archive) -> bytes:
    """A tar of a root in which apt and dpkg run, with `archive` as their only source."""
    files = {os.path.realpath(path) for path in _program_files()}
    files |= {os.path.realpath(path) for path in _libraries(files)}
    texts = {
        "etc/apt/sources.list": f"deb [signed-by=/{_KEYRING}] {archive.url} stable main\n",
        SETTINGS: "// nothing\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n",
        "etc/group": "root:x:0:\nnogroup:x:65534:\n",
        "var/lib/dpkg/status": "",
        "var/lib/dpkg/available": "",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name in ("bin", "sbin", "lib", "lib64"):
            _add(tar, name, tarfile.SYMTYPE, 0o777, link=f"usr/{name}")
        for name in sorted(_FOLDERS):
            _add(tar, name, tarfile.DIRTYPE, 0o755)
        _add(tar, "tmp", tarfile.DIRTYPE, 0o1777)
        for path in sorted(files):
            _add(
                tar,
                path.lstrip("/"),
                tarfile.REGTYPE,
                Path(path).stat().st_mode & 0o777,
                Path(path).read_bytes(),
            )
        for name, target in _links(files).items():
            _add(tar, name, tarfile.SYMTYPE, 0o777, link=target)
        for name, text in texts.items():
            _add(tar, name, tarfile.REGTYPE, 0o644, text.encode())
        _add(tar, _KEYRING, tarfile.REGTYPE, 0o644, archive.public_key)
    return buffer.getvalue()


def architecture() -> str:
    """dpkg's name of this machine."""
    return _run(["dpkg", "--print-architecture"]).strip()


def _program_files() -> set[str]:
    listed = _run(["dpkg", "-L", *PACKAGES]).splitlines()
    return {path for path in listed if Path(path).is_file() and not path.startswith((*_LEFT_OUT, "/etc/apt"))}


def _libraries(files: Iterable[str]) -> set[str]:
    programs = [path for path in files if Path(path).read_bytes()[:4] == b"\x7fELF"]
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    words = (word for line in listed.splitlines() for word in line.split())
    return {
        word for word in words if word.startswith("/") and not word.endswith(":") and Path(word).is_file()
    }


def _links(files: set[str]) -> dict[str, str]:
    """Other names of the files, as programs and libraries ask for them (`sh`, `libc.so.6`)."""
    found = {}
    for folder in {str(Path(path).parent) for path in files}:
        for entry in os.scandir(folder):
            target = os.path.realpath(entry.path)
            if entry.is_symlink() and target in files:
                found[entry.path.lstrip("/")] = os.path.relpath(target, folder)
    found["usr/bin/awk"] = "mawk"
    interpreter = Path("/lib64")
    for path in interpreter.iterdir() if interpreter.is_dir() else ():
        if os.path.realpath(path) in files:
            found[f"usr/lib64/{path.name}"] = os.path.realpath(path)
    return found


def _add(
    tar: tarfile.TarFile, name: str, kind: bytes, mode: int, data: bytes = b"", *, link: str = ""
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.linkname = kind, mode, len(data), link
    tar.addfile(member, io.BytesIO(data))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
