"""RFC 6962 hashing against known roots and against the literal definition."""

from __future__ import annotations

import hashlib

import pytest
from tests import reference

from touchplate.verify.rfc6962 import EMPTY_ROOT, CompactRange, fold_right, leaf_hash, node_hash

# Leaves and roots of github.com/transparency-dev/merkle, testonly/constants.go (first 4 bytes of each root).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOT_PREFIXES = [
    "e3b0c442",
    "6e340b9c",
    "fac54203",
    "aeb6bcfe",
    "d37ee418",
    "4e3bbb1f",
    "76e67dad",
    "ddb89be4",
    "5dc9da79",
]


def range_of(leaves: list[bytes]) -> CompactRange:
    made = CompactRange()
    for data in leaves:
        made.append(leaf_hash(data))
    return made


def test_leaf_and_node_hashes_match_published_ones() -> None:
    # github.com/transparency-dev/merkle, rfc6962/rfc6962_test.go.
    assert leaf_hash(b"L123456").hex().startswith("395aa064")
    assert node_hash(b"N123", b"N456").hex().startswith("aa217fe8")


@pytest.mark.parametrize("size", range(9))
def test_roots_of_small_trees_match_published_ones(size: int) -> None:
    assert range_of(LEAVES[:size]).root().hex().startswith(ROOT_PREFIXES[size])


def test_empty_root_is_the_hash_of_nothing() -> None:
    assert CompactRange().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()


def test_roots_match_the_literal_definition_up_to_130_leaves() -> None:
    leaves = [f"leaf {i}".encode() for i in range(130)]
    growing = CompactRange()
    for size, data in enumerate(leaves):
        assert growing.root() == reference.mth(leaves[:size])
        assert growing.size == size
        growing.append(leaf_hash(data))


def test_range_goes_on_from_its_stored_hashes() -> None:
    leaves = [f"{i}".encode() for i in range(77)]
    first = range_of(leaves[:45])
    second = CompactRange(first.size, first.hashes)
    untouched = first.copy()
    for data in leaves[45:]:
        second.append(leaf_hash(data))
    assert second.root() == reference.mth(leaves)
    assert untouched.root() == first.root() == reference.mth(leaves[:45])


def test_folding_one_hash_gives_that_hash() -> None:
    assert fold_right([EMPTY_ROOT]) == EMPTY_ROOT


@pytest.mark.parametrize(("size", "count"), [(3, 1), (0, 1), (4, 2), (-1, 1), (-1, 0)])
def test_refuses_hashes_that_do_not_fit_the_size(size: int, count: int) -> None:
    with pytest.raises(ValueError, match="complete subtrees"):
        CompactRange(size, [EMPTY_ROOT] * count)


def test_refuses_hashes_of_a_wrong_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        CompactRange(1, [b"short"])
    with pytest.raises(ValueError, match="32 bytes"):
        CompactRange().append(b"the leaf data itself")
