"""Runs inside the sandbox, offline: takes a pack apart and writes the files of one commit as a tar.

    python3 -I -S export.py COMMIT MAX_FILES MAX_BYTES

Reads `pack` and writes `tree.tar` in the working directory. Nothing is ever checked out, so no hook, filter,
attribute or submodule has a say: entries are listed, and blobs are copied as they are stored. Standard
library and git only, since the sandbox shows nothing of touchplate. Exit code 3 and one last line: a commit
that is refused; any other but 0: a pack that git does not take.
"""

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

GIT = "/usr/bin/git"
REPOSITORY = "repository"
PACK, TAR = "pack", "tree.tar"
"""What is read and what is written, in the working directory."""

REFUSED = 3
"""Exit code when the commit is refused; the reason is the last line."""

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "",
}
"""Of git, and all of it: nothing of a host or a person decides, nothing is replaced or fetched."""

OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never", "-c", "pack.threads=1")

FILES = {"100644": 0o644, "100664": 0o644, "100755": 0o755}
LINK, SUBMODULE = "120000", "160000"

MAX_TARGET_BYTES = 4095
"""Of a link's target: PATH_MAX without its final NUL."""

READ_BYTES = 256 * 1024


class RefusedError(Exception):
    """The commit is not taken; the text says why."""


def git(*arguments: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> bytes:
    """What git prints. Raises RefusedError for objects that its own checks find broken on purpose."""
    command = (GIT, *OPTIONS, *arguments)
    done = subprocess.run(command, stdin=stdin, capture_output=True, check=False, env=ENVIRONMENT)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        if "fsck error" in said or "collision attack" in said:
            raise RefusedError(f"git's own checks refuse it: {said[-300:]!r}")
        print(said[-1000:], file=sys.stderr, flush=True)
        raise SystemExit(1)
    return done.stdout


def read_pack(commit: str) -> None:
    """Every object of the pack hashed, parsed and checked by git, into a bare repository."""
    form = "sha256" if len(commit) == 64 else "sha1"
    git("init", "--quiet", "--bare", "--template=", f"--object-format={form}", REPOSITORY)
    Path(REPOSITORY, "shallow").write_text(f"{commit}\n")  # its parents were not asked for
    with Path(PACK).open("rb") as pack:
        git("-C", REPOSITORY, "index-pack", "--strict", "--stdin", stdin=pack)
    if git("-C", REPOSITORY, "cat-file", "-t", commit).strip() != b"commit":
        raise RefusedError(f"{commit} is no commit")


def listed(commit: str, max_files: int) -> list[bytes]:
    """Lines of `git ls-tree`; a tree may hold another a thousand times, and that one a third."""
    command = (GIT, *OPTIONS, "-C", REPOSITORY, "ls-tree", "-r", "-l", "-z", "--full-tree", commit)
    lines: list[bytes] = []
    rest = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as listing:
        assert listing.stdout is not None
        while chunk := listing.stdout.read(READ_BYTES):
            *whole, rest = (rest + chunk).split(b"\0")
            lines += whole
            if len(lines) > max_files:
                listing.kill()
                raise RefusedError(f"it has more than {max_files} files")
    if listing.returncode or rest:
        raise SystemExit(1)
    return lines


def entries(commit: str, max_files: int) -> Iterator[tuple[str, str, int, str]]:
    """(mode, id, size, path) of all files and links, sorted by git."""
    for line in listed(commit, max_files):
        head, _, name = line.partition(b"\t")
        path = name.decode(errors="surrogateescape")
        mode, _, oid, size = head.decode().split()
        if mode == SUBMODULE:
            raise RefusedError(
                f"{path[:200]!r} is a submodule, another repository that nothing pins a tree of"
            )
        if mode != LINK and mode not in FILES:
            raise RefusedError(f"{path[:200]!r} has the mode {mode}; only files and links are taken")
        yield mode, oid, int(size), path


def write_tar(commit: str, max_files: int, max_bytes: int) -> None:
    """All of it as one tar, each header the same on every host."""
    found = list(entries(commit, max_files))
    total = sum(size for _, _, size, _ in found)
    if total > max_bytes:
        raise RefusedError(f"its {len(found)} files have {total} bytes; {max_bytes} are taken")
    command = (GIT, *OPTIONS, "-C", REPOSITORY, "cat-file", "--batch")
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as batch,
        tarfile.open(TAR, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive,
    ):
        assert batch.stdin is not None
        assert batch.stdout is not None
        for mode, oid, size, path in found:
            batch.stdin.write(f"{oid}\n".encode())
            batch.stdin.flush()
            if batch.stdout.readline() != f"{oid} blob {size}\n".encode():
                raise RefusedError(f"{path[:200]!r} is not in the pack")
            member = tarfile.TarInfo(path)
            if mode == LINK:
                if not 0 < size <= MAX_TARGET_BYTES:
                    raise RefusedError(f"link {path[:200]!r} has a target of {size} bytes")
                member.type = tarfile.SYMTYPE
                member.linkname = batch.stdout.read(size).decode(errors="surrogateescape")
                archive.addfile(member)
            else:
                member.size, member.mode = size, FILES[mode]
                archive.addfile(member, batch.stdout)
            batch.stdout.read(1)  # the line end after each object
        batch.stdin.close()


def main(arguments: list[str]) -> int:
    """Run; see the module's text."""
    commit, max_files, max_bytes = arguments
    try:
        read_pack(commit)
        write_tar(commit, int(max_files), int(max_bytes))
    except RefusedError as error:
        print(str(error), flush=True)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
