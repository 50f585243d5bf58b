"""Never two heads of one size, never back, across restarts."""

from pathlib import Path

import pytest
from tests.simkeys import ORIGIN

from touchplate.base.errors import StorageError
from touchplate.log.errors import CheckpointError
from touchplate.log.guard import FILE_NAME, SigningGuard

A, B = b"a" * 32, b"b" * 32


def never(size: int) -> bytes:
    raise AssertionError("the tree need not be asked")


def test_permits_growing_heads_and_the_same_head_again(tmp_path: Path) -> None:
    guard = SigningGuard(tmp_path, ORIGIN)
    assert guard.size == -1
    for size in (0, 3, 3, 7):
        guard.permit(size, A, never)
    assert guard.size == 7


def test_refuses_another_head_of_one_size_and_any_smaller_one(tmp_path: Path) -> None:
    guard = SigningGuard(tmp_path, ORIGIN)
    guard.permit(3, A, never)
    with pytest.raises(CheckpointError, match="another head of 3"):
        guard.permit(3, B, never)
    with pytest.raises(CheckpointError) as caught:
        guard.permit(2, A, never)
    assert caught.value.reason == "behind"


def test_remembers_across_restarts(tmp_path: Path) -> None:
    SigningGuard(tmp_path, ORIGIN).permit(3, A, never)
    guard = SigningGuard(tmp_path, ORIGIN)
    assert guard.size == 3
    with pytest.raises(CheckpointError):
        guard.permit(3, B, lambda size: A)
    with pytest.raises(CheckpointError):
        guard.permit(2, A, lambda size: A)
    guard.permit(5, B, lambda size: A)


def test_a_tree_that_does_not_contain_the_signed_head_is_never_signed_again(tmp_path: Path) -> None:
    SigningGuard(tmp_path, ORIGIN).permit(3, A, never)
    guard = SigningGuard(tmp_path, ORIGIN)
    for size in (5, 6, 5):
        with pytest.raises(CheckpointError, match="as evidence"):
            guard.permit(size, B, lambda asked: B)
    assert SigningGuard(tmp_path, ORIGIN).size == 3


def test_asks_the_tree_for_the_size_it_signed_and_only_once(tmp_path: Path) -> None:
    SigningGuard(tmp_path, ORIGIN).permit(3, A, never)
    guard = SigningGuard(tmp_path, ORIGIN)
    asked: list[int] = []

    def root_at(size: int) -> bytes:
        asked.append(size)
        return A

    guard.permit(5, B, root_at)
    guard.permit(8, A, root_at)
    assert asked == [3]


def test_nothing_is_permitted_that_could_not_be_remembered(tmp_path: Path) -> None:
    folder = tmp_path / "guard"
    guard = SigningGuard(folder, ORIGIN)
    guard.permit(1, A, never)
    (folder / FILE_NAME).unlink()
    folder.rmdir()
    with pytest.raises(StorageError):
        guard.permit(2, B, never)
    folder.mkdir()
    guard.permit(2, A, never)  # it was not permitted, so it was not signed: another root is no contradiction


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"origin":"log.example.org","root":"YQ==","size":"-1"}',
        '{"origin":"other.example.org","root":"YQ==","size":"1"}',
        "x" * 9000,
    ],
)
def test_a_memory_that_cannot_be_read_stops_the_peer(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(CheckpointError):
        SigningGuard(tmp_path, ORIGIN)
