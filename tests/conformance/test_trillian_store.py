"""Trillian 1.7.3 as the store of a log: the storages' suite, kills on either side, Tessera's fsck."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.bench.log.programs import TRILLIAN_SERVER, TRILLIAN_SIGNER
from tests.conformance.go_programs import program
from tests.conformance.readers import ask_fsck
from tests.conformance.trillian_server import RealTrillian, real_trillian
from tests.log.storage_suite import TreeSuite
from tests.log.support import raw_entries
from tests.log.trillian.store.process import Writers, fsck, write_config
from tests.log.trillian.store.support import open_trillian
from tests.log.trillian.test_docs import run_example
from tests.node.test_log_serve import LogProcess
from tests.simkeys import log_signer, verifier_key

from touchplate.log.errors import CheckpointError, FrozenError
from touchplate.log.ports import Tree
from touchplate.proto.trillian.trillian_pb2 import TreeState

pytestmark = pytest.mark.slow

QUICK = "10ms"
"""The signer's interval here: a tenth of what Trillian ships with, since hundreds of batches wait for it."""

KILLS = 4
MORE = 12
"""Entries acknowledged before each kill and after it."""


@pytest.fixture(scope="module")
def trillian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTrillian]:
    with real_trillian(tmp_path_factory.mktemp("trillian"), QUICK) as one:
        yield one


class TestTree(TreeSuite):
    @pytest.fixture(autouse=True)
    def _use(self, trillian: RealTrillian) -> None:
        self._address = trillian.address

    def open(self, folder: Path) -> Tree:
        return open_trillian(folder, self._address)

    @pytest.mark.parametrize("step", [7, 300])  # entry by entry takes half a minute of waiting
    def test_has_the_root_of_the_definition_however_it_was_batched(self, tree: Tree, step: int) -> None:
        super().test_has_the_root_of_the_definition_however_it_was_batched(tree, step)


class World:
    """A log on that Trillian, writers, and everybody who remembers."""

    def __init__(self, folder: Path, trillian: RealTrillian) -> None:
        self.folder = folder
        self.config = write_config(folder, trillian.address, 'timeout = "5s"\n')
        self.writers = Writers()
        self.kept: list[str] = []
        self.start()

    def start(self) -> None:
        self.process = LogProcess(self.config)
        self.url = self.process.url()
        self.writers.go_to(self.process, self.url)

    def remember(self) -> None:
        """Keep the checkpoint that is shown now: the log must contain it for ever."""
        status, note = self.process.request(self.url, "/log/checkpoint")
        assert status == 200
        path = self.folder / f"kept-{len(self.kept)}"
        path.write_bytes(note)
        self.kept += ["--against", str(path)]

    def kill(self) -> None:
        """SIGKILL, and no goodbye."""
        self.process.child.send_signal(signal.SIGKILL)
        self.process.close()

    def finish(self) -> None:
        """Everything acknowledged is there, and the log is of one piece, also to Tessera's fsck."""
        self.writers.stop()
        self.writers.check(self.process, self.url)
        fsck(self.folder, self.url, *self.kept)
        words = ask_fsck(program("fsck"), f"{self.url}/log", verifier_key(log_signer()), self.folder)
        assert words.good, words.text
        assert self.process.stop() == 0
        assert not [line for line in self.process.lines if "Traceback" in line and "a batch of" not in line]

    def close(self) -> None:
        self.writers.stop()
        self.process.close()


@contextmanager
def world(folder: Path, trillian: RealTrillian) -> Iterator[World]:
    with ExitStack() as stack:
        one = World(folder, trillian)
        stack.callback(one.close)
        yield one


def test_nothing_acknowledged_is_lost_when_the_log_is_killed(tmp_path: Path, trillian: RealTrillian) -> None:
    with world(tmp_path, trillian) as log:
        for _ in range(KILLS):
            log.writers.await_more(MORE)
            log.remember()
            log.kill()
            log.start()
        log.writers.await_more(MORE)
        log.finish()


@pytest.mark.parametrize("what", ["server", "signer", "both", "database"])
def test_nothing_acknowledged_is_lost_when_trillian_is_killed(
    tmp_path: Path, trillian: RealTrillian, what: str
) -> None:
    with world(tmp_path, trillian) as log:
        log.writers.await_more(MORE)
        log.remember()
        if what == "database":
            trillian.postgres.stop(signal.SIGQUIT)
            trillian.postgres.start()
        else:
            names = {"server": [TRILLIAN_SERVER], "signer": [TRILLIAN_SIGNER], "both": []}[what]
            trillian.kill(*names)
            trillian.start()
        log.writers.await_more(MORE)
        log.finish()
        assert log.writers.refused <= {(503, "storage-failed")}


@pytest.mark.parametrize("state", [TreeState.FROZEN, TreeState.DRAINING])
def test_a_tree_that_takes_nothing_is_a_frozen_log(
    tmp_path: Path, trillian: RealTrillian, state: int
) -> None:
    tree = open_trillian(tmp_path, trillian.address)
    try:
        tree.apply(raw_entries(2))
        trillian.set_state(tree.tree_id, state)
        with pytest.raises(FrozenError, match=TreeState.Name(state)):
            tree.apply(raw_entries(3))
        assert tree.read_packed(0, 2) == [entry.packed for entry in raw_entries(2)]
        trillian.set_state(tree.tree_id, TreeState.ACTIVE)
        assert tree.apply(raw_entries(3))[2].index == 2
    finally:
        tree.close()


def test_a_database_that_went_back_is_not_signed(tmp_path: Path, trillian: RealTrillian) -> None:
    tree = open_trillian(tmp_path, trillian.address)
    try:
        tree.apply(raw_entries(3))
        # As a standby that lacked the newest commits: the newest root is of a smaller tree.
        trillian.postgres.sql(
            f"DELETE FROM TreeHead WHERE TreeId = {tree.tree_id} AND TreeSize = 3", trillian.database
        )
        head = tree.head()
        with pytest.raises(CheckpointError, match="went back or was exchanged"):
            tree.catch_up()
        assert tree.head() == head
    finally:
        tree.close()


def test_the_example_of_the_stubs_runs_against_it(
    trillian: RealTrillian, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example(int(trillian.address.rpartition(":")[2]), capsys)
