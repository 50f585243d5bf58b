"""The builder's bench itself: its arithmetic, what it takes for wrong, and cheap figures in small."""

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bench.builder.__main__ import FIGURES, main
from tests.bench.builder.flood import peak_bytes, run_supervisor
from tests.bench.builder.inside import beside, relocate
from tests.bench.builder.measuring import (
    minus,
    open_folder,
    opened,
    run_as_job,
    spent_by_all,
    wall_ratio,
)
from tests.bench.builder.proxy import CLIENT, LOADS, Load, Turn, _row
from tests.bench.builder.start import start, start_gvisor, start_once, start_runc
from tests.bench.harness import Spent, WrongResultError
from tests.builder.sandboxes import require_sandbox

from touchplate.base.environment import read_environment
from touchplate.builder.cache import Cache
from touchplate.builder.inputs.lock import InputLock
from touchplate.builder.limits import make_groups
from touchplate.builder.plan import BuildPlan, Limits

PLACES = {"/build": "/host/work", "/build/deep": "/host/other", "/jdk": "/usr/lib/jvm/17", "/repo": "/tmp/r"}
BURN = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("/jdk", "/usr/lib/jvm/17"),
        ("/jdk/bin/java", "/usr/lib/jvm/17/bin/java"),
        ("-Dlocal=/build/m2", "-Dlocal=/host/work/m2"),
        ("/build:/build/deep/x", "/host/work:/host/other/x"),
        ("file:///repo/central/", "file:///repo/central/"),  # a URL's path is for who knows that it is one
        ("/jdk-17", "/jdk-17"),
        ("/builder", "/builder"),
        ("/opt/jdk", "/opt/jdk"),
        ("-B", "-B"),
    ],
)
def test_paths_of_the_inside_become_those_of_the_host(inside: str, outside: str) -> None:
    assert relocate(inside, PLACES) == outside


def test_overhead_is_the_difference_of_medians_clock_by_clock() -> None:
    whole = [Spent(5, 3), Spent(9, 2), Spent(6, 4)]
    assert minus(whole, [Spent(1, 1), Spent(3, 0.5), Spent(2, 2)]) == Spent(4, 2)


def test_ratios_of_wall_are_those_of_medians() -> None:
    assert wall_ratio([Spent(2, 0), Spent(100, 0), Spent(3, 0)], [Spent(2, 0)]) == 1.5


def test_cpu_counts_this_process_and_those_it_waited_for() -> None:
    def work() -> None:
        subprocess.run([sys.executable, "-c", BURN], check=True)
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass

    assert spent_by_all(work).cpu >= 0.55


def test_a_rate_is_of_the_bytes_that_the_client_got() -> None:
    load = Load("two", 2, 50_000_000, 1, LOADS[0].goal)
    row = _row(load, [Turn(0.5, 1), Turn(0.25, 2), Turn(1, 3)], [Turn(0.1, 1)])
    assert (row.value, row.ours, row.peer) == (200, "200 MB/s", "1000 MB/s")
    assert row.verdict == "met"
    assert "best 400" in row.note
    assert "4 files/s; CPU s/GB 20.0" in row.note


def test_a_peer_runs_in_the_control_groups_of_a_job_and_they_are_gone_afterwards(tmp_path: Path) -> None:
    groups = make_groups(Limits())
    names = [folder.name for folder in groups.folders.values()]
    groups.close()
    variables = {"PATH": "/usr/bin:/bin", "SEEN": "yes"}
    show = "cat /proc/self/cgroup; echo $SEEN; umask; pwd; exit 3"
    done = run_as_job(("/bin/sh", "-c", show), tmp_path, variables, umask=0o077)
    assert done.returncode == 3
    said = done.stdout.decode()
    assert f"\nyes\n0077\n{tmp_path}\n" in said
    assert ("touchplate-" in said) == bool(names)
    for line in said.splitlines():
        if "touchplate-" in line:
            assert not list(Path("/sys/fs/cgroup").glob(f"**/{line.rpartition('/')[2]}"))


def test_peak_memory_is_that_of_this_process_and_not_of_its_parent() -> None:
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    script = "from tests.bench.builder.flood import peak_bytes; print(peak_bytes())"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert 5_000_000 < int(said.stdout) < 200_000_000
    assert peak_bytes() > 300_000_000
    assert len(ballast)


def test_an_unknown_figure_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    said = capsys.readouterr().err
    assert all(name in said for name in FIGURES)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "load").mkdir()
    for number in range(7):
        (tmp_path / "load" / f"{number}.bin").write_bytes(b"x" * 1000)

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_the_client_asks_for_each_file_once_and_counts_all_bytes(site: int) -> None:
    command = [sys.executable, str(CLIENT), str(site), "load"]
    said = subprocess.run([*command, "7", "3"], capture_output=True, check=True, text=True)
    assert json.loads(said.stdout)["bytes"] == 7000


def test_a_start_that_ran_nothing_is_a_wrong_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_sandbox()
    with opened() as sandbox:
        start_once(sandbox, tmp_path)
        monkeypatch.setattr("tests.bench.builder.start.TRUE", ("/usr/bin/false",))
        with pytest.raises(WrongResultError, match="did not run"):
            start_once(sandbox, tmp_path)


def test_starts_are_measured_for_each_backend() -> None:
    require_sandbox()
    (ours,) = start(rounds=2)
    assert ours.value > 0
    for name, measure in (("runc", start_runc), ("runsc", start_gvisor)):
        if read_environment().find_program(name):
            (row,) = measure(rounds=1)
            assert row.value > 0


def test_a_build_outside_must_make_the_bytes_of_the_one_inside() -> None:
    require_sandbox()
    with open_folder() as folder, opened() as sandbox:
        source = folder / "source"
        source.mkdir()
        cache = Cache(folder / "cache")

        def plan(script: str) -> BuildPlan:
            return BuildPlan(source, ("/bin/sh", "-ec", script), outputs=("out",))

        rows = beside("a build", plan("umask > out"), InputLock(()), cache, sandbox, 1)
        assert [row.value > 0 for row in rows] == [True, True]
        with pytest.raises(WrongResultError, match="outside, out came out as"):
            beside("a build", plan("hostname > out"), InputLock(()), cache, sandbox, 1)


def test_all_bytes_of_a_flood_are_accounted_for() -> None:
    require_sandbox()
    said = run_supervisor("yes | head -c 20000000")
    assert said["seen"] == 20_000_000
    assert said["kept"] < 20_000_000
    assert said["peak"] > said["before"]
