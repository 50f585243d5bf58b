"""A git commit as source: fetched by the supervisor, taken apart by git in a sandbox, kept by its digest.

Three steps, each believing nothing of the one before. The supervisor asks for the commit and stores the pack
unread; git, offline and under an id of its own, makes a tar of the files; the tar is unpacked like any
stranger's, and the tree digest says whether it is the tree of the definition.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from touchplate.base.durable import make_folder, remove_abandoned_writes, write_atomic
from touchplate.base.errors import StorageError
from touchplate.builder.definitions.definition import SourceFile
from touchplate.builder.errors import (
    UPSTREAM_FAILED,
    ArchiveError,
    DefinitionError,
    HostLack,
    PhaseFailed,
    storage_lack,
)
from touchplate.builder.git import export
from touchplate.builder.git.commit_tree import MAX_FILES, unpack_tree
from touchplate.builder.git.protocol import Remote
from touchplate.builder.inputs.repository import MAX_FILE_BYTES, RemoteFile
from touchplate.builder.phases import phase_failure
from touchplate.builder.plan import GIB, MIB, Limits
from touchplate.builder.process import printable
from touchplate.builder.sandbox.bubblewrap import Job, program
from touchplate.builder.sandbox.collect import collect
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.sandbox.workspace import locked_folder
from touchplate.builder.workshop import TREE, Workshop
from touchplate.verify.names import encode_name, parse_upstream_uri

GIT = "git"
"""Ecosystem of upstreams that serve repositories, as `--upstream` has it."""

LIMITS = Limits(wall_seconds=600, memory_bytes=2 * GIB, processes=64, log_bytes=MIB, workspace_bytes=4 * GIB)
"""Of git over one pack: a commit of 100,000 files takes a minute and 300 MB."""

_SCRIPT = Path(export.__file__)


@dataclass(frozen=True)
class CommitTree(RemoteFile):
    """The files of one commit. `data`: a tar of them; `sha256` is the digest of the tree, not of the tar."""

    commit: str
    tree: str

    @property
    def sha256(self) -> str:
        """The tree digest (statement format 4), lower-case hex."""
        return self.tree

    @property
    def digests(self) -> dict[str, str]:
        """As a provenance has them: the tree's, and beside it the commit as a label."""
        return {"sha256": self.tree, "gitCommit": self.commit}


def fetch_commit(workshop: Workshop, file: SourceFile) -> CommitTree:
    """The tree of `file.commit` in the repository `file.uri`; from what was kept when it is there.

    Raises DefinitionError when the repository has no such commit, or when its tree has another digest;
    PhaseFailed (phase `definition`) for a tree that is refused; HostLack.
    """
    remote = open_remote(workshop, file.uri)
    data = _Kept(workshop, file).find()
    if data is not None and _is_tree(workshop, data, file.sha256):  # else the disk changed it
        return CommitTree(file.uri, parse_upstream_uri(file.uri)[1], data, file.commit, file.sha256)
    found = read_commit(workshop, remote, file.commit)
    if found.tree != file.sha256:
        raise DefinitionError(
            f"commit {file.commit} of {file.uri} has the tree digest {found.tree}, "
            f"and {file.sha256} is asked for"
        )
    return found


def open_remote(workshop: Workshop, uri: str) -> Remote:
    """The repository `uri`. Raises HostLack when nobody has named an upstream for it."""
    identity, path = parse_upstream_uri(uri)
    upstream = workshop.repositories.of_identity(identity, GIT).upstream
    return Remote(workshop.client, f"{upstream.url.rstrip('/')}/{encode_name(path, slash=True)}", uri)


def read_commit(workshop: Workshop, remote: Remote, commit: str) -> CommitTree:
    """The tree of `commit`, whatever its digest, from its repository. Raises as `fetch_commit` does."""
    workshop.display.step(f"source: commit {commit[:12]} of {remote.name}")
    try:
        sha256, data = _fetch(workshop, remote, commit)
        tree = _digest(workshop, data)
    except ArchiveError as error:
        raise PhaseFailed("definition", "refused-input", f"source: {error}") from error
    _Kept(workshop, SourceFile(remote.name, tree, 0, commit)).keep(sha256)
    return CommitTree(remote.name, parse_upstream_uri(remote.name)[1], data, commit, tree)


