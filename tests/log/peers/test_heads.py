"""Signed heads and the quorum over them, between real peers in one process."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.log.peers.support import keys, signers
from tests.log.support import open_sqlite, signed_entries
from tests.simkeys import ORIGIN, verifier_key

from touchplate.base.errors import UnreachableError
from touchplate.log.errors import CheckpointError, RequestError
from touchplate.log.guard import SigningGuard
from touchplate.log.peers.gathering import Gathering, format_heads, parse_heads
from touchplate.log.peers.heads import KEPT_HEADS, ForkError, Heads
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.errors import PolicyError, VerifyError
from touchplate.verify.notes import sign_note
from touchplate.verify.policy import Policy, parse_policy

NAMES = ("a", "b", "c", "d")
ROOT, OTHER = b"r" * 32, b"o" * 32
SECONDS = 30


def heads_of(name: str, folder: Path, root: bytes = ROOT) -> Heads:
    others = [keys(other) for other in NAMES if other != name]
    guard = SigningGuard(folder / name, ORIGIN)
    return Heads(ORIGIN, signers(name), others, guard, lambda size: root, now=lambda: 1_700_000_000)


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
    assert mine.quorum == 3
    assert mine.published() is None
    assert mine.take("b", peers["b"].signed()[0])
    assert mine.published() is None
    assert mine.take("c", peers["c"].signed()[0])
    found = mine.published()
    assert found is not None
    size, note, cosigners = found
    assert (size, cosigners) == (5, 3)
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


# --- gathering ----------------------------------------------------------------------------------------------


class World:
    """Four peers over real trees; each asks the others' `Heads` directly. `down` names those that do not
    answer."""

    def __init__(self, folder: Path) -> None:
        self.down: set[str] = set()
        self.trees = {name: open_sqlite(folder / name) for name in NAMES}
        self.heads = {name: self._heads(name, folder) for name in NAMES}
        self.parts = {
            name: Gathering(
                self.trees[name],
                self.heads[name],
                {other: self._fetch(other) for other in NAMES if other != name},
                folder / name,
            )
            for name in NAMES
        }

    def _heads(self, name: str, folder: Path) -> Heads:
        others = [keys(other) for other in NAMES if other != name]
        tree = self.trees[name]
        return Heads(
            ORIGIN, signers(name), others, SigningGuard(folder / name, ORIGIN), lambda size: tree.head().root
        )

    def _fetch(self, name: str) -> Callable[[int], bytes]:
        def fetch(start: int) -> bytes:
            if name in self.down:
                raise UnreachableError(f"{name} is down")
            return format_heads(self.heads[name].signed(start))

        return fetch

    def block(self, start: int, count: int, names: tuple[str, ...] = NAMES) -> None:
        for name in names:
            self.trees[name].apply(signed_entries(count, start), decided=b"a block")
            head = self.trees[name].head()
            self.parts[name].decided(head.size, head.root)

    def checkpoint(self, name: str, size: int, cosigners: int) -> bytes:
        """Wait for a checkpoint of that size with at least so many cosignatures."""
        ended = threading.Event()
        for _ in range(SECONDS * 20):
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


def test_evidence_of_a_fork_is_kept_and_the_others_go_on(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.block(50, 2, ("d",))
        world.block(0, 2, ("a", "b", "c"))
        world.checkpoint("a", 2, 3)
        evidence = tmp_path / "a" / "fork-d.txt"
        ended = threading.Event()
        while not evidence.exists():
            assert not ended.wait(0.05)
        assert "another history" in evidence.read_text()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"heads": 3}', b'{"heads": null}', b"\xff"])
def test_an_answer_that_is_no_list_of_heads_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        parse_heads(body)


def test_an_answer_is_read_back_as_it_was() -> None:
    notes = [signers("a").note(ORIGIN, 5, ROOT, 1), signers("a").note(ORIGIN, 6, ROOT, 1)]
    assert parse_heads(format_heads(notes)) == notes
