"""The sandbox of images: the same bubblewrap, in a user namespace with a range of ids of its own, so that
`buildah` can be root in it and start `runc` for each RUN.

    supervisor ─ idrange.py (maps the range, gives up root) = bwrap ─ nested.py = the command ─ runc ─ RUN

The walls towards the host are those of `ranged.py`, with two holes that containers need: mounts, and
namespaces other than the user's. A RUN has runc's own walls on top.
"""

from pathlib import Path

from touchplate.builder.plan import HOME_FOLDER, RESERVED_FOLDER
from touchplate.builder.process import run_tool
from touchplate.builder.sandbox.bubblewrap import (
    SHM_BYTES,
    TMP_BYTES,
    Job,
    SandboxConfig,
    environment_options,
    prepare_work,
    program,
    root_options,
    show_options,
)
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.sandbox.probe_runc import probe_runc
from touchplate.builder.sandbox.ranged import RangedSandbox
from touchplate.builder.sandbox.seccomp import make_filter
from touchplate.builder.sandbox.workspace import Workspace

NESTED = f"{RESERVED_FOLDER}/nested.py"
"""Where the program that prepares the sandbox from inside stands in it."""

TEMPORARY = f"{HOME_FOLDER}/tmp"  # noqa: S108
"""Where programs keep what they unpack: on disk, where the job's use of it is watched. The command makes it;
/var/tmp leads there."""

PATH = "/usr/sbin:/usr/bin"
"""runc is in sbin."""

_NESTED_FILE = Path(__file__).with_name("nested.py")
_NESTED_NUMBER = -1  # among a workspace's placed files: what a job places is counted from 0


class RuncSandbox(RangedSandbox):
    """Starts image jobs. Use `open_runc_sandbox`, which also probes."""

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        self.runc = program("runc", "runc")
        version = run_tool([str(self.runc), "--version"]).splitlines()
        self.runc_version = version[0].removeprefix("runc version ") if version else ""

    def _make_filter(self) -> bytes:
        return make_filter(containers=True)

    def _inside(self, job: Job) -> tuple[str, ...]:
        return (PYTHON, "-I", "-S", NESTED, *job.command)

    def _arguments(self, workspace: Workspace, job: Job) -> list[str]:
        around = job.surroundings
        return [
            *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"),
            *("--die-with-parent", "--new-session"),
            *root_options(None),
            *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/sys"),
            *("--symlink", TEMPORARY, "/var/tmp"),  # noqa: S108
            *("--perms", "1777", "--size", str(SHM_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108
            *("--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", "/tmp"),  # noqa: S108
            *("--bind", str(workspace.build), around.build, "--bind", str(workspace.home), HOME_FOLDER),
            *show_options(job),
            *("--ro-bind", str(workspace.place(_NESTED_NUMBER, _NESTED_FILE.read_bytes())), NESTED),
            *("--remount-ro", "/", "--clearenv", *environment_options(job)),
            *("--hostname", around.host_name, "--chdir", around.build),
        ]


def open_runc_sandbox(config: SandboxConfig) -> RuncSandbox:
    """A sandbox for images that was probed and works; leftovers of killed ones are removed.

    Raises HostLack when bubblewrap or runc is missing or does not start here.
    """
    prepare_work(config)
    sandbox = RuncSandbox(config)
    sandbox.probe = probe_runc(sandbox)
    return sandbox
