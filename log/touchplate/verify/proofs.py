"""Inclusion and consistency proofs of RFC 6962: made from any source of hashes, checked against checkpoints.

A *node* `(level, index)` is the complete subtree over the leaves `[index << level, (index + 1) << level)`;
level 0 holds the leaf hashes. Every range of leaves that a proof needs is a few nodes side by side, so a
source of hashes answers for complete subtrees only and never has to know a tree's size.

What decides is always a `Checkpoint`: size and root of a check come from nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from touchplate.verify.errors import ProofError, shown
from touchplate.verify.rfc6962 import EMPTY_ROOT, HASH_SIZE, fold_right, node_hash

if TYPE_CHECKING:
    from touchplate.verify.checkpoints import Checkpoint

Node = tuple[int, int]
"""A complete subtree: (level, index), of 2^level leaves, the index-th of its level."""

MAX_SIZE = 2**63
"""Trees are smaller than this many leaves: stock verifiers hold sizes in a signed 64-bit integer."""

MAX_PROOF_HASHES = 63
"""Hashes in an inclusion proof: the height of the largest tree."""


class TreeHead(Protocol):
    """Size and root of a tree, as its log signed them."""

    @property
    def size(self) -> int:
        """Leaves."""

    @property
    def root(self) -> bytes:
        """32 bytes."""


class HashReader(Protocol):
    """A source of node hashes: a log's storage, tiles, a list in a test."""

    def read_hashes(self, nodes: Sequence[Node]) -> list[bytes]:
        """The hashes (32 bytes each) of `nodes`, in the same order. Raises when one cannot be had."""


# --- making -----------------------------------------------------------------------------------------------


def prove_inclusion(reader: HashReader, index: int, size: int) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves (RFC 6962 2.1.1, PATH).

    Requires 0 <= index < size < 2^63. Raises ProofError otherwise, and whatever `reader` raises.
    """
    _require(0 <= index < size < MAX_SIZE, f"there is no leaf {shown(index)} in a tree of size {shown(size)}")
    ranges = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    return _range_hashes(reader, ranges[::-1])


def prove_consistency(reader: HashReader, old_size: int, new_size: int) -> list[bytes]:
    """The proof that the first `old_size` leaves of a tree of `new_size` are the older tree (RFC 6962 2.1.2).

    Requires 0 <= old_size <= new_size < 2^63. Nothing has to be proven from size 0 and between equal sizes:
    the proof is then empty. Raises ProofError, and whatever `reader` raises.
    """
    _require(
        0 <= old_size <= new_size < MAX_SIZE,
        f"there is no consistency proof from size {shown(old_size)} to {shown(new_size)}",
    )
    if old_size == 0:
        return []
    ranges = []
    begin, end = 0, new_size
    known = True  # the verifier holds the hash of [begin, old_size) itself: it is the old root (SUBPROOF's b)
    while old_size != end:
        middle = begin + _split(end - begin)
        if old_size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin, known = middle, False
    if not known:
        ranges.append((begin, end))
    return _range_hashes(reader, ranges[::-1])


def root_of(reader: HashReader, size: int) -> bytes:
    """The root of the tree of `size` leaves (RFC 6962 2.1, MTH), as `reader` has it; nothing is checked."""
    _require(0 <= size < MAX_SIZE, f"there is no tree of size {shown(size)}")
    return _range_hashes(reader, [(0, size)])[0] if size else EMPTY_ROOT


def _range_hashes(reader: HashReader, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Hash of each range of leaves; all nodes are asked for in one call, so that a reader can batch."""
    parts = [_complete_subtrees(begin, end) for begin, end in ranges]
    hashes = reader.read_hashes([node for part in parts for node in part])
    folded = []
    taken = 0
    for part in parts:
        # Nearly all ranges are one complete subtree.
        folded.append(hashes[taken] if len(part) == 1 else fold_right(hashes[taken : taken + len(part)]))
        taken += len(part)
    return folded


