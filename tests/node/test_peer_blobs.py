"""A blob that its upstream gives no longer comes from another peer: who may have it, and what a liar gets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.api.support import DEFAULT_RULES, JAR, Upstream, running_upstream, write_node
from tests.base.support import Handler
from tests.node.peered import IDS, Everywhere, Pair, pair, requests_of
from tests.verify.cases import default_blocks, provenance, record, second
from tests.verify.support import LIB, PUBLISHED

from touchplate.api.peers import REQUESTS_PER_MINUTE

POM = "org/example/other/1.0/other-1.0.pom"
SHA256 = hashlib.sha256(PUBLISHED).hexdigest()
BLOB = f"/peers/blobs/{SHA256}"
RULES = '[[gate.rule]]\nneed = ["recorded"]\n'


def configs(folder: Path, upstream: str, **options: object) -> tuple[Path, Path]:
    """Two nodes over one upstream; `options` of the second."""
    a = write_node(folder / "a", upstream, rules=RULES)
    return a, write_node(folder / "b", upstream, **{"rules": RULES, **options})  # type: ignore[arg-type]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as made:
        made.put(JAR, PUBLISHED)
        yield made


def held_by_a(peers: Pair, upstream: Upstream, path: str = JAR) -> None:
    """The first peer has the file, everybody its record, and the upstream is down."""
    assert peers.a.get(f"/maven/central/{path}").status == 200
    peers.share()
    upstream.act(path, lambda handler: handler.raw(b""))


def test_what_the_upstream_gives_no_longer_comes_from_a_peer(tmp_path: Path, upstream: Upstream) -> None:
    with pair(*configs(tmp_path, upstream.url)) as peers:
        held_by_a(peers, upstream)
        answer = peers.b.get(f"/maven/central/{JAR}")
        assert (answer.status, answer.body) == (200, PUBLISHED)
        assert peers.b.get(f"/maven/central/{JAR}.sha1").status == 200
        assert peers.a.asked() == 1  # it is held now
        # Nothing was put into the log for it: nobody saw it at the upstream.
        assert peers.b.node is not None
        assert peers.b.node.log.reader.size() == 1


def test_a_404_of_the_upstream_is_as_good_as_its_silence(tmp_path: Path, upstream: Upstream) -> None:
    with pair(*configs(tmp_path, upstream.url)) as peers:
        held_by_a(peers, upstream)
        upstream.act(JAR, lambda handler: handler.reply(404, b""))
        assert peers.b.get(f"/maven/central/{JAR}").body == PUBLISHED


def test_the_gate_judges_what_a_peer_gave_like_anything_else(tmp_path: Path, upstream: Upstream) -> None:
    with pair(*configs(tmp_path, upstream.url, rules=DEFAULT_RULES)) as peers:
        held_by_a(peers, upstream)
        assert peers.b.get(f"/maven/central/{JAR}").status == 403
        assert peers.b.node is not None
        peers.b.node.log.append([provenance().envelope, second().envelope])
        assert peers.b.get(f"/maven/central/{JAR}").body == PUBLISHED


def test_without_other_peers_the_upstreams_failure_is_told(tmp_path: Path, upstream: Upstream) -> None:
    with pair(*configs(tmp_path, upstream.url), alone=True) as peers:
        held_by_a(peers, upstream)
        assert peers.b.get(f"/maven/central/{JAR}").status == 502


def test_a_file_that_nobody_recorded_is_asked_of_nobody(tmp_path: Path, upstream: Upstream) -> None:
    with pair(*configs(tmp_path, upstream.url)) as peers:
        assert peers.a.get(f"/maven/central/{JAR}").status == 200
        upstream.act(JAR, lambda handler: handler.raw(b""))
        assert peers.b.get(f"/maven/central/{JAR}").status == 502
        assert peers.a.asked() == 0


def test_what_was_reproduced_needs_no_record_where_nothing_is_recorded(
    tmp_path: Path, upstream: Upstream
) -> None:
    # The reader of b does not believe the recorder of a: to him the file has no record at all.
    blocks = [block for block in default_blocks() if "recorder" not in block.partition("\n")[0]]
    options = {"record": False, "blocks": blocks, "rules": DEFAULT_RULES}
    a, b = configs(tmp_path, upstream.url, **options)
    before, _, rest = b.read_text().partition("[recorder]")
    b.write_text(before + rest[rest.index("[evidence]") :])
    with pair(a, b) as peers:
        held_by_a(peers, upstream)
        assert peers.b.get(f"/maven/central/{JAR}").status == 502
        assert peers.b.node is not None
        peers.b.node.log.append([provenance().envelope])
        assert peers.b.get(f"/maven/central/{JAR}").status == 502
        assert peers.a.asked() == 0  # one of two operators is not enough
        peers.b.node.log.append([second().envelope])
        assert peers.b.get(f"/maven/central/{JAR}").body == PUBLISHED


def test_no_first_sight_is_made_up_for_what_was_only_reproduced(tmp_path: Path, upstream: Upstream) -> None:
    with pair(*configs(tmp_path, upstream.url, rules=DEFAULT_RULES)) as peers:
        assert peers.a.get(f"/maven/central/{JAR}").status == 200
        upstream.act(JAR, lambda handler: handler.raw(b""))
        assert peers.b.node is not None
        peers.b.node.log.append([provenance().envelope, second().envelope])
        assert peers.b.get(f"/maven/central/{JAR}").status == 502
        assert (peers.a.asked(), peers.b.node.log.reader.size()) == (0, 2)


# --- a peer that lies ---------------------------------------------------------------------------------------


def other_bytes(handler: Handler) -> None:
    handler.reply(200, b"x" * len(PUBLISHED))


def fewer_bytes(handler: Handler) -> None:
    handler.reply(200, PUBLISHED[:-1])


def truncated(handler: Handler) -> None:
    handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PUBLISHED) + PUBLISHED[:-1])


def endless(handler: Handler) -> None:
    handler.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65_536)
    while not handler.server.released.is_set():
        handler.wfile.write(b"\r\n10000\r\n" + b"x" * 65_536)


def longer(handler: Handler) -> None:
    handler.reply(200, PUBLISHED + b"x")


def half(handler: Handler) -> None:
    handler.reply(206, PUBLISHED, Content_Range=f"bytes 0-{len(PUBLISHED) - 1}/{len(PUBLISHED)}")


def packed(handler: Handler) -> None:
    handler.reply(200, PUBLISHED, Content_Encoding="gzip")


def elsewhere(handler: Handler) -> None:
    handler.reply(302, b"", Location=handler.server.url("/other"))


def drips_its_head(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not handler.server.released.wait(0.1):
        handler.wfile.write(b"y")


LIES: dict[str, Callable[[Handler], None]] = {
    "other bytes": other_bytes, "fewer bytes": fewer_bytes, "truncated": truncated, "endless": endless,
    "longer": longer, "half": half, "packed": packed, "elsewhere": elsewhere,
    "not here": lambda handler: handler.reply(404, b""),
    "broken": lambda handler: handler.reply(500, b""),
    "refused": lambda handler: handler.reply(403, b""),
    "drips": drips_its_head,
    "silent": lambda handler: handler.wait_for_release(),
    "gone": lambda handler: handler.raw(b""),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_peer_that_lies_or_fails_is_passed_over_and_nothing_of_it_is_kept(
    lie: str, tmp_path: Path, upstream: Upstream
) -> None:
    with pair(*configs(tmp_path, upstream.url), with_liar=True) as peers:
        peers.liar.actions = Everywhere(LIES[lie])
        held_by_a(peers, upstream)
        assert peers.b.get(f"/maven/central/{JAR}").body == PUBLISHED
        assert len(peers.liar.requests) == 1
        assert peers.b.node is not None
        assert list(peers.b.node.blobs._folder.digests()) == [SHA256]
        alarms = [alarm.message for alarm in peers.b.node.alarms.list()]
        told = [f"the peer c sent other bytes for sha256:{SHA256}"]
        assert alarms == (told if lie in ("other bytes", "fewer bytes") else [])


@pytest.mark.parametrize("lie", ["other bytes", "truncated", "not here"])
def test_when_every_peer_lies_the_upstreams_failure_is_told(
    lie: str, tmp_path: Path, upstream: Upstream
) -> None:
    with pair(*configs(tmp_path, upstream.url), with_liar=True) as peers:
        peers.liar.actions = Everywhere(LIES[lie])
        held_by_a(peers, upstream)
        peers.a.server.actions = Everywhere(LIES[lie])
        for _ in range(2):
            assert peers.b.get(f"/maven/central/{JAR}").status == 502
        assert len(peers.liar.requests) == 1  # not again for a while
        assert peers.b.node is not None
        assert list(peers.b.node.blobs._folder.digests()) == []


def test_a_recorder_and_a_peer_together_have_a_file_served_that_no_upstream_ever_had(
    tmp_path: Path, upstream: Upstream
) -> None:
    """What `recorded` is worth: a recorder's word. A rule that needs `reproduced` does not take it."""
    never = b"bytes that nobody published"
    with pair(*configs(tmp_path, upstream.url), with_liar=True) as peers:
        upstream.act(JAR, lambda handler: handler.reply(404, b""))
        peers.liar.actions = Everywhere(lambda handler: handler.reply(200, never))
        assert peers.b.node is not None
        peers.b.node.log.append([record(never, LIB).envelope])
        assert peers.b.get(f"/maven/central/{JAR}").body == never
    with pair(*configs(tmp_path / "2", upstream.url, rules=DEFAULT_RULES), with_liar=True) as peers:
        peers.liar.actions = Everywhere(lambda handler: handler.reply(200, never))
        assert peers.b.node is not None
        peers.b.node.log.append([record(never, LIB).envelope])
        assert peers.b.get(f"/maven/central/{JAR}").status == 403


