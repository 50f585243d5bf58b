"""A state machine over a log's API: whatever clients do, every answer is the literal definition's.

A real log on SQLite in a temporary folder, spoken to through its HTTP face, with restarts in between;
`model.Model` over tests/reference.py says what each answer has to be. tests/log/test_machine.py runs it, and
shows that it finds planted bugs.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.log.face import Face, FaceSource, batch
from tests.log.model import Model, entry, envelope
from tests.log.support import STRANGER, record_envelope, write_settings
from tests.simkeys import solo_policy

from touchplate.base.sql import sqlite_engine
from touchplate.log.fsck import check_log
from touchplate.log.served import ServedLog
from touchplate.log.service import DATABASE_NAME, LogService
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.checkpoints import Checkpoint, open_checkpoint
from touchplate.verify.client import LogClient
from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.proofs import check_consistency, check_inclusion
from touchplate.verify.tiles import entries_path, envelopes_path, tile_path, tile_width, tiles_of

SMALL = 12
"""Entries up to which all proofs are asked for."""

STARTS = (0, 0, 0, 1, 3, 7, 254, 256, 509)
"""Sizes to begin with: the small ones, and around the ends of full tiles."""

numbers = st.integers(0, 2**16)
"""Something of what there is: taken modulo its count."""

submissions = st.lists(st.sampled_from(["fresh", "fresh", "again", "stranger", "garbage"]), max_size=9)


class LogMachine(RuleBasedStateMachine):
    """Clients of one log, and what they were told."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self.model = Model()
        self.heads: list[Checkpoint] = []
        self._policy = solo_policy()
        self._running: tuple[LogService, Face] | None = None
        self._open()

    def _open(self) -> None:
        service = LogService(write_settings(self._path / "settings"), self._path / "data")
        service.start()
        self.face = Face(service)
        self._running = service, self.face

    def _close(self) -> None:
        if self._running is None:  # it did not start again
            return
        (service, face), self._running = self._running, None
        face.close()
        service.stop()

    def teardown(self) -> None:
        self._close()
        self._folder.cleanup()

    # --- writing ------------------------------------------------------------------------------------------

    @initialize(size=st.sampled_from(STARTS))
    def begin(self, size: int) -> None:
        self._send_batch([envelope(number) for number in range(size)], list(range(size)))

    @rule()
    def add(self) -> None:
        self._add(self.model.fresh)

    @rule(which=numbers)
    @precondition(lambda self: self.model.size)
    def add_again(self, which: int) -> None:
        self._add(self._known(which))

    @rule(kinds=submissions, which=numbers)
    def add_batch(self, kinds: list[str], which: int) -> None:
        bodies: list[bytes] = []
        expected: list[int | str] = []
        fresh = self.model.fresh
        for kind in kinds:
            if kind == "stranger":
                bodies.append(record_envelope(which, STRANGER))
                expected.append("unknown-key")
            elif kind == "garbage":
                bodies.append(b'{"payload":"')
                expected.append("malformed")
            else:
                # Also what stands in this very batch for the first time.
                number = fresh if kind == "fresh" or not fresh else which % fresh
                fresh = max(fresh, number + 1)
                bodies.append(envelope(number))
                expected.append(number)
        self._send_batch(bodies, expected)

    @rule(fresh=st.integers(1, 5), which=numbers)
    def add_at_once(self, fresh: int, which: int) -> None:
        first = self.model.fresh
        sent = [*range(first, first + fresh), first, *([self._known(which)] if self.model.size else [])]
        answers = self.face.at_once("POST", "add", [envelope(number) for number in sent])
        # Nobody promises an order; the answers say which one it was.
        told = {number: int(ok(answer).text) for number, answer in zip(sent, answers, strict=True)}
        for number in sorted(told, key=lambda number: told[number]):
            index, _ = self.model.add(number)
            assert told[number] == index

    @rule(body=st.sampled_from([b"", b"{}", envelope(0)[:-1], envelope(0) + b"\n"]))
    def add_refused(self, body: bytes) -> None:
        assert self.face("POST", "add", content=body).status_code == 400

    @rule()
    def restart(self) -> None:
        self._close()
        self._open()

    def _add(self, number: int) -> None:
        index, known = self.model.add(number)
        answer = ok(self.face("POST", "add", content=envelope(number)))
        assert (answer.text, "touchplate-duplicate" in answer.headers) == (str(index), known)

    def _send_batch(self, bodies: list[bytes], expected: list[int | str]) -> None:
        results = ok(self.face("POST", "add-batch", content=batch(*bodies))).json()["results"]
        for result, number in zip(results, expected, strict=True):
            if isinstance(number, str):
                assert result["error"]["reason"] == number
            else:
                index, known = self.model.add(number)
                assert result == {"index": str(index), "duplicate": known}

    def _known(self, which: int) -> int:
        return self.model.order[which % self.model.size]

    # --- reading ------------------------------------------------------------------------------------------

    @invariant()
    def the_checkpoint_is_the_definitions(self) -> None:
        opened = open_checkpoint(ok(self.face.get("checkpoint")).content, self._policy)
        assert (opened.size, opened.root) == (self.model.size, self.model.root())
        if not self.heads or self.heads[-1].size != opened.size:
            self.heads.append(opened)

    @rule(data=st.data())
    def read_tile(self, data: st.DataObject) -> None:
        tiles = list(tiles_of(self.model.size))
        for tile in tiles[:2] + tiles[-2:]:
            width = data.draw(st.integers(1, tile.width))  # a tree of an earlier size has it narrower
            path = tile_path(type(tile)(tile.level, tile.index, width))
            assert ok(self.face.get(path)).content == self.model.tile(tile.level, tile.index, width)

    @rule(data=st.data())
    @precondition(lambda self: self.model.size)
    def read_bundles(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, (self.model.size - 1) // 256))
        width = data.draw(st.integers(1, tile_width(0, index, self.model.size)))
        entries = ok(self.face.get(entries_path(index, width))).content
        assert entries == self.model.entry_bundle(index, width)
        envelopes = ok(self.face.get(envelopes_path(index, width))).content
        assert envelopes == self.model.envelope_bundle(index, width)

    @rule(which=numbers)
    @precondition(lambda self: self.model.size)
    def read_entry(self, which: int) -> None:
        index = which % self.model.size
        body = ok(self.face.get(f"entry/{index}")).json()
        assert body["envelope"] == encode_base64(envelope(self.model.order[index]))

    @rule()
    def nothing_is_beyond_the_tree(self) -> None:
        size = self.model.size
        index, width = divmod(size, 256)
        paths = [f"entry/{size}", f"proof/inclusion?index=0&size={size + 1}"]
        paths += [tile_path(tile) for tile in tiles_of(size + 1, size)]
        paths += [entries_path(index, width + 1), envelopes_path(index, width + 1)]
        assert {self.face.get(path).status_code for path in paths} == {404}

    # --- proofs -------------------------------------------------------------------------------------------

    @rule(data=st.data())
    @precondition(lambda self: self.model.size)
    def prove(self, data: st.DataObject) -> None:
        size = data.draw(st.integers(1, self.model.size))
        self._check_inclusion(data.draw(st.integers(0, size - 1)), size)
        self._check_consistency(data.draw(st.integers(0, size)), size)
        assert self.face.get(f"proof/inclusion?index={size}&size={size}").status_code == 400
        assert self.face.get(f"proof/consistency?old={size + 1}&new={size}").status_code == 400

    @rule()
    @precondition(lambda self: self.model.size <= SMALL)
    def prove_everything(self) -> None:
        for size in range(1, self.model.size + 1):
            for other in range(size):
                self._check_inclusion(other, size)
                self._check_consistency(other, size)

    @rule()
    def every_head_that_was_seen_is_a_beginning_of_the_newest(self) -> None:
        for old in self.heads:
            proof = self._check_consistency(old.size, self.model.size)
            check_consistency(old, self.heads[-1], proof)

    def _check_inclusion(self, index: int, size: int) -> None:
        body = ok(self.face.get(f"proof/inclusion?index={index}&size={size}")).json()
        proof = [decode_base64(node, "node") for node in body["proof"]]
        assert proof == self.model.inclusion(index, size)
        if size == self.heads[-1].size:
            check_inclusion(self.heads[-1], index, entry(self.model.order[index]).leaf_hash, proof)

    def _check_consistency(self, old: int, new: int) -> list[bytes]:
        body = ok(self.face.get(f"proof/consistency?old={old}&new={new}")).json()
        proof = [decode_base64(node, "node") for node in body["proof"]]
        assert proof == self.model.consistency(old, new)
        return proof

    @rule()
    def fsck_finds_nothing(self) -> None:
        with self._rows() as rows:
            result = check_log(rows, policy=self._policy)
        assert [str(finding) for finding in result.findings] == []
        assert (result.size, result.root) == (self.model.size, self.model.root())

    # --- an auditor, who trusts nobody and remembers ------------------------------------------------------

    @rule(which=numbers)
    def an_auditor_follows(self, which: int) -> None:
        auditor = LogClient(self._path, self._policy, self._path / "auditor" / "head")
        auditor._source = FaceSource(self.face)
        assert auditor.checkpoint().size == self.model.size  # consistent with what was remembered
        if self.model.size:
            index = which % self.model.size
            assert auditor.entry(index).envelope == envelope(self.model.order[index])
            assert auditor.inclusion(index) == self.model.inclusion(index, self.model.size)

    @rule()
    def an_auditor_recomputes_everything(self) -> None:
        result = check_log(ServedLog(FaceSource(self.face), self._read_head), policy=self._policy)
        assert [str(finding) for finding in result.findings] == []
        assert (result.size, result.root) == (self.model.size, self.model.root())

    def _read_head(self, note: bytes) -> tuple[int, bytes]:
        opened = open_checkpoint(note, self._policy)
        return opened.size, opened.root

    @contextmanager
    def _rows(self) -> Iterator[TreeRows]:
        engine = sqlite_engine(self._path / "data" / DATABASE_NAME)
        try:
            with closing(TreeRows(engine)) as rows:
                yield rows
        finally:
            engine.dispose()


def ok(answer: httpx.Response) -> httpx.Response:
    """`answer`, which is no refusal."""
    assert answer.status_code == 200, answer.text
    return answer
