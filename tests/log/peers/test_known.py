"""What is remembered of the tree is never another answer than the tree's."""

import threading
from collections.abc import Mapping, Sequence

import pytest
from tests.log.memory import Failure, MemoryTree
from tests.log.support import signed_entries

from touchplate.log.errors import StorageFailedError
from touchplate.log.peers.known import RememberedIdentities

SECONDS = 30


class Counted:
    """A tree that counts what it is asked. `gate` holds an answer back after it was made."""

    def __init__(self) -> None:
        self.tree = MemoryTree()
        self.asked: list[bytes] = []
        self.asking = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def find(self, identities: Sequence[bytes]) -> Mapping[bytes, int]:
        self.asked += identities
        found = self.tree.find_identities(identities)
        self.asking.set()
        assert self.gate.wait(SECONDS)
        return found


def test_the_tree_is_asked_once_for_what_it_does_not_have() -> None:
    world = Counted()
    known = RememberedIdentities(world.find)
    identities = [entry.identity for entry in signed_entries(3)]
    assert [known(identities) for _ in range(4)] == [{}] * 4
    assert world.asked == identities


def test_what_a_block_brought_is_found() -> None:
    world = Counted()
    known = RememberedIdentities(world.find)
    entries = signed_entries(3)
    identities = [entry.identity for entry in entries]
    assert known(identities) == {}
    with known.changing(identities[:2]):
        world.tree.apply(entries[:2])
    assert known(identities) == {identities[0]: 0, identities[1]: 1}


@pytest.mark.parametrize("fail", ["before", "after"])
def test_a_write_that_failed_leaves_nothing_that_may_be_wrong(fail: Failure) -> None:
    world = Counted()
    known = RememberedIdentities(world.find)
    entries = signed_entries(1)
    identities = [entries[0].identity]
    assert known(identities) == {}
    world.tree.fail = fail
    with pytest.raises(StorageFailedError), known.changing(identities):
        world.tree.apply(entries)
    assert known(identities) == world.tree.find_identities(identities)


def test_an_answer_from_before_a_block_is_not_remembered_after_it() -> None:
    world = Counted()
    known = RememberedIdentities(world.find)
    entries = signed_entries(1)
    identities = [entries[0].identity]
    world.gate.clear()
    asker = threading.Thread(target=known, args=(identities,))
    asker.start()
    assert world.asking.wait(SECONDS)
    with known.changing(identities):
        world.tree.apply(entries)
    world.gate.set()
    asker.join(SECONDS)
    assert known(identities) == {identities[0]: 0}


def test_nothing_is_remembered_while_a_block_is_being_written() -> None:
    world = Counted()
    known = RememberedIdentities(world.find)
    entries = signed_entries(1)
    identities = [entries[0].identity]
    with known.changing(identities):
        assert known(identities) == {}
        world.tree.apply(entries)
    assert known(identities) == {identities[0]: 0}


def test_only_so_many_are_remembered() -> None:
    world = Counted()
    known = RememberedIdentities(world.find, limit=2)
    identities = [entry.identity for entry in signed_entries(3)]
    for identity in identities:
        known([identity])
    world.asked.clear()
    known(identities)
    assert world.asked == identities[:1]
