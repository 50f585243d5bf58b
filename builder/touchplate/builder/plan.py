"""What an ecosystem hands to the two phases: a plan, and what it gets back. Data only.

The phases (`phases.py`) know nothing of Maven or Conan; the ecosystems know nothing of sandboxes. This
module is the whole of what passes between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Protocol

from touchplate.builder.errors import DefinitionError

if TYPE_CHECKING:
    from touchplate.base.upstreams import Upstream

Phase = Literal["fetch", "build"]

BUILD_FOLDER = "/build"
"""Where the source tree is inside the sandbox; the working directory of the command; writable."""

HOME_FOLDER = "/home/build"
"""HOME inside the sandbox; writable, empty at the start of each phase."""

REPOSITORY_FOLDER = "/repo"
"""Where Build finds the locked inputs, as `/repo/<upstream name>/<path>`; read-only."""

MIRROR_PORT = 3128
"""Loopback port inside the sandbox at which Fetch finds the recording mirror."""

MIRROR_URL = f"http://127.0.0.1:{MIRROR_PORT}"
"""Fetch reaches `<upstream>` at `MIRROR_URL/<upstream name>/<path>`; every other first segment is refused."""

RESERVED_FOLDER = "/run/touchplate"
"""Inside path that belongs to the sandbox itself (bridge and socket): no bind or file may stand in it."""

_RESERVED = (BUILD_FOLDER, HOME_FOLDER, REPOSITORY_FOLDER, RESERVED_FOLDER, "/proc", "/dev", "/tmp")  # noqa: S108

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True)
class Limits:
    """What one phase of one build may use; sizes in bytes, time in seconds."""

    wall_seconds: float = 3600.0
    """Wall clock of one phase: a hung build must end, and the slowest known good one takes minutes."""
    memory_bytes: int = 4 * GIB
    """All processes together (cgroup), or each process where the host gives no memory cgroup."""
    processes: int = 512
    """Processes and threads at one time: a JVM build uses about 100, a fork bomb everything."""
    log_bytes: int = 16 * MIB
    """Kept output of the command; more is read and dropped, the build goes on."""
    workspace_bytes: int = 10 * GIB
    """Build folder and home together; over it the phase is stopped."""
    fetch_bytes: int = 2 * GIB
    """Sum of all recorded inputs."""
    fetch_files: int = 5000
    """Number of recorded inputs, checksum files not counted."""
    output_bytes: int = 2 * GIB
    """Largest single output that is collected."""


@dataclass(frozen=True)
class Bind:
    """A file or folder of the host shown read-only at the absolute path `inside`.

    It must be readable by any user, and so must each parent folder be searchable (mode o+x): the sandbox
    runs as an unprivileged uid of its own.
    """

    host: Path
    inside: str
    fetched: bool = False
    """Whether it came from an upstream: then it is looked through for the answer like any other input."""


@dataclass(frozen=True)
class ShownRoot:
    """A build root: `usr`, `etc` and `var` of the folder `path` stand inside in place of the host's tools.

    `sha256`: its tree digest. Readable and searchable as a Bind.
    """

    path: Path
    sha256: str


@dataclass(frozen=True)
class Surroundings:
    """What is around a build and no input of it. The same for each rebuild; `vary.py` makes others, to find
    out whether a package depends on them."""

    build: str = BUILD_FOLDER
    """Where the source tree is inside: an absolute path that belongs to the sandbox."""
    home: str = HOME_FOLDER
    """HOME inside."""
    host_name: str = "build"
    uid: int = 1000
    """uid and gid as the build sees itself: builds that run as 0 behave differently."""
    cpus: frozenset[int] = frozenset()
    """Processors that it may use, by number (sched_setaffinity(2)); empty: all of the supervisor's."""
    order_in: Path | None = None
    """A folder of the host where files are listed by when they were made: the source tree is laid out there,
    so that each folder of it is listed in the opposite order. None: in the work folder, as it comes."""
    older: int = 0
    """Seconds by which the times of source files are earlier."""


USUAL = Surroundings()
"""Those of every rebuild that is not varied."""


@dataclass(frozen=True)
class PinnedInput:
    """An input that the definition itself names: where it is from, as input locks say it, and its bytes."""

    upstream: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Forbidden:
    """The answer, which may never be an input: the published files that outputs are compared with."""

    digests: frozenset[str] = frozenset()
    """sha256, lower-case hex; also looked for inside archives."""
    paths: frozenset[tuple[str, str]] = frozenset()
    """(upstream name, path in that upstream, without a leading slash, not percent-encoded)."""
    compiled: frozenset[str] = frozenset()
    """sha256 of the answer's compiled parts, which the source may not hold either, nor what a build downloads
    by its digest; other inputs may."""


def _no_files(phase: Phase) -> Mapping[str, bytes]:
    return {}


def _no_labels(outputs: Mapping[str, CollectedFile]) -> Mapping[str, str]:
    return {}


