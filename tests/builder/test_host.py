"""What this host gives: probe, control groups, uids, workspaces."""

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.builder.sandboxes import Rig, open_folder, require_sandbox

from touchplate.builder.delegation import LEAF
from touchplate.builder.errors import HostLack
from touchplate.builder.inputs.lock import InputLock
from touchplate.builder.limits import make_groups
from touchplate.builder.plan import MIB, Limits
from touchplate.builder.process import printable
from touchplate.builder.sandbox import idrange, ids, workspace
from touchplate.builder.sandbox.bubblewrap import Job, Sandbox, SandboxConfig, open_sandbox, prepare_work
from touchplate.builder.sandbox.ids import end_abandoned, processes_of
from touchplate.builder.sandbox.probe import Probe
from touchplate.builder.sandbox.probe_bubblewrap import probe_sandbox
from touchplate.builder.sandbox.ranged import ID_RANGES
from touchplate.builder.sandbox.workspace import Workspace, locked_folder, remove_abandoned, remove_tree

FULL = Probe(bubblewrap="0.8.0", own_uid=True, seccomp=True, empty_network=True)


def test_probe_sees_every_protection_here(rig: Rig) -> None:
    probe = rig.sandbox.probe
    assert probe.backend == "bubblewrap"
    assert probe.missing == ()
    assert probe.no_capabilities
    assert probe.no_new_privileges
    assert probe.no_nested_user_namespace
    assert set(probe.namespaces) == {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}
    assert set(probe.limits) == {"cpu", "memory", "pids"}


def test_nothing_is_signed_without_uid_filter_or_empty_network() -> None:
    assert FULL.backend == "bubblewrap"
    for weaker in (
        replace(FULL, own_uid=False),
        replace(FULL, seccomp=False),
        replace(FULL, empty_network=False),
    ):
        assert weaker.backend is None
        assert len(weaker.missing) == 1


def test_probe_sees_what_is_missing(rig: Rig) -> None:
    """Each protection is taken away for real, and the probe must see it."""

    class WithNetwork(Sandbox):
        def _arguments(self, workspace: Workspace, job: Job) -> list[str]:
            return [*super()._arguments(workspace, job), "--share-net"]

    class WithoutFilter(Sandbox):
        def __init__(self, config: SandboxConfig) -> None:
            super().__init__(config)
            self._filter = bytes.fromhex("06000000 0000ff7f")  # BPF_RET, SECCOMP_RET_ALLOW

    network, unfiltered = probe_sandbox(WithNetwork(rig.config)), probe_sandbox(WithoutFilter(rig.config))
    assert (network.empty_network, network.seccomp, network.backend) == (False, True, None)
    assert (unfiltered.empty_network, unfiltered.seccomp, unfiltered.backend) == (True, False, None)


