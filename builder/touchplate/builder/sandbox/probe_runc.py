"""What the sandbox of images really gives on this host, found out by looking from inside, from inside a
container that runc makes in it, and from outside.

`runc` is signed under only when all of it was seen: ids that are nobody's, files of the supervisor out of
reach, an empty network, the filter, control groups for memory and processes, and a container that starts and
has namespaces of its own. Resource limits per process do not do here: a build is root of many ids, and each
would have its own count.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from touchplate.builder.errors import HostLack
from touchplate.builder.plan import Limits
from touchplate.builder.sandbox.probe import PYTHON, Probe, differing_namespaces
from touchplate.builder.sandbox.workspace import JOB, locked_folder

if TYPE_CHECKING:
    from touchplate.builder.sandbox.runc import RuncSandbox

BACKEND = "runc"

_SECRET = "/secret"  # noqa: S105  an inside path
_PROBE_LIMITS = Limits(wall_seconds=30.0)
_NESTED_NAMESPACES = ("ipc", "mnt", "pid", "uts")
_SECCOMP_FILTER = "2"  # SECCOMP_MODE_FILTER, proc(5)

LOOK = """
import json, os, socket, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def can_open(path):
    try:
        open(path).close()
    except OSError:
        return False
    return True
def can_socket(family, kind):
    try:
        socket.socket(family, kind).close()
    except OSError:
        return False
    return True
def seen():
    return {
        "bounding": status["CapBnd"].strip(),
        "capabilities": status["CapEff"].strip(),
        "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")},
        "no_new_privileges": status["NoNewPrivs"].strip() == "1",
        "secret": can_open("/secret"), "seccomp": status["Seccomp"].strip(),
        "sockets": [n for n in ("AF_INET6", "AF_NETLINK", "AF_PACKET") if can_socket(getattr(socket, n), 3)],
    }
"""

"""Python that defines `seen()`: what a process finds around itself."""

_INSIDE = "print(json.dumps(seen()))\n"

_OUTSIDE = """
import subprocess
def nested_user_namespace():
    command = ["/usr/bin/unshare", "-U", "/usr/bin/true"]
    return not subprocess.run(command, stderr=subprocess.DEVNULL).returncode
def container(look):
    root = "/build/bundle/rootfs"
    for name in ("proc", "usr"):
        os.makedirs(f"{root}/{name}")
    for name in ("bin", "lib", "lib64"):
        if os.path.lexists(f"/{name}"):
            os.symlink(f"usr/{name}", f"{root}/{name}")
    spec = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/usr/bin"],
                    "noNewPrivileges": True, "capabilities": {},
                    "args": [sys.executable, "-I", "-S", "-c", look]},
        "root": {"path": "rootfs"}, "hostname": "probe",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            # What a unit with NoNewPrivileges= mounts is nosuid, and no user namespace may take that back.
            {"destination": "/usr", "type": "none", "source": "/usr",
             "options": ["rbind", "ro", "nosuid", "nodev"]},
        ],
        "linux": {"namespaces": [{"type": name} for name in ("pid", "mount", "ipc", "uts")]},
    }
    with open("/build/bundle/config.json", "w") as file:
        json.dump(spec, file)
    command = ["runc", "--root", "/home/build/runc", "run", "--bundle", "/build/bundle", "probe"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return json.loads(done.stdout) if done.returncode == 0 else done.stdout + done.stderr
open("/build/marker", "w").close()
print(json.dumps({**seen(), "nested": nested_user_namespace(), "container": container(look)}))
"""


@dataclass(frozen=True)
class RuncProbe(Probe):
    """What was seen. `own_uid` means the whole range here, `no_capabilities` those that reach beyond it."""

    runc: str = ""
    """Version."""
    bounding: str = ""
    """Capabilities that the build's tools may have in their namespace, in hex as in /proc/self/status."""
    container: bool = False
    """runc starts a container inside, with namespaces of its own and without capabilities."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What a signature would need and this host does not give; empty when all is there."""
        needed = {
            "a range of user ids of its own": self.own_uid,
            "the system call filter": self.seccomp,
            "an empty network namespace": self.empty_network,
            "control groups for memory and processes": self.groups,
            "containers made by runc": self.container,
        }
        return tuple(name for name, given in needed.items() if not given)

    @property
    def backend(self) -> str | None:
        """`runc`; None: results may not be signed."""
        return None if self.missing else BACKEND


def probe_runc(sandbox: RuncSandbox) -> RuncProbe:
    """Run a look-around inside and judge it. Raises HostLack when the sandbox or runc does not start at
    all."""
    from touchplate.builder.sandbox.bubblewrap import Job
    from touchplate.builder.sandbox.runc import PATH

    with locked_folder(sandbox.config.work, JOB) as empty, sandbox.workspace(empty) as workspace:
        secret = workspace.place(0, b"secret")
        secret.chmod(0o600)
        look = f"look = {LOOK + _INSIDE!r}\n"
        job = Job(
            command=(PYTHON, "-I", "-S", "-c", LOOK + look + _OUTSIDE),
            shown={_SECRET: secret},
            environment={"PATH": PATH},
            limits=_PROBE_LIMITS,
        )
        outcome = sandbox.run(workspace, job)
        if outcome.exit_code or outcome.stopped:
            said = outcome.log.decode(errors="replace").strip()
            raise HostLack(f"the sandbox of images does not work here: {said[-500:]!r}", reason="no-sandbox")
        seen = json.loads(outcome.log)
        owner = (workspace.build / "marker").stat().st_uid
        is_nobody = owner not in (0, os.getuid()) and workspace.uid <= owner < workspace.uid + workspace.ids
        return _judge(sandbox, seen, own_range=is_nobody)


def _judge(sandbox: RuncSandbox, seen: dict[str, Any], *, own_range: bool) -> RuncProbe:
    container = seen["container"]
    if not isinstance(container, dict):
        raise HostLack(f"runc starts no container in the sandbox: {container[-500:]!r}", reason="no-sandbox")
    namespaces = differing_namespaces(seen["namespaces"])
    inner = seen["namespaces"]
    return RuncProbe(
        bubblewrap=sandbox.version,
        runc=sandbox.runc_version,
        bounding=seen["bounding"],
        own_uid=own_range and not seen["secret"] and "user" in namespaces,
        seccomp=all(each["seccomp"] == _SECCOMP_FILTER and not each["sockets"] for each in (seen, container)),
        empty_network="net" in namespaces and seen["interfaces"] == container["interfaces"] == ["lo"],
        namespaces=namespaces,
        no_new_privileges=seen["no_new_privileges"],
        no_capabilities=False,
        no_nested_user_namespace=not seen["nested"],
        limits=sandbox.limits_by(_PROBE_LIMITS),
        container=all(container["namespaces"][name] != inner[name] for name in _NESTED_NAMESPACES)
        and int(container["capabilities"], 16) == 0
        and not container["secret"],
    )
