"""The HTTP face, driven as a server drives it: ASGI calls against a running log on SQLite."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.log.face import Mounted, batch
from tests.log.support import RECORDER, STRANGER, record_envelope, running_log, signed_entries, signed_entry
from tests.simkeys import solo_policy

from touchplate.log.http import answers
from touchplate.log.http.answers import IMMUTABLE
from touchplate.log.http.batches import MAX_BATCH_BODY, MAX_BATCH_ENTRIES
from touchplate.log.service import LogService
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.dsse import MAX_ENVELOPE_BYTES
from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.entry import make_entry
from touchplate.verify.proofs import check_inclusion, is_prefix
from touchplate.verify.tiles import parse_entry_bundle, parse_envelope_bundle

SIZE = 300
JSON = dict[str, Any]


class Client:
    """Requests from ordinary test functions."""

    def __init__(self, service: LogService) -> None:
        self._app = Mounted(service)
        self.service = service

    def __call__(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://log.test") as client:
                return await client.request(method, "/log/" + path, **arguments)

        return asyncio.run(main())

    def get(self, path: str) -> httpx.Response:
        return self("GET", path)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A log of 300 entries, for tests that only read."""
    with running_log(tmp_path_factory.mktemp("full")) as service:
        service.append([record_envelope(number) for number in range(SIZE)])
        yield Client(service)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with running_log(tmp_path) as service:
        yield Client(service)


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["detail"]
    return response.status_code, body["reason"]


# --- adding -----------------------------------------------------------------------------------------------


def test_add_answers_with_the_decimal_index(client: Client) -> None:
    for number in range(3):
        response = client("POST", "add", content=record_envelope(number))
        assert (response.status_code, response.text) == (200, str(number))
        assert "touchplate-duplicate" not in response.headers
    again = client("POST", "add", content=record_envelope(1))
    assert (again.text, again.headers["touchplate-duplicate"]) == ("1", "true")
    assert client.service.tree.head().size == 3


def test_what_add_answered_is_in_the_published_checkpoint(client: Client) -> None:
    client("POST", "add", content=record_envelope(0))
    opened = open_checkpoint(client.get("checkpoint").content, solo_policy())
    check_inclusion(opened, 0, signed_entry(0).leaf_hash, [])


def test_add_takes_the_key_from_a_header(client: Client) -> None:
    named = {"Touchplate-Key": RECORDER.key.spki_sha256.hex()}
    assert client("POST", "add", content=record_envelope(0), headers=named).text == "0"
    stranger = {"Touchplate-Key": STRANGER.key.spki_sha256.hex()}
    assert problem(client("POST", "add", content=record_envelope(1), headers=stranger)) == (
        403,
        "unknown-key",
    )
    for wrong in ("", "zz", "AB" * 32, RECORDER.key.spki_sha256.hex().upper()):
        response = client("POST", "add", content=record_envelope(1), headers={"Touchplate-Key": wrong})
        assert problem(response) == (400, "bad-request")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "malformed")),
        (b"{}", (400, "malformed")),
        (record_envelope(1) + b"\n", (400, "malformed")),
        (record_envelope(1, STRANGER), (403, "unknown-key")),
        (b"x" * (MAX_ENVELOPE_BYTES + 1), (413, "too-large")),
    ],
)
def test_add_refuses_with_the_reason(client: Client, body: bytes, expected: tuple[int, str]) -> None:
    assert problem(client("POST", "add", content=body)) == expected
    assert client.service.tree.head().size == 0


def test_add_stops_reading_a_body_that_never_ends(client: Client) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for number in range(10**4):
            read = number
            yield b"x" * 1024

    for path, limit in (("add", MAX_ENVELOPE_BYTES), ("add-batch", MAX_BATCH_BODY)):
        assert problem(client("POST", path, content=endless())) == (413, "too-large")
        assert read == limit // 1024


async def raw_call(app: Any, path: str, *messages: dict[str, Any]) -> tuple[int, JSON]:
    """One POST whose body comes in just these messages; then nothing comes any more."""
    waiting, sent = list(messages), []

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize(
    ("path", "body"),
    [("/log/add", record_envelope(0)), ("/log/add-batch", batch(record_envelope(0), record_envelope(1)))],
)
def test_keeps_nothing_of_a_body_whose_client_went_away(client: Client, path: str, body: bytes) -> None:
    begun = {"type": "http.request", "body": body, "more_body": True}
    status, answer = asyncio.run(raw_call(client.service.asgi, path, begun, {"type": "http.disconnect"}))
    assert (status, answer["reason"]) == (400, "client-gone")
    assert client.service.tree.head().size == 0


def test_gives_up_on_a_body_that_does_not_come(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "BODY_SECONDS", 0.05)
    begun = {"type": "http.request", "body": b"{", "more_body": True}
    for path in ("/log/add", "/log/add-batch"):
        status, answer = asyncio.run(raw_call(client.service.asgi, path, begun))
        assert (status, answer["reason"]) == (408, "too-slow")
    assert client("POST", "add-batch", content=b"").status_code == 200


