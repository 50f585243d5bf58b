"""Signed heads and the quorum over them, between real peers in one process."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.log.peers.support import keys, signers
from tests.log.support import open_sqlite, signed_entries
from tests.simkeys import ORIGIN, verifier_key

from touchplate.base.errors import UnreachableError
from touchplate.log.errors import CheckpointError, RequestError
from touchplate.log.guard import SigningGuard
from touchplate.log.http.heads import MAX_QUERY_BYTES, MAX_WAIT_SECONDS, HeadsFace
from touchplate.log.peers.gathering import Gathering, format_heads, http_fetch, parse_heads
from touchplate.log.peers.heads import KEPT_HEADS, MAX_WAITING, ForkError, Heads, Members, PeerKeys
from touchplate.verify.checkpoints import checkpoint_age, open_checkpoint
from touchplate.verify.errors import MalformedError, PolicyError, ProofError, VerifyError
from touchplate.verify.forks import FORK, open_report
from touchplate.verify.jcs import format_json
from touchplate.verify.notes import sign_note
from touchplate.verify.policy import Policy, parse_policy

NAMES = ("a", "b", "c", "d")
EMPTY = hashlib.sha256().digest()
ROOT, OTHER = b"r" * 32, b"o" * 32
SECONDS = 30


def members_of(name: str, names: Iterable[str] = NAMES) -> Members:
    """All peers, as the one called `name` sees them."""
    return Members(tuple(keys(other) for other in names if other != name), name in names)


def heads_of(name: str, folder: Path, root: bytes = ROOT) -> Heads:
    guard = SigningGuard(folder / name, ORIGIN)
    return Heads(ORIGIN, signers(name), members_of(name), guard, lambda size: root, now=lambda: 1_700_000_000)


def policy(threshold: int) -> Policy:
    lines = [f"log {verifier_key(signers(name).log)}" for name in NAMES]
    lines += [f"witness {name} {verifier_key(signers(name).cosigner)}" for name in NAMES]
    lines += [f"group peers {threshold} {' '.join(NAMES)}", "quorum peers", ""]
    return parse_policy("\n".join(lines))


def test_a_checkpoint_is_published_at_three_of_four_and_not_before(tmp_path: Path) -> None:
    peers = {name: heads_of(name, tmp_path) for name in NAMES}
    for each in peers.values():
        each.sign(5, ROOT)
    mine = peers["a"]
    assert members_of("a").quorum == 3
    assert mine.published() is None
    assert mine.take("b", peers["b"].signed()[0])
    assert mine.published() is None
    assert mine.take("c", peers["c"].signed()[0])
    found = mine.published()
    assert found is not None
    note = found.note
    assert (found.size, found.cosigners) == (5, 3)
    opened = open_checkpoint(note, policy(3))
    assert sorted(name for name, _ in opened.cosigners) == ["a", "b", "c"]
    assert len(opened.log_keys) == 3
    with pytest.raises(PolicyError, match="quorum"):
        open_checkpoint(note, policy(4))
    assert mine.take("d", peers["d"].signed()[0])
    assert open_checkpoint(mine.published()[1], policy(4)).size == 5  # type: ignore[index]


def test_two_cosignatures_are_no_quorum_for_a_reader(tmp_path: Path) -> None:
    note = signers("a").note(ORIGIN, 5, ROOT, 1_700_000_000)
    other = signers("b").note(ORIGIN, 5, ROOT, 1_700_000_000)
    two = note + other.rpartition(b"\n\n")[2]
    assert open_checkpoint(two, policy(2)).size == 5
    with pytest.raises(PolicyError, match="quorum"):
        open_checkpoint(two, policy(3))


def test_the_same_line_twice_counts_once(tmp_path: Path) -> None:
    mine, other = heads_of("a", tmp_path), heads_of("b", tmp_path)
    for each in (mine, other):
        each.sign(5, ROOT)
    assert mine.take("b", other.signed()[0])
    assert not mine.take("b", other.signed()[0])
    assert mine.published() is None


def test_lines_under_another_head_never_count(tmp_path: Path) -> None:
    mine = heads_of("a", tmp_path)
    mine.sign(5, ROOT)
    for name in ("b", "c", "d"):
        ahead = signers(name).note(ORIGIN, 6, ROOT, 1)
        assert not mine.take(name, ahead)
    assert mine.published() is None


def test_a_contradicting_head_is_a_fork_and_never_counts(tmp_path: Path) -> None:
    mine = heads_of("a", tmp_path)
    mine.sign(5, ROOT)
    with pytest.raises(ForkError, match="another history"):
        mine.take("b", signers("b").note(ORIGIN, 5, OTHER, 1))
    assert mine.lacks("b")


def test_who_is_no_peer_sees_a_fork_too_and_reports_it_with_what_another_signed(tmp_path: Path) -> None:
    late = heads_of("e", tmp_path)
    late.follow(members_of("e"))
    late.sign(5, ROOT)
    forked = signers("b").note(ORIGIN, 5, OTHER, 1)
    with pytest.raises(MalformedError, match="nobody has signed ours yet"):
        late.take("b", forked)
    assert late.take("a", signers("a").note(ORIGIN, 5, ROOT, 1))
    with pytest.raises(ForkError, match="another history") as caught:
        late.take("b", forked)
    report = open_report(format_json(caught.value.report), policy(1))
    assert report.finding == FORK


def _cases() -> list[bytes]:
    b, c = signers("b"), signers("c")
    body = f"{ORIGIN}\n5\n{'cnJy' * 10}cnI=\n"
    good = b.note(ORIGIN, 5, ROOT, 1)
    return [
        c.note(ORIGIN, 5, ROOT, 1),  # another peer's
        sign_note(body, [b.log], 1),  # its cosignature is missing
        sign_note(body, [b.cosigner], 1),
        good + c.note(ORIGIN, 5, ROOT, 1).rpartition(b"\n\n")[2],  # a line too many
        good.replace(b"\n5\n", b"\n6\n"),  # signed another size
        good[:-5],
        b"",
        b"junk\n\njunk\n",
        b.note("other.example.org", 5, ROOT, 1),
    ]


@pytest.mark.parametrize("note", _cases())
def test_what_is_not_that_peers_head_is_refused(tmp_path: Path, note: bytes) -> None:
    mine = heads_of("a", tmp_path)
    mine.sign(5, ROOT)
    with pytest.raises(VerifyError):
        mine.take("b", note)
    assert mine.lacks("b")


def test_a_peer_is_asked_only_about_heads_that_it_has_not_told(tmp_path: Path) -> None:
    mine, other = heads_of("a", tmp_path), heads_of("b", tmp_path)
    for size in (3, 5, 8):
        mine.sign(size, ROOT)
        other.sign(size, ROOT)
    assert mine.wanted("b") == 0
    assert mine.take("b", other.signed(5)[0])
    assert mine.wanted("b") == 6
    assert len(other.signed(mine.wanted("b"))) == 1
    assert mine.lacks("b")


def test_only_the_newest_heads_are_kept(tmp_path: Path) -> None:
    mine = heads_of("a", tmp_path)
    for size in range(KEPT_HEADS + 10):
        mine.sign(size, ROOT if size else _empty())
    assert len(mine.signed()) == KEPT_HEADS
    assert not mine.take("b", signers("b").note(ORIGIN, 5, OTHER, 1))  # too old to be compared


def _empty() -> bytes:
    from touchplate.verify.rfc6962 import EMPTY_ROOT

    return EMPTY_ROOT


def test_signs_no_second_head_of_one_size_after_a_restart(tmp_path: Path) -> None:
    heads_of("a", tmp_path).sign(5, ROOT)
    again = heads_of("a", tmp_path)
    with pytest.raises(CheckpointError):
        again.sign(5, OTHER)
    with pytest.raises(CheckpointError):
        again.sign(4, ROOT)
    again.sign(5, ROOT)
    assert len(again.signed()) == 1


def test_who_has_to_cosign_is_a_matter_of_each_head(tmp_path: Path) -> None:
    peers = {name: heads_of(name, tmp_path) for name in NAMES}
    mine = peers["a"]
    for each in peers.values():
        each.sign(5, ROOT)
    for name, each in peers.items():
        each.follow(members_of(name, "abc"))  # d was removed after the head of 5 entries
        each.sign(6, ROOT)
    for name in ("b", "d"):
        mine.take(name, peers[name].signed(5)[0])
    # d is asked no more, and its line under the older head, of which it was a peer, was not taken in time.
    assert mine.published() is None
    assert not mine.take("d", signers("d").note(ORIGIN, 6, ROOT, 1))
    assert mine.take("b", peers["b"].signed(6)[0])
    assert mine.published() is None
    assert mine.take("c", peers["c"].signed(6)[0])
    found = mine.published()
    assert found is not None
    assert (found[0], found[2]) == (6, 3)


def test_a_line_that_came_before_its_peer_was_removed_still_counts_under_that_head(tmp_path: Path) -> None:
    mine, other, third = (heads_of(name, tmp_path) for name in "abd")
    for each in (mine, other, third):
        each.sign(5, ROOT)
    assert mine.take("d", third.signed()[0])
    mine.follow(members_of("a", "abc"))
    assert mine.take("b", other.signed()[0])
    found = mine.published()
    assert found is not None
    assert (found[0], found[2]) == (5, 3)


def test_a_head_said_anew_counts_what_is_said_from_then_on(tmp_path: Path) -> None:
    mine, *others = (heads_of(name, tmp_path) for name in "abc")
    mine.renew()  # there is none yet
    for each in (mine, *others):
        each.sign(5, ROOT)
    for name, each in zip("bc", others, strict=True):
        assert mine.take(name, each.signed()[0])
    first = mine.published()
    assert first is not None
    assert not mine.lacks("b")
    mine.renew()
    assert mine.published() is None
    assert (mine.lacks("b"), mine.wanted("b")) == (True, 0)
    for name, each in zip("bc", others, strict=True):
        assert mine.take(name, each.signed()[0])
    second = mine.published()
    assert second is not None
    assert second.place > first.place
    mine.follow(members_of("a", "abc"))
    mine.sign(5, ROOT)  # d voted twice: a block without entries
    third = mine.published()
    assert third is not None
    assert third.place > second.place


def test_who_is_no_peer_signs_nothing_and_publishes_what_the_others_signed(tmp_path: Path) -> None:
    late = heads_of("e", tmp_path)
    late.follow(members_of("e"))
    late.sign(5, ROOT)
    assert late.signed() == []
    assert not (tmp_path / "e" / "signed.head").exists()
    for name in ("a", "b"):
        assert late.take(name, signers(name).note(ORIGIN, 5, ROOT, 1))
    assert late.published() is None  # two of four, and its own does not count
    assert late.take("c", signers("c").note(ORIGIN, 5, ROOT, 1))
    found = late.published()
    assert found is not None
    assert sorted(name for name, _ in open_checkpoint(found[1], policy(3)).cosigners) == ["a", "b", "c"]
    late.follow(members_of("e", (*NAMES, "e")))
    late.sign(5, ROOT)  # it was admitted in a block without entries
    assert len(late.signed()) == 1
    found = late.published()
    assert found is not None
    assert found[2] == 4


# --- gathering ----------------------------------------------------------------------------------------------


class World:
    """Four peers over real trees; each asks the others' `Heads` directly. `down` names those that do not
    answer."""

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.time) -> None:
        self.down: set[str] = set()
        self.now = now
        self.trees = {name: open_sqlite(folder / name) for name in NAMES}
        self.heads = {name: self._heads(name, folder) for name in NAMES}
        self.parts = {
            name: Gathering(
                self.trees[name],
                self.heads[name],
                self._fetch,
                folder / name,
            )
            for name in NAMES
        }

    def _heads(self, name: str, folder: Path) -> Heads:
        tree = self.trees[name]
        return Heads(
            ORIGIN,
            signers(name),
            members_of(name),
            SigningGuard(folder / name, ORIGIN),
            lambda size: tree.head().root,
            now=self.now,
        )

    def _fetch(self, peer: PeerKeys) -> Callable[[int], bytes]:
        name = peer.name

        def fetch(start: int) -> bytes:
            if name in self.down:
                raise UnreachableError(f"{name} is down")
            return format_heads(self.heads[name].signed(start))

        return fetch

    def block(
        self, start: int, count: int, names: tuple[str, ...] = NAMES, *, agreed: Iterable[str] = NAMES
    ) -> None:
        """A block at the peers `names`, after which all peers are `agreed`."""
        for name in names:
            self.trees[name].apply(signed_entries(count, start), decided=b"a block")
            head = self.trees[name].head()
            self.parts[name].decided(head.size, head.root, members_of(name, agreed))

    def checkpoint(self, name: str, size: int, cosigners: int, *, seconds: int = SECONDS) -> bytes:
        """Wait for a checkpoint of that size with at least so many cosignatures."""
        ended = threading.Event()
        for _ in range(seconds * 20):
            note = self.trees[name].head().checkpoint
            if note is not None:
                opened = open_checkpoint(note, policy(1))
                if opened.size == size and len(opened.cosigners) >= cosigners:
                    return note
            ended.wait(0.05)
        raise AssertionError(f"{name} published {self.trees[name].head().checkpoint!r}")

    def __enter__(self) -> "World":
        for part in self.parts.values():
            part.start()
        return self

    def __exit__(self, *_: object) -> None:
        for part in self.parts.values():
            part.stop()
        for tree in self.trees.values():
            tree.close()


def test_all_peers_publish_the_same_head_with_everybodys_lines(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.block(0, 3)
        for name in NAMES:
            opened = open_checkpoint(world.checkpoint(name, 3, 4), policy(4))
            assert opened.root == world.trees["a"].head().root


def test_one_peer_may_be_down_and_two_may_not(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.down = {"d"}
        world.block(0, 2)
        world.checkpoint("a", 2, 3)
        world.down = {"c", "d"}
        world.block(2, 2)
        heads = world.heads["a"]
        with heads.changed:
            heads.changed.wait_for(lambda: not heads.lacks("b"), SECONDS)
        assert open_checkpoint(world.trees["a"].head().checkpoint or b"", policy(3)).size == 2
        world.down = set()
        world.checkpoint("a", 4, 4)


def test_a_peer_that_is_behind_publishes_when_it_has_caught_up(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.block(0, 2, ("a", "b", "c"))
        world.checkpoint("a", 2, 3)
        assert world.trees["d"].head().checkpoint is None
        world.block(0, 2, ("d",))
        world.checkpoint("d", 2, 4)
        world.checkpoint("a", 2, 4)


def test_a_head_that_could_not_be_signed_is_signed_as_soon_as_it_can_be(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.down = {"d"}
        folder, away = tmp_path / "c", tmp_path / "away"
        folder.rename(away)  # its tree is open and goes on; the guard has nowhere to write
        world.block(0, 2)
        with pytest.raises(AssertionError, match="published None"):
            world.checkpoint("a", 2, 3, seconds=2)
        away.rename(folder)
        world.checkpoint("a", 2, 3)  # and no further block came


def test_a_damaged_tree_is_told_and_its_peer_signs_again_when_it_was_put_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    SigningGuard(tmp_path / "c", ORIGIN).permit(0, EMPTY, lambda size: EMPTY)
    damaged = [True]

    def root_at(size: int) -> bytes:
        if damaged:
            raise ProofError("a tile is not what its parent says")
        return EMPTY

    with World(tmp_path) as world:
        world.down = {"d"}
        world.heads["c"]._root_at = root_at
        world.block(0, 2)
        with pytest.raises(AssertionError, match="published None"):
            world.checkpoint("a", 2, 3, seconds=2)
        assert "could not be signed: a tile is not" in caplog.text
        damaged.clear()
        world.checkpoint("a", 2, 3)


def test_the_checkpoint_of_an_idle_log_does_not_grow_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchplate.log.peers.gathering.RENEW_SECONDS", 0.2)
    now = [1_700_000_000.0]
    with World(tmp_path, now=lambda: now[0]) as world:
        world.down = {"d"}
        world.block(0, 2)
        world.checkpoint("a", 2, 3)
        now[0] += 24 * 3600
        ended = threading.Event()
        for name in ("a", "b", "c"):
            for _ in range(SECONDS * 20):
                opened = open_checkpoint(world.checkpoint(name, 2, 3), policy(3))
                if checkpoint_age(opened, policy(3), int(now[0])) == 0:
                    break
                ended.wait(0.05)
            else:
                raise AssertionError(f"{name} publishes an old checkpoint")
        world.block(2, 1)
        world.checkpoint("a", 3, 3)


def test_evidence_of_a_fork_is_kept_and_the_others_go_on(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.block(50, 2, ("d",))
        world.block(0, 2, ("a", "b", "c"))
        world.checkpoint("a", 2, 3)
        ended = threading.Event()
        while not (found := list((tmp_path / "a").glob("fork-*.json"))):
            assert not ended.wait(0.05)
        root = world.trees["d"].head().root
        assert [path.name for path in found] == [f"fork-{ORIGIN}-2-{root.hex()[:8]}.json"]
        report = open_report(found[0].read_bytes(), policy(1))
        assert report.finding == FORK
        assert report.old is not None
        assert (report.old.root, report.new.root) == (world.trees["a"].head().root, root)
        with pytest.raises(PolicyError):  # one peer's word about each: no quorum ever said both
            open_report(found[0].read_bytes(), policy(2))


def test_a_new_peer_is_asked_and_one_that_left_is_not(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.block(0, 1, agreed="abc")
        world.checkpoint("a", 1, 3)
        world.checkpoint("d", 1, 3)  # it executes the blocks, and is no peer yet
        assert world.heads["d"].signed() == []
        world.block(1, 1)
        for name in NAMES:
            world.checkpoint(name, 2, 4)
        world.block(2, 1, agreed="abd")
        for name in NAMES:
            opened = open_checkpoint(world.checkpoint(name, 3, 3), policy(3))
            assert sorted(each for each, _ in opened.cosigners) == ["a", "b", "d"]
        world.block(3, 1, agreed="abcd")  # and back again: asked anew
        world.checkpoint("a", 4, 4)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"heads": 3}', b'{"heads": null}', b"\xff"])
def test_an_answer_that_is_no_list_of_heads_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        parse_heads(body)


def test_an_answer_is_read_back_as_it_was() -> None:
    notes = [signers("a").note(ORIGIN, 5, ROOT, 1), signers("a").note(ORIGIN, 6, ROOT, 1)]
    assert parse_heads(format_heads(notes)) == notes


def test_a_question_waits_for_the_next_head(tmp_path: Path) -> None:
    mine = heads_of("a", tmp_path)
    mine.sign(3, ROOT)

    async def main() -> list[bytes]:
        await mine.wait_signed(3, SECONDS)  # there already
        waiting = asyncio.create_task(mine.wait_signed(4, SECONDS))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await asyncio.to_thread(mine.sign, 5, ROOT)
        await waiting
        return mine.signed(4)

    assert len(asyncio.run(main())) == 1


def test_a_question_waits_no_longer_than_it_said(tmp_path: Path) -> None:
    mine = heads_of("a", tmp_path)

    async def main() -> None:
        waiting = asyncio.create_task(mine.wait_signed(0, 0.01))
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.wait_for(waiting, SECONDS)

    asyncio.run(main())
    assert mine.signed() == []
    mine.sign(1, ROOT)  # whoever waited is gone, with its loop


def test_only_so_many_questions_wait(tmp_path: Path) -> None:
    mine = heads_of("a", tmp_path)

    async def main() -> None:
        waiting = [asyncio.create_task(mine.wait_signed(0, SECONDS)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        await mine.wait_signed(0, SECONDS)  # answered at once
        assert not any(task.done() for task in waiting)
        await asyncio.to_thread(mine.sign, 1, ROOT)
        await asyncio.gather(*waiting)

    asyncio.run(main())


def ask(face: HeadsFace, method: str, query: bytes) -> tuple[int, bytes]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is sent with a question")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/log/peers/heads", "query_string": query}
    assert face.handles(scope)
    asyncio.run(face(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def test_the_face_tells_signed_heads_and_refuses_other_questions() -> None:
    asked: list[tuple[int, float]] = []

    async def heads(start: int, seconds: float) -> bytes:
        asked.append((start, seconds))
        return b"{}"

    # Neither reader nor writer is asked for heads.
    face = HeadsFace(None, None, "/log", heads)  # type: ignore[arg-type]
    assert ask(face, "GET", b"") == (200, b"{}")
    assert ask(face, "GET", b"from=7&wait=2&more=x") == (200, b"{}")
    assert ask(face, "HEAD", b"from=1&wait=99999") == (200, b"")
    assert asked == [(0, 0.0), (7, 2.0), (1, float(MAX_WAIT_SECONDS))]
    for query in (b"from=-1", b"from=x", b"wait=0.5", b"from=01", b"from=", b"wait=-1", b"\xff=\xff&from=%"):
        assert ask(face, "GET", query)[0] == 400, query
    assert ask(face, "GET", b"x=" + b"y" * (MAX_QUERY_BYTES - 9) + b"&from=77")[0] == 400
    assert ask(face, "POST", b"")[0] == 405
    assert not face.handles({"type": "http", "path": "/log/peers/heads/x"})
    assert face.handles({"type": "http", "path": "/log/checkpoint"})


def test_a_peer_whose_url_cannot_be_used_costs_the_others_nothing(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        reached = world._fetch

        def fetch_from(peer: PeerKeys) -> Callable[[int], bytes]:
            return http_fetch("https://[:::]/log") if peer.name == "d" else reached(peer)

        world.parts["a"]._fetch_from = fetch_from  # before the first head, when nobody is asked yet
        world.block(0, 3)
        world.checkpoint("a", 3, 3)
        world.block(3, 1)
        world.checkpoint("a", 4, 3)
