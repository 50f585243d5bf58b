"""Image builds that attack: each is refused or contained, with its reason, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from tests.builder.imageparts import ImageScene, Published, tar_bytes
from tests.builder.sandboxes import open_folder

from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.plan import MIB
from touchplate.builder.rebuild import Rebuild, fetch_published
from touchplate.builder.sandbox.bubblewrap import Job, SandboxConfig
from touchplate.builder.sandbox.ids import processes_of
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.sandbox.probe_runc import RuncProbe, probe_runc
from touchplate.builder.sandbox.ranged import FIRST_ID, ID_RANGES, IDS, RANGES
from touchplate.builder.sandbox.runc import RuncSandbox, open_runc_sandbox
from touchplate.builder.sandbox.workspace import Workspace

QUICK = {"wall_seconds": 60}


def said(done: Rebuild) -> list[str]:
    """The lines that a build which went through printed; the script itself stands in others."""
    assert done.built is not None, (done.failure, done.log[-1500:])
    return done.built.result.log.decode(errors="replace").splitlines()


def test_run_sees_no_network_and_is_told_so_at_once(images: ImageScene) -> None:
    host, _, port = images.registry.host.partition(":")
    output = said(
        images.runs(
            f"busybox wget -T 3 -O- http://{host}:{port}/v2/ || echo walled; busybox cat /proc/net/dev"
        )
    )
    assert "walled" in output
    assert "/v2/" not in images.registry.asked
    found = {line.split(":")[0].strip() for line in output if re.match(r" *[\w@.]+: +\d+ ", line)}
    assert "lo" in found, output  # a kernel may add its own tunnels to every namespace
    assert not [each for each in found if each.startswith(("e", "w", "v", "tap"))], output
    # The control: from outside the same address answers.
    assert subprocess.run(
        ["busybox", "wget", "-q", "-O-", f"{images.registry.url}/v2/"], capture_output=True, check=True
    ).stdout


def test_run_is_nobody_of_the_host_and_reads_none_of_its_files(images: ImageScene) -> None:
    secret = images.workshop.data / "rebuilder.key"
    secret.write_text("the signing key")
    secret.chmod(0o644)
    script = (
        f"id -u; cat /proc/self/uid_map; cat {secret} || echo hidden; cat /etc/shadow || echo absent; "
        "ls /home /root /usr/lib/python3 || true; busybox mount || true"
    )
    output = said(images.runs(script.replace("cat", "busybox cat").replace("id -u", "busybox id -u")))
    assert "hidden" in output
    assert "absent" in output
    assert "the signing key" not in output
    first = next(line for line in output if line.split()[-1:] == [str(IDS)]).split()[1]
    assert FIRST_ID <= int(first) < FIRST_ID + RANGES * IDS


def test_run_has_a_filter_no_new_rights_and_no_way_to_more(images: ImageScene) -> None:
    script = (
        "busybox grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/self/status; "
        "busybox unshare -U true || echo no-user-namespace; "
        "busybox mount -t tmpfs none /bin || echo no-mount; "
        "busybox mknod /disk b 8 0 && busybox head -c 1 /disk || echo no-device; busybox chroot / true; "
        "busybox ls /proc/1/root/home/build || echo own-processes"
    )
    output = said(images.runs(script))
    assert "Seccomp:\t2" in output
    assert "NoNewPrivs:\t1" in output
    for each in ("no-user-namespace", "no-mount", "no-device", "own-processes"):
        assert each in output, each


def test_link_in_the_context_leads_nowhere_outside_it(images: ImageScene) -> None:
    containerfile = f"FROM {images.base_name}\nCOPY passwd /stolen\nRUN busybox cat /stolen\n"
    files = {"Containerfile": containerfile.encode()}
    for target in ("/etc/passwd", "../../../etc/passwd", "/usr/bin/python3"):
        definition = images.define(
            images.other,
            archive=tar_bytes(files, {"passwd": target}),
            bases=[(images.base_name, images.base)],
        )
        done = images.rebuild(definition)
        assert done.failure is not None, target
        assert done.failure.phase == "build"
        assert "COPY passwd /stolen" in done.failure.detail  # that step, whatever buildah says of it
        assert "root:x:0" not in done.log.decode()
    # The control: a link that stays inside is followed.
    good = tar_bytes({**files, "inner": b"inner file\n"}, {"passwd": "inner"})
    done = images.rebuild(images.define(images.other, archive=good, bases=[(images.base_name, images.base)]))
    assert "inner file" in said(done)


def test_containerfile_behind_a_link_out_of_the_context_is_refused(images: ImageScene) -> None:
    archive = tar_bytes({"a": b"a"}, {"Containerfile": "/etc/passwd"})
    done = images.rebuild(
        images.define(images.other, archive=archive, bases=[(images.base_name, images.base)])
    )
    assert done.failure is not None
    assert done.failure.detail == "the source has no file 'Containerfile'"


def test_image_of_one_repository_is_not_published_in_another(images: ImageScene) -> None:
    """Its manifest may be stored here: then the comparison would say that the other repository has it."""
    fetch_published(images.workshop, images.define(images.base))
    elsewhere = Published("team/elsewhere", images.base.manifest, images.base.context)
    with pytest.raises(DefinitionError, match="has no 'team/elsewhere/manifests/"):
        fetch_published(images.workshop, images.define(elsewhere))


def test_published_image_larger_than_any_build_is_not_read(images: ImageScene) -> None:
    """Its manifest says how large its layers are; comparing would take that much of the disk."""
    value = json.loads(images.base.manifest)
    value["layers"][0]["size"] = 1 << 40
    manifest = json.dumps(value).encode()
    images.registry.push("team/huge", "1", manifest)
    huge = Published("team/huge", manifest, images.base.context)
    images.registry.asked.clear()
    done = images.rebuild(images.define(huge))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("definition", "too-large")
    layer = value["layers"][0]["digest"]
    assert not [path for path in images.registry.asked if path.endswith(layer)]


def test_containerfile_that_is_a_link_to_itself_is_refused(images: ImageScene) -> None:
    archive = tar_bytes({"a": b"a"}, {"Containerfile": "Containerfile"})
    done = images.rebuild(
        images.define(images.other, archive=archive, bases=[(images.base_name, images.base)])
    )
    assert done.failure is not None
    assert done.failure.detail == "the source has no file 'Containerfile'"


def test_base_image_that_names_one_layer_by_two_media_types_is_laid_out(images: ImageScene) -> None:
    value = json.loads(images.base.manifest)
    config = json.loads(images.registry.blobs[value["config"]["digest"].removeprefix("sha256:")])
    value["layers"].append({**value["layers"][0], "mediaType": "application/vnd.oci.image.layer.v1.tar+zip"})
    config["rootfs"]["diff_ids"] *= 2
    data = json.dumps(config).encode()
    value["config"].update(digest=f"sha256:{images.registry.blob(data)}", size=len(data))
    manifest = json.dumps(value).encode()
    images.registry.push("team/twice", "1", manifest)
    base = Published("team/twice", manifest, {})
    archive = tar_bytes({"Containerfile": f"FROM {images.base_name}\nLABEL a=b\n".encode()})
    definition = images.define(images.other, archive=archive, bases=[(images.base_name, base)])
    # buildah does not take such an image: what matters is that the supervisor lives to say so.
    with contextlib.suppress(HostLack):
        images.rebuild(definition)
    images.assert_clean()


@pytest.mark.parametrize(
    ("containerfile", "why"),
    [
        (
            "FROM docker.io/library/debian:12\n",
            "line 1: the image 'docker.io/library/debian:12' is not pinned; add",
        ),
        (
            "FROM {base}\nCOPY --from=other.example/x /a /a\n",
            "line 2: the image 'other.example/x' is not pinned",
        ),
        (
            "FROM {base}\nADD https://example.org/x /\n",
            "line 2: ADD: 'https://example.org/x' is fetched while",
        ),
        (
            "FROM {base}\nRUN --mount=type=bind,source=/,target=/h true\n",
            "line 2: RUN: --mount is not supported",
        ),
        ("ARG B\nFROM $B\n", "line 2: FROM: '$B' depends on an argument"),
    ],
)
def test_what_is_not_pinned_or_not_supported_is_refused_before_anything_runs(
    images: ImageScene, containerfile: str, why: str
) -> None:
    assert why in images.refuses(containerfile.replace("{base}", images.base_name))


def test_fork_bomb_is_held_by_the_jobs_own_groups(images: ImageScene) -> None:
    bomb = "b() { b | b & b; }; b; sleep 1; echo still here"
    done = images.runs(f"{bomb}", limits={"wall_seconds": 10})
    assert done.failure is not None
    assert done.failure.reason in ("exit-status", "timeout")


def test_memory_hog_is_killed_and_that_is_said(images: ImageScene) -> None:
    hog = "busybox dd if=/dev/zero of=/dev/null bs=900M count=1"
    small = images.runs(hog, limits={**QUICK, "memory_bytes": 400 * MIB})
    assert small.failure is not None
    assert "killed for using more than" in small.failure.detail
    assert images.runs(hog, limits={**QUICK, "memory_bytes": 2000 * MIB}).built is not None  # the control


def test_huge_layer_is_stopped_at_the_limit_of_the_workspace(images: ImageScene) -> None:
    fill = "busybox dd if=/dev/zero of=/huge bs=1M count=150 && busybox sleep 3"
    done = images.runs(fill, limits={**QUICK, "workspace_bytes": 100 * MIB})
    assert done.failure is not None
    assert done.failure.reason == "too-large"
    assert images.runs(fill, limits={**QUICK, "workspace_bytes": 3000 * MIB}).built is not None  # the control


def test_endless_log_is_cut_and_the_build_goes_on(images: ImageScene) -> None:
    done = images.runs("busybox yes flood | busybox head -c 40000000; echo made > /made")
    assert done.built is not None
    assert len(done.built.result.log) < 17 * MIB
    assert b"[cut after" in done.built.result.log[-200:]


def test_hanging_run_is_killed_at_the_time_limit(images: ImageScene) -> None:
    script = "trap '' TERM INT HUP; busybox setsid busybox sleep 1000 & while :; do busybox sleep 1; done"
    done = images.runs(script, limits={"wall_seconds": 4})
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("build", "timeout")


def test_base_image_may_not_be_the_answer(images: ImageScene) -> None:
    published = images.other
    name = f"{images.registry.host}/team/other:1"
    archive = tar_bytes({"Containerfile": f"FROM {name}\n".encode()})
    done = images.rebuild(images.define(published, archive=archive, bases=[(name, published)]))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")
    assert "is the published image that the build has to make" in done.failure.detail


def test_base_image_with_the_answers_layer_is_refused(images: ImageScene) -> None:
    """Another config, so another digest; the files are the published ones."""
    context = {"Containerfile": b"FROM scratch\nCOPY a /\nENV A=b\n", "a": b"other\n"}
    disguised = images.publisher.publish("team/disguised", context)
    name = f"{images.registry.host}/team/disguised:1"
    archive = tar_bytes({"Containerfile": f"FROM scratch\nCOPY --from={name} / /\n".encode()})
    done = images.rebuild(images.define(images.other, archive=archive, bases=[(name, disguised)]))
    assert done.failure is not None
    assert "has the layer of the published image" in done.failure.detail


def test_context_may_not_hold_the_answers_layer(images: ImageScene) -> None:
    layer = json.loads(images.other.manifest)["layers"][0]["digest"].removeprefix("sha256:")
    files = {"Containerfile": b"FROM scratch\nADD x.tar.gz /\n", "x.tar.gz": images.registry.blobs[layer]}
    done = images.rebuild(images.define(images.other, archive=tar_bytes(files)))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")


def test_base_image_with_triggers_is_refused(images: ImageScene) -> None:
    value = json.loads(images.base.manifest)
    config = json.loads(images.registry.blobs[value["config"]["digest"].removeprefix("sha256:")])
    config["config"]["OnBuild"] = ["RUN id"]
    data = json.dumps(config).encode()
    digest = images.registry.blob(data)
    value["config"].update(digest=f"sha256:{digest}", size=len(data))
    manifest = json.dumps(value).encode()
    images.registry.push("team/trigger", "1", manifest)
    base = type(images.base)("team/trigger", manifest, {})
    name = f"{images.registry.host}/team/trigger:1"
    archive = tar_bytes({"Containerfile": f"FROM {name}\n".encode()})
    done = images.rebuild(images.define(images.other, archive=archive, bases=[(name, base)]))
    assert done.failure is not None
    assert "ONBUILD" in done.failure.detail


@pytest.fixture
def sandbox_folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def test_probe_sees_every_protection_here(images: ImageScene, sandbox_folder: Path) -> None:
    probe = cast(RuncProbe, open_runc_sandbox(SandboxConfig(sandbox_folder / "work", uids=ID_RANGES)).probe)
    assert probe.missing == ()
    assert probe.backend == "runc"
    assert probe.container
    assert probe.no_new_privileges
    assert probe.no_nested_user_namespace
    assert set(probe.namespaces) == {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}


def test_probe_sees_what_is_missing(images: ImageScene, sandbox_folder: Path) -> None:
    """Each protection is taken away for real, and the probe must see it."""
    config = SandboxConfig(sandbox_folder / "work", uids=ID_RANGES)
    open_runc_sandbox(config)

    class WithNetwork(RuncSandbox):
        def _arguments(self, workspace: Workspace, job: Job) -> list[str]:
            return [one for one in super()._arguments(workspace, job) if one != "--unshare-net"]

    class WithoutFilter(RuncSandbox):
        def _make_filter(self) -> bytes:
            return bytes.fromhex("06000000 0000ff7f")  # BPF_RET, SECCOMP_RET_ALLOW

    network, unfiltered = probe_runc(WithNetwork(config)), probe_runc(WithoutFilter(config))
    assert (network.empty_network, network.seccomp, network.backend) == (False, True, None)
    assert (unfiltered.empty_network, unfiltered.seccomp, unfiltered.backend) == (True, False, None)


def test_root_of_the_namespace_cannot_make_the_hosts_folders_writable(
    images: ImageScene, sandbox_folder: Path
) -> None:
    """It may mount; what it mounts read-only itself, it can mount writable again."""
    sandbox = open_runc_sandbox(SandboxConfig(sandbox_folder / "work", uids=ID_RANGES))
    empty = sandbox_folder / "empty"
    empty.mkdir()
    shown = "/run/touchplate/nested.py"
    script = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "def again(path, readonly):\n"
        "    return libc.mount(None, path, None, 0x20 | 0x1000 | 6 | readonly, None) == 0\n"  # remount, bind
        f"for path in (b'/usr', b'{shown}', b'/repo'):\n"
        "    print(path, again(path, 0))\n"
        "print('control', again(b'/tmp', 1), again(b'/tmp', 0))\n"
    )
    with sandbox.workspace(empty) as workspace:
        job = Job((PYTHON, "-I", "-S", "-c", script), shown={"/repo": workspace.repo})
        outcome = sandbox.run(workspace, job)
    lines = [f"b'{path}' False" for path in ("/usr", shown, "/repo")]
    assert outcome.log.decode().splitlines() == [*lines, "control True True"]


def test_runc_that_starts_nothing_is_a_lack_of_the_host(images: ImageScene, sandbox_folder: Path) -> None:
    config = SandboxConfig(sandbox_folder / "work", uids=ID_RANGES)
    open_runc_sandbox(config)

    class WithoutGroups(RuncSandbox):
        def _arguments(self, workspace: Workspace, job: Job) -> list[str]:
            arguments = super()._arguments(workspace, job)
            at = arguments.index("/sys")
            return [*arguments[: at - 1], *arguments[at + 1 :]]  # nowhere to mount control groups

    with pytest.raises(HostLack, match="sandbox of images does not work on this host"):
        probe_runc(WithoutGroups(config))


_DYING = """
import sys
from pathlib import Path
from touchplate.builder.sandbox.ranged import FIRST_ID, IDS, RANGES
from touchplate.builder.sandbox.runc import PATH, open_runc_sandbox
from touchplate.builder.sandbox.bubblewrap import Job, SandboxConfig
folder = Path(sys.argv[1])
# Ids of its own: what the host's init has not yet waited for may stay a while.
uids = range(FIRST_ID + (RANGES + 2) * IDS, FIRST_ID + (RANGES + 20) * IDS, IDS)
sandbox = open_runc_sandbox(SandboxConfig(folder / "work", uids=uids))
empty = folder / "empty"
empty.mkdir()
with sandbox.workspace(empty) as workspace:
    job = Job(("/bin/sh", "-c", "setsid sleep 1000 & echo up; sleep 1000"), environment={"PATH": PATH})
    sandbox.run(workspace, job, on_line=lambda line: print(line, workspace.uid, flush=True))
"""


def test_nothing_outlives_a_killed_supervisor(images: ImageScene, sandbox_folder: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _DYING, str(sandbox_folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    descriptors = []
    with child:
        line = child.stdout.readline()
        assert line.startswith("up "), line
        first = int(line.split()[1])
        for pid in processes_of(first, IDS):
            with contextlib.suppress(ProcessLookupError):
                descriptors.append(os.pidfd_open(pid))
        assert len(descriptors) >= 3  # the shell and two sleeps at least
        child.send_signal(signal.SIGKILL)
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], 20.0)[0], "a process of the job lives on"
        os.close(descriptor)
    open_runc_sandbox(SandboxConfig(sandbox_folder / "work", uids=ID_RANGES))
    assert list((sandbox_folder / "work").iterdir()) == []
