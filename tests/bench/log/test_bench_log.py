"""The bench of the log itself: its arithmetic, its accounting of CPU, and each kind of load once in small."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bench.add import envelope, frame
from tests.bench.harness import Goal, WrongResultError
from tests.bench.log.__main__ import main
from tests.bench.log.compare import Found, cost_row, latency_row, rate_row
from tests.bench.log.loads import Result, Target, run
from tests.bench.log.processes import free_port, resident_mib, started, tree_cpu
from tests.bench.log.programs import LOAD, MODULE, PACKAGES, program
from tests.bench.log.sides import LOG, PREORDERED, Ours, make_tree
from tests.conformance.go_programs import built

BURN = """
import subprocess, sys, time
def burn():
    until = time.process_time() + 0.5
    while time.process_time() < until: pass
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "ends"])
    lives = subprocess.Popen([sys.executable, __file__, "lives"], stdout=subprocess.PIPE)
    lives.stdout.readline()
    print("burnt", flush=True)
    sys.stdin.readline()
    lives.kill()
else:
    burn()
    print("burnt", flush=True)
    if sys.argv[1] == "lives": time.sleep(600)
"""
LEAVES = 300


def result(rate: float, cpu: float, entries: int = 1000, p50: float = 1.0) -> Result:
    return Result(entries, entries / rate, rate, p50, 2 * p50, p50, 3 * p50, 0, rate, rate, p50, cpu)


def test_cpu_of_a_tree_counts_children_that_live_and_those_that_ended(tmp_path: Path) -> None:
    script = tmp_path / "burn.py"
    script.write_text(BURN)
    child = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "burnt\n"
        while child.stdout.readline() != "burnt\n":
            pass
        assert tree_cpu([child.pid]) >= 0.95  # two that burnt half a second each
        assert resident_mib(child.pid) > 1
    finally:
        child.communicate("\n")
    assert tree_cpu([child.pid]) == 0.0  # who is gone costs nothing, and is no error


def test_a_server_that_ends_by_itself_is_a_wrong_result(tmp_path: Path) -> None:
    with (
        pytest.raises(WrongResultError, match="did not start"),
        started([sys.executable, "-c", "raise SystemExit('broken')"], free_port(), tmp_path / "log"),
    ):
        pass
    assert "broken" in (tmp_path / "log").read_text()


def test_rows_compare_medians_and_judge_the_ratio() -> None:
    ours = Found({"": [result(3000, 0.2), result(1000, 0.4), result(2000, 0.3)]})
    peer = Found({"": [result(1000, 0.9)]})
    row = rate_row("a figure", ours, peer, "", Goal(">=", 2.0, " x"))
    assert (row.ours, row.peer, row.value, row.verdict) == ("2,000/s", "1,000/s", 2.0, "met")
    assert "ratio 2.00; CPU 300 us an entry, peer 900" in row.note
    alone = rate_row("a figure", ours, None, "", Goal(">=", 2001, "/s"))
    assert (alone.value, alone.verdict) == (2000, "MISSED")
    cost = cost_row("a figure", ours, peer, [""], Goal("<=", 0.3, " x"))
    assert (cost.ours, cost.peer, cost.verdict) == ("300 us", "900 us", "MISSED")
    assert latency_row("a figure", ours, peer, "", None).note == "p99 3 ms, peer 3"


def test_every_program_has_its_version_in_the_module() -> None:
    module = (MODULE / "go.mod").read_text()
    for name, package in PACKAGES.items():
        assert name == LOAD or f"\t{package}\n" in module


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "invalid choice" in capsys.readouterr().err


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, str]]:
    """A log: its HTTP face, and the address of its raw trees."""
    built(lambda _: program(LOAD), "the load generator")
    with Ours().running(tmp_path_factory.mktemp("log")) as (http, rpc):
        yield http, f"127.0.0.1:{rpc}"


@pytest.mark.slow
def test_leaves_are_queued_and_proved(running: tuple[Target, str]) -> None:
    http, address = running
    tree = Target(address, http.pids, make_tree(address, LOG))
    queued = run(tree, "queue", 8, 30, limit=LEAVES)
    assert LEAVES <= queued.entries < LEAVES + 8
    assert queued.rate > 0
    assert queued.integrated_p99 >= queued.integrated_p50 > 0
    assert queued.cpu > 0
    for mode in ("proofs", "by-hash"):
        assert run(tree, mode, 4, 30, limit=100).entries >= 100


@pytest.mark.slow
def test_leaves_are_placed(running: tuple[Target, str]) -> None:
    http, address = running
    tree = Target(address, http.pids, make_tree(address, PREORDERED))
    for _ in range(2):  # goes on where the tree ends
        assert run(tree, "sequenced", 1, 30, limit=2000).entries == 2000


@pytest.mark.slow
def test_signed_entries_are_added_and_tiles_read(running: tuple[Target, str], tmp_path: Path) -> None:
    http, _ = running
    file = tmp_path / "entries"
    file.write_bytes(frame([envelope(number) for number in range(LEAVES)]))
    added = run(http, "http", 8, 60, bodies=file)
    assert added.entries == LEAVES
    assert run(http, "tiles", 2, 30, limit=20).entries >= 20
    file.write_bytes(frame([envelope(0)] * 4))  # known: they get one index, the old one
    with pytest.raises(WrongResultError, match="4 entries got 1 indexes"):
        run(http, "http", 2, 60, bodies=file)


@pytest.mark.slow
def test_raw_leaves_are_added_over_http(tmp_path: Path) -> None:
    built(lambda _: program(LOAD), "the load generator")
    with Ours().raw_http(tmp_path) as tree:
        added = run(tree, "http", 8, 60, limit=LEAVES)
        assert LEAVES <= added.entries < LEAVES + 8
        assert added.integrated_p99 >= added.integrated_p50 > 0
        assert run(tree, "tiles", 2, 30, limit=20).entries >= 20


@pytest.mark.slow
def test_a_load_on_nothing_is_a_wrong_result(running: tuple[Target, str]) -> None:
    _, address = running
    with pytest.raises(WrongResultError, match="NotFound"):
        run(Target(address, (), 1 << 40), "queue", 1, 1)
