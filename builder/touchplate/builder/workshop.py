"""What a rebuild needs of this host, opened once: folders, upstreams, sandbox, display."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from touchplate.base.durable import DigestFolder, make_folder, remove_abandoned_writes, write_atomic
from touchplate.base.environment import read_environment
from touchplate.base.errors import UpstreamError
from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.progress import Progress as Display
from touchplate.base.upstreams import Upstream, resolve_upstream
from touchplate.builder.attestation.outbox import Outbox
from touchplate.builder.cache import Cache
from touchplate.builder.definitions.definition import Definition
from touchplate.builder.errors import HostLack, needing_disk, storage_lack
from touchplate.builder.inputs.repository import Repositories, Repository
from touchplate.builder.inputs.upstream_option import CENTRAL
from touchplate.builder.known_locks import KnownLocks
from touchplate.builder.roots.store import Roots
from touchplate.builder.sandbox.bubblewrap import SHOWN, Sandbox, SandboxConfig, open_sandbox
from touchplate.builder.sandbox.workspace import check_searchable, remove_abandoned

TREE = "tree-"
"""Prefix of the folders in which source trees are prepared."""

SYSTEM_DATA = Path("/var/lib/touchplate/rebuild")
"""Default data folder of root: jobs run under uids of their own, which must be able to enter it."""


@dataclass(frozen=True)
class Workshop:
    """Everything that rebuilds of one process share."""

    data: Path
    work: Path
    client: HTTPClient
    repositories: Repositories
    cache: Cache
    evidence: DigestFolder
    outbox: Outbox
    known_locks: KnownLocks
    roots: Roots
    display: Display
    verbose: bool = False
    """Whether each line of the build's output is shown."""
    backend: str = ""
    """Which backend builds use where there is a choice; empty: the usual one."""
    detailed: bool = False
    """Whether differences are explained by diffoscope, too, where this host has it."""
    make_sandbox: Callable[[SandboxConfig], Sandbox] = field(default=open_sandbox)

    @property
    def tools(self) -> Path:
        """Folder of unpacked tools."""
        return self.data / "tools"

    def keep_definition(self, definition: Definition) -> Path:
        """Write an inferred definition where a person finds it; it is evidence too. Raises HostLack."""
        path = self.data / "definitions" / f"{definition.name}-{definition.sha256[:12]}.json"
        with needing_disk("cannot keep the definition", self.data):
            make_folder(path.parent)
            remove_abandoned_writes(path.parent)
            write_atomic(path, definition.data)
            self.evidence.put(definition.data)
        return path

    def keep_evidence(self, data: bytes) -> None:
        """Store evidence by its digest. Raises HostLack."""
        with needing_disk("cannot keep evidence", self.evidence.folder):
            self.evidence.put(data)

    def tidy(self) -> None:
        """Remove source trees that killed rebuilds left."""
        remove_abandoned(self.data, TREE)

    def open_sandbox(self) -> Sandbox:
        """A probed sandbox over this workshop's work folder. Raises HostLack."""
        self.tidy()
        return self.make_sandbox(SandboxConfig(work=self.work))


def default_data() -> Path:
    """Where rebuilds keep what they may use again, unless a folder is given."""
    home = read_environment().home
    if os.getuid() == 0 or home is None:
        return SYSTEM_DATA
    return home / ".cache" / "touchplate" / "rebuild"


@contextmanager
def open_workshop(
    data: Path,
    display: Display,
    *,
    work: Path | None = None,
    upstreams: Sequence[Upstream] = (),
    verbose: bool = False,
    backend: str = "",
    detailed: bool = False,
    most_roots: int | None = None,
) -> Iterator[Workshop]:
    """The workshop over the folder `data`, with `upstreams` and, unless one of them has its name, `central`.

    `most_roots`: as `Roots`. Raises HostLack when a folder cannot be made or entered, UpstreamError when no
    upstream is known.
    """
    if sys.getfilesystemencoding() != "utf-8":
        # Names of files would be others than elsewhere, and good sources refused for them.
        raise HostLack("names of files are not UTF-8 here; set LC_ALL=C.UTF-8", reason="no-utf-8")
    make_enterable(data)
    work = work or data / "work"
    make_enterable(work)
    resolved = _resolve(upstreams)
    # The upstreams' hosts are configured on this machine, or were named by the person at it, whatever their
    # address; no other host is ever asked, since redirects away from them are refused.
    rules = AddressRules.naming(*(one.url for one in resolved))
    with HTTPClient(rules) as client, ExitStack() as stack:
        with needing_disk("cannot open the data folder", data):
            downloads = DigestFolder(data / "downloads")
            evidence = DigestFolder(data / "evidence")
            roots = stack.enter_context(closing(Roots(data, work, evidence, display, most=most_roots)))
            workshop = Workshop(
                data=data,
                work=work,
                client=client,
                repositories=Repositories(Repository(one, client, downloads) for one in resolved),
                cache=Cache(data / "cache"),
                evidence=evidence,
                outbox=Outbox(data / "outbox"),
                known_locks=KnownLocks(data / "locks"),
                roots=roots,
                display=display,
                verbose=verbose,
                backend=backend,
                detailed=detailed,
            )
        yield workshop


def _resolve(upstreams: Sequence[Upstream]) -> tuple[Upstream, ...]:
    """All with their real addresses; `central` is left out where others are given and no Maven names it."""
    resolved = tuple(resolve_upstream(one) for one in upstreams)
    if any(one.name == CENTRAL.name for one in upstreams):
        return resolved
    try:
        return (resolve_upstream(CENTRAL), *resolved)
    except UpstreamError:
        if not resolved:
            raise
        return resolved


def make_enterable(folder: Path) -> None:
    """Have `folder` with its parents, enterable by other uids where we make it. Raises HostLack."""
    resolved = Path(os.path.realpath(folder))  # Path.resolve raises RuntimeError for a link to itself
    if not SHOWN.isdisjoint((resolved, *resolved.parents)):
        raise HostLack(
            f"every build can read {str(folder)!r}, and so the answer: use a folder not below /usr"
        )
    try:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            one.chmod(0o755)
    except OSError as error:
        raise storage_lack(f"cannot make the folder {str(folder)!r}", folder, error) from error
    if os.getuid() == 0:
        check_searchable(folder)
