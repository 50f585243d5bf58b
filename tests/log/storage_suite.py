"""What every storage behind the `Tree` port must do. Import `TreeSuite`, give it `open`, and run it.

`open(folder)` opens the tree kept in `folder`, making it empty the first time; opening again after `close`
must show everything that was acknowledged. Set `durable = False` for a storage that forgets.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.log.support import raw_entries, raw_entry
from tests.reference import mth

from touchplate.log.errors import CheckpointError, NotFoundError, RequestError
from touchplate.log.ports import Head, Sequenced, Tree
from touchplate.verify.rfc6962 import EMPTY_ROOT
from touchplate.verify.tiles import Tile, tiles_of

SIZES = (1, 2, 3, 255, 256, 257, 511, 512, 700)


def note(size: int, root: bytes) -> bytes:
    return b"note of %d %s" % (size, root.hex().encode())


class TreeSuite:
    """The conformance suite. Subclasses give `open`."""

    durable = True

    def open(self, folder: Path) -> Tree:
        raise AssertionError("a subclass opens its storage here")

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Iterator[Tree]:
        tree = self.open(tmp_path)
        yield tree
        tree.close()

    def test_is_empty_at_first(self, tree: Tree) -> None:
        assert tree.head() == Head(0, EMPTY_ROOT, None)
        assert tree.read_packed(0, 0) == []

    def test_gives_indexes_in_order(self, tree: Tree) -> None:
        assert tree.apply(raw_entries(3)) == [Sequenced(index, False) for index in range(3)]
        assert tree.apply(raw_entries(2, start=3)) == [Sequenced(3, False), Sequenced(4, False)]

    @pytest.mark.parametrize("step", [1, 7, 256, 300])
    def test_has_the_root_of_the_definition_however_it_was_batched(self, tree: Tree, step: int) -> None:
        entries = raw_entries(770)
        for start in range(0, len(entries), step):
            tree.apply(entries[start : start + step])
            if step > 1 or start in (0, 1, 254, 255, 256, 511, 512, 769):
                assert tree.head().root == mth([entry.leaf_data for entry in entries[: start + step]])
        assert tree.head().size == 770

    def test_serves_every_tile_of_every_size(self, tree: Tree) -> None:
        entries = raw_entries(max(SIZES))
        tree.apply(entries)
        leaves = [entry.leaf_data for entry in entries]
        for tile in {tile for size in SIZES for tile in tiles_of(size)}:
            span = 256**tile.level
            first = tile.index * 256
            expected = [mth(leaves[n * span : (n + 1) * span]) for n in range(first, first + tile.width)]
            assert tree.read_tile(tile) == b"".join(expected)

    @pytest.mark.parametrize(
        "tile",
        [
            Tile(0, 0, 6),
            Tile(0, 1, 1),
            Tile(1, 0, 1),
            Tile(0, -1, 1),
            Tile(-1, 0, 1),
            Tile(0, 0, 0),
            Tile(0, 0, 257),
        ],
    )
    def test_refuses_tiles_that_the_tree_does_not_have(self, tree: Tree, tile: Tile) -> None:
        tree.apply(raw_entries(5))
        with pytest.raises(NotFoundError):
            tree.read_tile(tile)

    def test_serves_leaves_and_packed_entries_by_range(self, tree: Tree) -> None:
        entries = raw_entries(300)
        tree.apply(entries)
        assert tree.read_leaf_data(250, 260) == [entry.leaf_data for entry in entries[250:260]]
        assert tree.read_packed(0, 300) == [entry.packed for entry in entries]

    @pytest.mark.parametrize(("start", "end"), [(0, 6), (5, 6), (-1, 2), (3, 2), (2**63, 2**63 + 1)])
    def test_refuses_ranges_beyond_the_tree(self, tree: Tree, start: int, end: int) -> None:
        tree.apply(raw_entries(5))
        with pytest.raises(NotFoundError):
            tree.read_packed(start, end)
        with pytest.raises(NotFoundError):
            tree.read_leaf_data(start, end)

    def test_answers_a_repeat_within_a_batch_with_the_first_index(self, tree: Tree) -> None:
        a, b, c = raw_entries(3)
        assert tree.apply([a, b, a, c, b]) == [
            Sequenced(0, False),
            Sequenced(1, False),
            Sequenced(0, True),
            Sequenced(2, False),
            Sequenced(1, True),
        ]
        assert tree.read_packed(0, 3) == [a.packed, b.packed, c.packed]

    def test_answers_a_repeat_of_an_older_batch_with_the_old_index(self, tree: Tree) -> None:
        tree.apply(raw_entries(600))
        mixed = [raw_entry("new"), *raw_entries(300, start=200), raw_entry("newer"), raw_entry("new")]
        answers = tree.apply(mixed)
        assert answers[0] == Sequenced(600, False)
        assert answers[1:301] == [Sequenced(index, True) for index in range(200, 500)]
        assert answers[301:] == [Sequenced(601, False), Sequenced(600, True)]
        assert tree.head().size == 602

    def test_does_not_move_the_head_for_a_batch_of_repeats(self, tree: Tree) -> None:
        tree.apply(raw_entries(4), note)
        before = tree.head()
        assert tree.apply(raw_entries(4), note) == [Sequenced(index, True) for index in range(4)]
        assert tree.apply([], note) == []
        assert tree.head() == before

    def test_keeps_what_was_decided_with_the_batch_also_when_nothing_is_new(
        self, tree: Tree, tmp_path: Path
    ) -> None:
        assert tree.decided() is None
        tree.apply(raw_entries(2), decided=b"one")
        tree.apply(raw_entries(2), decided=b"two")  # only repeats
        tree.apply([], decided=b"three")
        tree.apply(raw_entries(3))
        assert (tree.decided(), tree.head().size) == (b"three", 3)
        if self.durable:
            tree.close()
            again = self.open(tmp_path)
            assert again.decided() == b"three"
            again.close()

    def test_finds_identities(self, tree: Tree) -> None:
        entries = raw_entries(600)
        tree.apply(entries)
        wanted = [entry.identity for entry in entries[::2]] + [raw_entry("absent").identity]
        found = {entry.identity: index for index, entry in enumerate(entries) if index % 2 == 0}
        assert dict(tree.find_identities(wanted)) == found
        assert dict(tree.find_identities([])) == {}
        with pytest.raises(RequestError):
            tree.find_identities([b"short"])

    def test_keeps_the_checkpoint_of_each_batch(self, tree: Tree) -> None:
        tree.apply(raw_entries(3), note)
        assert tree.head().checkpoint == note(3, tree.head().root)
        tree.apply(raw_entries(2, start=3), note)
        assert tree.head().checkpoint == note(5, tree.head().root)

    def test_keeps_the_old_checkpoint_when_a_batch_brings_none(self, tree: Tree) -> None:
        tree.apply(raw_entries(3), note)
        old = tree.head().checkpoint
        tree.apply(raw_entries(2, start=3))
        assert tree.head().checkpoint == old
        assert tree.head().size == 5

    def test_takes_a_checkpoint_later_and_never_an_older_one(self, tree: Tree) -> None:
        tree.apply(raw_entries(5))
        tree.store_checkpoint(5, b"five")
        assert tree.head().checkpoint == b"five"
        for size in (4, 6):
            with pytest.raises(CheckpointError):
                tree.store_checkpoint(size, b"wrong")
        assert tree.head().checkpoint == b"five"

    def test_keeps_nothing_of_a_batch_whose_checkpoint_cannot_be_made(self, tree: Tree) -> None:
        def refuse(size: int, root: bytes) -> bytes:
            raise CheckpointError("no")

        tree.apply(raw_entries(3), note)
        before = tree.head()
        with pytest.raises(CheckpointError):
            tree.apply(raw_entries(5), refuse)
        assert tree.head() == before
        assert tree.apply(raw_entries(5)) == [Sequenced(index, index < 3) for index in range(5)]

    def test_is_the_same_when_opened_again(self, tree: Tree, tmp_path: Path) -> None:
        if not self.durable:
            return
        for size in (1, 255, 256, 257, 600):
            tree.apply(raw_entries(size), note)
            head = tree.head()
            tree.close()
            tree = self.open(tmp_path)
            assert tree.head() == head
            assert tree.read_packed(0, size) == [entry.packed for entry in raw_entries(size)]
        assert tree.head().root == mth([entry.leaf_data for entry in raw_entries(600)])
        tree.close()
