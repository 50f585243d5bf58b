"""Which tree holds a log: made once, remembered, never guessed."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from tests.log.support import raw_entries, sign
from tests.log.trillian.store.proxy import Failure, Proxy
from tests.log.trillian.store.support import open_trillian, store_config
from tests.log.trillian.support import Client
from tests.simkeys import ORIGIN

from touchplate.log.errors import CheckpointError, StorageFailedError
from touchplate.log.trillian.store.binding import FILE_NAME, bind_tree
from touchplate.log.trillian.store.config import read_credentials
from touchplate.log.trillian.store.remote import RemoteTrillian
from touchplate.proto.trillian.trillian_admin_api_pb2 import ListTreesRequest
from touchplate.proto.trillian.trillian_pb2 import TreeType


def ours(client: Client) -> list[int]:
    """The trees of logs that are kept there."""
    trees = client.admin.ListTrees(ListTreesRequest()).tree
    return [int(one.tree_id) for one in trees if one.display_name == "touchplate"]


def bind(folder: Path, address: str, configured: int = 0, *, has_past: bool = False) -> int:
    config = store_config(address)
    remote = RemoteTrillian(config, read_credentials(config))
    try:
        return bind_tree(remote, folder, ORIGIN, configured, has_past=has_past)
    finally:
        remote.close()


def test_a_tree_is_made_once_and_remembered(folder: Path, trillian: Client) -> None:
    tree_id = bind(folder, trillian.address)
    assert [bind(folder, trillian.address) for _ in range(2)] == [tree_id] * 2
    assert bind(folder, trillian.address, tree_id) == tree_id
    assert ours(trillian) == [tree_id]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["CreateTree", "InitLog", "ListTrees", "GetTree"])
def test_a_start_that_failed_on_the_way_leaves_no_second_tree(
    folder: Path, trillian: Client, proxy: Proxy, method: str, when: Failure
) -> None:
    proxy.fail(method, when)
    with pytest.raises(StorageFailedError):
        bind(folder, proxy.address)
    tree_id = bind(folder, proxy.address)
    assert ours(trillian) == [tree_id]
    assert trillian.root(tree_id).size == 0


def test_a_configured_tree_is_used_also_before_its_first_root(folder: Path, trillian: Client) -> None:
    tree_id = trillian.make(initialise=False)
    assert bind(folder, trillian.address, tree_id) == tree_id
    assert trillian.root(tree_id).size == 0
    assert bind(folder, trillian.address) == tree_id  # remembered


def test_another_tree_than_the_remembered_one_is_refused(folder: Path, trillian: Client) -> None:
    tree_id, other = bind(folder, trillian.address), trillian.make()
    with pytest.raises(CheckpointError, match=f"kept in tree {tree_id}"):
        bind(folder, trillian.address, other)


def test_a_preordered_tree_is_refused(folder: Path, trillian: Client) -> None:
    tree_id = trillian.make(TreeType.PREORDERED_LOG)
    with pytest.raises(CheckpointError, match="PREORDERED_LOG, not LOG"):
        bind(folder, trillian.address, tree_id)


def test_a_log_with_a_past_does_not_guess_its_tree(folder: Path, trillian: Client) -> None:
    tree = open_trillian(folder, trillian.address)
    tree.apply(raw_entries(3), sign)
    tree.close()
    (folder / FILE_NAME).unlink()
    with pytest.raises(CheckpointError, match="missing, so nothing says which tree"):
        open_trillian(folder, trillian.address)
    with pytest.raises(CheckpointError, match="missing"):
        bind(folder, trillian.address, has_past=True)
    assert bind(folder, trillian.address, tree.tree_id, has_past=True) == tree.tree_id
    assert ours(trillian) == [tree.tree_id]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be understood"),
        ("{}", "cannot be understood"),
        ('{"mark":"m","origin":"log.example.org","tree":"-1"}', "cannot be understood"),
        ('{"mark":"m","origin":"log.example.org","tree":7}', "cannot be understood"),
        ('{"mark":"m","origin":"other.example.org","tree":"7"}', "is of the log 'other.example.org'"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    folder: Path, trillian: Client, text: str, words: str
) -> None:
    (folder / FILE_NAME).write_text(text)
    with pytest.raises(CheckpointError, match=words):
        bind(folder, trillian.address)
    assert ours(trillian) == []


def test_a_tree_that_is_not_there_is_named(folder: Path, trillian: Client) -> None:
    with pytest.raises(CheckpointError, match="has no tree 77"):
        bind(folder, trillian.address, 77)


def test_nobody_at_the_address_is_said_at_once(folder: Path, proxy: Proxy) -> None:
    proxy.stop()
    with pytest.raises(StorageFailedError, match="UNAVAILABLE"):
        bind(folder, proxy.address)
    proxy.start()


def test_a_permission_that_lacks_names_the_setting(folder: Path, proxy: Proxy) -> None:
    proxy.fail("ListTrees", "before", grpc.StatusCode.PERMISSION_DENIED)
    with pytest.raises(StorageFailedError, match="token or certificate"):
        bind(folder, proxy.address)