# --- who may ask --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sha256", [SHA256, "0" * 64, "..", "x"])
@pytest.mark.parametrize(
    "header",
    [
        lambda path: "",
        lambda path: "Bearer a-token-of-tests",
        lambda path: requests_of("x").sign(IDS["a"], path),
        lambda path: requests_of("b").sign(IDS["c"], path),
        lambda path: requests_of("b").sign(IDS["a"], path + "0"),
    ],
    ids=["nothing", "a token", "a stranger", "for another peer", "for another file"],
)
def test_strangers_learn_nothing_about_what_is_held(
    header: Callable[[str], str], sha256: str, tmp_path: Path, upstream: Upstream
) -> None:
    with pair(*configs(tmp_path, upstream.url)) as peers:
        held_by_a(peers, upstream)
        path = f"/peers/blobs/{sha256}"
        for method in ("GET", "HEAD"):
            answer = peers.a.get(f"/log{path}", method, Authorization=header(path))
            assert (answer.status, PUBLISHED in answer.body) == (403, False)
        assert "sha256" not in answer.text


def test_a_peer_gets_the_whole_blob_and_no_cache_may_keep_it(tmp_path: Path, upstream: Upstream) -> None:
    with pair(*configs(tmp_path, upstream.url)) as peers:
        held_by_a(peers, upstream)
        answer = peers.a.get(f"/log{BLOB}", Authorization=requests_of("b").sign(IDS["a"], BLOB))
        assert (answer.status, answer.body) == (200, PUBLISHED)
        assert answer.headers["cache-control"] == "private, no-store"


