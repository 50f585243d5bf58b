"""Proofs against the literal definition of RFC 6962: small trees exhaustively, larger ones at random."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import reference
from tests.simkeys import head, note_signer, solo_policy

from touchplate.verify.checkpoints import Checkpoint, open_checkpoint, sign_checkpoint
from touchplate.verify.errors import ProofError
from touchplate.verify.proofs import (
    MAX_PROOF_HASHES,
    MAX_SIZE,
    Node,
    check_consistency,
    check_inclusion,
    is_prefix,
    prove_consistency,
    prove_inclusion,
    root_of,
)
from touchplate.verify.rfc6962 import EMPTY_ROOT, CompactRange, leaf_hash, node_hash

SMALL = 64
LEAVES = [f"leaf {i}".encode() for i in range(SMALL)]
HASHES = [leaf_hash(data) for data in LEAVES]
ROOTS = [reference.mth(LEAVES[:size]) for size in range(SMALL + 1)]
HEADS = [head(size, root) for size, root in enumerate(ROOTS)]


class ListReader:
    """Hashes of complete subtrees out of a list of leaf hashes; refuses to answer for anything else."""

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self.levels = [list(hashes)]
        while len(self.levels[-1]) > 1:
            row = self.levels[-1]
            self.levels.append([node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)])
        self.calls = 0

    def read_hashes(self, nodes: Sequence[Node]) -> list[bytes]:
        self.calls += 1
        assert all(level >= 0 and index >= 0 for level, index in nodes)
        return [self.levels[level][index] for level, index in nodes]


def manglings(proof: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Every proof that differs from `proof` by one hash changed, missing or added, or two swapped."""
    for at in range(len(proof)):
        yield [*proof[:at], bytes([proof[at][0] ^ 1]) + proof[at][1:], *proof[at + 1 :]]
        yield [*proof[:at], *proof[at + 1 :]]
        yield [*proof[:at], proof[at], *proof[at:]]
    yield [*proof, EMPTY_ROOT]
    for at in range(len(proof) - 1):
        yield [*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]]


def included(tree: Checkpoint, index: int, leaf: bytes, proof: Sequence[bytes]) -> bool:
    try:
        check_inclusion(tree, index, leaf, proof)
    except ProofError:
        return False
    return True


def consistent(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> bool:
    try:
        check_consistency(old, new, proof)
    except ProofError:
        return False
    return True


@pytest.mark.parametrize("size", range(1, SMALL + 1))
def test_inclusion_proofs_are_those_of_the_definition(size: int) -> None:
    reader = ListReader(HASHES[:size])
    assert root_of(reader, size) == ROOTS[size]
    for index in range(size):
        proof = prove_inclusion(reader, index, size)
        assert proof == reference.path(index, LEAVES[:size])
        check_inclusion(HEADS[size], index, HASHES[index], proof)


@pytest.mark.parametrize("new", range(1, SMALL + 1))
def test_consistency_proofs_are_those_of_the_definition(new: int) -> None:
    reader = ListReader(HASHES[:new])
    for old in range(1, new + 1):
        proof = prove_consistency(reader, old, new)
        assert proof == reference.proof(old, LEAVES[:new])
        check_consistency(HEADS[old], HEADS[new], proof)


@pytest.mark.parametrize("size", range(1, 34))
def test_refuses_every_mangled_inclusion_proof(size: int) -> None:
    reader = ListReader(HASHES[:size])
    for index in range(size):
        proof = prove_inclusion(reader, index, size)
        for bad in manglings(proof):
            assert not included(HEADS[size], index, HASHES[index], bad)
        for other in range(-1, size + 2):
            if other != index:
                assert not included(HEADS[size], other, HASHES[index], proof)
        for other in range(SMALL + 1):
            if other != size:
                assert not included(HEADS[other], index, HASHES[index], proof)
        assert not included(HEADS[size], index, EMPTY_ROOT, proof)


@pytest.mark.parametrize("new", range(1, 34))
def test_refuses_every_mangled_consistency_proof(new: int) -> None:
    reader = ListReader(HASHES[:new])
    for old in range(1, new + 1):
        proof = prove_consistency(reader, old, new)
        for bad in manglings(proof):
            assert not consistent(HEADS[old], HEADS[new], bad)
        for other in range(1, SMALL + 1):
            if other != old and other != new:
                assert not consistent(HEADS[other], HEADS[new], proof)
                assert not consistent(HEADS[old], HEADS[other], proof)


def test_the_size_of_a_tree_is_that_of_its_checkpoint() -> None:
    # The same hashes have the right number for index 5 of 6 and 6 of 7: only the checkpoint's size tells
    # them apart.
    proof = prove_inclusion(ListReader(HASHES[:4]), 3, 4)
    for index, size in ((5, 6), (6, 7), (3, 5)):
        assert not included(HEADS[size], index, HASHES[3], proof)


def test_nothing_proves_that_an_empty_tree_grew() -> None:
    for new in (0, 1, 2, 7, 8):
        assert prove_consistency(ListReader(HASHES[:8]), 0, new) == []
        check_consistency(HEADS[0], HEADS[new], [])
        assert not consistent(HEADS[0], HEADS[new], [ROOTS[new]])


def test_equal_sizes_need_equal_roots_and_an_empty_proof() -> None:
    for size in (1, 4, 7):
        check_consistency(HEADS[size], HEADS[size], [])
        assert not consistent(HEADS[size], head(size, ROOTS[size - 1]), [])
        assert not consistent(HEADS[size], HEADS[size], [ROOTS[size]])


def test_refuses_a_tree_that_shrank() -> None:
    with pytest.raises(ProofError, match="cannot have grown"):
        check_consistency(HEADS[5], HEADS[4], [])


def test_refuses_to_compare_two_logs() -> None:
    signer = note_signer("other.example.org", "log")
    other = open_checkpoint(sign_checkpoint("other.example.org", 4, ROOTS[4], signer), solo_policy(signer))
    with pytest.raises(ProofError) as caught:
        check_consistency(HEADS[4], other, [])
    assert caught.value.reason == "other-origin"


def test_refuses_hashes_of_a_wrong_length() -> None:
    proof = prove_inclusion(ListReader(HASHES[:4]), 1, 4)
    with pytest.raises(ProofError, match="32 bytes"):
        check_inclusion(HEADS[4], 1, HASHES[1], [proof[0], proof[1] + b"\x00"])
    with pytest.raises(ProofError, match="32 bytes"):
        check_inclusion(HEADS[4], 1, HASHES[1][:-1], proof)
    with pytest.raises(ProofError, match="32 bytes"):
        check_consistency(HEADS[3], HEADS[4], [b""])


def test_a_fork_is_told_by_the_root_that_the_new_tree_really_had() -> None:
    reader = ListReader(HASHES[:13])
    for old in range(1, 13):
        proof = prove_consistency(reader, old, 13)
        assert is_prefix(HEADS[13], old, ROOTS[old], proof)
        assert not is_prefix(HEADS[13], old, leaf_hash(b"another history"), proof)


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0), (1, -1), (0, MAX_SIZE)])
def test_refuses_to_prove_inclusion_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ProofError, match="there is no leaf"):
        prove_inclusion(ListReader(HASHES), index, size)


