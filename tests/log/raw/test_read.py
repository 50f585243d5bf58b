"""A raw tree as readers see it: tiles, bundles, proofs, entries, caching."""

import gzip
from collections.abc import Iterator

import pytest
from tests.log.face import FaceSource, batch
from tests.log.raw.support import KEY, RAW_ORIGIN, policy, running
from tests.log.raw.test_add import RawClient
from tests.log.test_http import problem

from touchplate.log.fsck import check_log, unverified_body
from touchplate.log.http.answers import IMMUTABLE, SHORT
from touchplate.log.served import ServedLog
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.encoding import decode_base64
from touchplate.verify.proofs import check_inclusion, is_prefix, root_of
from touchplate.verify.rfc6962 import leaf_hash
from touchplate.verify.tiles import Tile, TileReader, parse_entry_bundle, tile_path
from touchplate.verify.tlog_proof import check_tlog_proof, parse_tlog_proof

SIZE = 300
LEAVES = [b"leaf %d" % number for number in range(SIZE)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawClient]:
    """A tree of 300 leaves."""
    with running(tmp_path_factory.mktemp("raw")) as service:
        face = RawClient(service)
        results = face("POST", "add-batch", content=batch(*LEAVES)).json()["results"]
        assert [one["index"] for one in results] == [str(number) for number in range(SIZE)]
        yield face
        face.close()


def test_bundles_hold_the_leaves(client: RawClient) -> None:
    assert parse_entry_bundle(client.get("tile/entries/000").content, 256) == LEAVES[:256]
    assert parse_entry_bundle(client.get("tile/entries/001.p/44").content, 44) == LEAVES[256:]
    assert parse_entry_bundle(client.get("tile/entries/001.p/7").content, 7) == LEAVES[256:263]
    assert problem(client.get("tile/entries/001.p/45")) == (404, "not-found")
    assert problem(client.get("tile/entries/002.p/1")) == (404, "not-found")


def test_the_tiles_give_the_root_of_the_checkpoint(client: RawClient) -> None:
    def read(tile: Tile) -> bytes:
        return client.get(tile_path(tile)).content

    opened = open_checkpoint(client.get("checkpoint").content, policy())
    assert opened.size == SIZE
    assert root_of(TileReader(read, SIZE), SIZE) == opened.root


def test_caches_are_told_what_never_changes(client: RawClient) -> None:
    assert client.get("tile/0/000").headers["cache-control"] == IMMUTABLE
    assert client.get("tile/0/001.p/44").headers["cache-control"] == SHORT
    assert client.get("checkpoint").headers["cache-control"] == "no-cache"
    for path in ("checkpoint", "tile/0/000", "tile/entries/000"):
        first = client.get(path)
        head = client("HEAD", path)
        assert (head.content, head.headers["content-length"]) == (b"", first.headers["content-length"])
        known = client("GET", path, headers={"If-None-Match": first.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")


def test_bundles_come_packed_to_those_who_ask(client: RawClient) -> None:
    plain = client("GET", "tile/entries/000", headers={"Accept-Encoding": "identity"})
    packed = client("GET", "tile/entries/000", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content  # the client unpacked it
    assert len(gzip.compress(plain.content, 1)) < len(plain.content)


def test_proofs_hold_at_every_size(client: RawClient) -> None:
    opened = open_checkpoint(client.get("checkpoint").content, policy())
    for index in (0, 1, 255, 256, SIZE - 1):
        proof = client.get(f"proof/inclusion?index={index}&size={SIZE}").json()
        assert (proof["index"], proof["size"]) == (str(index), str(SIZE))
        hashes = [decode_base64(one, "hash") for one in proof["proof"]]
        check_inclusion(opened, index, leaf_hash(LEAVES[index]), hashes)

    def read(tile: Tile) -> bytes:
        return client.get(tile_path(tile)).content

    for old in (1, 2, 255, 256, 257, SIZE):
        proof = client.get(f"proof/consistency?old={old}&new={SIZE}").json()
        hashes = [decode_base64(one, "hash") for one in proof["proof"]]
        root = root_of(TileReader(read, old), old)
        assert is_prefix(opened, old, root, hashes)


def test_a_tlog_proof_is_checked_by_the_common_reader(client: RawClient) -> None:
    proof = parse_tlog_proof(client.get("proof/tlog?index=17").content)
    assert (proof.index, proof.extra) == (17, None)
    check_tlog_proof(proof, LEAVES[17], policy())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("proof/inclusion", (400, "bad-request")),
        ("proof/inclusion?index=0", (400, "bad-request")),
        ("proof/inclusion?index=0&size=300&more=1", (400, "bad-request")),
        ("proof/inclusion?index=0&index=0&size=300", (400, "bad-request")),
        ("proof/inclusion?index=-1&size=300", (400, "bad-request")),
        ("proof/inclusion?index=300&size=300", (400, "bad-request")),
        ("proof/inclusion?index=0&size=301", (404, "not-found")),
        ("proof/inclusion?index=0&size=0", (400, "bad-request")),
        (f"proof/inclusion?index=0&size={2**63}", (400, "bad-request")),
        ("proof/inclusion?index=" + "0" * 500 + "&size=1", (400, "bad-request")),
        ("proof/consistency?old=5&new=4", (400, "bad-request")),
        ("proof/consistency?old=5&new=301", (404, "not-found")),
        ("proof/tlog?index=300", (404, "not-found")),
        ("proof/nothing", (404, "not-found")),
        ("entry/300", (404, "not-found")),
        ("entry/-1", (400, "bad-request")),
        ("entry/", (400, "bad-request")),
        ("entry/0/1", (400, "bad-request")),
        ("lookup/zz", (400, "bad-request")),
        ("lookup/" + "00" * 32, (404, "not-found")),
    ],
)
def test_bad_questions_are_refused(client: RawClient, path: str, expected: tuple[int, str]) -> None:
    assert problem(client.get(path)) == expected


def test_an_entry_is_read_and_found_by_its_hash(client: RawClient) -> None:
    found = client.get("entry/17").json()
    assert decode_base64(found["leaf"], "leaf") == LEAVES[17]
    assert (found["index"], found["extra"]) == ("17", "")
    digest = leaf_hash(LEAVES[17]).hex()
    assert client.get(f"lookup/{digest}").json() == {"index": "17", "leafHash": digest}


def test_fsck_takes_it_as_it_is_served_and_names_damage(client: RawClient) -> None:
    class Damaged(FaceSource):
        spoiled: str | None = None

        def read(self, path: str, max_bytes: int) -> bytes:
            data = super().read(path, max_bytes)
            return data if path != self.spoiled else data[:-1] + bytes([data[-1] ^ 1])

    def read_head(note: bytes) -> tuple[int, bytes]:
        opened = open_checkpoint(note, policy())
        return opened.size, opened.root

    source = Damaged(client)
    result = check_log(ServedLog(source, read_head, is_raw=True), policy=policy())
    assert (result.findings, result.size) == ([], SIZE)
    for path in ("tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"):
        source.spoiled = path
        assert not check_log(ServedLog(source, read_head, is_raw=True)).clean, path


def test_its_checkpoint_is_its_own(client: RawClient) -> None:
    body = unverified_body(client.get("checkpoint").content)
    assert body.origin == RAW_ORIGIN
    assert KEY.startswith(RAW_ORIGIN)