def test_a_large_announced_body_is_refused_before_it_comes(client: Client) -> None:
    async def main() -> tuple[int, JSON]:
        app = client.service.asgi
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> dict[str, Any]:
            raise AssertionError("the body was asked for")

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        headers = [(b"content-length", b"9" * 30)]
        await app({"type": "http", "method": "POST", "path": "/log/add", "headers": headers}, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    status, answer = asyncio.run(main())
    assert (status, answer["reason"]) == (413, "too-large")


def test_add_batch_gives_one_result_each(client: Client) -> None:
    body = batch(
        record_envelope(0), record_envelope(1, STRANGER), record_envelope(2), record_envelope(0), b"nonsense"
    )
    results = client("POST", "add-batch", content=body).json()["results"]
    assert results[0] == {"index": "0", "duplicate": False}
    assert results[1]["error"]["reason"] == "unknown-key"
    assert results[2] == {"index": "1", "duplicate": False}
    assert results[3] == {"index": "0", "duplicate": True}
    assert results[4]["error"]["reason"] == "malformed"


def test_add_batch_of_nothing_has_no_results(client: Client) -> None:
    assert client("POST", "add-batch", content=b"").json() == {"results": []}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\0", (400, "bad-request")),
        (b"\0\0\0\x05abcd", (400, "bad-request")),
        (batch(b"abc") + b"\0\0", (400, "bad-request")),
        (b"\0\0\0\0" * (MAX_BATCH_ENTRIES + 1), (400, "bad-request")),
        (b"x" * (MAX_BATCH_BODY + 1), (413, "too-large")),
    ],
)
def test_add_batch_refuses_bad_framing_whole(client: Client, body: bytes, expected: tuple[int, str]) -> None:
    assert problem(client("POST", "add-batch", content=body)) == expected


def test_many_adds_at_once_get_different_indexes(client: Client) -> None:
    async def main() -> list[str]:
        transport = httpx.ASGITransport(app=client.service.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://log.test") as one:
            posts = [one.post("/log/add", content=record_envelope(number % 40)) for number in range(120)]
            return [response.text for response in await asyncio.gather(*posts)]

    answers = asyncio.run(main())
    assert sorted(set(map(int, answers))) == list(range(40))
    assert answers[:40] == answers[40:80] == answers[80:]


def test_a_stopped_log_answers_try_later(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        client = Client(service)
    response = client("POST", "add", content=record_envelope(0))
    assert problem(response) == (503, "stopped")
    assert int(response.headers["retry-after"]) > 0


# --- reading ----------------------------------------------------------------------------------------------


def test_checkpoint_is_text_that_must_be_asked_for_again(full: Client) -> None:
    response = full.get("checkpoint")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["content-length"] == str(len(response.content))
    assert open_checkpoint(response.content, solo_policy()).size == SIZE


@pytest.mark.parametrize(
    ("path", "immutable"),
    [
        ("tile/0/000", True),
        ("tile/0/000.p/17", False),
        ("tile/0/001.p/44", False),
        ("tile/1/000.p/1", False),
        ("tile/entries/000", True),
        ("tile/entries/001.p/44", False),
        ("tile/envelopes/000", True),
        ("tile/envelopes/001.p/3", False),
    ],
)
def test_tiles_are_octets_cached_for_ever_when_full(full: Client, path: str, immutable: bool) -> None:
    response = full.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/octet-stream"
    assert (response.headers["cache-control"] == IMMUTABLE) is immutable
    head = full("HEAD", path)
    assert head.content == b""
    assert head.headers == response.headers


def test_bundles_hold_leaf_data_and_packed_entries(full: Client) -> None:
    entries = signed_entries(SIZE)
    assert parse_entry_bundle(full.get("tile/entries/000").content, 256) == [
        e.leaf_data for e in entries[:256]
    ]
    assert parse_envelope_bundle(full.get("tile/envelopes/001.p/44").content, 44) == [
        e.packed for e in entries[256:]
    ]
    hashes = full.get("tile/0/001.p/44").content
    assert hashes == b"".join(entry.leaf_hash for entry in entries[256:])


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/001",
        "tile/0/001.p/45",
        "tile/0/002.p/1",
        "tile/1/000",
        "tile/2/000.p/1",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/0",
        "tile/0/x000/001",
        "tile/64/000",
        "tile/-1/000",
        "tile/entries/002.p/1",
        "tile/envelopes/001",
        "tile/other/000",
        "tile/",
        "tile/0/000/",
        "tile/0//000",
    ],
)
def test_unknown_tiles_are_not_found(full: Client, path: str) -> None:
    assert problem(full.get(path)) == (404, "not-found")


