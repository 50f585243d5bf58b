"""What becomes of a raw tree: frozen, deleted, written by others, restarted, of the wrong key."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.log.face import batch
from tests.log.frontends.support import until
from tests.log.raw.support import (
    RAW_ORIGIN,
    SIGNER,
    log_config,
    make_tree,
    policy,
    raw_config,
    raw_trees,
    running,
    write_key,
)
from tests.log.raw.test_add import RawClient, size_of
from tests.log.test_http import problem
from tests.log.trillian.support import connected
from tests.postgres_fixtures import database, postgres
from tests.simkeys import ORIGIN, note_signer

from touchplate.base.errors import ConfigError
from touchplate.base.sql import sqlite_engine
from touchplate.log.errors import CheckpointError
from touchplate.log.raw.config import check_together
from touchplate.log.service import LogService, open_log
from touchplate.log.storage.registry import Registry
from touchplate.log.storage.sql import SQLTree
from touchplate.proto.trillian.trillian_admin_api_pb2 import DeleteTreeRequest
from touchplate.proto.trillian.trillian_pb2 import TreeType
from touchplate.verify.checkpoints import Checkpoint, open_checkpoint
from touchplate.verify.encoding import decode_base64
from touchplate.verify.proofs import check_consistency
from touchplate.verify.rfc6962 import leaf_hash

__all__ = ["database", "postgres"]


def head(client: RawClient) -> Checkpoint:
    return open_checkpoint(client.get("checkpoint").content, policy())


def tree_of(folder: Path) -> int:
    return int((folder / "tree").read_text())


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest) -> str:
    return "sqlite" if request.param == "sqlite" else request.getfixturevalue("database")


# --- states -----------------------------------------------------------------------------------------------


def test_a_frozen_tree_answers_for_what_is_in_it(tmp_path: Path, storage: str) -> None:
    with running(tmp_path, storage) as service:
        client = RawClient(service)
        client.add(b"there")
        trees = raw_trees(tmp_path / "data", storage)
        trees.freeze(tree_of(tmp_path))
        # From the moment it is frozen no batch is taken, whatever this process knows.
        assert problem(client.add(b"new")) == (403, "closed")
        until(lambda: client.add(b"there").status_code == 200)
        assert client.add(b"there").text == "0"
        results = client("POST", "add-batch", content=batch(b"there", b"new")).json()["results"]
        assert results[0] == {"index": "0", "duplicate": True}
        assert results[1]["error"]["reason"] == "closed"
        assert (head(client).size, client.get("entry/0").status_code) == (1, 200)
        trees.freeze(tree_of(tmp_path), undo=True)
        until(lambda: client.add(b"new").status_code == 200)
        assert size_of(service) == 2
        trees.engine.dispose()
        client.close()


def test_a_deleted_tree_is_not_there_until_it_is_undeleted(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        client = RawClient(service)
        client.add(b"leaf")
        trees = raw_trees(tmp_path / "data")
        trees.delete(tree_of(tmp_path))
        assert problem(client.add(b"new")) == (404, "not-found")
        paths = ("checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1", "entry/0", "proof/tlog?index=0")
        until(lambda: client.get("checkpoint").status_code == 404)
        for path in paths:
            assert problem(client.get(path)) == (404, "not-found")
        trees.delete(tree_of(tmp_path), undo=True)
        until(lambda: client.get("checkpoint").status_code == 200)
        assert client.add(b"new").text == "1"
        trees.engine.dispose()
        client.close()


def test_a_log_starts_with_a_tree_that_was_deleted(tmp_path: Path) -> None:
    with running(tmp_path):
        pass
    trees = raw_trees(tmp_path / "data")
    trees.delete(tree_of(tmp_path))
    trees.engine.dispose()
    with running(tmp_path) as service:
        client = RawClient(service)
        assert problem(client.get("checkpoint")) == (404, "not-found")
        client.close()


def test_leaves_whose_writer_gives_the_indexes_do_not_come_this_way(tmp_path: Path) -> None:
    with running(tmp_path / "other", grpc=True) as service, connected(service) as personality:
        tree = personality.make(TreeType.PREORDERED_LOG)
    shutil.copytree(tmp_path / "other" / "data", tmp_path / "data")
    (tmp_path / "tree").write_text(str(tree))
    with running(tmp_path, grpc=True) as service, connected(service) as personality:
        client = RawClient(service)
        assert problem(client.add(b"leaf")) == (400, "bad-request")
        assert problem(client("POST", "add-batch", content=batch(b"leaf"))) == (400, "bad-request")
        personality.place(tree, 0, b"a", b"b")
        assert head(client).size == 2
        client.close()


# --- others write it, too ---------------------------------------------------------------------------------


def test_leaves_of_trillians_clients_are_signed_at_once(tmp_path: Path, storage: str) -> None:
    with running(tmp_path, storage, grpc=True) as service, connected(service) as personality:
        client, tree = RawClient(service), tree_of(tmp_path)
        assert client.add(b"over HTTP").text == "0"
        assert personality.queue(tree, b"by gRPC", extra_data=b"more").leaf.leaf_index == 1
        assert head(client).size == 2
        assert personality.root(tree).root == head(client).root
        # Each finds what the other wrote.
        assert client.add(b"by gRPC").headers["touchplate-duplicate"] == "true"
        assert personality.queue(tree, b"over HTTP").status.code == 6
        assert decode_base64(client.get("entry/1").json()["extra"], "extra") == b"more"
        assert client.add(b"again over HTTP").text == "2"
        assert personality.root(tree).size == 3
        personality.admin.DeleteTree(DeleteTreeRequest(tree_id=tree))
        until(lambda: client.get("checkpoint").status_code == 404)
        client.close()


def test_a_leaf_is_no_duplicate_of_other_bytes_that_bear_its_hash_as_identity(
    tmp_path: Path, storage: str
) -> None:
    with running(tmp_path, storage, grpc=True) as service, connected(service) as personality:
        client, tree = RawClient(service), tree_of(tmp_path)
        wanted = leaf_hash(b"wanted")
        assert personality.queue(tree, b"other", leaf_identity_hash=wanted).leaf.leaf_index == 0
        # An index would be a receipt for bytes that are not in the tree.
        assert problem(client.add(b"wanted")) == (409, "identity-taken")
        results = client("POST", "add-batch", content=batch(b"new", b"wanted", b"new")).json()["results"]
        assert [one.get("index") for one in results] == ["1", None, "1"]
        assert results[1]["error"]["reason"] == "identity-taken"
        # Under another identity it gets in, and from then on is told where.
        assert personality.queue(tree, b"wanted", leaf_identity_hash=bytes(32)).leaf.leaf_index == 2
        again = client.add(b"wanted")
        assert (again.text, again.headers["touchplate-duplicate"]) == ("2", "true")
        assert client.get(f"lookup/{wanted.hex()}").json()["index"] == "2"
        trees = raw_trees(tmp_path / "data", storage)
        trees.freeze(tree)
        until(lambda: problem(client.add(b"unknown")) == (403, "closed"))
        until(lambda: client.add(b"wanted").text == "2")
        trees.engine.dispose()
        client.close()


def test_leaves_of_a_process_without_the_key_are_signed_soon(tmp_path: Path, database: str) -> None:
    tree = make_tree(tmp_path / "data", database)
    (tmp_path / "tree").write_text(str(tree))
    bare = replace(log_config(tmp_path / "bare", storage=database, grpc=True), raw=())
    with ExitStack() as stack:
        other = open_log(bare, tmp_path / "bare" / "data")
        stack.callback(other.stop)
        other.start()
        personality = stack.enter_context(connected(other))
        client = RawClient(stack.enter_context(running(tmp_path, database)))
        stack.callback(client.close)
        personality.queue(tree, b"unsigned")
        until(lambda: head(client).size == 1)
        assert client.add(b"signed").text == "1"
        assert head(client).size == 2
        assert client.add(b"unsigned").text == "0"


@pytest.fixture
def pair(tmp_path: Path, database: str) -> Iterator[list[RawClient]]:
    """Two frontends of one raw tree."""
    tree = str(make_tree(tmp_path, database))
    with ExitStack() as stack:
        clients = []
        for name in "ab":
            (tmp_path / name).mkdir()
            (tmp_path / name / "tree").write_text(tree)
            clients.append(RawClient(stack.enter_context(running(tmp_path / name, database))))
            stack.callback(clients[-1].close)
        yield clients


def test_frontends_that_start_at_once_share_the_first_root(tmp_path: Path, database: str) -> None:
    trees = raw_trees(tmp_path, database)
    made = trees.create().fields
    # As CreateTree without InitLog leaves it.
    bare = Registry(trees.engine).add(replace(made, public_id=made.public_id - 1))
    trees.engine.dispose()
    with ExitStack() as stack:
        services = []
        for name in "ab":
            raw = raw_config(tmp_path / name, bare.fields.public_id)
            services.append(open_log(log_config(tmp_path / name, raw, storage=database), tmp_path / name))
            stack.callback(services[-1].stop)
        # Neither knows what the other has done since it was opened: made the root, then taken a leaf.
        services[0].start()
        first = RawClient(services[0])
        assert first.add(b"leaf").text == "0"
        services[1].start()
        second = RawClient(services[1])
        assert second.add(b"leaf").text == "0"
        assert second.add(b"more").text == "1"
        assert (head(second).size, head(first).origin) == (2, RAW_ORIGIN)
        until(lambda: head(first).root == head(second).root)
        first.close()
        second.close()


def test_two_frontends_write_one_tree_and_sign_one_history(pair: list[RawClient]) -> None:
    heads: list[Checkpoint] = []
    for number in range(10):
        one, other = pair if number % 2 else reversed(pair)
        assert one.add(b"leaf %d" % number).text == str(number)
        assert other.add(b"leaf %d" % number).headers["touchplate-duplicate"] == "true"
        heads.append(head(one))
    assert [each.size for each in heads] == list(range(1, 11))
    for old, new in itertools.pairwise(heads):
        proof = pair[0].get(f"proof/consistency?old={old.size}&new={new.size}").json()["proof"]
        check_consistency(old, new, [decode_base64(one, "hash") for one in proof])
    until(lambda: head(pair[0]).root == head(pair[1]).root)


# --- starting again ---------------------------------------------------------------------------------------


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        client = RawClient(service)
        client.add(b"leaf")
        before = client.get("checkpoint").content
        client.close()
    with running(tmp_path) as service:
        client = RawClient(service)
        assert client.get("checkpoint").content == before
        assert client.add(b"leaf").text == "0"
        assert client.add(b"more").text == "1"
        client.close()


def test_an_older_copy_of_the_database_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        client = RawClient(service)
        client.add(b"leaf")
        client.close()
    shutil.copy(tmp_path / "data" / "log.sqlite", tmp_path / "older.sqlite")
    with running(tmp_path) as service:
        client = RawClient(service)
        client.add(b"more")
        client.close()
    shutil.copy(tmp_path / "older.sqlite", tmp_path / "data" / "log.sqlite")
    with pytest.raises(CheckpointError, match="older copy"), running(tmp_path):
        pass


def test_another_key_is_refused(tmp_path: Path) -> None:
    with running(tmp_path):
        pass
    other = note_signer(RAW_ORIGIN, "log", "another")
    with (
        pytest.raises(CheckpointError, match="not signed by the configured key"),
        running(tmp_path, key=write_key(tmp_path / "other", other)),
    ):
        pass
    stranger = note_signer("stranger.example.org", "log")
    with (
        pytest.raises(CheckpointError, match="not a log key of the origin"),
        running(tmp_path, key=write_key(tmp_path / "other", stranger)),
    ):
        pass
    with running(tmp_path, key=write_key(tmp_path / "same", SIGNER)):
        pass


def test_a_tree_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    config = log_config(tmp_path, raw_config(tmp_path / "settings", 123))
    with pytest.raises(ConfigError, match="no tree 123; make one with `touchplate log tree create`"):
        open_log(config, tmp_path / "data")
    # Nothing is left locked.
    LogService(replace(config, raw=()), tmp_path / "data").stop()


def test_the_log_of_attestations_is_no_raw_tree(tmp_path: Path) -> None:
    with running(tmp_path, grpc=True) as service:
        assert isinstance(service.tree, SQLTree)
        tree = service.tree.tree_id
    engine = sqlite_engine(tmp_path / "data" / "log.sqlite")
    assert Registry(engine).find(tree).kind == "attestations"
    engine.dispose()
    config = log_config(tmp_path, raw_config(tmp_path / "settings", tree))
    with pytest.raises(ConfigError, match="is a log of attestations"):
        open_log(config, tmp_path / "data")


def test_tables_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    one = raw_config(tmp_path, 7)
    assert check_together([one], ORIGIN) == []
    same_tree = check_together([one, replace(one, origin="other.example.org")], ORIGIN)
    assert same_tree == ["raw[1].tree: 7 is served under two origins; it has one key"]
    assert "another log's" in check_together([one, replace(one, tree=8)], ORIGIN)[0]
    assert "another log's" in check_together([replace(one, origin=ORIGIN)], ORIGIN)[0]
    peers = replace(log_config(tmp_path, one), mode="peers").check()
    assert any(each.startswith("raw: peers do not share such trees") for each in peers)
    assert "needs at least one" in replace(one, write="tokens").check()[0]
    assert "say nothing" in replace(one, tokens=(one.key,)).check()[0]
    assert "bare lower-case host name" in replace(one, origin="a/b").check()[0]
