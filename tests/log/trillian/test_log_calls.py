"""Every call of TrillianLog against a real server, on both databases: answers and codes of Trillian 1.7."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from tests.log.trillian.support import Client, refused
from tests.reference import mth, path, proof

from touchplate.log.trillian.log_service import MAX_PAGE, MAX_SEQUENCED
from touchplate.log.trillian.roots import parse_log_root
from touchplate.proto.trillian.trillian_admin_api_pb2 import DeleteTreeRequest, UpdateTreeRequest
from touchplate.proto.trillian.trillian_log_api_pb2 import (
    AddSequencedLeavesRequest,
    GetConsistencyProofRequest,
    GetEntryAndProofRequest,
    GetInclusionProofByHashRequest,
    GetInclusionProofRequest,
    GetLatestSignedLogRootRequest,
    GetLeavesByRangeRequest,
    InitLogRequest,
    LogLeaf,
    QueueLeafRequest,
)
from touchplate.proto.trillian.trillian_pb2 import Tree, TreeState, TreeType
from touchplate.verify.rfc6962 import EMPTY_ROOT, leaf_hash

Code = grpc.StatusCode
OK, EXISTS, PRECONDITION, RANGE = 0, 6, 9, 11
VALUES = [b"leaf %d" % number for number in range(7)]


@pytest.fixture
def tree(client: Client) -> int:
    """A LOG of seven leaves."""
    number = client.make()
    for value in VALUES:
        assert client.queue(number, value, extra_data=b"about " + value).status.code == OK
    return number


def set_state(client: Client, tree: int, state: int) -> None:
    request = UpdateTreeRequest(tree=Tree(tree_id=tree, tree_state=state))  # type: ignore[arg-type]
    request.update_mask.paths.append("tree_state")
    client.admin.UpdateTree(request)


# --- writing ----------------------------------------------------------------------------------------------


def test_a_new_leaf_is_in_the_tree_when_it_is_answered(client: Client) -> None:
    tree = client.make()
    before = client.root(tree)
    assert (before.size, before.root) == (0, EMPTY_ROOT)
    queued = client.queue(tree, b"value", extra_data=b"extra", merkle_leaf_hash=bytes(32))
    assert queued.status.code == OK
    assert (queued.leaf.leaf_value, queued.leaf.extra_data) == (b"value", b"extra")
    assert queued.leaf.merkle_leaf_hash == queued.leaf.leaf_identity_hash == leaf_hash(b"value")
    after = client.root(tree)
    assert (after.size, after.root) == (1, leaf_hash(b"value"))
    assert after.nanos > before.nanos
    assert (after.revision, after.metadata) == (0, b"")


def test_a_duplicate_is_answered_with_the_leaf_that_was_there(client: Client) -> None:
    tree = client.make()
    client.queue(tree, b"first", extra_data=b"1", leaf_identity_hash=b"same")
    root = client.root(tree)
    again = client.queue(tree, b"second", extra_data=b"2", leaf_identity_hash=b"same")
    assert again.status.code == EXISTS
    assert (again.leaf.leaf_value, again.leaf.extra_data, again.leaf.leaf_index) == (b"first", b"1", 0)
    assert again.leaf.leaf_identity_hash == b"same"
    assert again.leaf.integrate_timestamp.ToNanoseconds() == root.nanos
    assert again.leaf.queue_timestamp.ToNanoseconds() <= root.nanos
    assert client.root(tree) == root


def test_equal_values_under_different_identities_are_two_leaves(client: Client) -> None:
    tree = client.make()
    for name in (b"a", b"b"):
        assert client.queue(tree, b"value", leaf_identity_hash=name).status.code == OK
    assert client.queue(tree, b"value").status.code == OK  # its identity is its hash: a third
    answer = client.log.GetInclusionProofByHash(
        GetInclusionProofByHashRequest(log_id=tree, leaf_hash=leaf_hash(b"value"), tree_size=3)
    )
    assert [one.leaf_index for one in answer.proof] == [0, 1, 2]
    for one in answer.proof:
        assert list(one.hashes) == path(one.leaf_index, [b"value"] * 3)


def test_a_leaf_hash_that_somebody_took_as_an_identity_is_not_found_as_a_hash(client: Client) -> None:
    tree = client.make()
    client.queue(tree, b"other", leaf_identity_hash=leaf_hash(b"value"))
    request = GetInclusionProofByHashRequest(log_id=tree, leaf_hash=leaf_hash(b"value"), tree_size=1)
    with refused(Code.NOT_FOUND):
        client.log.GetInclusionProofByHash(request)


@pytest.mark.parametrize(
    "leaf",
    [
        LogLeaf(),
        LogLeaf(leaf_value=b"v", leaf_index=-1),
        LogLeaf(leaf_value=bytes(65_536)),
        LogLeaf(leaf_value=b"v", extra_data=bytes(1024 * 1024 + 1)),
        LogLeaf(leaf_value=b"v", leaf_identity_hash=bytes(256)),
        None,
    ],
    ids=("empty", "negative index", "long value", "long extra data", "long identity", "none"),
)
def test_leaves_that_cannot_be_are_refused(client: Client, leaf: LogLeaf | None) -> None:
    tree = client.make()
    with refused(Code.INVALID_ARGUMENT):
        client.log.QueueLeaf(QueueLeafRequest(log_id=tree, leaf=leaf))
    assert client.root(tree).size == 0


def test_the_largest_leaf_comes_back_as_it_was(client: Client) -> None:
    tree = client.make()
    value, extra = bytes(65_535), bytes(1024 * 1024)
    assert client.queue(tree, value, extra_data=extra, leaf_identity_hash=bytes(255)).status.code == OK
    for number in range(5):
        client.queue(tree, b"%d" % number, extra_data=extra)
    answer = client.log.GetLeavesByRange(GetLeavesByRangeRequest(log_id=tree, start_index=0, count=6))
    assert 1 <= len(answer.leaves) < 6  # an answer fits into a message
    assert (answer.leaves[0].leaf_value, answer.leaves[0].extra_data) == (value, extra)


@pytest.mark.parametrize("state", [TreeState.DRAINING, TreeState.FROZEN])
def test_a_log_that_is_not_active_takes_no_leaves_and_goes_on_answering(client: Client, state: int) -> None:
    tree = client.make()
    client.queue(tree, b"a")
    set_state(client, tree, state)
    with refused(Code.PERMISSION_DENIED, TreeState.Name(state)):
        client.queue(tree, b"b")
    assert client.root(tree).size == 1
    set_state(client, tree, TreeState.ACTIVE)
    assert client.queue(tree, b"b").status.code == OK


def test_a_preordered_log_takes_leaves_where_they_say(client: Client) -> None:
    tree = client.make(TreeType.PREORDERED_LOG)
    assert [one.status.code for one in client.place(tree, 0, *VALUES[:3]).results] == [OK] * 3
    answer = client.place(tree, 1, *VALUES[1:5])
    assert [one.status.code for one in answer.results] == [EXISTS, EXISTS, OK, OK]
    assert client.root(tree).root == mth(VALUES[:5])
    assert [one.status.code for one in client.place(tree, 2, b"other", b"another").results] == [
        PRECONDITION,
        PRECONDITION,
    ]
    # Known at another index: that one is refused, and what follows it has a gap before it.
    assert [one.status.code for one in client.place(tree, 5, VALUES[0], b"new").results] == [
        PRECONDITION,
        RANGE,
    ]
    assert [one.status.code for one in client.place(tree, 9, b"far").results] == [RANGE]
    assert client.root(tree).size == 5


def test_a_preordered_log_refuses_what_does_not_follow_each_other(client: Client) -> None:
    tree = client.make(TreeType.PREORDERED_LOG)
    leaves = [LogLeaf(leaf_value=b"%d" % index, leaf_index=index) for index in (0, 2)]
    with refused(Code.FAILED_PRECONDITION, "leaves[1]"):
        client.log.AddSequencedLeaves(AddSequencedLeavesRequest(log_id=tree, leaves=leaves))
    with refused(Code.INVALID_ARGUMENT, "missing"):
        client.log.AddSequencedLeaves(AddSequencedLeavesRequest(log_id=tree))
    with refused(Code.INVALID_ARGUMENT, f"at most {MAX_SEQUENCED}"):
        client.place(tree, 0, *[b"%d" % index for index in range(MAX_SEQUENCED + 1)])
    with refused(Code.INVALID_ARGUMENT, "leaf_value"):
        client.place(tree, 0, b"a", b"")
    assert client.root(tree).size == 0


def test_a_preordered_log_is_drained_by_further_leaves_and_takes_none_when_frozen(client: Client) -> None:
    tree = client.make(TreeType.PREORDERED_LOG)
    set_state(client, tree, TreeState.DRAINING)
    assert client.place(tree, 0, b"a").results[0].status.code == OK
    set_state(client, tree, TreeState.FROZEN)
    with refused(Code.PERMISSION_DENIED, "FROZEN"):
        client.place(tree, 1, b"b")


def test_each_type_of_tree_has_its_own_way_in(client: Client) -> None:
    log, preordered = client.make(), client.make(TreeType.PREORDERED_LOG)
    with refused(Code.INVALID_ARGUMENT, "QueueLeaf"):
        client.place(log, 0, b"a")
    with refused(Code.INVALID_ARGUMENT, "AddSequencedLeaves"):
        client.queue(preordered, b"a")


def test_a_tree_is_initialised_once(client: Client) -> None:
    tree = client.make(initialise=False)
    with refused(Code.FAILED_PRECONDITION, "InitLog"):
        client.root(tree)
    with refused(Code.FAILED_PRECONDITION, "InitLog"):
        client.queue(tree, b"a")
    created = client.log.InitLog(InitLogRequest(log_id=tree)).created
    assert parse_log_root(created.log_root) == client.root(tree)
    with refused(Code.ALREADY_EXISTS):
        client.log.InitLog(InitLogRequest(log_id=tree))


# --- reading ----------------------------------------------------------------------------------------------


def test_every_index_is_proved_at_every_size(client: Client, tree: int) -> None:
    for size in range(1, len(VALUES) + 1):
        for index in range(size):
            request = GetInclusionProofRequest(log_id=tree, leaf_index=index, tree_size=size)
            answer = client.log.GetInclusionProof(request)
            assert list(answer.proof.hashes) == path(index, VALUES[:size])
            assert answer.proof.leaf_index == index
            assert parse_log_root(answer.signed_log_root.log_root).root == mth(VALUES)


def test_every_pair_of_sizes_is_proved_consistent(client: Client, tree: int) -> None:
    for second in range(1, len(VALUES) + 1):
        for first in range(1, second + 1):
            request = GetConsistencyProofRequest(log_id=tree, first_tree_size=first, second_tree_size=second)
            answer = client.log.GetConsistencyProof(request)
            assert answer.HasField("proof")
            assert list(answer.proof.hashes) == proof(first, VALUES[:second])


def test_a_size_beyond_the_tree_is_answered_with_its_root_and_no_proof(client: Client, tree: int) -> None:
    answers: list[Any] = [
        client.log.GetInclusionProof(GetInclusionProofRequest(log_id=tree, leaf_index=0, tree_size=8)),
        client.log.GetInclusionProof(GetInclusionProofRequest(log_id=tree, leaf_index=7, tree_size=8)),
        client.log.GetConsistencyProof(
            GetConsistencyProofRequest(log_id=tree, first_tree_size=3, second_tree_size=8)
        ),
        client.log.GetConsistencyProof(
            GetConsistencyProofRequest(log_id=tree, first_tree_size=2**62, second_tree_size=2**63 - 1)
        ),
    ]
    for answer in answers:
        assert not answer.HasField("proof")
        assert parse_log_root(answer.signed_log_root.log_root).size == 7


def test_an_entry_comes_with_its_proof_at_the_size_that_there_is(client: Client, tree: int) -> None:
    for size, proved in ((4, 4), (7, 7), (100, 7)):
        answer = client.log.GetEntryAndProof(
            GetEntryAndProofRequest(log_id=tree, leaf_index=3, tree_size=size)
        )
        assert answer.leaf.leaf_value == VALUES[3]
        assert answer.leaf.extra_data == b"about " + VALUES[3]
        assert list(answer.proof.hashes) == path(3, VALUES[:proved])
    answer = client.log.GetEntryAndProof(GetEntryAndProofRequest(log_id=tree, leaf_index=7, tree_size=8))
    assert not answer.HasField("leaf")
    assert not answer.HasField("proof")
    assert parse_log_root(answer.signed_log_root.log_root).size == 7


def test_the_latest_root_comes_with_a_proof_when_asked(client: Client, tree: int) -> None:
    for first in (1, 3, 7):
        answer = client.log.GetLatestSignedLogRoot(
            GetLatestSignedLogRootRequest(log_id=tree, first_tree_size=first)
        )
        assert answer.HasField("proof")
        assert list(answer.proof.hashes) == proof(first, VALUES)
    assert not client.log.GetLatestSignedLogRoot(GetLatestSignedLogRootRequest(log_id=tree)).HasField("proof")


def test_a_range_ends_where_the_tree_does(client: Client, tree: int) -> None:
    for start, count, expected in ((0, 3, VALUES[:3]), (5, 10, VALUES[5:]), (7, 1, []), (2**62, 2**62, [])):
        answer = client.log.GetLeavesByRange(
            GetLeavesByRangeRequest(log_id=tree, start_index=start, count=count)
        )
        assert [leaf.leaf_value for leaf in answer.leaves] == expected
        assert [leaf.leaf_index for leaf in answer.leaves] == list(range(start, start + len(expected)))
        assert [leaf.extra_data for leaf in answer.leaves] == [b"about " + value for value in expected]
        assert parse_log_root(answer.signed_log_root.log_root).size == 7


def test_a_range_has_a_page_of_leaves_at_most(client: Client) -> None:
    tree = client.make(TreeType.PREORDERED_LOG)
    client.place(tree, 0, *[b"%d" % number for number in range(MAX_PAGE + 5)])
    answer = client.log.GetLeavesByRange(GetLeavesByRangeRequest(log_id=tree, start_index=1, count=2**40))
    assert len(answer.leaves) == MAX_PAGE


def test_leaves_are_found_by_hash_below_the_size_only(client: Client, tree: int) -> None:
    for index, value in enumerate(VALUES):
        for size in range(1, 8):
            request = GetInclusionProofByHashRequest(
                log_id=tree, leaf_hash=leaf_hash(value), tree_size=size, order_by_sequence=True
            )
            if index >= size:
                with refused(Code.NOT_FOUND):
                    client.log.GetInclusionProofByHash(request)
                continue
            (one,) = client.log.GetInclusionProofByHash(request).proof
            assert (one.leaf_index, list(one.hashes)) == (index, path(index, VALUES[:size]))


WRONG: list[tuple[str, Callable[[int], Any]]] = [
    ("GetInclusionProof", lambda tree: GetInclusionProofRequest(log_id=tree, leaf_index=0, tree_size=0)),
    ("GetInclusionProof", lambda tree: GetInclusionProofRequest(log_id=tree, leaf_index=0, tree_size=-1)),
    ("GetInclusionProof", lambda tree: GetInclusionProofRequest(log_id=tree, leaf_index=-1, tree_size=1)),
    ("GetInclusionProof", lambda tree: GetInclusionProofRequest(log_id=tree, leaf_index=7, tree_size=7)),
    (
        "GetInclusionProofByHash",
        lambda tree: GetInclusionProofByHashRequest(log_id=tree, leaf_hash=bytes(32), tree_size=0),
    ),
    (
        "GetInclusionProofByHash",
        lambda tree: GetInclusionProofByHashRequest(log_id=tree, leaf_hash=bytes(32), tree_size=-5),
    ),
    (
        "GetInclusionProofByHash",
        lambda tree: GetInclusionProofByHashRequest(log_id=tree, leaf_hash=bytes(31), tree_size=1),
    ),
    ("GetInclusionProofByHash", lambda tree: GetInclusionProofByHashRequest(log_id=tree, tree_size=1)),
    *[
        (
            "GetConsistencyProof",
            lambda tree, first=first, second=second: GetConsistencyProofRequest(
                log_id=tree, first_tree_size=first, second_tree_size=second
            ),
        )
        for first, second in ((0, 0), (0, 5), (-1, 5), (5, 0), (1, -1), (5, 4))
    ],
    ("GetLatestSignedLogRoot", lambda tree: GetLatestSignedLogRootRequest(log_id=tree, first_tree_size=-1)),
    ("GetLatestSignedLogRoot", lambda tree: GetLatestSignedLogRootRequest(log_id=tree, first_tree_size=8)),
    ("GetEntryAndProof", lambda tree: GetEntryAndProofRequest(log_id=tree, leaf_index=0, tree_size=0)),
    ("GetEntryAndProof", lambda tree: GetEntryAndProofRequest(log_id=tree, leaf_index=-1, tree_size=3)),
    ("GetEntryAndProof", lambda tree: GetEntryAndProofRequest(log_id=tree, leaf_index=3, tree_size=3)),
    ("GetLeavesByRange", lambda tree: GetLeavesByRangeRequest(log_id=tree, start_index=-1, count=1)),
    ("GetLeavesByRange", lambda tree: GetLeavesByRangeRequest(log_id=tree, start_index=0, count=0)),
    ("GetLeavesByRange", lambda tree: GetLeavesByRangeRequest(log_id=tree, start_index=0, count=-1)),
]


def test_arguments_that_cannot_be_are_refused(client: Client, tree: int) -> None:
    for name, make in WRONG:
        with refused(Code.INVALID_ARGUMENT):
            getattr(client.log, name)(make(tree))


def test_an_empty_log_proves_nothing(client: Client) -> None:
    tree = client.make()
    with refused(Code.INVALID_ARGUMENT):
        client.log.GetLatestSignedLogRoot(GetLatestSignedLogRootRequest(log_id=tree, first_tree_size=1))
    with refused(Code.NOT_FOUND):
        client.log.GetInclusionProofByHash(
            GetInclusionProofByHashRequest(log_id=tree, leaf_hash=bytes(32), tree_size=1)
        )


RIGHT: list[tuple[str, Callable[[int], Any]]] = [
    ("QueueLeaf", lambda tree: QueueLeafRequest(log_id=tree, leaf=LogLeaf(leaf_value=b"a"))),
    (
        "AddSequencedLeaves",
        lambda tree: AddSequencedLeavesRequest(log_id=tree, leaves=[LogLeaf(leaf_value=b"a")]),
    ),
    ("InitLog", lambda tree: InitLogRequest(log_id=tree)),
    ("GetInclusionProof", lambda tree: GetInclusionProofRequest(log_id=tree, leaf_index=0, tree_size=1)),
    (
        "GetInclusionProofByHash",
        lambda tree: GetInclusionProofByHashRequest(log_id=tree, leaf_hash=bytes(32), tree_size=1),
    ),
    (
        "GetConsistencyProof",
        lambda tree: GetConsistencyProofRequest(log_id=tree, first_tree_size=1, second_tree_size=2),
    ),
    ("GetLatestSignedLogRoot", lambda tree: GetLatestSignedLogRootRequest(log_id=tree)),
    ("GetEntryAndProof", lambda tree: GetEntryAndProofRequest(log_id=tree, leaf_index=0, tree_size=1)),
    ("GetLeavesByRange", lambda tree: GetLeavesByRangeRequest(log_id=tree, count=1)),
]


def test_no_call_finds_a_tree_that_is_unknown_or_deleted(client: Client, tree: int) -> None:
    client.admin.DeleteTree(DeleteTreeRequest(tree_id=tree))
    for number in (tree, tree ^ 1, 0, -1, 2**63 - 1, -(2**63)):
        for name, make in RIGHT:
            with refused(Code.NOT_FOUND):
                getattr(client.log, name)(make(number))
