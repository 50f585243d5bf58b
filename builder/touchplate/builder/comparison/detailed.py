"""What two files hold that differ, in full: diffoscope's text, made inside the sandbox.

diffoscope opens whatever it is given with some thirty foreign programs and libraries, and one of the two
files comes from a stranger. So it runs as a build does: under an id of its own, without network, with
limits of its own; what it writes is taken out as an output is, up to a cap. It explains; nothing depends on
it. Where it is not installed, the comparison's own report stands alone; where it comes to no end, that
report says why.
"""

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from touchplate.base.environment import read_environment
from touchplate.base.errors import StorageError
from touchplate.builder.cache import Cache
from touchplate.builder.comparison.compare import Comparison
from touchplate.builder.comparison.contents import printable
from touchplate.builder.errors import PhaseFailed, storage_lack
from touchplate.builder.plan import GIB, MIB, Bind, Limits
from touchplate.builder.process import run_tool
from touchplate.builder.sandbox.bubblewrap import Job, Sandbox
from touchplate.builder.sandbox.collect import collect
from touchplate.builder.sandbox.workspace import JOB, locked_folder
from touchplate.verify.jcs import JSONValue, format_json, parse_json

PROGRAM = "diffoscope"

MAX_TEXT_BYTES = 2 * MIB
"""Of its text, which is evidence: what a person reads is the beginning. diffoscope keeps roughly to its own
limit, so the rest is cut."""

MAX_WRITTEN_BYTES = 64 * MIB
"""Of the file that it writes; a longer one is not looked at."""

CUT = b"\n[cut here]\n"

MAX_BLOCK_LINES = 200
"""Lines of one difference: a class that was compiled by another compiler fills thousands."""

SOFT_SECONDS = 60
"""After which diffoscope looks at nothing new and writes what it has."""

LIMITS = Limits(wall_seconds=180, memory_bytes=2 * GIB, processes=128, log_bytes=MIB, workspace_bytes=4 * GIB)
"""Of one look: it unpacks archives several times over, and a jar of 50 MB needs 1 GB on disk."""

MAX_LOOKS = 4
"""Outputs of one rebuild that are explained: it may have 64, and each may take `LIMITS.wall_seconds`."""

_SHOWN = ("/etc/ld.so.cache", "/etc/alternatives", *(f"/etc/java-{major}-openjdk" for major in (11, 17, 21)))
"""What it needs of the host beside /usr, where that is there: its libraries by name, and javap."""

_SUFFIXES = (".jar", ".zip", ".war", ".tar", ".tgz", ".gz", ".txt", ".pom", ".xml", ".json")
_TEXT = "report.txt"
_SAME, _DIFFERENT = 0, 1  # exit codes of diffoscope


@dataclass(frozen=True)
class Detailer:
    """diffoscope in a sandbox. Use `open_detailer`."""

    sandbox: Sandbox
    program: Path
    version: str
    cache: Cache

    def detail(self, found: Comparison, published: bytes, rebuilt: Path, name: str) -> Comparison:
        """`found`, with a report that names diffoscope's text, or the reason why there is none.

        `name`: of the file, for its ending alone. Raises HostLack when the sandbox cannot be started, or
        there is no room for both files.
        """
        try:
            text = self._run(published, rebuilt, _suffix(name))
        except (OSError, StorageError) as error:
            work = self.sandbox.config.work
            raise storage_lack(f"cannot lay both files out for {PROGRAM}", work, error) from error
        if isinstance(text, str):
            return _with(found, {"version": self.version, "missing": text})
        digest = hashlib.sha256(text).hexdigest()
        named: dict[str, JSONValue] = {"version": self.version, "sha256": digest, "size": len(text)}
        return replace(_with(found, named), detailed=text)

    def _run(self, published: bytes, rebuilt: Path, suffix: str) -> bytes | str:
        """The text, or why there is none."""
        # Named and locked as a job's folder, so that whoever tidies up finds what a killed rebuild left.
        with locked_folder(self.sandbox.config.work, JOB) as tree:
            (tree / f"published{suffix}").write_bytes(published)
            shutil.copyfile(rebuilt, tree / f"rebuilt{suffix}")
            with self.sandbox.workspace(tree) as workspace:
                binds = tuple(Bind(Path(one), one) for one in _SHOWN if Path(one).exists())
                outcome = self.sandbox.run(workspace, Job(self._command(suffix), binds, limits=LIMITS))
                if outcome.stopped or outcome.exit_code not in (_SAME, _DIFFERENT):
                    return outcome.stopped or f"exit code {outcome.exit_code}"
                try:
                    made = collect(workspace.build, (_TEXT,), self.cache, max_bytes=MAX_WRITTEN_BYTES)
                except PhaseFailed as failed:
                    return failed.failure
                with made[_TEXT].path.open("rb") as stream:
                    text = stream.read(MAX_TEXT_BYTES + 1)
                text = _plain(text)
                return text if len(text) <= MAX_TEXT_BYTES else text[: MAX_TEXT_BYTES - len(CUT)] + CUT

    def _command(self, suffix: str) -> tuple[str, ...]:
        return (
            *(str(self.program), "--no-progress", "--exclude-directory-metadata", "yes"),
            *("--timeout", str(SOFT_SECONDS), "--max-diff-block-lines", str(MAX_BLOCK_LINES)),
            *("--max-text-report-size", str(MAX_TEXT_BYTES // 2), "--text", _TEXT),
            *(f"published{suffix}", f"rebuilt{suffix}"),
        )


def open_detailer(sandbox: Sandbox, cache: Cache) -> Detailer | None:
    """diffoscope of this host, over `sandbox`; None when it is not installed below /usr."""
    program = read_environment().find_program(PROGRAM)
    if program is None or not program.is_relative_to("/usr"):  # all that is shown inside
        return None
    version = run_tool([str(program), "--version"]).removeprefix(f"{PROGRAM} ").strip()
    return Detailer(sandbox, program, version, cache)


def _with(found: Comparison, detailed: dict[str, JSONValue]) -> Comparison:
    report = parse_json(found.report, max_bytes=len(found.report))
    assert isinstance(report, dict)  # `compare` wrote it
    return replace(found, report=format_json({**report, PROGRAM: detailed}))


def _plain(text: bytes) -> bytes:
    """What a terminal can show: names and contents of strangers may hold what would command it."""
    lines = text.decode("utf-8", "backslashreplace").split("\n")
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines).encode()


def _suffix(name: str) -> str:
    """The ending of a file's name if it is one that tells its form, else none: names come from strangers."""
    suffix = PurePosixPath(name).suffix
    return suffix if suffix in _SUFFIXES else ""
