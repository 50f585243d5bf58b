"""What the sandbox of images really gives on this host, found out by looking from inside, from inside a
container that runc makes in it, and from outside.

`runc` is signed under only when all of it was seen: ids that are nobody's, files of the supervisor out of
reach, an empty network, the filter, control groups for memory and processes, and a container that starts and
has namespaces of its own. Resource limits per process do not do here: a build is root of many ids, and each
would have its own count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from touchplate.builder.errors import HostLack
from touchplate.builder.sandbox.probe import (
    LIMITS,
    LOOK,
    SECCOMP_FILTER,
    Probe,
    differing_namespaces,
    opened_lookout,
)

if TYPE_CHECKING:
    from touchplate.builder.sandbox.runc import RuncSandbox

BACKEND = "runc"

_NESTED_NAMESPACES = ("ipc", "mnt", "pid", "uts")

_INSIDE = "print(json.dumps(seen()))\n"

_OUTSIDE = """
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
leave_marker()
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
    from touchplate.builder.sandbox.runc import PATH

    with opened_lookout(sandbox) as lookout:
        script = f"look = {LOOK + _INSIDE!r}\n{_OUTSIDE}"
        seen = lookout.look(sandbox, script, "the sandbox of images", {"PATH": PATH})
        return _judge(sandbox, seen, own_range=lookout.is_nobodys)


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
        seccomp=all(each["seccomp"] == SECCOMP_FILTER and not each["sockets"] for each in (seen, container)),
        empty_network="net" in namespaces and seen["interfaces"] == container["interfaces"] == ["lo"],
        namespaces=namespaces,
        no_new_privileges=seen["no_new_privileges"],
        no_capabilities=False,
        no_nested_user_namespace=not seen["nested"],
        limits=sandbox.limits_by(LIMITS),
        container=all(container["namespaces"][name] != inner[name] for name in _NESTED_NAMESPACES)
        and int(container["capabilities"], 16) == 0
        and not container["secret"],
    )
