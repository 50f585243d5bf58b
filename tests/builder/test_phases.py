"""Fetch and Build with well-behaved builds: what is recorded, what Build sees, what comes out."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.sandboxes import Rig

from touchplate.builder.cache import Cache
from touchplate.builder.errors import DefinitionError, HostLack, PhaseFailed
from touchplate.builder.inputs.lock import InputLock, LockedInput, format_lock, parse_lock
from touchplate.builder.plan import Bind, BuildPlan, Forbidden, PinnedInput

FETCH_OR_READ = """
if [ -d /repo ]; then cat /repo/central/a/one.jar; else get central/a/one.jar; fi > out.jar
"""


def test_build_replays_from_the_lock_what_fetch_recorded(rig: Rig) -> None:
    rig.site.pages["a/one.jar"] = b"one"
    plan = rig.plan(FETCH_OR_READ, outputs=("out.jar",))
    lock = rig.fetch(plan)
    sha256 = hashlib.sha256(b"one").hexdigest()
    assert lock.inputs == (LockedInput("central", "a/one.jar", sha256, 3),)
    assert parse_lock(format_lock(lock)) == lock

    result = rig.build(plan, lock)
    collected = result.outputs["out.jar"]
    assert collected.path.read_bytes() == b"one"
    assert (collected.sha256, collected.size) == (sha256, 3)
    assert collected.sha512 == hashlib.sha512(b"one").hexdigest()
    assert rig.heard.phases == ["fetch", "build"]
    assert rig.heard.inputs == ["central/a/one.jar"]
    assert rig.site.asked == ["a/one.jar"]


def test_a_file_that_a_build_went_without_is_asked_for_at_each_upstream(rig: Rig) -> None:
    rig.site.pages["a/one.jar"] = b"one"
    plan = replace(rig.plan("true"), went_without=lambda log: ["a/none.pom", "a/one.jar"])
    failed = rig.fails(plan)
    assert (failed.phase, failed.failure) == ("build", "exit-status")
    assert failed.detail == "exit code 0; not in the input lock: central/a/one.jar"
    rig.site.pages.clear()
    assert rig.output(plan) == ""
    rig.site.pages["a/none.pom"] = 503
    with pytest.raises(HostLack, match="an upstream did not answer"):
        rig.build(plan, InputLock(()))


def test_source_is_copied_for_each_phase_and_never_changed(rig: Rig) -> None:
    (rig.source / "link").symlink_to("hello.txt")
    tool = rig.source / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho tool ran\n")
    tool.chmod(0o755)
    plan = rig.plan("cat link; bin/tool; echo changed > hello.txt; rm -r bin; ls -A /home/build")
    rig.fetch(plan)
    assert rig.output(plan) == "hello\ntool ran\n"
    assert (rig.source / "hello.txt").read_text() == "hello\n"
    assert tool.exists()


def test_nothing_written_in_fetch_is_seen_in_build(rig: Rig) -> None:
    places = "/build/marker /home/build/marker /tmp/marker /dev/shm/marker"
    plan = rig.plan(f"if [ -d /repo ]; then ls {places} || true; else touch {places}; fi")
    lock = rig.fetch(plan)
    assert rig.output(plan, lock).count("No such file") == 4


def test_command_gets_the_plan_s_environment_umask_files_and_binds(rig: Rig) -> None:
    tool = rig.folder / "tool.txt"
    tool.write_text("bound\n")
    plan = rig.plan(
        "env | grep -v ^PWD | sort; umask; cat /settings.xml /opt/tool.txt; id -u; hostname; pwd",
        environment={"LANG": "C", "WORD": "two words"},
        umask=0o027,
        binds=(Bind(tool, "/opt/tool.txt"),),
        files=lambda phase: {"/settings.xml": f"{phase}\n".encode()},
    )
    assert rig.output(plan).splitlines() == [
        "HOME=/home/build",
        "LANG=C",
        "LC_ALL=C.UTF-8",
        "PATH=/usr/bin:/bin",
        "TZ=UTC",
        "WORD=two words",
        "0027",
        "build",
        "bound",
        "1000",
        "build",
        "/build",
    ]


def test_checksum_files_are_not_inputs_but_made_for_maven_from_the_locked_bytes(rig: Rig) -> None:
    rig.site.pages |= {"a.jar": b"a", "a.jar.sha1": b"whatever upstream says"}
    plan = rig.plan("cat /repo/central/a.jar.sha1 || { get central/a.jar; get central/a.jar.sha1; }")
    lock = rig.fetch(plan)
    assert [one.path for one in lock.inputs] == ["a.jar"]
    assert rig.output(plan, lock) == hashlib.sha1(b"a").hexdigest()


def test_a_file_whose_name_has_no_room_for_a_checksum_s_ending_is_an_input_all_the_same(rig: Rig) -> None:
    name = "x" * 255
    rig.site.pages[name] = b"a"
    plan = rig.plan(f"if [ -d /repo ]; then cat /repo/central/*; else get central/{name}; fi")
    assert rig.output(plan, rig.fetch(plan)) == "a"


def test_inputs_of_somebody_else_s_lock_are_fetched_by_digest(rig: Rig) -> None:
    rig.site.pages["a/one.jar"] = b"one"
    plan = rig.plan(FETCH_OR_READ, outputs=("out.jar",))
    lock = rig.fetch(plan)
    rig.cache = Cache(rig.folder / "empty")
    assert rig.build(plan, lock).outputs["out.jar"].path.read_bytes() == b"one"


def test_lock_that_its_upstream_no_longer_honours_is_a_lack_of_the_host(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"another"
    one = LockedInput("central", "a.jar", hashlib.sha256(b"a").hexdigest(), 1)
    assert rig.lacks(rig.plan("true"), InputLock((one,))).reason == "upstream-failed"
    one = replace(one, upstream="elsewhere")
    assert rig.lacks(rig.plan("true"), InputLock((one,))).reason == "no-upstream"


def test_damaged_cache_is_found_before_build_sees_it(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"a"
    plan = rig.plan("[ -d /repo ] || get central/a.jar")
    lock = rig.fetch(plan)
    rig.cache.inputs.path(lock.inputs[0].sha256).write_bytes(b"b")
    assert rig.lacks(plan, lock).reason == "cache-damaged"


def test_locked_files_cannot_be_changed_from_inside(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"a"
    script = """
    [ -d /repo ] || { get central/a.jar; exit; }
    cd /repo/central
    for change in "rm a.jar" "truncate -s 0 a.jar" "chmod 777 a.jar" "mv a.jar b.jar" "touch new"; do
      $change && echo "$change worked"
    done; true"""
    plan = rig.plan(script)
    lock = rig.fetch(plan)
    assert "worked" not in rig.output(plan, lock)
    assert rig.cache.inputs.path(lock.inputs[0].sha256).read_bytes() == b"a"


def test_command_that_fails_with_all_it_asked_for_fails_in_build_not_in_fetch(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"a"
    failed = rig.fails(rig.plan("[ -d /repo ] || get central/a.jar; echo no symbol Foo >&2; exit 7"))
    assert (failed.phase, failed.failure) == ("build", "exit-status")
    assert "exit code 7" in failed.detail
    assert "no symbol Foo" in failed.detail
    assert b"no symbol Foo" in failed.log


def test_command_that_does_not_exist_is_a_lack_of_the_host(rig: Rig) -> None:
    lack = rig.lacks(rig.plan("", command=("/usr/bin/no-such-compiler",)))
    assert (lack.reason, "no-such-compiler" in str(lack)) == ("no-command", True)


def test_missing_tool_is_a_lack_of_the_host(rig: Rig) -> None:
    lack = rig.lacks(rig.plan("true", binds=(Bind(Path("/no/such/jdk"), "/jdk"),)))
    assert lack.reason == "no-tool"


def test_tool_in_a_folder_closed_to_other_users_is_a_lack_with_the_remedy(rig: Rig) -> None:
    closed = rig.folder / "closed"
    (closed / "jdk").mkdir(parents=True)
    closed.chmod(0o700)
    lack = rig.lacks(rig.plan("true", binds=(Bind(closed / "jdk", "/jdk"),)))
    assert (lack.reason, "chmod o+x" in str(lack)) == ("folder-closed", True)


def test_report_states_what_the_probe_saw_and_holds_integers_only(rig: Rig) -> None:
    report = rig.build(rig.plan("true")).report
    assert report["backend"] == "bubblewrap"
    assert report["probe"]["namespaces"] == ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
    assert report["limits"]["wall_seconds"] == 20
    assert "float" not in {type(value).__name__ for part in report.values() for value in _leaves(part)}


def test_report_states_what_was_run_with_all_that_the_definition_does_not_say(rig: Rig) -> None:
    report = rig.build(rig.plan("true", environment={"MAVEN_OPTS": "-Xint", "TZ": "Asia/Tokyo"})).report
    assert report["command"][-1].endswith("\ntrue")
    assert report["environment"] == {
        "HOME": "/home/build",
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "MAVEN_OPTS": "-Xint",
        "TZ": "Asia/Tokyo",
    }


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for member in value.values() for leaf in _leaves(member)]
    return [value]


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ()},
        {"outputs": ("/etc/passwd",)},
        {"outputs": ("a/../../b",)},
        {"binds": (Bind(Path("/etc"), "/build/etc"),)},
        {"binds": (Bind(Path("/etc"), "etc"),)},
        {"umask": 0o1000},
    ],
)
def test_refuses_plans_that_contradict_the_sandbox(changes: dict[str, object]) -> None:
    with pytest.raises(DefinitionError):
        BuildPlan(**{"source": Path("/"), "command": ("true",), **changes})  # type: ignore[arg-type]


def test_refuses_files_that_stand_in_the_sandbox_s_own_places(rig: Rig) -> None:
    with pytest.raises(DefinitionError):
        rig.build(rig.plan("true", files=lambda phase: {"/run/touchplate/bridge.py": b""}))
    rig.assert_clean()


def pinned_plan(rig: Rig, script: str, *pins: PinnedInput) -> BuildPlan:
    """A plan whose definition names these inputs."""
    return rig.plan(script, outputs=("out",), pinned=pins, named_by_digest=True)


def pin(rig: Rig, path: str, data: bytes) -> PinnedInput:
    """An input whose bytes are in the cache."""
    return PinnedInput("remote", path, rig.cache.inputs.put(data).sha256, len(data))


def test_pinned_inputs_are_in_both_phases_and_in_the_lock_and_nobody_is_asked(rig: Rig) -> None:
    one = pin(rig, "v2/one/files/a.tgz", b"one")
    plan = pinned_plan(rig, "cat /repo/remote/v2/one/files/a.tgz > out", one)
    lock = rig.fetch(plan)
    assert lock.inputs == (LockedInput("remote", one.path, one.sha256, 3),)
    assert rig.build(plan, lock).outputs["out"].path.read_bytes() == b"one"
    assert rig.site.asked == []


def test_a_lock_without_what_the_definition_names_is_refused(rig: Rig) -> None:
    one = pin(rig, "v2/one/files/a.tgz", b"one")
    plan = pinned_plan(rig, "cat /repo/remote/v2/one/files/a.tgz > out", one)
    other = rig.cache.inputs.put(b"other").sha256
    for lock in (InputLock(()), InputLock((LockedInput("remote", one.path, other, 5),))):
        with pytest.raises(HostLack, match=r"lacks remote/v2/one/files/a\.tgz") as caught:
            rig.build(plan, lock)
        assert caught.value.reason == "upstream-failed"


def test_a_lock_with_more_than_the_definition_names_is_refused(rig: Rig) -> None:
    one = pin(rig, "v2/one/files/a.tgz", b"one")
    plan = pinned_plan(rig, "cat /repo/remote/v2/one/files/a.tgz > out", one)
    locked = LockedInput("remote", one.path, one.sha256, one.size)
    more = LockedInput("remote", "v2/two/files/a.tgz", one.sha256, one.size)
    with pytest.raises(PhaseFailed, match=r"v2/two/files/a\.tgz: inputs of this build are asked for by"):
        rig.build(plan, InputLock((locked, more)))


def test_a_pinned_input_that_is_the_answer_is_refused_before_anything_is_run(rig: Rig) -> None:
    one = pin(rig, "v2/one/files/a.tgz", b"the answer")
    plan = pinned_plan(rig, "cat /repo/remote/v2/one/files/a.tgz > out", one)
    plan = replace(plan, forbidden=Forbidden(frozenset([one.sha256])))
    with pytest.raises(PhaseFailed, match="the published file that the build has to make"):
        rig.fetch(plan)
    assert rig.heard.phases == []
