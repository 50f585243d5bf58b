"""Rebuilds that start from the input lock of an earlier one, through the real sandbox."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.mavenparts import publish, served
from tests.builder.rebuildparts import CONTENT, PUBLISHED, Scene, scene, scripted
from tests.builder.sandboxes import require_sandbox

from touchplate.base.progress import QuietProgress
from touchplate.base.upstreams import Upstream
from touchplate.builder.definitions.definition import Definition
from touchplate.builder.errors import HostLack
from touchplate.builder.inputs.lock import InputLock, LockedInput, format_lock
from touchplate.builder.inputs.upstream_option import parse_upstream
from touchplate.builder.known_locks import KnownLocks, LockKey, check_unchanged
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.builder.workshop import open_workshop
from touchplate.verify.predicates.provenance import Dependency

LIB = "org/example/lib/1/lib-1.txt"
SCRIPT = f"jar(get('{LIB}'))"
TOOL = Dependency("tool", {"sha256": "11" * 32}, name="jdk-17")


@pytest.fixture
def here() -> Iterator[Scene]:
    require_sandbox()
    with scene() as one:
        publish(one.repository, LIB, CONTENT)
        yield one


def run(one: Scene, definition: Definition, *, refetch: bool = False) -> Rebuild:
    published = fetch_published(one.workshop, definition)
    done = rebuild(one.workshop, definition, published, refetch=refetch)
    assert done.result == "identical"
    return done


def kept(one: Scene) -> Path:
    (path,) = (one.workshop.data / "locks").iterdir()
    return path


def test_a_second_rebuild_runs_build_alone_and_gives_the_same_evidence(here: Scene) -> None:
    definition = scripted(here, SCRIPT)
    first, second = run(here, definition), run(here, definition)
    assert "fetch" in first.seconds
    assert "fetch" not in second.seconds
    assert first.built is not None
    assert second.built is not None
    assert first.built.lock == second.built.lock
    assert [one.path for one in second.built.lock.inputs] == [LIB]


def test_the_inputs_are_found_anew_when_asked(here: Scene) -> None:
    definition = scripted(here, SCRIPT)
    run(here, definition)
    assert "fetch" in run(here, definition, refetch=True).seconds


def test_another_definition_does_not_get_the_lock(here: Scene) -> None:
    run(here, scripted(here, SCRIPT))
    assert "fetch" in run(here, scripted(here, SCRIPT + "\n")).seconds


def test_a_lock_that_no_longer_builds_is_fetched_anew_and_replaced(here: Scene) -> None:
    definition = scripted(here, SCRIPT)
    run(here, definition)
    kept(here).write_bytes(format_lock(InputLock(())))
    done = run(here, definition)
    assert "fetch" in done.seconds
    assert done.built is not None
    assert kept(here).read_bytes() == format_lock(done.built.lock)


class Steps(QuietProgress):
    """Keeps what a person would be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def step(self, text: str) -> None:
        self.said.append(text)


def test_what_a_lock_lacks_is_said_before_it_is_fetched_anew(here: Scene) -> None:
    lacking = (
        "print('[ERROR] Could not find artifact org.example:lib:txt:1 in central (file:///repo/central/)')"
    )
    definition = scripted(here, f"try: {SCRIPT}\nexcept OSError: {lacking}; sys.exit(1)")
    run(here, definition)
    kept(here).write_bytes(format_lock(InputLock(())))
    steps = Steps()
    run(replace(here, workshop=replace(here.workshop, display=steps)), definition)
    why = "exit code 1; org.example:lib:txt:1 is not in the input lock; "
    assert [one for one in steps.said if one.startswith(f"they no longer build ({why}")]


WENT_ON = (
    "jar(b'made from source\\n'); phase == 'build' and print('[WARNING] The POM for org.example:lib:jar:1 is "
    "missing, no dependency information available')"
)
"""As Maven does without a POM: it says so, and may make the same or another jar."""


def test_a_build_that_goes_on_without_what_the_lock_lacks_has_failed(here: Scene) -> None:
    publish(here.repository, "org/example/lib/1/lib-1.pom", b"<project/>")
    definition = scripted(here, WENT_ON)
    done = rebuild(here.workshop, definition, fetch_published(here.workshop, definition))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("build", "exit-status")
    assert done.failure.detail == "exit code 0; the POM of org.example:lib:jar:1 is not in the input lock"


def test_what_no_upstream_has_is_nothing_that_a_lock_lacks(here: Scene) -> None:
    assert "fetch" in run(here, scripted(here, WENT_ON)).seconds


@pytest.mark.parametrize("damaged", [b"", b"{}", b'{"inputs":[],"version":2}', b"\xff" * 100])
def test_a_damaged_lock_is_as_good_as_none(here: Scene, damaged: bytes) -> None:
    definition = scripted(here, SCRIPT)
    run(here, definition)
    kept(here).write_bytes(damaged)
    assert "fetch" in run(here, definition).seconds