def as_user(uid: int, run: Callable[[], str]) -> str:
    """What `run` gives in a process without root's rights: a fork, which needs no code from disk."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            said = run()
        except BaseException as error:
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def test_without_root_builds_run_and_are_contained_and_may_not_be_signed() -> None:
    require_sandbox()
    folder = Path(tempfile.mkdtemp(prefix="touchplate-test-"))
    uid = 31_000 + os.getpid() % 2_000 * 8
    os.chown(folder, uid, uid)

    def build() -> str:
        source = folder / "source"
        source.mkdir()
        sandbox = open_sandbox(SandboxConfig(folder / "work"))
        with sandbox.workspace(source) as workspace:
            script = "mkdir -p a/b; touch a/b/c; chmod 0 a/b a; setsid sleep 1000 & echo ran"
            outcome = sandbox.run(workspace, Job(("/bin/sh", "-c", script)))
        left = list((folder / "work").iterdir())
        return repr((sandbox.probe.backend, sandbox.probe.own_uid, outcome.log, left))

    try:
        assert as_user(uid, build) == repr((None, False, b"ran\n", []))
        assert processes_of(uid) == []
    finally:
        shutil.rmtree(folder)


def test_control_groups_of_both_versions_are_found_and_set(tmp_path: Path) -> None:
    first, second = tmp_path / "memory", tmp_path / "unified"
    proc = tmp_path / "proc"
    for folder in (first / "own", second / "own" / LEAF, proc):
        folder.mkdir(parents=True)
    (second / "cgroup.controllers").write_text("cpu memory pids")
    (second / "own" / "cgroup.subtree_control").write_text("cpu memory pids")
    (proc / "cgroup").write_text(f"4:memory:/own\n0::/own/{LEAF}\n")
    (proc / "mountinfo").write_text(
        f"35 31 0:32 / {first} rw - cgroup cgroup rw,memory\n41 31 0:38 / {second} rw - cgroup2 cgroup2 rw\n"
    )
    groups = make_groups(Limits(memory_bytes=100 * MIB, processes=50), proc=proc)
    assert groups.describe() == {"cpu": "cgroup-v2", "memory": "cgroup-v1", "pids": "cgroup-v2"}
    assert (groups.folders["memory"] / "memory.limit_in_bytes").read_text() == str(100 * MIB)
    assert (groups.folders["pids"] / "pids.max").read_text() == "50"
    assert groups.folders["memory"].parent == first / "own"
    assert groups.folders["pids"].parent == second / "own"


def test_host_without_control_groups_says_so(tmp_path: Path) -> None:
    groups = make_groups(Limits(), proc=tmp_path)
    assert groups.describe() == {"cpu": "rlimit", "memory": "rlimit", "pids": "rlimit"}
    assert groups.lacks == ["no control groups for memory, pids, cpu are mounted here"]
    assert groups.members() == set()
    groups.close()


def test_groups_of_a_job_are_gone_afterwards(rig: Rig) -> None:
    with rig.sandbox.workspace(rig.source) as workspace:
        rig.sandbox.run(workspace, Job(("/usr/bin/true",)))
    groups = make_groups(Limits())
    places = [folder.parent for folder in groups.folders.values()]
    groups.close()
    left = [path for place in places for path in place.glob(f"touchplate-{os.getpid()}-*")]
    assert left == []


def test_limits_hold_without_control_groups_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from touchplate.builder.limits import ControlGroups
    from touchplate.builder.sandbox import bubblewrap as sandbox

    monkeypatch.setattr(sandbox, "make_groups", lambda limits: ControlGroups())
    limits = Limits(wall_seconds=20, memory_bytes=300 * MIB, processes=40)
    bomb = "import os, time\nfor _ in range(100):\n    os.fork() or time.sleep(1000)\n"
    said = rig.fails(rig.plan("", command=("/usr/bin/python3", "-c", bomb), limits=limits)).detail
    assert "Resource temporarily unavailable" in said
    said = rig.fails(
        rig.plan("", command=("/usr/bin/python3", "-c", "b'1' * 900_000_000"), limits=limits)
    ).detail
    assert "MemoryError" in said


def test_abandoned_workspaces_are_removed_and_living_ones_kept(rig: Rig) -> None:
    abandoned = rig.config.work / "job-0123456789abcdef"
    (abandoned / "build" / "target").mkdir(parents=True)
    (rig.config.work / "other").mkdir()
    with rig.sandbox.workspace(rig.source) as workspace:
        remove_abandoned(rig.config.work)
        assert not abandoned.exists()
        assert workspace.build.is_dir()
    (rig.config.work / "other").rmdir()  # not a job's: not ours to remove


def test_removing_a_tree_does_not_follow_links(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a" / "b" / "c").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(kept)
    (tree / "link").symlink_to(kept / "file")
    remove_tree(tree)
    assert not tree.exists()
    assert (kept / "file").read_text() == "kept"


def test_lines_for_people_are_cut_and_cleaned() -> None:
    assert printable(b"a\tb\r") == "a    b"
    assert printable(b"\x1b[31mred\x00\xff") == "·[31mred·\ufffd"
    assert len(printable(b"x" * 100_000)) == 500


def test_disk_without_inodes_is_a_lack_of_the_host(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "FREE_ENTRIES", 1 << 60)
    assert rig.lacks(rig.plan("true")).reason == "disk-full"


def test_disk_that_fills_up_during_a_build_says_nothing_about_the_package(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Filling:
        """What another program does meanwhile: seen as soon as the build has said a word."""

        started = fetched = staticmethod(lambda *arguments: None)

        @staticmethod
        def line(text: str) -> None:
            monkeypatch.setattr(workspace, "FREE_BYTES", 1 << 60)

    rig.heard = Filling()  # type: ignore[assignment]
    assert rig.lacks(rig.plan("echo now; exit 1"), InputLock(())).reason == "disk-full"
    monkeypatch.undo()


def test_lock_folder_of_somebody_else_is_refused(rig: Rig, tmp_path: Path) -> None:
    for mode, owner in ((0o777, 0), (0o700, rig.config.uids[0])):
        locks = tmp_path / f"locks-{owner}"
        locks.mkdir()
        locks.chmod(mode)
        os.chown(locks, owner, owner)
        with pytest.raises(HostLack) as caught:
            open_sandbox(replace(rig.config, locks=locks))
        assert caught.value.reason == "unsafe-locks"


def test_folder_that_was_taken_for_abandoned_before_its_lock_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Path] = []

    def tidied_up_first(descriptor: int, how: int) -> None:
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].rmdir()

    monkeypatch.setattr(fcntl, "flock", tidied_up_first)
    with locked_folder(tmp_path, "job-") as folder:
        assert folder.is_dir()
        assert folder != taken[0]
    assert list(tmp_path.iterdir()) == []


def test_folder_that_was_taken_for_abandoned_before_its_mode_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chmod = Path.chmod
    taken: list[Path] = []

    def tidied_up_first(path: Path, mode: int) -> None:
        if not taken:
            taken.append(path)
            path.rmdir()
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", tidied_up_first)
    with locked_folder(tmp_path, "job-") as folder:
        assert folder.is_dir()
        assert folder != taken[0]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_parent_is_a_lack_of_the_host(tmp_path: Path) -> None:
    with pytest.raises(HostLack, match="cannot make a folder"), locked_folder(tmp_path / "none", "job-"):
        pytest.fail("there is no such folder")


def test_a_probe_that_is_killed_leaves_nothing_outside_the_work_folder(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_folder() as elsewhere:
        monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
        seen: list[list[str]] = []
        run = Sandbox.run

        def looking(*arguments: Any, **options: Any) -> Any:
            seen.append([path.name for path in elsewhere.iterdir()])
            return run(*arguments, **options)

        monkeypatch.setattr(Sandbox, "run", looking)
        open_sandbox(rig.config)
    assert seen == [[]]


@contextlib.contextmanager
def waiting(program: str, uid: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A program under this id that waits for a word that never comes."""
    read, write = os.pipe()
    block = ["--unshare-all", "--ro-bind", "/", "/", "--block-fd", str(read), "true"]
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    started = subprocess.Popen(
        [*drop, program, *(block if program == "bwrap" else [])], pass_fds=(read,), stdin=read
    )
    try:
        deadline = time.monotonic() + 20
        while not any(name == program for name, _ in living(uid)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield started
    finally:
        started.kill()
        started.wait()
        for name, pid in living(uid):
            if name == program:
                os.kill(pid, 9)
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(
    ("program", "held", "ends"), [("bwrap", False, True), ("bwrap", True, False), ("cat", False, False)]
)
def test_a_sandbox_that_waits_for_a_dead_supervisor_is_ended(
    tmp_path: Path, program: str, held: bool, ends: bool
) -> None:
    require_sandbox()
    if os.getuid() != 0:
        pytest.skip("only root gives jobs ids of their own")
    # An id that nobody has; zombies of an earlier run may wait for a host that is slow to reap.
    uid = next(one for one in range(31_000, 32_000) if not processes_of(one))
    lock = os.open(tmp_path / f"uid-{uid}", os.O_RDWR | os.O_CREAT, 0o600)
    tmp_path.chmod(0o700)
    try:
        with waiting(program, uid) as process:
            if held:
                fcntl.flock(lock, fcntl.LOCK_EX)
            end_abandoned(tmp_path, range(uid, uid + 1))
            if ends:
                assert process.wait(20) == -9
            else:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
    finally:
        os.close(lock)


@pytest.mark.parametrize("whose", ["a user", "his containers"])
def test_sandboxes_of_a_user_are_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    require_sandbox()
    if os.getuid() != 0:
        pytest.skip("only root gives jobs ids of their own")
    uid = pwd.getpwnam("daemon").pw_uid
    if whose == "his containers":
        uid = next(one for one in range(31_000, 32_000) if not processes_of(one))
        (tmp_path / "subuid").write_text(f"somebody:{uid - 10}:20\n")
        monkeypatch.setattr(ids, "_SUBORDINATE", (tmp_path / "subuid",))
    locks = tmp_path / "locks"
    # Whoever looks for a free id has looked at this one, too.
    with pytest.raises(HostLack, match="no free uid"), ids.job_id(locks, range(uid, uid + 1)):
        pytest.fail("it is not free")
    with waiting("bwrap", uid) as process:
        end_abandoned(locks, range(uid, uid + 1))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)


