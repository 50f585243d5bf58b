"""Sandboxes in a user namespace with a range of ids of its own: what those of images and of gVisor share.

    supervisor ─ idrange.py (maps the range, gives up root) = bwrap ─ what the backend starts ─ the command

Nothing inside is the host's root: 0 inside is the first id of the range, which is nobody's. The walls towards
the host are those of every build: namespaces, empty network, filter, control groups, die-with-parent.
"""

import os
from pathlib import Path

from touchplate.builder.errors import HostLack
from touchplate.builder.sandbox.bubblewrap import SHOWN, Job, Sandbox, SandboxConfig
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.sandbox.workspace import Workspace

IDS = 1 << 16
"""Ids of one job: an image may use any 16-bit id, and `nobody` is 65534."""

RANGES = 64
"""Number of ranges: more such builds than that at one time are not on one machine."""

FIRST_ID = 0x7000_0000
"""Start of the ranges: above those that systemd gives to containers (they end at 0x6FFFFFFF) and that useradd
hands out as subordinate ids, below 2^31."""

ID_RANGES = range(FIRST_ID, FIRST_ID + RANGES * IDS, IDS)

_IDRANGE = Path(__file__).with_name("idrange.py")


class RangedSandbox(Sandbox):
    """A sandbox whose job has a range of ids; the subclass says what is started inside."""

    def __init__(self, config: SandboxConfig) -> None:
        if os.getuid() != 0:
            raise HostLack(
                "this sandbox is opened by root only: a range of user ids has to be mapped; run touchplate "
                "rebuild as root",
                reason="no-sandbox",
            )
        super().__init__(config)

    def _argv(self, workspace: Workspace, job: Job, descriptors: tuple[int, int, int]) -> tuple[str, ...]:
        status, seccomp, arguments = (str(descriptor) for descriptor in descriptors)
        options = ("--json-status-fd", status, "--seccomp", seccomp, "--args", arguments)
        return (
            *(PYTHON, "-I", "-S", str(_IDRANGE), str(os.getpid()), str(workspace.uid), str(workspace.ids)),
            *(word for folder in self._readonly(workspace, job) for word in ("--readonly", folder)),
            *(str(self._bwrap), *options, "--", *self._inside(job)),
        )

    def _readonly(self, workspace: Workspace, job: Job) -> list[str]:
        """Folders of the host that real root makes read-only: root of the namespace cannot undo that."""
        root = [] if job.root is None else [str(job.root)]
        shown = [str(path) for path in sorted(SHOWN) if path.is_dir() and not path.is_symlink()]
        return [*shown, *root, str(workspace.root / "files"), str(workspace.repo)]

    def _inside(self, job: Job) -> tuple[str, ...]:
        """What bubblewrap starts: the command of `job`, unless a runtime stands in between."""
        return job.command