def _nothing(log: bytes) -> Sequence[str]:
    """Nothing: tools that fail without a file, or are served over a connection."""
    return ()


@dataclass(frozen=True)
class BuildPlan:
    """One build, as both phases run it. Raises DefinitionError when it contradicts itself."""

    source: Path
    """Prepared source tree (regular files, folders, symlinks); copied for each phase, never modified."""
    command: tuple[str, ...]
    """Arguments as started inside, without a shell; the working directory is /build."""
    binds: tuple[Bind, ...] = ()
    root: ShownRoot | None = None
    """None: the host's /usr is shown."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Complete, except that HOME, PATH, TZ, LANG, LC_ALL have defaults (/usr/bin:/bin, UTC, C.UTF-8)."""
    umask: int = 0o022
    upstreams: tuple[Upstream, ...] = ()
    """The only places that Fetch can reach, by name."""
    proxied: Mapping[str, str] = field(default_factory=dict)
    """Where the build asks through a proxy, which the mirror then is: host and folder of addresses → name of
    the upstream that they mean (`replay.locate`). Empty: by the mirror's own address."""
    files: Callable[[Phase], Mapping[str, bytes]] = _no_files
    """Read-only files for the phase: absolute inside path → content (for example /settings.xml)."""
    outputs: tuple[str, ...] = ()
    """Files to collect after Build, relative to /build."""
    examine: Callable[[Mapping[str, CollectedFile]], Mapping[str, str]] = _no_labels
    """Looks at the collected outputs, by path: the labels that the ecosystem has for them, by name, for
    people. Raises PhaseFailed (`collect`) for outputs that are not of the package that is built."""
    went_without: Callable[[bytes], Sequence[str]] = _nothing
    """Reads from the output of a build that ended well which files it looked for in vain and went on: their
    paths at an upstream."""
    forbidden: Forbidden = Forbidden()
    limits: Limits = Limits()
    surroundings: Surroundings = USUAL
    named_by_digest: bool = False
    """Whether the path of every other input than `pinned` is its sha256: the build takes it for the file of
    that digest."""
    pinned: tuple[PinnedInput, ...] = ()
    """Inputs that the definition names, with their bytes in the cache: part of every lock, and laid out in
    both phases as those of a lock are in Build."""
    allow_metadata: bool = False
    """Whether the definition allows `maven-metadata*.xml` as an input (its content changes daily)."""

    def __post_init__(self) -> None:
        if not self.command:
            raise DefinitionError("the plan has no command")
        if not 0 <= self.umask <= 0o777:
            raise DefinitionError(f"umask {self.umask:#o} is not between 0 and 0777")
        names = [upstream.name for upstream in self.upstreams]
        if len(set(names)) != len(names):
            raise DefinitionError(f"an upstream name stands twice in {names!r}")
        for bind in self.binds:
            check_inside(bind.inside)
        for output in self.outputs:
            check_relative(output)


def check_inside(path: str) -> None:
    """Refuse (DefinitionError) an inside path that is not absolute and plain, or that the sandbox owns."""
    pure = PurePosixPath(path)
    if not pure.is_absolute() or str(pure) != path or ".." in pure.parts or path == "/" or "\0" in path:
        raise DefinitionError(
            f"{path!r} is not a plain absolute path; write it without '..', '//' or a final '/'"
        )
    if any(path == own or path.startswith(own + "/") for own in _RESERVED):
        raise DefinitionError(f"{path!r} belongs to the sandbox; place the file elsewhere")


def check_relative(path: str) -> None:
    """Refuse (DefinitionError) a path that is not relative and plain (no `..`, `.`, empty part)."""
    pure = PurePosixPath(path)
    if path in ("", ".") or pure.is_absolute() or str(pure) != path or ".." in pure.parts or "\0" in path:
        raise DefinitionError(f"{path!r} is not a plain relative path")


@dataclass(frozen=True)
class CollectedFile:
    """An output as the supervisor hashed it. `path` lies in the cache and stays there after the build."""

    path: Path
    sha256: str
    sha512: str
    size: int


@dataclass(frozen=True)
class BuildResult:
    """What Build gave: outputs by their plan path, the log, and the sandbox report (JSON, attested)."""

    outputs: Mapping[str, CollectedFile]
    log: bytes
    report: dict[str, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the plan's `examine` found: nothing that anyone has to believe."""


class Progress(Protocol):
    """What a caller hears while the phases run. Called from several threads; must not block or raise."""

    def started(self, phase: Phase) -> None:
        """The command of this phase is about to start."""

    def fetched(self, upstream: str, path: str, size: int) -> None:
        """One more input was recorded; `size` in bytes."""

    def line(self, text: str) -> None:
        """One line of the command's output, cut to a sane length."""


class Quiet:
    """A Progress that says nothing."""

    def started(self, phase: Phase) -> None:
        """Say nothing."""

    def fetched(self, upstream: str, path: str, size: int) -> None:
        """Say nothing."""

    def line(self, text: str) -> None:
        """Say nothing."""
