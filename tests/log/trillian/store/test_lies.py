"""A Trillian that lies: nothing of it is signed, it is said loudly, and the truth is taken afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.log.support import raw_entries, raw_entry, sign
from tests.log.trillian.store.proxy import Proxy
from tests.log.trillian.store.support import open_trillian
from tests.log.trillian.support import Client
from tests.reference import mth

from touchplate.log.errors import CheckpointError, CorruptTreeError, FatalError, LogError
from touchplate.log.ports import Sequenced
from touchplate.log.trillian.roots import LogRoot, format_log_root, parse_log_root
from touchplate.log.trillian.store.tree import TrillianTree
from touchplate.proto.trillian.trillian_pb2 import TreeState, TreeType

KEPT = 5
"""Entries in the tree before anybody lies."""


@pytest.fixture
def tree(folder: Path, proxy: Proxy) -> Iterator[TrillianTree]:
    tree = open_trillian(folder, proxy.address, seconds=1)
    tree.apply(raw_entries(KEPT), sign)
    yield tree
    tree.close()


def changed_root(change: Callable[[LogRoot], LogRoot]) -> Callable[[Any], None]:
    """A lie about the root."""

    def lie(answer: Any) -> None:
        root = parse_log_root(answer.signed_log_root.log_root)
        answer.signed_log_root.log_root = format_log_root(change(root))

    return lie


def change_leaf(field: str, value: Any) -> Callable[[Any], None]:
    def lie(answer: Any) -> None:
        setattr(answer.leaves[0], field, value)

    return lie


def cut(answer: Any) -> None:
    del answer.leaves[:]


def swap(answer: Any) -> None:
    """Two leaves in each other's place, with the right indexes."""
    first, second = answer.leaves[0], answer.leaves[1]
    indexes = first.leaf_index, second.leaf_index
    kept = type(first)()
    kept.CopyFrom(first)
    first.CopyFrom(second)
    second.CopyFrom(kept)
    first.leaf_index, second.leaf_index = indexes


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


