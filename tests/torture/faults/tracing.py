"""Processes under strace: what they ask of the kernel, and one call in which the kernel says no.

strace is attached to a process that the launcher has forked, after all imports and before `touchplate`
begins; so the n-th call is counted from there, for each thread by itself.
"""

import itertools
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.torture.process import SECONDS, Launcher, Run, SeriesError

CALLS = {
    "write": "write",
    "pwrite64": "pwrite64",
    "fsync": "fsync",
    "fdatasync": "fdatasync",
    "rename": "rename,renameat,renameat2",
    "openat": "openat",
    "link": "link,linkat",
}
"""Calls by the name in the table; what strace is told to trace."""

ERRORS = ("EIO", "ENOSPC", "EINTR")

_LINE = re.compile(r"(\d+) +(?:<\.\.\. )?([a-z0-9_]+)(?: resumed>|\()(.*)")
_PATH = re.compile(r'[<"](/[^>"]*)[>"]')
_RELATIVE = re.compile(r'<(/[^>]*)>, "([^"/][^"]*)"')
_PLACE = re.compile(r", (\d+), (\d+)(?:\)| <unfinished)")


@dataclass(frozen=True)
class Call:
    """One call of one thread: its number among that thread's calls of this kind, the file, how it ended."""

    name: str
    number: int
    path: str
    end: int
    """First byte behind what a pwrite64 writes."""
    is_injected: bool
    is_good: bool

    def is_below(self, folder: Path) -> bool:
        """Whether the file is one of this folder, and not a library, a pipe or what wakes an event loop."""
        return Path(self.path).is_relative_to(folder)


@dataclass(frozen=True)
class Fault:
    """`error` in the place of the `number`-th `call` of a thread."""

    call: str
    error: str
    number: int

    def __str__(self) -> str:
        return f"{self.error} at {self.call} {self.number}"


class Traced:
    """One process and its tracer."""

    def __init__(
        self, launcher: Launcher, folder: Path, number: int, argv: Sequence[str], fault: Fault | None
    ) -> None:
        self._trace = folder / f"traced-{number:05d}.trace"
        go = folder / f"traced-{number:05d}.go"
        self.run: Run = launcher.fork(argv, go)
        command = ["strace", "-f", "-y", "-s", "0", "-o", str(self._trace), "-p", str(self.run.pid)]
        command += ["-e", "trace=" + ",".join(CALLS.values()), "-e", "signal=none"]
        if fault is not None:
            command += ["-e", f"inject={CALLS[fault.call]}:error={fault.error}:when={fault.number}"]
        self._tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert self._tracer.stderr is not None
        if "attached" not in self._tracer.stderr.readline():
            self.run.kill()
            self.run.wait()
            raise SeriesError("strace could not attach itself")
        go.touch()

    def calls(self) -> list[Call]:
        """All that it did; after its end."""
        assert self._tracer.stderr is not None
        self._tracer.communicate(timeout=SECONDS)
        return list(parse_trace(self._trace.read_text(errors="replace").splitlines()))


class Tracer:
    """Starts them. Threads may share one."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._launcher = launcher
        self._folder = folder
        self._numbers = itertools.count(1)

    def start(self, argv: Sequence[str], fault: Fault | None = None) -> Traced:
        """A process that runs `touchplate ARGV`."""
        return Traced(self._launcher, self._folder, next(self._numbers), argv, fault)


def parse_trace(lines: Sequence[str]) -> Iterator[Call]:
    """The calls in what strace wrote, in the order in which they ended."""
    kinds = {name: kind for kind, names in CALLS.items() for name in names.split(",")}
    counts: dict[tuple[str, str], int] = {}
    begun: dict[str, str] = {}
    for line in lines:
        if not (found := _LINE.match(line)) or found[2] not in kinds:
            continue
        thread, name, rest = found.groups()
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest
            continue
        text = begun.pop(thread, "") + rest
        kind = kinds[name]
        counts[thread, kind] = number = counts.get((thread, kind), 0) + 1
        place = _PLACE.search(text) if kind == "pwrite64" else None
        end = int(place[1]) + int(place[2]) if place else 0
        result = text.rpartition(" = ")[2]
        yield Call(kind, number, _path_of(kind, text), end, "(INJECTED)" in text, not result.startswith("-"))


def _path_of(kind: str, text: str) -> str:
    """The file that a call is about: for a name that is given, the new one."""
    relative = _RELATIVE.findall(text)
    if relative:
        folder, name = relative[-1]
        return f"{folder}/{name}"
    paths = _PATH.findall(text)
    if not paths:
        return ""
    return str(paths[-1] if kind in ("rename", "link", "openat") else paths[0])


def synced_bytes(calls: Sequence[Call], path: str) -> int:
    """How many bytes of a file that only grows were surely on disk: all written before its last good sync."""
    written = synced = 0
    for call in calls:
        if call.path != path:
            continue
        if call.name == "pwrite64":
            written = max(written, call.end)
        elif call.name in ("fsync", "fdatasync") and call.is_good:
            synced = written
    return synced