def place_commit(source: CommitTree, folder: Path) -> None:
    """Make the source tree in the empty `folder`. Raises ArchiveError, HostLack."""
    if unpack_tree(source.data, folder) != source.tree:
        raise HostLack("the tree of the commit changed while it was written", reason="cache-damaged")


def _digest(workshop: Workshop, data: bytes) -> str:
    with locked_folder(workshop.data, TREE) as folder:
        return unpack_tree(data, folder)


def _is_tree(workshop: Workshop, data: bytes, digest: str) -> bool:
    try:
        return _digest(workshop, data) == digest
    except ArchiveError:  # not even a tree
        return False


def _fetch(workshop: Workshop, remote: Remote, commit: str) -> tuple[str, bytes]:
    """The tar's sha256 and bytes."""
    git = program("git", "git")
    if str(git) != export.GIT:
        raise HostLack(f"git is {git}; sandboxes need the one of the package, {export.GIT}", reason="no-tool")
    sandbox = workshop.open_sandbox()
    with locked_folder(workshop.data, TREE) as folder:
        try:
            with (folder / export.PACK).open("xb") as pack:
                remote.fetch(commit, pack.write)
            (folder / _SCRIPT.name).write_bytes(_SCRIPT.read_bytes())
        except OSError as error:
            raise storage_lack("cannot write the commit", workshop.data, error) from error
        with sandbox.workspace(folder) as workspace:
            (folder / export.PACK).unlink()  # copied: not on the disk twice while git makes its own
            command = (PYTHON, "-I", "-S", _SCRIPT.name, commit, str(MAX_FILES), str(MAX_FILE_BYTES))
            outcome = sandbox.run(workspace, Job(command, limits=LIMITS))
            if outcome.exit_code == export.REFUSED and not outcome.stopped:
                said = printable(outcome.tail.splitlines()[-1]) if outcome.tail.strip() else "no reason given"
                raise ArchiveError(f"commit {commit}: {said}")
            if outcome.stopped:
                raise phase_failure("definition", outcome, LIMITS)
            if outcome.exit_code:
                said = " ".join(printable(line) for line in outcome.tail.splitlines()[-4:])
                said = said or f"it ended without a word, exit code {outcome.exit_code}"
                detail = f"{remote.name}: git cannot read what it gave for {commit}: {said}"
                raise HostLack(detail, reason=UPSTREAM_FAILED, log=outcome.log)
            try:
                # Headers and padding of each file beside its bytes.
                most = MAX_FILE_BYTES + MAX_FILES * 4096
                made = collect(workspace.build, (export.TAR,), workshop.cache, max_bytes=most)[export.TAR]
            except PhaseFailed as failed:
                raise HostLack(f"git gave no tree of {commit}: {failed.detail}") from failed
    return made.sha256, made.path.read_bytes()


class _Kept:
    """Which collected tar a commit of a repository was, for the next rebuild."""

    def __init__(self, workshop: Workshop, file: SourceFile) -> None:
        self._store = workshop.cache.outputs
        name = hashlib.sha256(f"{file.uri}\n{file.commit}\n{file.sha256}".encode()).hexdigest()
        self._path = workshop.data / "commits" / name

    def find(self) -> bytes | None:
        """The tar; None when it is not here, or not what it was."""
        try:
            sha256 = self._path.read_text(encoding="ascii").strip()
            if not self._store.has(sha256):
                return None
            with self._store.open(sha256) as stream:
                data = stream.read()
        except (OSError, UnicodeDecodeError, StorageError, ValueError):
            return None
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def keep(self, sha256: str) -> None:
        """Remember the tar. Raises HostLack."""
        try:
            make_folder(self._path.parent)
            remove_abandoned_writes(self._path.parent)
            write_atomic(self._path, f"{sha256}\n".encode("ascii"))
        except (StorageError, OSError) as error:
            raise storage_lack("cannot keep a commit", self._path.parent, error) from error
