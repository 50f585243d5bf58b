"""Conditional requests, gzip, look-ups and tlog-proofs over the log's HTTP face."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.log.face import Face
from tests.log.support import record_envelope, running_log
from tests.simkeys import solo_policy

from touchplate.log.errors import NotFoundError
from touchplate.log.http.answers import Answer
from touchplate.log.http.kept import KeptAnswers
from touchplate.verify.entry import parse_packed
from touchplate.verify.tlog_proof import check_tlog_proof, parse_tlog_proof

SIZE = 300


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Face]:
    with running_log(tmp_path_factory.mktemp("served")) as service:
        service.append([record_envelope(number) for number in range(SIZE)])
        face = Face(service)
        yield face
        face.close()


PATHS = ("checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/entries/000", "tile/envelopes/001.p/44")


@pytest.mark.parametrize("path", PATHS)
def test_what_a_client_has_is_not_sent_again(face: Face, path: str) -> None:
    first = face.get(path)
    tag = first.headers["etag"]
    for asked in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        for method in ("GET", "HEAD"):
            again = face(method, path, headers={"If-None-Match": asked})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert again.headers["cache-control"] == first.headers["cache-control"]
            assert "content-length" not in again.headers
    other = face("GET", path, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


def test_a_new_checkpoint_is_sent_to_who_has_the_old_one(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        face = Face(service)
        tag = face.get("checkpoint").headers["etag"]
        service.append([record_envelope(0)])
        fresh = face("GET", "checkpoint", headers={"If-None-Match": tag})
        face.close()
    assert fresh.status_code == 200
    assert fresh.headers["etag"] != tag


@pytest.mark.parametrize("path", ["tile/entries/000", "tile/entries/001.p/44", "tile/envelopes/000"])
def test_bundles_are_packed_for_clients_that_ask(face: Face, path: str) -> None:
    plain = face("GET", path, headers={"Accept-Encoding": "identity"})
    for _ in range(2):  # the second from memory
        packed = _raw(face, path, "br, gzip;q=0.5")
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        assert packed.headers["etag"] == plain.headers["etag"]
        assert int(packed.headers["content-length"]) < len(plain.content) // 2
        assert packed.content == plain.content
        for asked in ("identity", "gzip;q=0", "br"):
            again = _raw(face, path, asked)
            assert "content-encoding" not in again.headers
            assert again.content == plain.content


def test_hashes_are_never_packed(face: Face) -> None:
    assert "content-encoding" not in _raw(face, "tile/0/000", "gzip").headers


def _raw(face: Face, path: str, encoding: str) -> httpx.Response:
    return face("GET", path, headers={"Accept-Encoding": encoding})


def test_kept_answers_stay_within_their_bytes_and_the_oldest_go_first() -> None:
    kept = KeptAnswers(max_bytes=10)
    for name in ("a", "b"):
        kept.keep(name, Answer(name.encode() * 5), packed=False)
    assert kept.get("a", packed=False) is not None
    kept.keep("c", Answer(b"c" * 5), packed=False)
    assert kept.get("b", packed=False) is None
    assert kept.get("a", packed=False) is not None
    assert kept.get("a", packed=True) is None
    kept.keep("large", Answer(b"l" * 11), packed=False)
    assert kept.get("large", packed=False) is None
    kept.keep("a", Answer(gzip.compress(b"")[:3]), packed=False)
    kept.keep("a", Answer(b"1234567890"), packed=False)
    assert kept.get("a", packed=False) is not None


# --- look-ups ---------------------------------------------------------------------------------------------


def test_every_leaf_hash_is_found_also_as_the_log_grows(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        face = Face(service)
        for start, end in ((0, 1), (1, 255), (255, 257), (257, SIZE)):
            service.append([record_envelope(number) for number in range(start, end)])
            for index in (0, start, end - 1):
                leaf_hash = service.reader.entry(index).leaf_hash.hex()
                answer = face.get(f"lookup/{leaf_hash}")
                assert answer.json() == {"index": str(index), "leafHash": leaf_hash}
        face.close()


def test_a_hash_that_only_begins_alike_is_not_found(face: Face) -> None:
    known = face.service.reader.entry(290).leaf_hash
    # Also one whose first bytes stand across two places.
    hashes = [known[:4] + bytes(28), known[1:4] + bytes(29), bytes(32)]
    for one in hashes:
        answer = face.get(f"lookup/{one.hex()}")
        assert (answer.status_code, answer.json()["reason"]) == (404, "not-found")
    with pytest.raises(NotFoundError):
        face.service.reader.index_of(bytes(32))


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "AB" * 32, "00" * 33])
def test_what_is_no_hash_is_refused(face: Face, text: str) -> None:
    assert face.get(f"lookup/{text}").status_code in (400, 404)


# --- tlog-proofs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 255, 256, SIZE - 1])
def test_a_tlog_proof_proves_its_entry_offline(face: Face, index: int) -> None:
    answer = face.get(f"proof/tlog?index={index}")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    proof = parse_tlog_proof(answer.content)
    assert proof.extra is not None
    entry = parse_packed(proof.extra)
    assert check_tlog_proof(proof, entry.leaf_data, solo_policy()).size == SIZE
    assert (proof.index, entry.envelope) == (index, face.service.reader.entry(index).envelope)


@pytest.mark.parametrize(
    ("query", "status"),
    [("index=300", 404), ("index=-1", 400), ("", 400), ("index=1&index=2", 400), ("index=1&size=3", 400)],
)
def test_impossible_proofs_get_a_reason(face: Face, query: str, status: int) -> None:
    answer = face.get(f"proof/tlog?{query}")
    assert answer.status_code == status
    assert answer.json()["reason"]