def test_other_methods_are_refused_with_what_is_allowed(full: Client) -> None:
    for method, path, allowed in (
        ("GET", "add", "POST"),
        ("PUT", "add-batch", "POST"),
        ("POST", "checkpoint", "GET, HEAD"),
        ("DELETE", "tile/0/000", "GET, HEAD"),
    ):
        response = full(method, path)
        assert problem(response) == (405, "method-not-allowed")
        assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path", ["entry/0", "proof/inclusion?index=0&size=300", "proof/consistency?old=1&new=300", "entry/300"]
)
def test_head_of_proofs_and_entries_has_the_headers_of_get(full: Client, path: str) -> None:
    head, whole = full("HEAD", path), full.get(path)
    assert head.status_code == whole.status_code
    assert head.headers == whole.headers


def test_inclusion_proofs_hold_against_the_checkpoint(full: Client) -> None:
    opened = open_checkpoint(full.get("checkpoint").content, solo_policy())
    for index in (0, 1, 255, 256, 299):
        body: JSON = full.get(f"proof/inclusion?index={index}&size={SIZE}").json()
        assert (body["index"], body["size"]) == (str(index), str(SIZE))
        proof = [decode_base64(each, "proof") for each in body["proof"]]
        check_inclusion(opened, index, signed_entry(index).leaf_hash, proof)


def test_consistency_proofs_hold_against_the_checkpoint(full: Client, tmp_path: Path) -> None:
    opened = open_checkpoint(full.get("checkpoint").content, solo_policy())
    with running_log(tmp_path) as smaller:
        for old in (1, 5, 100, 256, 257, SIZE):
            smaller.append([record_envelope(number) for number in range(old)])
            body: JSON = full.get(f"proof/consistency?old={old}&new={SIZE}").json()
            proof = [decode_base64(each, "proof") for each in body["proof"]]
            assert is_prefix(opened, old, smaller.tree.head().root, proof)


def test_entries_come_with_envelope_and_key(full: Client) -> None:
    body: JSON = full.get("entry/256").json()
    assert body["index"] == "256"
    assert decode_base64(body["envelope"], "envelope") == record_envelope(256)
    assert body["key"] == encode_base64(RECORDER.key.spki)
    entry = make_entry(decode_base64(body["envelope"], "envelope"), RECORDER.key.spki)
    assert entry.leaf_hash == signed_entry(256).leaf_hash


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("proof/inclusion?index=300&size=300", (400, "bad-request")),
        ("proof/inclusion?index=0&size=301", (404, "not-found")),
        ("proof/inclusion?index=0&size=0", (400, "bad-request")),
        ("proof/inclusion?index=-1&size=3", (400, "bad-request")),
        ("proof/inclusion?index=01&size=3", (400, "bad-request")),
        ("proof/inclusion?index=1", (400, "bad-request")),
        ("proof/inclusion?index=1&index=2&size=3", (400, "bad-request")),
        ("proof/inclusion?index=1&size=3&root=x", (400, "bad-request")),
        (f"proof/inclusion?index=1&size={2**63}", (400, "bad-request")),
        ("proof/consistency?old=5&new=301", (404, "not-found")),
        ("proof/consistency?old=5&new=4", (400, "bad-request")),
        ("proof/consistency?old=x&new=4", (400, "bad-request")),
        ("entry/300", (404, "not-found")),
        ("entry/-1", (400, "bad-request")),
        ("entry/1x", (400, "bad-request")),
    ],
)
def test_impossible_questions_get_a_reason(full: Client, path: str, expected: tuple[int, str]) -> None:
    assert problem(full.get(path)) == expected


def test_an_unforeseen_error_is_500_with_an_id_and_no_details(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_log(tmp_path) as service:

        def broken() -> bytes:
            raise ZeroDivisionError("secret detail")

        service.reader.checkpoint = broken  # type: ignore[method-assign]
        response = Client(service).get("checkpoint")
    assert problem(response) == (500, "internal")
    assert "secret" not in response.text
    identifier = response.json()["detail"].rsplit(" ", 1)[1]
    assert identifier in caplog.text


def test_leaves_other_paths_and_protocols_to_whoever_stands_behind(full: Client) -> None:
    handles = full.service.asgi.handles
    assert handles({"type": "http", "path": "/log/tile/0/000"})
    for scope in (
        {"type": "http", "path": "/log/proof/inclusion"},
        {"type": "http", "path": "/maven/central/add"},
        {"type": "http", "path": "/log/addendum"},
        {"type": "websocket", "path": "/log/add"},
        {"type": "lifespan"},
    ):
        assert not handles(scope)


def test_results_are_plain_json(full: Client) -> None:
    response = full("POST", "add-batch", content=batch(record_envelope(0)))
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.content) == {"results": [{"index": "0", "duplicate": True}]}


def test_proves_nothing_about_an_entry_that_is_still_to_come(client: Client) -> None:
    client.service.append([record_envelope(number) for number in range(256)])
    # The proof of the next entry would need only hashes that exist already.
    assert problem(client.get("proof/inclusion?index=256&size=257")) == (404, "not-found")
