"""Leaves into a raw tree over HTTP: what is taken, what is refused, what stands in the checkpoint then."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.log.face import Face, Mounted, batch
from tests.log.raw.support import RAW_ORIGIN, TOKEN, policy, running, write_token
from tests.log.test_http import problem, raw_call

from touchplate.base.sql import begin_write
from touchplate.log.http.batches import MAX_BATCH_BODY, MAX_BATCH_ENTRIES
from touchplate.log.sequencer import Limits
from touchplate.log.service import LogService
from touchplate.log.storage.raw_rows import MAX_VALUE
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.encoding import decode_base64
from touchplate.verify.proofs import check_inclusion
from touchplate.verify.rfc6962 import leaf_hash

AT = f"raw/{RAW_ORIGIN}"


class RawClient(Face):
    """Requests below the address of the raw tree."""

    def __call__(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return super().__call__(method, f"{AT}/{path}", **arguments)

    def add(self, leaf: bytes, **arguments: Any) -> httpx.Response:
        return self("POST", "add", content=leaf, **arguments)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[RawClient]:
    with running(tmp_path) as service:
        face = RawClient(service)
        yield face
        face.close()


def size_of(service: LogService) -> int:
    assert service.raw is not None
    return service.raw.by_origin[RAW_ORIGIN].tree.head().size


def test_add_answers_with_the_decimal_index_and_nothing_else(client: RawClient) -> None:
    for number in range(3):
        answer = client.add(b"leaf %d" % number)
        assert (answer.status_code, answer.content) == (200, b"%d" % number)
        assert "touchplate-duplicate" not in answer.headers
    assert size_of(client.service) == 3
    # The log of attestations beside it has nothing of it.
    assert client.service.tree.head().size == 0


def test_the_same_bytes_get_the_same_index(client: RawClient) -> None:
    client.add(b"one")
    client.add(b"two")
    again = client.add(b"one")
    assert (again.text, again.headers["touchplate-duplicate"]) == ("0", "true")
    answers = client.at_once("POST", f"{AT}/add", [b"three"] * 8)
    assert {answer.text for answer in answers} == {"2"}
    assert sum("touchplate-duplicate" in answer.headers for answer in answers) == 7
    assert size_of(client.service) == 3


def test_what_add_answered_is_covered_by_the_checkpoint_that_is_served(client: RawClient) -> None:
    for number in range(5):
        client.add(b"leaf %d" % number)
        opened = open_checkpoint(client.get("checkpoint").content, policy())
        assert opened.size == number + 1
        assert opened.origin == RAW_ORIGIN
        proof = client.get(f"proof/inclusion?index={number}&size={number + 1}").json()["proof"]
        hashes = [decode_base64(one, "hash") for one in proof]
        check_inclusion(opened, number, leaf_hash(b"leaf %d" % number), hashes)


def test_leaves_of_every_size_that_a_bundle_can_hold_are_taken(client: RawClient) -> None:
    assert client.add(b"x").text == "0"
    assert client.add(b"x" * MAX_VALUE).text == "1"
    assert problem(client.add(b"x" * (MAX_VALUE + 1))) == (413, "too-large")
    assert problem(client.add(b"")) == (400, "empty")
    assert size_of(client.service) == 2


def test_a_body_that_never_ends_is_cut_at_the_limit(client: RawClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for number in range(10**4):
            read = number
            yield b"x" * 1024

    for path, limit in (("add", MAX_VALUE), ("add-batch", MAX_BATCH_BODY)):
        assert problem(client("POST", path, content=endless())) == (413, "too-large")
        assert read == limit // 1024


def test_a_client_that_goes_away_leaves_nothing(client: RawClient) -> None:
    app = Mounted(client.service)
    gone: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]
    status, body = asyncio.run(raw_call(app, f"/log/{AT}/add", *gone))
    assert (status, body["reason"]) == (400, "client-gone")
    assert size_of(client.service) == 0


def test_a_batch_has_one_result_for_each_leaf(client: RawClient) -> None:
    client.add(b"there")
    body = batch(b"a", b"there", b"", b"b", b"x" * (MAX_VALUE + 1), b"a")
    results = client("POST", "add-batch", content=body).json()["results"]
    assert [one.get("index") for one in results] == ["1", "0", None, "2", None, "1"]
    assert [one.get("duplicate") for one in results] == [False, True, None, False, None, True]
    assert [one["error"]["reason"] for one in results if "error" in one] == ["empty", "too-large"]
    assert open_checkpoint(client.get("checkpoint").content, policy()).size == 3
    assert client("POST", "add-batch", content=b"").json() == {"results": []}


@pytest.mark.parametrize(
    "body",
    [
        batch(b"a", b"b")[:-1],
        b"\0\0\0",
        b"\0\0\0\5abcd",
        b"\xff\xff\xff\xff" + b"a" * 100,
        batch(*[b"%d" % number for number in range(MAX_BATCH_ENTRIES + 1)]),
    ],
    ids=["last cut", "length cut", "short", "huge length", "too many"],
)
def test_a_batch_of_another_form_is_refused_whole(client: RawClient, body: bytes) -> None:
    assert problem(client("POST", "add-batch", content=body)) == (400, "bad-request")
    assert size_of(client.service) == 0


def test_too_many_at_once_are_told_to_come_back(tmp_path: Path) -> None:
    async def main(service: LogService) -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=Mounted(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://log.test") as client:
            # While somebody else holds the database, nothing is appended.
            with begin_write(service._engine):
                calls = [
                    asyncio.create_task(client.post(f"/log/{AT}/add", content=b"%d" % number))
                    for number in range(5)
                ]
                while sum(call.done() for call in calls) < 3:
                    await asyncio.sleep(0.01)
                assert sum(call.done() for call in calls) == 3
            return [await call for call in calls]

    with running(tmp_path, limits=Limits(outstanding=2)) as service:
        answers = asyncio.run(main(service))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
        for answer in answers:
            if answer.status_code == 503:
                assert answer.headers["retry-after"] == "1"
                assert problem(answer) == (503, "overloaded")
        assert size_of(service) == 2


# --- who may ----------------------------------------------------------------------------------------------


def test_nobody_writes_unless_the_configuration_says_so(tmp_path: Path) -> None:
    with running(tmp_path, write="nobody") as service:
        client = RawClient(service)
        for path in ("add", "add-batch"):
            assert problem(client("POST", path, content=batch(b"leaf"))) == (403, "read-only")
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert problem(client.add(b"leaf", headers=bearer)) == (403, "read-only")
        assert open_checkpoint(client.get("checkpoint").content, policy()).size == 0
        client.close()


def test_only_those_with_a_token_write(tmp_path: Path) -> None:
    tokens = (write_token(tmp_path),)
    with running(tmp_path, write="tokens", tokens=tokens) as service:
        client = RawClient(service)
        for wrong in (None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN):
            headers = {} if wrong is None else {"Authorization": wrong}
            for path in ("add", "add-batch"):
                refused = client("POST", path, content=batch(b"leaf"), headers=headers)
                assert problem(refused) == (401, "unauthenticated")
                assert refused.headers["www-authenticate"] == "Bearer"
                assert TOKEN not in refused.text
        assert size_of(service) == 0
        good = {"Authorization": f"bearer {TOKEN}"}
        assert client.add(b"leaf", headers=good).text == "0"
        # Everybody reads.
        assert client.get("entry/0").status_code == 200
        client.close()


def test_the_body_of_a_stranger_is_not_read(tmp_path: Path) -> None:
    tokens = (write_token(tmp_path),)
    with running(tmp_path, write="tokens", tokens=tokens) as service:
        status, body = asyncio.run(raw_call(Mounted(service), f"/log/{AT}/add"))  # none ever comes
        assert (status, body["reason"]) == (401, "unauthenticated")


# --- other paths ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "add", (405, "method-not-allowed")),
        ("PUT", "checkpoint", (405, "method-not-allowed")),
        ("POST", "tile/0/000", (405, "method-not-allowed")),
        ("DELETE", "entry/0", (405, "method-not-allowed")),
        ("GET", "", (404, "not-found")),
        ("GET", "add/", (404, "not-found")),
        ("GET", "tile/0/0", (404, "not-found")),
        ("GET", "tile/envelopes/000.p/1", (404, "not-found")),
        ("GET", "envelope/0", (404, "not-found")),
    ],
)
def test_what_is_not_there_is_said(
    client: RawClient, method: str, path: str, expected: tuple[int, str]
) -> None:
    client.add(b"leaf")
    assert problem(client(method, path)) == expected


def test_an_unknown_tree_is_not_found(client: RawClient) -> None:
    def ask(method: str, path: str) -> tuple[int, str]:
        return problem(Face.__call__(client, method, path, content=b"leaf"))

    for origin in ("other.example.org", "", "...", RAW_ORIGIN.upper(), RAW_ORIGIN + "."):
        assert ask("POST", f"raw/{origin}/add") == (404, "not-found")
    assert ask("GET", f"raw/{RAW_ORIGIN}") == (404, "not-found")
    assert size_of(client.service) == 0