@pytest.mark.parametrize(("old", "new"), [(-1, 5), (6, 5), (1, MAX_SIZE)])
def test_refuses_to_prove_consistency_of_impossible_sizes(old: int, new: int) -> None:
    with pytest.raises(ProofError, match="there is no consistency proof"):
        prove_consistency(ListReader(HASHES), old, new)
    with pytest.raises(ProofError, match="no tree of size"):
        root_of(ListReader(HASHES), -1)


def test_a_proof_asks_its_reader_once() -> None:
    reader = ListReader(HASHES)
    prove_inclusion(reader, 11, 61)
    prove_consistency(reader, 11, 61)
    assert reader.calls == 2


class UniformReader:
    """A tree of any size in which all leaves are equal, so that every subtree of one height has one hash."""

    def __init__(self) -> None:
        self.by_level = [leaf_hash(b"x")]
        for _ in range(63):
            self.by_level.append(node_hash(self.by_level[-1], self.by_level[-1]))

    def read_hashes(self, nodes: Sequence[Node]) -> list[bytes]:
        return [self.by_level[level] for level, _ in nodes]


SIZES = st.one_of(st.integers(1, 5000), st.integers(1, MAX_SIZE - 1))


@settings(deadline=None)
@given(SIZES, st.data())
def test_proofs_hold_in_trees_of_any_size(size: int, data: st.DataObject) -> None:
    reader = UniformReader()
    tree = head(size, root_of(reader, size))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    proof = prove_inclusion(reader, index, size)
    assert len(proof) <= MAX_PROOF_HASHES
    check_inclusion(tree, index, reader.by_level[0], proof)
    assert not included(tree, index, EMPTY_ROOT, proof)
    older = head(old, root_of(reader, old))
    steps = prove_consistency(reader, old, size)
    check_consistency(older, tree, steps)
    for bad in manglings(steps):
        if bad != steps:  # two equal hashes swapped are the same proof
            assert not consistent(older, tree, bad)


@settings(deadline=None, max_examples=30)
@given(st.integers(65, 700), st.data())
def test_larger_trees_agree_with_the_definition(size: int, data: st.DataObject) -> None:
    leaves = [b"%d" % i for i in range(size)]
    reader = ListReader([leaf_hash(each) for each in leaves])
    grown = CompactRange()
    for each in leaves:
        grown.append(leaf_hash(each))
    assert grown.root() == root_of(reader, size) == reference.mth(leaves)
    index = data.draw(st.integers(0, size - 1))
    assert prove_inclusion(reader, index, size) == reference.path(index, leaves)
    assert prove_consistency(reader, index + 1, size) == reference.proof(index + 1, leaves)


@pytest.mark.parametrize(("index", "length"), [(3, 2), (4, 3), (-1, 2), (2**63, 64)])
def test_an_index_outside_the_tree_is_refused_before_any_hashing(index: int, length: int) -> None:
    with pytest.raises(ProofError, match="is not in the tree of size 3"):
        check_inclusion(head(3, b"\x01" * 32), index, b"\x02" * 32, [b"\x03" * 32] * length)


A, B, C, X, Y = (leaf_hash(name) for name in (b"a", b"b", b"c", b"x", b"y"))
AB = node_hash(A, B)


def test_a_consistency_proof_has_the_length_that_both_sizes_demand() -> None:
    # Each root is what the proof leads to; only the sizes that were signed beside them do not fit.
    old = head(2, AB)
    check_consistency(old, head(4, node_hash(AB, X)), [X])
    for size in (5, 8, 2**62):
        with pytest.raises(ProofError):
            check_consistency(old, head(size, node_hash(AB, X)), [X])


def test_a_consistency_proof_that_goes_on_above_the_root_is_refused() -> None:
    three, four = node_hash(AB, C), node_hash(AB, node_hash(C, X))
    check_consistency(head(3, three), head(4, four), [C, X, AB])
    with pytest.raises(ProofError):
        check_consistency(head(3, node_hash(Y, three)), head(4, node_hash(Y, four)), [C, X, AB, Y])