def test_a_lock_with_the_answer_among_the_inputs_is_refused_and_fetched_anew(here: Scene) -> None:
    definition = scripted(here, SCRIPT)
    done = run(here, definition)
    assert done.built is not None
    publish(here.repository, "org/example/copy/1/copy-1.jar", PUBLISHED)
    answer = LockedInput("central", "org/example/copy/1/copy-1.jar", done.published[0].sha256, len(PUBLISHED))
    kept(here).write_bytes(format_lock(InputLock((answer, *done.built.lock.inputs))))
    again = run(here, definition)
    assert "fetch" in again.seconds
    assert again.built is not None
    assert again.built.lock == done.built.lock


def test_a_build_that_fails_leaves_no_lock(here: Scene) -> None:
    definition = scripted(here, "sys.exit(3)")
    rebuild(here.workshop, definition, fetch_published(here.workshop, definition))
    assert not (here.workshop.data / "locks").exists()


def test_inputs_that_may_change_from_day_to_day_are_found_anew(here: Scene) -> None:
    definition = scripted(here, SCRIPT, allow_metadata=True)
    run(here, definition)
    assert "fetch" in run(here, definition).seconds


def test_an_input_that_is_neither_here_nor_upstream_any_more_is_found_anew(here: Scene) -> None:
    definition = scripted(here, SCRIPT)
    done = run(here, definition)
    assert done.built is not None
    gone = LockedInput("central", "org/example/gone/1/gone-1.txt", "00" * 32, 1)
    kept(here).write_bytes(format_lock(InputLock((gone, *done.built.lock.inputs))))
    again = run(here, definition)
    assert "fetch" in again.seconds
    assert kept(here).read_bytes() == format_lock(done.built.lock)


def test_a_damaged_cache_is_told_and_not_hidden_behind_a_second_fetch(here: Scene) -> None:
    definition = scripted(here, SCRIPT)
    done = run(here, definition)
    assert done.built is not None
    (one,) = done.built.lock.inputs
    here.workshop.cache.inputs.path(one.sha256).write_bytes(b"other bytes")
    with pytest.raises(HostLack, match="remove it from the cache"):
        run(here, definition)


def test_an_upstream_that_contradicts_itself_is_told_and_not_compared(here: Scene) -> None:
    """What it gives now may be a mistake of a moment: with it the package would be `different`."""
    definition = scripted(here, f"jar(get('{LIB}'))")
    done = run(here, definition)
    assert done.built is not None
    (one,) = done.built.lock.inputs
    here.workshop.cache.inputs.remove(one.sha256)
    publish(here.repository, LIB, b"other bytes, for once\n")
    published = fetch_published(here.workshop, definition)
    with pytest.raises(HostLack, match=rf"gives {LIB} with sha256 .*{one.sha256}.*--refetch") as caught:
        rebuild(here.workshop, definition, published)
    assert caught.value.reason == "upstream-failed"
    assert rebuild(here.workshop, definition, published, refetch=True).result == "different"


def test_files_of_other_upstreams_than_maven_s_may_change() -> None:
    before, now = (
        InputLock((LockedInput("debian", "dists/x/InRelease", sha * 32, 1),)) for sha in ("00", "11")
    )
    check_unchanged(before, now, (Upstream("debian", "apt", "debian", "http://archive.example.org"),))
    with pytest.raises(HostLack):  # the control
        check_unchanged(before, now, (Upstream("debian", "maven", "debian", "http://repo.example.org"),))


def test_what_another_mirror_of_the_upstream_gave_is_not_taken_for_this_one_s(here: Scene) -> None:
    """The first one may have lied about an input; whoever changes to another wants to know what it has."""
    definition = scripted(here, SCRIPT)
    run(here, definition)
    with (
        served(here.repository) as url,
        open_workshop(here.workshop.data, QuietProgress(), upstreams=[parse_upstream(url)]) as other,
    ):
        moved = replace(here, url=url, workshop=other)
        assert "fetch" in run(moved, definition).seconds
        assert "fetch" not in run(moved, definition).seconds


def test_other_tools_have_a_lock_of_their_own(here: Scene, tmp_path: Path) -> None:
    definition = scripted(here, SCRIPT)
    locks = KnownLocks(tmp_path / "locks")
    lock = InputLock((LockedInput("central", LIB, "00" * 32, 1),))
    upstreams = here.workshop.repositories.upstreams
    locks.keep(LockKey(definition, (TOOL,), upstreams), lock)
    other = Dependency("tool", {"sha256": "22" * 32}, name="jdk-17")
    assert locks.find(LockKey(definition, (TOOL,), upstreams)) == lock
    assert locks.find(LockKey(definition, (other,), upstreams)) is None
    assert locks.find(LockKey(definition, (), upstreams)) is None
    identity = tuple(replace(one, identity="another") for one in upstreams)
    assert locks.find(LockKey(definition, (TOOL,), identity)) is None
