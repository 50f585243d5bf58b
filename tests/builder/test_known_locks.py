"""Rebuilds that start from the input lock of an earlier one, through the real sandbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.mavenparts import publish
from tests.builder.rebuildparts import CONTENT, PUBLISHED, Scene, scene, scripted
from tests.builder.sandboxes import require_sandbox

from touchplate.builder.definitions import Definition
from touchplate.builder.known_locks import KnownLocks
from touchplate.builder.lock import InputLock, LockedInput, format_lock
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
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


def test_other_tools_have_a_lock_of_their_own(here: Scene, tmp_path: Path) -> None:
    definition = scripted(here, SCRIPT)
    locks = KnownLocks(tmp_path / "locks")
    lock = InputLock((LockedInput("central", LIB, "00" * 32, 1),))
    locks.keep(definition, [TOOL], lock)
    other = Dependency("tool", {"sha256": "22" * 32}, name="jdk-17")
    assert locks.find(definition, [TOOL]) == lock
    assert locks.find(definition, [other]) is None
    assert locks.find(definition, []) is None
