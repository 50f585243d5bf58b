"""Any order of requests of two histories, restarts and failed writes: a witness never says two things."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.log.witness.support import COSIGNER, NOW, SomeLog
from tests.log.witness.test_service import FailingMemory

from touchplate.log.errors import STATUS, LogError
from touchplate.log.witness.requests import format_add_checkpoint
from touchplate.log.witness.service import Witness
from touchplate.verify.notes import open_note

SIZES = st.integers(0, 40)
BRANCHES = (SomeLog(count=40), SomeLog(count=40, branch="other "))


class Clients(RuleBasedStateMachine):
    """Two logs with one key and two histories ask one witness; both remember what it told them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.signed: dict[int, bytes] = {}  # size -> root, of every cosignature that came out
        self.known = 0  # the size that the witness last told, by whatever answer
        self.open()

    def open(self) -> None:
        self.memory = FailingMemory(Path(self.folder.name))
        self.witness = Witness([COSIGNER], [BRANCHES[0].listed], self.memory, now=lambda: NOW)

    def ask(self, branch: int, old: int, new: int, proven: int) -> int:
        log = BRANCHES[branch]
        proof = log.proof(proven, new) if proven <= new else []
        note = log.note(new)
        try:
            lines = self.witness.add_checkpoint(format_add_checkpoint(old, proof, note))
        except LogError as error:
            self.known = getattr(error, "size", self.known)
            return STATUS.status(error).http
        open_note(note + lines, [COSIGNER.key])
        assert self.signed.setdefault(new, log.root(new)) == log.root(new), "two heads of one size"
        assert new >= max(self.signed), "a head smaller than one that was cosigned"
        self.known = new
        return 200

    @rule(branch=st.integers(0, 1), new=SIZES)
    def asks_from_what_it_was_told(self, branch: int, new: int) -> None:
        self.ask(branch, self.known, new, self.known)

    @rule(branch=st.integers(0, 1), old=SIZES, new=SIZES, proven=SIZES)
    def asks_anything(self, branch: int, old: int, new: int, proven: int) -> None:
        self.ask(branch, old, new, proven)

    @rule(failure=st.sampled_from(["before", "after"]))
    def the_next_write_fails(self, failure: str) -> None:
        self.memory.fail = failure

    @rule()
    def starts_anew(self) -> None:
        self.witness.close()
        self.open()

    @invariant()
    def all_heads_are_of_one_history(self) -> None:
        histories = [
            log for log in BRANCHES if all(log.root(size) == self.signed[size] for size in self.signed)
        ]
        assert histories

    def teardown(self) -> None:
        self.witness.close()
        self.folder.cleanup()


Clients.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestClients = Clients.TestCase