def _complete_subtrees(begin: int, end: int) -> list[Node]:
    """The complete subtrees that tile [begin, end), largest first.

    `begin` is a multiple of the largest power of two in the range, as in every subtree of RFC 6962 2.1.
    """
    size = end - begin
    if not size & (size - 1):
        level = size.bit_length() - 1
        return [(level, begin >> level)]
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append((level, begin >> level))
        begin += 1 << level
    return nodes


def _split(size: int) -> int:
    """RFC 6962 2.1: the largest power of two smaller than `size` (size > 1)."""
    return 1 << ((size - 1).bit_length() - 1)


# --- checking ---------------------------------------------------------------------------------------------


def check_inclusion(checkpoint: Checkpoint, index: int, leaf_hash: bytes, proof: Sequence[bytes]) -> None:
    """Check that the leaf at `index` of the checkpoint's tree has `leaf_hash` (RFC 9162 2.1.3.2).

    Raises ProofError (`bad-proof`) for an index outside the tree, a proof of another length than index and
    size demand, and a root other than the checkpoint's.
    """
    size = checkpoint.size
    if not 0 <= index < size:
        raise ProofError(f"index {shown(index)} is not in the tree of size {size}")
    _require_hashes([leaf_hash, *proof])
    # Below the level where the path of `index` joins the right border of the tree, every node has a sibling.
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    if len(proof) != inner + border:
        raise ProofError(
            f"an inclusion proof for index {index} in a tree of size {size} has {inner + border} hashes, "
            f"not {len(proof)}"
        )
    computed = leaf_hash
    for level, sibling in enumerate(proof):
        if level < inner and not (index >> level) & 1:
            computed = node_hash(computed, sibling)
        else:
            computed = node_hash(sibling, computed)
    if computed != checkpoint.root:
        raise ProofError(
            f"the proof for index {index} leads to root {computed.hex()}, the checkpoint of size {size} "
            f"has {checkpoint.root.hex()}"
        )


def check_consistency(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    """Check that the tree of `old` is a prefix of the tree of `new` (RFC 9162 2.1.4.2).

    An empty tree is a prefix of every tree, and nothing proves it: from size 0 any proof but an empty one is
    refused, before the algorithm is entered (tlog-witness asks the same). Raises ProofError (`bad-proof`);
    `other-origin` when the checkpoints speak of two logs.
    """
    if old.origin != new.origin:
        raise ProofError(
            f"checkpoints of {shown(old.origin)} and {shown(new.origin)} cannot be compared",
            reason="other-origin",
        )
    _require(old.size <= new.size, f"a tree of size {old.size} cannot have grown into one of size {new.size}")
    _require(
        is_prefix(new, old.size, old.root, proof),
        f"the proof does not lead from the checkpoint of size {old.size} to the one of size {new.size}",
    )


def is_prefix(new: TreeHead, size: int, claimed_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the first `size` leaves of the tree of `new` have the root `claimed_root`.

    `claimed_root` is the claim under test and trusted by nobody; what it is tested against is the head that a
    log signed. Used to show, on a fork, which older root the new tree really has, and by a witness.
    Raises ProofError only for hashes that are not 32 bytes.
    """
    _require_hashes([claimed_root, *proof])
    if size == 0:
        return not proof and claimed_root == EMPTY_ROOT
    if not 0 < size < new.size:
        return size == new.size and not proof and claimed_root == new.root
    # RFC 9162 2.1.4.2, steps 1 to 6. A complete old tree is its own first hash.
    hashes = list(proof) if size & (size - 1) else [claimed_root, *proof]
    if not hashes:
        return False
    node, last = size - 1, new.size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_root = new_root = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False  # one hash more than the tree has levels
        if node & 1 or node == last:
            old_root, new_root = node_hash(sibling, old_root), node_hash(sibling, new_root)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            new_root = node_hash(new_root, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old_root == claimed_root and new_root == new.root


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ProofError(message)


def _require_hashes(hashes: Sequence[bytes]) -> None:
    for each in hashes:
        if len(each) != HASH_SIZE:
            raise ProofError(f"a hash has {HASH_SIZE} bytes, not {len(each)}")
