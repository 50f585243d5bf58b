"""The committed code is what its sources give, and speaks the protocol's numbers."""

from pathlib import Path

from tests.proto.generate import SOURCES, generate, sources

from touchplate.proto.abci import abci_pb2 as abci


def test_committed_code_is_what_the_generator_makes(tmp_path: Path) -> None:
    generate(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2.py*"))
    assert len(made) == 2 * len(sources())
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
