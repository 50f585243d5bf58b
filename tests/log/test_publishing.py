"""Checkpoints: one key, one origin, never back."""

from pathlib import Path

import pytest
from tests.log.memory import MemoryTree
from tests.log.support import open_sqlite, raw_entries, running_log, sign, write_settings
from tests.simkeys import ORIGIN, log_signer, note_signer, solo_policy, witness_signer

from touchplate.log.errors import CheckpointError, StorageFailedError
from touchplate.log.keys import LogKeys
from touchplate.log.publishing import Publisher
from touchplate.log.service import LogService
from touchplate.verify.checkpoints import open_checkpoint, sign_checkpoint


def opened(tree: MemoryTree) -> tuple[int, bytes]:
    note = tree.head().checkpoint
    assert note is not None
    checkpoint = open_checkpoint(note, solo_policy())
    return checkpoint.size, checkpoint.root


def test_signs_the_empty_tree_when_a_log_is_born() -> None:
    tree = MemoryTree()
    Publisher(tree, LogKeys(log_signer()), ORIGIN).start()
    assert opened(tree) == (0, tree.head().root)


def test_signs_the_head_of_each_batch_in_its_transaction() -> None:
    tree = MemoryTree()
    publisher = Publisher(tree, LogKeys(log_signer()), ORIGIN)
    for start in (0, 5):
        tree.apply(raw_entries(5, start), publisher.sign)
        assert opened(tree) == (start + 5, tree.head().root)


def test_catches_up_at_start_with_a_head_that_was_never_signed() -> None:
    tree = MemoryTree()
    tree.apply(raw_entries(3), sign)
    tree.apply(raw_entries(3, start=3))
    assert opened(tree)[0] == 3
    Publisher(tree, LogKeys(log_signer()), ORIGIN).start()
    assert opened(tree) == (6, tree.head().root)


def test_does_not_sign_again_what_is_signed() -> None:
    tree = MemoryTree()
    tree.apply(raw_entries(3), sign)
    note = tree.head().checkpoint
    tree.fail = "before"  # the next write would fail
    Publisher(tree, LogKeys(log_signer()), ORIGIN).start()
    assert tree.head().checkpoint is note


def test_refuses_to_sign_backwards_or_sideways() -> None:
    tree = MemoryTree()
    publisher = Publisher(tree, LogKeys(log_signer()), ORIGIN)
    tree.apply(raw_entries(5), publisher.sign)
    for size, root in ((4, b"r" * 32), (5, b"r" * 32)):
        with pytest.raises(CheckpointError, match="refusing to sign"):
            publisher.sign(size, root)


def test_reports_a_checkpoint_that_could_not_be_stored() -> None:
    tree = MemoryTree()
    tree.fail = "before"
    with pytest.raises(StorageFailedError):
        Publisher(tree, LogKeys(log_signer()), ORIGIN).start()


def test_refuses_a_key_that_is_not_the_origins() -> None:
    for signer in (note_signer("other.example.org", "log"), witness_signer(ORIGIN)):
        with pytest.raises(CheckpointError, match="not a log key"):
            Publisher(MemoryTree(), LogKeys(signer), ORIGIN)


def test_refuses_a_tree_signed_by_another_key() -> None:
    tree = MemoryTree()
    tree.apply(raw_entries(1), sign)
    with pytest.raises(CheckpointError, match="not signed by the configured key"):
        Publisher(tree, LogKeys(log_signer("another")), ORIGIN)


def test_refuses_a_stored_checkpoint_that_contradicts_the_head() -> None:
    tree = MemoryTree()
    tree.apply(raw_entries(2), lambda size, root: sign_checkpoint(ORIGIN, size, b"r" * 32, log_signer()))
    with pytest.raises(CheckpointError, match="contradicts"):
        Publisher(tree, LogKeys(log_signer()), ORIGIN)


def test_service_refuses_to_start_with_another_key_and_serves_on_with_the_right_one(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        first = service.checkpoint()
    other = write_settings(tmp_path / "other", signer=log_signer("another"))
    with pytest.raises(CheckpointError):
        LogService(other, tmp_path / "data")
    with running_log(tmp_path) as service:
        assert service.checkpoint() == first


def test_database_refuses_a_second_writer_that_moved_the_head(tmp_path: Path) -> None:
    one, two = open_sqlite(tmp_path), open_sqlite(tmp_path)
    one.apply(raw_entries(3), sign)
    with pytest.raises(StorageFailedError, match="another process"):
        two.apply(raw_entries(2, start=10), sign)
    # It read the head back, and goes on from there.
    assert two.apply(raw_entries(2, start=10), sign)[0].index == 3
    one.close()
    two.close()