LIES: dict[str, tuple[str, Callable[[Any], None], type[LogError], str]] = {
    "another root": (
        "GetLatestSignedLogRoot",
        changed_root(lambda root: LogRoot(root.size, flip(root.root), root.nanos)),
        CheckpointError,
        "nothing of it is signed",
    ),
    "a root that goes back": (
        "GetLatestSignedLogRoot",
        changed_root(lambda root: LogRoot(KEPT - 1, mth([b""]), root.nanos)),
        CheckpointError,
        "went back or was exchanged",
    ),
    "another root of our size": (
        "GetLatestSignedLogRoot",
        changed_root(lambda root: LogRoot(KEPT, flip(root.root), root.nanos)),
        CheckpointError,
        "went back or was exchanged",
    ),
    "a larger tree than there is": (
        "GetLatestSignedLogRoot",
        changed_root(lambda root: LogRoot(root.size + 1, root.root, root.nanos)),
        CorruptTreeError,
        "has no leaf",
    ),
    "a root of another hash": (
        "GetLatestSignedLogRoot",
        changed_root(lambda root: LogRoot(root.size, root.root + b"more", root.nanos)),
        CorruptTreeError,
        "no RFC 6962 tree with SHA-256",
    ),
    "no root at all": (
        "GetLatestSignedLogRoot",
        lambda answer: setattr(answer.signed_log_root, "log_root", b"\0\1nothing"),
        CorruptTreeError,
        "tells no root",
    ),
    "another leaf": ("GetLeavesByRange", change_leaf("leaf_value", b"x"), CheckpointError, "have root"),
    "leaves in another order": ("GetLeavesByRange", swap, CheckpointError, "have root"),
    "a leaf of another index": (
        "GetLeavesByRange",
        change_leaf("leaf_index", 99),
        CorruptTreeError,
        "gave leaf 99",
    ),
    "no leaves": ("GetLeavesByRange", cut, CorruptTreeError, "has no leaf 5"),
    "an identity that is known already": (
        "GetLeavesByRange",
        change_leaf("leaf_identity_hash", raw_entry("entry 2").identity),
        CorruptTreeError,
        "identity of index 2",
    ),
    "an identity that stands twice": (
        "GetLeavesByRange",
        change_leaf("leaf_identity_hash", raw_entry("entry 6").identity),
        CorruptTreeError,
        "identity of one another",
    ),
    "an identity that is none": (
        "GetLeavesByRange",
        change_leaf("leaf_identity_hash", b"short"),
        CheckpointError,
        "identity of 5 bytes",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_nothing_is_signed_on_a_lie(tree: TrillianTree, proxy: Proxy, name: str) -> None:
    method, change, error, words = LIES[name]
    before, signed = tree.head(), list[int]()

    def noting(size: int, root: bytes) -> bytes:
        signed.append(size)
        return sign(size, root)

    proxy.lie(method, change)
    with pytest.raises(error, match=words) as caught:
        tree.apply(raw_entries(3, start=KEPT), noting)
    assert isinstance(caught.value, FatalError)
    assert (tree.head(), signed) == (before, [])
    proxy.honest()
    # What Trillian took meanwhile is there, once.
    assert tree.apply(raw_entries(4, start=KEPT), noting) == [
        Sequenced(index, False) for index in range(KEPT, KEPT + 4)
    ]
    assert tree.head().root == mth([entry.leaf_data for entry in raw_entries(KEPT + 4)])


@pytest.mark.parametrize(
    "name", ["another root of our size", "a root that goes back", "a root of another hash"]
)
def test_a_log_does_not_open_on_a_lie(folder: Path, proxy: Proxy, tree: TrillianTree, name: str) -> None:
    method, change, error, words = LIES[name]
    tree.close()
    proxy.lie(method, change)
    with pytest.raises(error, match=words):
        open_trillian(folder, proxy.address)
    proxy.honest()
    open_trillian(folder, proxy.address).close()


def test_the_way_to_a_large_root_is_proven_step_by_step(
    folder: Path, proxy: Proxy, tree: TrillianTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.apply(raw_entries(40), sign)
    head = tree.head()
    tree.close()
    (folder / "trillian.sqlite").unlink()
    monkeypatch.setattr("touchplate.log.trillian.store.tree.STEP_LEAVES", 7)
    proxy.lie("GetConsistencyProof", lambda answer: answer.proof.hashes.append(b"h" * 32))
    with pytest.raises(CheckpointError, match="at size 7"):
        open_trillian(folder, proxy.address)
    proxy.lie("GetConsistencyProof", lambda answer: answer.proof.hashes.append(b"short"))
    with pytest.raises(CheckpointError, match="at size 7"):
        open_trillian(folder, proxy.address)
    proxy.honest()
    again = open_trillian(folder, proxy.address)
    assert (again.head().size, again.head().root) == (head.size, head.root)
    assert again.head().checkpoint is None  # whoever wires the log signs it, not this
    again.close()


def test_what_stands_in_our_head_is_signed_at_each_step_of_a_long_way(
    tree: TrillianTree, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchplate.log.trillian.store.tree.STEP_LEAVES", 7)
    tree._remote.queue(tree.tree_id, raw_entries(29, start=KEPT))
    signed: list[int] = []

    def noting(size: int, root: bytes) -> bytes:
        signed.append(size)
        return sign(size, root)

    def lie_later(answer: Any) -> None:
        if answer.leaves[0].leaf_index >= KEPT + 14:
            answer.leaves[0].leaf_value = b"x"

    proxy.lie("GetLeavesByRange", lie_later)
    with pytest.raises(CheckpointError, match="have root"):
        tree.apply(raw_entries(1, start=KEPT + 29), noting)
    # As far as it was true: whoever asks again is told of nothing that no checkpoint covers.
    assert tree.head().size == signed[-1] == KEPT + 14
    assert tree.head().checkpoint == sign(KEPT + 14, mth([each.leaf_data for each in raw_entries(KEPT + 14)]))
    proxy.honest()
    assert tree.apply(raw_entries(1, start=KEPT + 29), noting) == [Sequenced(KEPT + 29, False)]
    assert signed == [KEPT + 7, KEPT + 14, KEPT + 21, KEPT + 28, KEPT + 30]


@pytest.mark.parametrize("field", ["leaf_value", "leaf_index"])
def test_a_leaf_that_was_changed_later_is_not_served(tree: TrillianTree, proxy: Proxy, field: str) -> None:
    proxy.lie("GetLeavesByRange", change_leaf(field, b"x" if field == "leaf_value" else 1))
    for read in (tree.read_leaf_data, tree.read_packed):
        with pytest.raises(CorruptTreeError, match="Trillian at"):
            read(0, KEPT)
    proxy.honest()
    assert tree.read_leaf_data(0, KEPT) == [entry.leaf_data for entry in raw_entries(KEPT)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda one: setattr(one, "tree_type", TreeType.PREORDERED_LOG),
            "is of type PREORDERED_LOG, not LOG",
        ),
        (lambda one: setattr(one, "tree_type", 77), "is of type 77"),
        (lambda one: setattr(one, "deleted", True), "is deleted"),
        (lambda one: setattr(one, "tree_state", TreeState.UNKNOWN_TREE_STATE), "state UNKNOWN_TREE_STATE"),
        (lambda one: setattr(one, "tree_id", 7), "says that it is tree 7"),
    ],
)
def test_a_tree_of_another_kind_is_refused(
    folder: Path, proxy: Proxy, tree: TrillianTree, change: Callable[[Any], None], words: str
) -> None:
    tree.close()
    proxy.lie("GetTree", change)
    with pytest.raises(CheckpointError, match=words):
        open_trillian(folder, proxy.address)


def test_what_somebody_else_put_into_the_tree_is_not_signed(
    folder: Path, proxy: Proxy, trillian: Client, tree: TrillianTree
) -> None:
    class OnlyOurs:
        def admit(self, entry: Any, index: int) -> None:
            raise CheckpointError("not ours")

        def check(self, entry: Any) -> None:
            return None

    before = tree.head()
    tree._content = OnlyOurs()
    trillian.queue(tree.tree_id, b"a stranger's", leaf_identity_hash=hashlib.sha256(b"x").digest())
    with pytest.raises(CheckpointError, match=r"leaf 5 .* nothing that this log admits"):
        tree.apply(raw_entries(1, start=KEPT), sign)
    assert tree.head() == before
    # What is known is answered all the same, and says nothing new.
    assert tree.apply(raw_entries(2), sign) == [Sequenced(0, True), Sequenced(1, True)]
