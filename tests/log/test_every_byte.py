"""A byte that was changed anywhere, in a proof, a tile or a file of a log, is refused."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.log.mirrors import wrong_with
from tests.simkeys import head
from tests.simlog import SimLog
from tests.simtiles import tiles_from

from touchplate.base.errors import TouchplateError
from touchplate.verify.errors import ProofError, VerifyError
from touchplate.verify.proofs import (
    check_consistency,
    check_inclusion,
    prove_consistency,
    prove_inclusion,
    root_of,
)
from touchplate.verify.rfc6962 import HASH_SIZE, leaf_hash
from touchplate.verify.tiles import Tile, TileReader

MOST = 64
"""Leaves of the trees whose proofs are changed."""

WHOLE = (33, 63, 64)
"""Sizes whose proofs are changed in every byte; in the others one byte of each hash is."""

LEAVES = [leaf_hash(b"leaf %d" % number) for number in range(300)]


def reader_of(tiles: dict[Tile, bytes], size: int) -> TileReader:
    """Of a tree of so many leaves."""
    return TileReader(lambda tile: tiles[tile], size)


def changed(data: bytes, at: int) -> bytes:
    """The same with one bit of byte `at` flipped, another one from byte to byte."""
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def changes(proof: Sequence[bytes], size: int) -> Iterator[list[bytes]]:
    """The proof with one byte of one hash changed."""
    for number, node in enumerate(proof):
        for at in range(HASH_SIZE) if size in WHOLE else [(size * 7 + number) % HASH_SIZE]:
            yield [*proof[:number], changed(node, at), *proof[number + 1 :]]


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_a_changed_byte_of_any_proof_is_refused(size: int) -> None:
    reader = reader_of(tiles_from(LEAVES[:size]), size)
    tree = head(size, root_of(reader, size))
    for other in range(size):
        proof = prove_inclusion(reader, other, size)
        check_inclusion(tree, other, LEAVES[other], proof)
        for bad in changes(proof, size):
            with pytest.raises(ProofError):
                check_inclusion(tree, other, LEAVES[other], bad)
        if other == 0:  # nothing proves that an empty tree grew
            continue
        old = head(other, root_of(reader_of(tiles_from(LEAVES[:other]), other), other))
        proof = prove_consistency(reader, other, size)
        check_consistency(old, tree, proof)
        for bad in changes(proof, size):
            with pytest.raises(ProofError):
                check_consistency(old, tree, bad)


def test_a_changed_byte_of_any_tile_is_refused_by_the_proof_that_reads_it() -> None:
    size = len(LEAVES)
    tiles = tiles_from(LEAVES)
    tree = head(size, root_of(reader_of(tiles, size), size))
    count = 0
    for tile, data in tiles.items():
        for at in range(len(data)):
            number = tile.index * 256 + at // HASH_SIZE
            # The leaf beside the changed one has it in its proof; a leaf of the last tile has those above.
            index = number ^ 1 if tile.level == 0 else size - 1
            reader = reader_of({**tiles, tile: changed(data, at)}, size)
            proof = prove_inclusion(reader, index, size)
            with pytest.raises(ProofError):
                check_inclusion(tree, index, LEAVES[index], proof)
            count += 1
    assert count == HASH_SIZE * (256 + 44 + 1)


def test_a_changed_byte_of_any_file_of_a_log_is_refused(tmp_path: Path) -> None:
    log = SimLog(tmp_path)
    log.grow(1)
    log.publish()
    assert wrong_with(tmp_path, log.policy) == []
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert len(files) == 4  # checkpoint, tile, entries, envelopes
    for path in files:
        good = path.read_bytes()
        for at in range(len(good)):
            path.write_bytes(changed(good, at))
            assert is_refused(tmp_path, log), f"{path.name}, byte {at}"
        path.write_bytes(good)


def is_refused(folder: Path, log: SimLog) -> bool:
    try:
        return bool(wrong_with(folder, log.policy))
    except (VerifyError, TouchplateError):
        return True
