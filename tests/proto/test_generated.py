"""The committed code is what its sources give, and speaks the protocol's numbers."""

from pathlib import Path

from google.protobuf.message import Message
from tests.proto.generate import SOURCES, generate, sources

from touchplate.proto.abci import abci_pb2 as abci
from touchplate.proto.trillian import trillian_admin_api_pb2 as admin
from touchplate.proto.trillian import trillian_log_api_pb2 as log
from touchplate.proto.trillian import trillian_pb2 as trillian


def test_committed_code_is_what_the_generator_makes(tmp_path: Path) -> None:
    generate(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.py*"))
    assert len(made) == 2 * len(sources()) + 2  # messages and stubs of each; two have a service
    assert [
        str(name) for name in made if (SOURCES / name).read_bytes() != (tmp_path / name).read_bytes()
    ] == []


def test_every_answer_has_the_number_of_its_request_plus_one() -> None:
    requests, responses = abci.Request.DESCRIPTOR, abci.Response.DESCRIPTOR
    numbers = {field.name: field.number for field in responses.fields}
    assert numbers.pop("exception") == 1
    assert numbers == {field.name: field.number + 1 for field in requests.fields}


def test_a_block_is_read_from_the_bytes_of_the_protocol() -> None:
    # Field 20 (finalize_block): txs 1 twice, misbehavior 3 {type 1, validator 2 {address, power}}, height 5.
    validator = bytes.fromhex("0a02abcd1804")
    misbehavior = b"\x08\x01\x12" + bytes([len(validator)]) + validator
    block = b"\x0a\x01a\x0a\x01b\x1a" + bytes([len(misbehavior)]) + misbehavior + b"\x28\x07"
    request = abci.Request.FromString(b"\xa2\x01" + bytes([len(block)]) + block)
    assert request.WhichOneof("value") == "finalize_block"
    assert list(request.finalize_block.txs) == [b"a", b"b"]
    assert request.finalize_block.height == 7
    assert request.finalize_block.misbehavior[0].validator.address == b"\xab\xcd"


def test_a_queued_leaf_is_written_as_the_bytes_of_trillian() -> None:
    # Field 2 (queued_leaf): 1 leaf {2 value, 4 index}, 2 status {1 code 6, 2 message}.
    leaf = log.LogLeaf(leaf_value=b"v", leaf_index=9, leaf_identity_hash=b"i")
    queued = log.QueuedLogLeaf(leaf=leaf)
    queued.status.code, queued.status.message = 6, "m"
    assert log.QueueLeafResponse(queued_leaf=queued).SerializeToString() == (
        b"\x12\x11" + b"\x0a\x08" + b"\x12\x01v\x20\x09\x2a\x01i" + b"\x12\x05\x08\x06\x12\x01m"
    )


def test_calls_have_the_names_that_travel() -> None:
    services = (
        log.DESCRIPTOR.services_by_name["TrillianLog"],
        admin.DESCRIPTOR.services_by_name["TrillianAdmin"],
    )
    assert [service.full_name for service in services] == ["trillian.TrillianLog", "trillian.TrillianAdmin"]
    assert sum(len(service.methods) for service in services) == 9 + 6


def test_trees_and_requests_have_the_numbers_of_trillian() -> None:
    """Against the table of the protocol, written down apart from the sources."""
    expected: dict[type[Message], str] = {
        trillian.Tree: "tree_id=1 tree_state=2 tree_type=3 display_name=8 description=9 storage_settings=13 "
        "max_root_duration=15 create_time=16 update_time=17 deleted=19 delete_time=20",
        trillian.SignedLogRoot: "log_root=8",
        trillian.Proof: "leaf_index=1 hashes=3",
        log.QueueLeafRequest: "log_id=1 leaf=2 charge_to=3",
        log.GetInclusionProofByHashRequest: "log_id=1 leaf_hash=2 tree_size=3 order_by_sequence=4 "
        "charge_to=5",
        log.GetLatestSignedLogRootRequest: "log_id=1 charge_to=2 first_tree_size=3",
        log.GetLatestSignedLogRootResponse: "signed_log_root=2 proof=3",
        log.GetEntryAndProofResponse: "proof=2 leaf=3 signed_log_root=4",
        log.InitLogRequest: "log_id=1 charge_to=2",
        log.GetLeavesByRangeRequest: "log_id=1 start_index=2 count=3 charge_to=4",
        log.GetLeavesByRangeResponse: "leaves=1 signed_log_root=2",
        log.AddSequencedLeavesRequest: "log_id=1 leaves=2 charge_to=4",
    }
    for message, fields in expected.items():
        assert " ".join(f"{field.name}={field.number}" for field in message.DESCRIPTOR.fields) == fields
    assert trillian.TreeState.items()[-1] == ("DRAINING", 5)
    assert trillian.TreeType.Value("PREORDERED_LOG") == 3
