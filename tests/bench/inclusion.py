"""How many inclusion proofs `verify` checks in a second, beside RFC 9162's algorithm written down
literally."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence

from tests.bench.harness import Goal, Row, Spent, check, in_turns, median, ratio, spent_here
from tests.simkeys import head

from touchplate.verify.errors import ProofError
from touchplate.verify.proofs import Node, check_inclusion, prove_inclusion, root_of
from touchplate.verify.rfc6962 import leaf_hash, node_hash

LEAVES = 1_000_003
"""No power of two, so that proofs at the right border have other lengths than the rest."""

LEAF_BYTES = 512
"""Bytes of leaf data, which a check hashes too: what the leaf of a P-256 entry takes."""

PROOFS = 5_000
ROUNDS = 9
GOAL = Goal(">=", 30_000, "/s")

Case = tuple[int, bytes, list[bytes]]


class Levels:
    """A whole tree in memory, level by level: a `HashReader`."""

    def __init__(self, leaves: list[bytes]) -> None:
        self._rows = [leaves]
        while len(row := self._rows[-1]) > 1:
            self._rows.append([node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)])

    def read_hashes(self, nodes: Sequence[Node]) -> list[bytes]:
        """See `HashReader`."""
        return [self._rows[level][index] for level, index in nodes]


def inclusion(leaves: int = LEAVES, proofs: int = PROOFS, rounds: int = ROUNDS) -> list[Row]:
    """Both sides hash the leaf data and check the proof; the same proofs, in one thread."""
    tree = Levels([leaf_hash(leaf_data(index)) for index in range(leaves)])
    root = root_of(tree, leaves)
    checkpoint = head(leaves, root)
    chosen = [*random.Random(6962).sample(range(leaves), proofs - 1), leaves - 1]
    cases = [(index, leaf_data(index), prove_inclusion(tree, index, leaves)) for index in chosen]

    def ours(index: int, data: bytes, proof: list[bytes]) -> bool:
        try:
            check_inclusion(checkpoint, index, leaf_hash(data), proof)
        except ProofError:
            return False
        return True

    def literal(index: int, data: bytes, proof: list[bytes]) -> bool:
        return is_included(hashlib.sha256(b"\x00" + data).digest(), index, leaves, proof, root)

    mine, theirs = in_turns(rounds, lambda: _run(ours, cases), lambda: _run(literal, cases))
    rates = [proofs / median(one.cpu for one in side) for side in (mine, theirs)]
    name = f"inclusion proofs checked, tree of {leaves:,} leaves"
    note = f"ratio of CPU {ratio(mine, theirs):.2f} to the loop of RFC 9162 2.1.3.2"
    return [Row(name, f"{rates[0]:,.0f}/s", f"{rates[1]:,.0f}/s", rates[0], GOAL, note)]


def leaf_data(index: int) -> bytes:
    """The data of leaf `index`."""
    return index.to_bytes(8, "big") * (LEAF_BYTES // 8)


def _run(is_good: Callable[[int, bytes, list[bytes]], bool], cases: Sequence[Case]) -> Spent:
    good = 0

    def work() -> None:
        nonlocal good
        good = sum(is_good(*case) for case in cases)

    spent = spent_here(work)
    check(good == len(cases), f"{len(cases) - good} good proofs were refused")
    for index, data, proof in cases[:20]:
        check(not is_good(index ^ 1, data, proof), "a proof held at the index beside its own")
        check(not is_good(index, data + b"x", proof), "a proof held for another leaf")
    return spent


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162 2.1.3.2, step by step."""
    if index >= size:  # 1
        return False
    fn, sn = index, size - 1  # 2
    r = leaf  # 3
    for p in proof:  # 4
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = hashlib.sha256(b"\x01" + p + r).digest()
            if not fn & 1:
                while fn and not fn & 1:
                    fn >>= 1
                    sn >>= 1
        else:
            r = hashlib.sha256(b"\x01" + r + p).digest()
        fn >>= 1
        sn >>= 1
    return sn == 0 and r == root  # 5
