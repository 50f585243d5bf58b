"""gVisor as a backend: the phases in it, what its probe sees, and how it is chosen."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.builder.rebuildparts import Scene, scene, scripted
from tests.builder.sandboxes import Rig, gvisor_sandbox, open_rig, require_sandbox

from touchplate.builder.cli.probe import CHOICES
from touchplate.builder.definitions.demands import FEATURES, Demands, check_demands, choose_backend
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.plan import Limits
from touchplate.builder.rebuild import fetch_published, rebuild
from touchplate.builder.sandbox.bubblewrap import Job
from touchplate.builder.sandbox.gvisor import GvisorSandbox
from touchplate.builder.sandbox.probe import Probe
from touchplate.builder.sandbox.probe_gvisor import GvisorProbe, probe_gvisor
from touchplate.builder.sandbox.workspace import Workspace
from touchplate.verify.cli import main

MADE = "jar(b'made from source\\n')"
FULL = GvisorProbe(
    bubblewrap="0.8.0",
    own_uid=True,
    seccomp=True,
    empty_network=True,
    limits={"memory": "cgroup-v1", "pids": "cgroup-v2"},
    own_kernel="4.4.0",
)


@pytest.fixture(scope="module")
def gvisor() -> Iterator[GvisorSandbox]:
    """A probed sandbox; skips loudly where there is no runsc."""
    with gvisor_sandbox() as opened:
        yield opened


@pytest.fixture
def guest(gvisor: GvisorSandbox) -> Iterator[Rig]:
    with open_rig(gvisor) as opened:
        yield opened


@pytest.fixture
def here() -> Iterator[Scene]:
    require_sandbox()
    with scene() as opened:
        yield opened


def test_probe_sees_every_protection_here(guest: Rig) -> None:
    probe = guest.sandbox.probe
    assert isinstance(probe, GvisorProbe)
    assert probe.missing == ()
    assert probe.backend == "gvisor"
    assert probe.own_kernel == "4.4.0"
    assert probe.no_capabilities
    assert set(probe.namespaces) == {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}


def test_nothing_is_signed_without_each_of_them() -> None:
    assert FULL.backend == "gvisor"
    for weaker in (
        replace(FULL, own_kernel=""),
        replace(FULL, own_uid=False),
        replace(FULL, seccomp=False),
        replace(FULL, empty_network=False),
        replace(FULL, limits={"memory": "cgroup-v1", "pids": "rlimit"}),
    ):
        assert weaker.backend is None
        assert len(weaker.missing) == 1


def test_probe_sees_what_is_missing(guest: Rig) -> None:
    """Each protection is taken away for real, and the probe must see it."""

    class WithoutFilter(GvisorSandbox):
        def _make_filter(self) -> bytes:
            return bytes.fromhex("06000000 0000ff7f")  # BPF_RET, SECCOMP_RET_ALLOW

    class WithNetwork(GvisorSandbox):
        def _arguments(self, workspace: Workspace, job: Job) -> list[str]:
            return [one for one in super()._arguments(workspace, job) if one != "--unshare-net"]

    class OnTheHostsKernel(GvisorSandbox):
        def _inside(self, job: Job) -> tuple[str, ...]:
            return job.command

    unfiltered, connected = probe_gvisor(WithoutFilter(guest.config)), probe_gvisor(WithNetwork(guest.config))
    assert (unfiltered.seccomp, unfiltered.empty_network, unfiltered.backend) == (False, True, None)
    assert (connected.seccomp, connected.empty_network, connected.backend) == (True, False, None)
    hosts = probe_gvisor(OnTheHostsKernel(guest.config))
    assert (hosts.own_kernel, hosts.seccomp, hosts.empty_network, hosts.backend) == ("", True, True, None)


def test_both_phases_run_in_it(guest: Rig) -> None:
    guest.site.pages["a.jar"] = b"content of a"
    script = "[ -d /repo ] && cat /repo/central/a.jar > out || get central/a.jar; uname -r; umask"
    plan = guest.plan(script, outputs=("out",), umask=0o027)
    lock = guest.fetch(plan)
    assert [one.path for one in lock.inputs] == ["a.jar"]
    result = guest.build(plan, lock)
    assert result.outputs["out"].path.read_bytes() == b"content of a"
    assert result.log.decode().split() == ["4.4.0", "0027"]
    assert result.report["backend"] == "gvisor"
    assert result.report["probe"]["own_kernel"] == "4.4.0"
    json.dumps(result.report)
    guest.assert_clean()


def test_build_has_no_mirror_and_no_network(guest: Rig) -> None:
    failed = guest.fails(guest.plan("[ ! -d /repo ] || get central/a.jar"))
    assert failed.phase == "build"
    assert "Connection refused" in failed.detail


def test_exit_code_and_time_limit_are_the_commands(guest: Rig) -> None:
    assert "exit code 7" in guest.fails(guest.plan("exit 7")).detail
    assert "exit code 137" in guest.fails(guest.plan("kill -9 $$")).detail
    limits = Limits(wall_seconds=1.5)
    hanging = guest.plan("trap '' TERM; sleep 1000", limits=limits)
    assert guest.fails(hanging).failure == "timeout"


def test_both_outputs_block_when_nobody_reads(guest: Rig) -> None:
    script = "import fcntl, os; print([fcntl.fcntl(one, fcntl.F_GETFL) & os.O_NONBLOCK for one in (0, 1, 2)])"
    assert guest.output(guest.plan("", command=("/usr/bin/python3", "-c", script))) == "[0, 0, 0]\n"


def test_rebuild_is_made_under_the_backend_that_was_chosen(here: Scene, gvisor: GvisorSandbox) -> None:
    workshop = replace(here.workshop, backend="gvisor")
    definition = scripted(here, MADE)
    done = rebuild(workshop, definition, fetch_published(workshop, definition))
    assert (done.result, done.backend) == ("identical", "gvisor")
    usual = rebuild(here.workshop, definition, fetch_published(here.workshop, definition))
    assert usual.backend == "bubblewrap"


def test_backend_is_the_definitions_or_the_hosts() -> None:
    assert choose_backend("", "") == ""
    assert choose_backend("", "gvisor") == "gvisor"
    assert choose_backend("gvisor", "") == "gvisor"
    assert choose_backend("gvisor", "gvisor") == "gvisor"
    with pytest.raises(HostLack, match="demands gvisor, and this host was told to use bubblewrap"):
        choose_backend("gvisor", "bubblewrap")


def test_what_a_definition_demands_must_have_been_seen() -> None:
    weak = Probe(bubblewrap="0.8.0", own_uid=True, limits={"memory": "rlimit", "pids": "cgroup-v1"})
    check_demands(Demands(needs=("own-ids", "process-group")), weak)
    with pytest.raises(HostLack, match="demands memory-group, own-kernel of the sandbox"):
        check_demands(Demands(needs=("memory-group", "own-ids", "own-kernel")), weak)
    check_demands(Demands(needs=("own-kernel", "memory-group", "seccomp", "empty-network", "own-ids")), FULL)
    nothing = Probe(bubblewrap="0.8.0")
    for name in FEATURES:
        with pytest.raises(HostLack, match=name):
            check_demands(Demands(needs=(name,)), nothing)


def test_definition_names_what_it_demands(here: Scene) -> None:
    given = scripted(here, "jar(b'')", sandbox={"backend": "gvisor", "needs": ["own-kernel", "seccomp"]})
    assert given.sandbox == Demands("gvisor", ("own-kernel", "seccomp"))
    with pytest.raises(DefinitionError, match="'chroot' is unknown; use bubblewrap or gvisor or runc"):
        scripted(here, "jar(b'')", sandbox={"backend": "chroot"})
    with pytest.raises(DefinitionError, match="'luck' is unknown; use empty-network"):
        scripted(here, "jar(b'')", sandbox={"needs": ["luck"]})
    demanding = scripted(here, "jar(b'')", sandbox={"needs": ["own-kernel"]})
    with pytest.raises(HostLack, match="demands own-kernel"):
        rebuild(here.workshop, demanding, fetch_published(here.workshop, demanding))
    images_only = scripted(here, "jar(b'')", sandbox={"backend": "runc"})
    with pytest.raises(HostLack, match="not built under runc, only under bubblewrap or gvisor"):
        rebuild(here.workshop, images_only, fetch_published(here.workshop, images_only))


def test_probe_command_lists_what_this_host_gives(
    gvisor: GvisorSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["builder", "probe", "--json", *CHOICES]) == 0
    usual, own_kernel = json.loads(capsys.readouterr().out)["backends"]
    assert (usual["name"], usual["signs"], usual["gives"]["own-kernel"]) == ("bubblewrap", True, False)
    assert (own_kernel["name"], own_kernel["signs"], own_kernel["gives"]["own-kernel"]) == (
        "gvisor",
        True,
        True,
    )
    assert main(["builder", "probe", "gvisor"]) == 0
    assert "own-kernel" in capsys.readouterr().out
    assert main(["builder", "probe", "chroot"]) == 64


def test_probe_command_says_why_a_backend_does_not_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["builder", "probe", "--json", "gvisor"]) == 2
    (found,) = json.loads(capsys.readouterr().out)["backends"]
    assert not found["signs"]
    assert "is not installed; install the package bubblewrap" in found["lack"]
