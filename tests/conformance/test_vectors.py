"""Our proofs and those of the library that Trillian and Tessera use: the same hashes, the same verdicts.

Released versions of that library carry no vectors as files, so they are made by the library on the spot (see
vectors/main.go): proofs, each damaged in every way that its own tests know, with its verdict.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from tests.conformance.go_programs import program
from tests.simkeys import head
from tests.simtiles import tiles_from

from touchplate.verify.checkpoints import Checkpoint
from touchplate.verify.errors import VerifyError
from touchplate.verify.proofs import (
    check_consistency,
    check_inclusion,
    prove_consistency,
    prove_inclusion,
    root_of,
)
from touchplate.verify.rfc6962 import EMPTY_ROOT, leaf_hash
from touchplate.verify.tiles import TileReader

RUN_SECONDS = 60
KINDS = ("leaf", "root", "inclusion", "consistency")
Vector = dict[str, Any]

_head = cache(head)  # a signature and its check for each; most vectors share theirs


@pytest.fixture(scope="module")
def vectors() -> dict[str, list[Vector]]:
    """The vectors by kind, base64 decoded."""
    done = subprocess.run([str(program("vectors"))], capture_output=True, timeout=RUN_SECONDS, check=True)
    made: dict[str, list[Vector]] = {kind: [] for kind in KINDS}
    for line in done.stdout.splitlines():
        vector = json.loads(line)
        for name in ("data", "hash", "leafHash", "root", "root1", "root2"):
            if name in vector:
                vector[name] = base64.b64decode(vector[name])
        vector["proof"] = [base64.b64decode(each) for each in vector.get("proof") or []]
        made[vector["kind"]].append(vector)
    return made


@pytest.fixture(scope="module")
def leaves(vectors: dict[str, list[Vector]]) -> dict[str, list[bytes]]:
    """Leaf hashes by tree, as we hash the leaves' data."""
    made: dict[str, list[bytes]] = {"constants": [], "large": []}
    for vector in vectors["leaf"]:
        made[vector["tree"]].append(leaf_hash(vector["data"]))
    return made


def reader_of(leaf_hashes: Sequence[bytes]) -> TileReader:
    """Our reader of the tiles of the tree with these leaf hashes."""
    tiles = tiles_from(leaf_hashes)
    return TileReader(lambda tile: tiles[tile], len(leaf_hashes))


def is_included(vector: Vector) -> bool:
    """Our verdict on an inclusion proof."""
    try:
        head = _head(vector["size"], vector["root"])
        check_inclusion(head, vector["index"], vector["leafHash"], vector["proof"])
    except VerifyError:
        return False
    return True


def is_consistent(vector: Vector) -> bool:
    """Our verdict on a consistency proof."""
    try:
        old: Checkpoint = _head(vector["size1"], vector["root1"])
        check_consistency(old, _head(vector["size2"], vector["root2"]), vector["proof"])
    except VerifyError:
        return False
    return True


@pytest.mark.slow
def test_there_are_as_many_vectors_as_we_know_of(vectors: dict[str, list[Vector]]) -> None:
    counted = Counter((kind, each.get("accepted")) for kind in KINDS for each in vectors[kind])
    assert counted == {
        ("leaf", None): 1008,
        ("root", None): 24,
        ("inclusion", True): 326,
        ("inclusion", False): 5490,
        ("consistency", True): 407,
        ("consistency", False): 5413,
    }


@pytest.mark.slow
def test_leaves_and_roots_hash_to_the_same(
    vectors: dict[str, list[Vector]], leaves: dict[str, list[bytes]]
) -> None:
    for vector in vectors["leaf"]:
        assert leaf_hash(vector["data"]) == vector["hash"], vector
    for vector in vectors["root"]:
        hashes = leaves[vector["tree"]][: vector["size"]]
        root = root_of(reader_of(hashes), len(hashes))
        assert root == vector["hash"], vector


@pytest.mark.slow
def test_our_proofs_are_the_same_hashes(
    vectors: dict[str, list[Vector]], leaves: dict[str, list[bytes]]
) -> None:
    reader = cache(lambda tree, size: reader_of(leaves[tree][:size]))
    for vector in vectors["inclusion"]:
        if vector["what"] == "as made":
            size = vector["size"]
            made = prove_inclusion(reader(vector["tree"], size), vector["index"], size)
            assert made == vector["proof"], vector
    for vector in vectors["consistency"]:
        if vector["what"] == "as made":
            size = vector["size2"]
            made = prove_consistency(reader(vector["tree"], size), vector["size1"], size)
            assert made == vector["proof"], vector


@pytest.mark.slow
def test_inclusion_verdicts_are_the_same(vectors: dict[str, list[Vector]]) -> None:
    assert [each for each in vectors["inclusion"] if is_included(each) != each["accepted"]] == []


@pytest.mark.slow
def test_consistency_verdicts_are_the_same_but_for_the_root_of_an_empty_tree(
    vectors: dict[str, list[Vector]],
) -> None:
    """The library (v0.0.2) takes any root for a tree of size 0; an empty tree has one root."""
    differing = [each for each in vectors["consistency"] if is_consistent(each) != each["accepted"]]
    for each in differing:
        assert each["accepted"], each
        assert (each["size1"], each["proof"]) == (0, []), each
        assert each["root1"] != EMPTY_ROOT, each
    assert len(differing) == 18