def test_a_process_that_got_the_number_of_a_sandbox_is_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_sandbox()
    if os.getuid() != 0:
        pytest.skip("only root gives jobs ids of their own")
    uid = next(one for one in range(31_000, 32_000) if not processes_of(one))
    (tmp_path / f"uid-{uid}").touch()
    tmp_path.chmod(0o700)
    with waiting("bwrap", uid), waiting("cat", uid + 1) as other:
        # What was looked at is gone, and its number another's, when the lock is had.
        monkeypatch.setattr(ids, "processes_of", lambda uid: [other.pid])
        name_of = ids._name_of
        monkeypatch.setattr(ids, "_name_of", lambda pid: "bwrap" if pid == other.pid else name_of(pid))
        end_abandoned(tmp_path, range(uid, uid + 1))
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)


def test_a_sandbox_with_a_range_of_ids_that_outlived_its_supervisor_is_ended(tmp_path: Path) -> None:
    require_sandbox()
    if os.getuid() != 0:
        pytest.skip("only root gives jobs ids of their own")
    # Behind the ranges that jobs get: of those, one may be another test's by the time that we take it.
    step = ID_RANGES.step
    behind = range(ID_RANGES.stop, ID_RANGES.stop + 64 * step, step)
    first = next(one for one in behind if not processes_of(one, step))
    locks = tmp_path / "locks"
    locks.mkdir(mode=0o700)
    (locks / f"uid-{first}").touch()
    ranged = [sys.executable, "-I", str(idrange.__file__), str(os.getpid()), str(first), str(ID_RANGES.step)]
    # Without --die-with-parent, as one that had not asked for it yet when the outer one was killed.
    outer = subprocess.Popen(
        [*ranged, "/usr/bin/bwrap", "--unshare-pid", "--ro-bind", "/", "/", "sleep", "1000"]
    )
    try:
        deadline = time.monotonic() + 20
        while "sleep" not in (names := {comm for comm, _ in living(first)}):
            assert time.monotonic() < deadline, names
            time.sleep(0.02)
        outer.kill()
        outer.wait()
        assert {comm for comm, _ in living(first)} == {"bwrap", "sleep"}
        with open_folder() as work:
            prepare_work(SandboxConfig(work, locks, range(first, first + ID_RANGES.step, ID_RANGES.step)))
        while living(first):
            assert time.monotonic() < deadline, living(first)
            time.sleep(0.02)
    finally:
        outer.kill()
        outer.wait()
        for _, pid in living(first):
            os.kill(pid, 9)


def living(uid: int) -> list[tuple[str, int]]:
    """Name and id of the processes of a uid that are no zombies."""
    found = []
    for pid in processes_of(uid):
        with contextlib.suppress(OSError):
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
            if rest.split()[0] not in ("Z", "X"):
                found.append((name, pid))
    return found