def test_what_came_from_an_upstream_that_is_not_recorded_is_given_to_nobody(
    tmp_path: Path, upstream: Upstream
) -> None:
    a = write_node(tmp_path / "a", upstream.url, rules="[[gate.rule]]\nneed = []\n", record=False)
    with pair(a, write_node(tmp_path / "b", upstream.url, rules=RULES)) as peers:
        assert peers.a.get(f"/maven/central/{JAR}").status == 200
        answer = peers.a.get(f"/log{BLOB}", Authorization=requests_of("b").sign(IDS["a"], BLOB))
        assert answer.status == 404
        missing = BLOB.replace(SHA256, "0" * 64)
        other = peers.a.get(f"/log{missing}", Authorization=requests_of("b").sign(IDS["a"], missing))
        assert other.json["detail"].replace("0" * 64, SHA256) == answer.json["detail"]


def test_a_damaged_blob_is_not_given(tmp_path: Path, upstream: Upstream) -> None:
    with pair(*configs(tmp_path, upstream.url)) as peers:
        held_by_a(peers, upstream)
        assert peers.a.node is not None
        peers.a.node.blobs.path(SHA256).write_bytes(b"x" * len(PUBLISHED))
        assert peers.b.get(f"/maven/central/{JAR}").status == 502


def test_a_peer_that_asks_too_often_is_told_to_wait(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REQUESTS_PER_MINUTE >= 600
    monkeypatch.setattr("touchplate.api.peers.REQUESTS_PER_MINUTE", 2)
    with pair(*configs(tmp_path, upstream.url)) as peers:
        held_by_a(peers, upstream)
        ask = {"Authorization": requests_of("b").sign(IDS["a"], BLOB)}
        answers = [peers.a.get(f"/log{BLOB}", **ask) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 503]
        assert int(answers[-1].headers["retry-after"]) >= 1
        other = requests_of("c").sign(IDS["a"], BLOB)
        assert peers.a.get(f"/log{BLOB}", Authorization=other).status == 200


def test_a_node_that_holds_its_log_alone_has_no_such_path(tmp_path: Path, upstream: Upstream) -> None:
    from tests.api.support import world

    with world(tmp_path) as here:
        assert here.get(f"/log{BLOB}").status == 404
