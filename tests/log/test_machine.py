"""The state machine over a good log, and over logs with planted bugs, each of which it has to find."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine
from tests.log.machine import LogMachine
from tests.log.memory import MemoryTree

from touchplate.base.errors import TouchplateError
from touchplate.log import reading, service
from touchplate.log.admission import Admission
from touchplate.log.growth import Edge, Growth, grow
from touchplate.log.ports import PackedEntry, Sequenced, Sign
from touchplate.log.reading import LogReader
from touchplate.log.storage import sql
from touchplate.log.storage.sql import SQLTree
from touchplate.verify.errors import VerifyError
from touchplate.verify.proofs import HashReader, prove_consistency, prove_inclusion
from touchplate.verify.rfc6962 import EMPTY_ROOT, node_hash
from touchplate.verify.tiles import Tile

# An example is a log of its own and twenty steps: 0.2 s.
COMMON = settings(
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
Patch = pytest.MonkeyPatch

_apply, _admit, _checkpoint = SQLTree.apply, Admission.admit, LogReader.checkpoint
_read_tile, _read_leaf_data, _read_packed = SQLTree.read_tile, SQLTree.read_leaf_data, SQLTree.read_packed


def swaps_two_entries(patch: Patch) -> None:
    """Two entries of a batch change places, and their submitters are told the old ones."""

    def apply(self: SQLTree, entries: Sequence[PackedEntry], sign: Sign | None = None) -> list[Sequenced]:
        return _apply(self, [*reversed(entries[:2]), *entries[2:]], sign)

    patch.setattr(SQLTree, "apply", apply)


def acknowledges_what_it_did_not_write(patch: Patch) -> None:
    """The last entry of a batch is answered for and lost."""

    def apply(self: SQLTree, entries: Sequence[PackedEntry], sign: Sign | None = None) -> list[Sequenced]:
        if len(entries) < 2:
            return _apply(self, entries, sign)
        told = _apply(self, entries[:-1], sign)
        return [*told, Sequenced(self.head().size, duplicate=False)]

    patch.setattr(SQLTree, "apply", apply)


def tells_the_newest_index_to_a_resubmitter(patch: Patch) -> None:
    """A duplicate is answered with the index of the last entry."""

    def apply(self: SQLTree, entries: Sequence[PackedEntry], sign: Sign | None = None) -> list[Sequenced]:
        told = _apply(self, entries, sign)
        return [Sequenced(self.head().size - 1, duplicate=True) if one.duplicate else one for one in told]

    patch.setattr(SQLTree, "apply", apply)


def forgets_duplicates(patch: Patch) -> None:
    """Every submission is a new entry."""
    numbers = count()

    def admit(self: Admission, envelope: bytes, hint: bytes | None = None) -> PackedEntry:
        entry = _admit(self, envelope, hint)
        return replace(entry, identity=hashlib.sha256(entry.identity + b"%d" % next(numbers)).digest())

    patch.setattr(Admission, "admit", admit)


def forgets_duplicates_at_a_restart(patch: Patch) -> None:
    """What another process has logged is a new entry."""

    def admit(self: Admission, envelope: bytes, hint: bytes | None = None) -> PackedEntry:
        entry = _admit(self, envelope, hint)
        return replace(entry, identity=hashlib.sha256(entry.identity + b"%d" % id(self)).digest())

    patch.setattr(Admission, "admit", admit)


def proves_the_leaf_before(patch: Patch) -> None:
    """Inclusion proofs are of the index below."""

    def prove(reader: HashReader, index: int, size: int) -> list[bytes]:
        return prove_inclusion(reader, max(0, index - 1) if index < size else index, size)

    patch.setattr(reading, "prove_inclusion", prove)


def proves_inclusion_in_the_tree_before(patch: Patch) -> None:
    """Inclusion proofs are into the tree that is one entry smaller, where there is one."""

    def prove(reader: HashReader, index: int, size: int) -> list[bytes]:
        return prove_inclusion(reader, index, size - 1 if index < size - 1 else size)

    patch.setattr(reading, "prove_inclusion", prove)


def proves_consistency_with_the_tree_before(patch: Patch) -> None:
    """Consistency proofs are from the size below."""

    def prove(reader: HashReader, old: int, new: int) -> list[bytes]:
        return prove_consistency(reader, old - 1 if 1 < old <= new else old, new)

    patch.setattr(reading, "prove_consistency", prove)


def folds_the_root_from_the_left(patch: Patch) -> None:
    """The complete subtrees are joined in the wrong order: right for two of them, wrong for three."""

    def root(self: Edge) -> bytes:
        subtrees = [subtree for subtree in reversed(self.odd) if subtree is not None]
        folded = subtrees[0] if subtrees else EMPTY_ROOT
        for subtree in subtrees[1:]:
            folded = node_hash(folded, subtree)
        return folded

    patch.setattr(Edge, "root", root)


def serves_the_end_of_a_tile_for_its_beginning(patch: Patch) -> None:
    """A tile as an older tree had it comes with hashes of the newer one."""

    def read_tile(self: SQLTree, tile: Tile) -> bytes:
        data = _read_tile(self, tile)
        try:
            return _read_tile(self, Tile(tile.level, tile.index, tile.width + 1))[32:]
        except TouchplateError:
            return data

    patch.setattr(SQLTree, "read_tile", read_tile)


def loses_the_tiles_above_the_leaves(patch: Patch) -> None:
    """Beyond 256 entries the second level of tiles is not stored."""

    def lossy(edge: Edge, leaf_hashes: Sequence[bytes]) -> Growth:
        growth = grow(edge, leaf_hashes)
        return Growth(growth.edge, {tile: data for tile, data in growth.tiles.items() if tile.level == 0})

    patch.setattr(sql, "grow", lossy)


def serves_bundles_one_entry_late(patch: Patch) -> None:
    """Entry bundles begin with the second leaf, where there is one more."""

    def read(self: SQLTree, start: int, end: int) -> list[bytes]:
        leaves = _read_leaf_data(self, start, end)
        return leaves if end == self.head().size else _read_leaf_data(self, start + 1, end + 1)

    patch.setattr(SQLTree, "read_leaf_data", read)


def serves_envelopes_of_the_wrong_entries(patch: Patch) -> None:
    """The last two of several envelopes change places."""

    def read(self: SQLTree, start: int, end: int) -> list[bytes]:
        packed = _read_packed(self, start, end)
        return [*packed[:-2], *packed[:-3:-1]]

    patch.setattr(SQLTree, "read_packed", read)


def shows_an_old_checkpoint(patch: Patch) -> None:
    """The first checkpoint that was read is kept in memory."""
    kept: dict[int, bytes] = {}

    def checkpoint(self: LogReader) -> bytes:
        return kept.setdefault(id(self), _checkpoint(self))

    patch.setattr(LogReader, "checkpoint", checkpoint)


def forgets_everything_at_a_restart(patch: Patch) -> None:
    """The tree is in memory only."""

    def open_tree(engine: Engine, name: str, *, alone: bool) -> MemoryTree:
        engine.dispose()
        return MemoryTree()

    patch.setattr(service, "open_tree", open_tree)


BUGS: tuple[Callable[[Patch], None], ...] = (
    swaps_two_entries,
    acknowledges_what_it_did_not_write,
    tells_the_newest_index_to_a_resubmitter,
    forgets_duplicates,
    forgets_duplicates_at_a_restart,
    proves_the_leaf_before,
    proves_inclusion_in_the_tree_before,
    proves_consistency_with_the_tree_before,
    folds_the_root_from_the_left,
    serves_the_end_of_a_tile_for_its_beginning,
    loses_the_tiles_above_the_leaves,
    serves_bundles_one_entry_late,
    serves_envelopes_of_the_wrong_entries,
    shows_an_old_checkpoint,
    forgets_everything_at_a_restart,
)


def test_a_log_answers_as_the_literal_definition_whatever_clients_do() -> None:
    run_state_machine_as_test(LogMachine, settings=settings(COMMON, max_examples=12))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_finds_a_log_that(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    # The same examples in every run: whether a bug is found may not be a matter of luck.
    found = settings(COMMON, max_examples=60, derandomize=True, phases=[Phase.generate])
    with pytest.raises((AssertionError, VerifyError, TouchplateError)) as failure:
        run_state_machine_as_test(LogMachine, settings=found)
    # A mutant that only crashes would show nothing.
    assert "problems/internal" not in str(failure.value)
