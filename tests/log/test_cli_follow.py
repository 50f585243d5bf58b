"""`touchplate log follow` and `report` as people and services run them."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.log.mirrors import entries_in, publish, wrong_with
from tests.simkeys import ORIGIN, witness_signer
from tests.simlog import SimLog, serving

from touchplate.log.mirror import Mirror
from touchplate.verify.cli import main
from touchplate.verify.policy import format_policy

Captured = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def log(tmp_path: Path) -> SimLog:
    made = SimLog(tmp_path / "log", witnesses=(witness_signer("w.example.org"),))
    (tmp_path / "policy.txt").write_text(format_policy(made.policy))
    return publish(made, 300)


def follow(log: SimLog, *arguments: str | Path, url: str | Path | None = None) -> int:
    folder = log.folder.parent
    command = ["log", "follow", "--url", url or log.folder, "--to", folder / "mirror"]
    return main([str(each) for each in [*command, "--policy", folder / "policy.txt", *arguments]])


def test_once_mirrors_the_newest_head_and_every_tool_reads_the_folder(
    log: SimLog, tmp_path: Path, capsys: Captured, state_folder: Path
) -> None:
    assert follow(log, "--once") == 0
    assert capsys.readouterr().out == f"{ORIGIN}: 300 entries (+300), root {log.root().hex()}\n"
    policy, mirror = str(tmp_path / "policy.txt"), str(tmp_path / "mirror")
    assert main(["log", "fsck", "--url", mirror, "--policy", policy]) == 0
    assert main(["log", "checkpoint", "--url", mirror, "--policy", policy]) == 0
    assert main(["prove", "--log", mirror, "--policy", policy, "--index", "299"]) == 0
    assert entries_in(tmp_path / "mirror", log.policy) == log.entries
    assert (state_folder / f"head-{ORIGIN}").read_bytes() == log.note()
    # What is remembered of a log is a checkpoint kept from before, as fsck takes them.
    against = str(state_folder / f"head-{ORIGIN}")
    assert main(["log", "fsck", "--url", mirror, "--policy", policy, "--against", against]) == 0


def test_each_update_is_one_line_of_json(log: SimLog, capsys: Captured) -> None:
    assert follow(log, "--once", "--json") == 0
    publish(log, 10)
    assert follow(log, "--once", "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["size"], first["new"], second["size"], second["new"]) == ("300", "300", "310", "10")
    assert second["origin"] == ORIGIN
    assert (second["complete"], second["healed"]) == (True, False)


def test_a_fork_is_exit_1_with_a_report_that_anybody_can_check(
    log: SimLog, tmp_path: Path, capsys: Captured
) -> None:
    assert follow(log, "--once") == 0
    other = publish(log.fork(tmp_path / "other", 100), 300, "other ")
    assert follow(log, "--once", "--json", url=other.folder) == 1
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["reason"] == "fork"
    assert Path(said["file"]).parent == tmp_path / "mirror"
    # The report needs nothing but itself and a policy.
    policy = str(tmp_path / "policy.txt")
    assert main(["log", "report", said["file"], "--policy", policy]) == 0
    assert capsys.readouterr().out.startswith(f"proven: the log {ORIGIN} signed two histories\n")
    assert main(["log", "report", said["file"], "--policy", policy, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["proven"] is True
    forged = json.loads(Path(said["file"]).read_text())
    forged["new"] = forged["old"]
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    assert main(["log", "report", str(tmp_path / "forged.json"), "--policy", policy]) != 0
    # Also without --once: a fork does not get better by waiting.
    assert follow(log, url=other.folder) == 1


def test_what_is_no_report_is_named(log: SimLog, tmp_path: Path, capsys: Captured) -> None:
    policy = str(tmp_path / "policy.txt")
    assert main(["log", "report", policy, "--policy", policy]) == 2
    assert f"{policy} is no report about a log: " in capsys.readouterr().err


def test_damage_is_exit_1_with_a_report(log: SimLog, tmp_path: Path, capsys: Captured) -> None:
    log.damage("tile/entries/000", at=99)
    assert follow(log, "--interval", "1s") == 1
    (report,) = (tmp_path / "mirror").glob(f"damage-{ORIGIN}-300-*.json")
    assert str(report) in capsys.readouterr().err
    policy = str(tmp_path / "policy.txt")
    # Whoever asks by the exit code alone must not take it for proven.
    assert main(["log", "report", str(report), "--policy", policy]) == 2
    assert capsys.readouterr().out.startswith("not proven: ")
    assert main(["log", "report", str(report), "--policy", policy, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["proven"] is False


def test_a_log_that_cannot_be_read_is_exit_2_once(log: SimLog, capsys: Captured) -> None:
    (log.folder / "tile/entries/000").unlink()
    assert follow(log, "--once") == 2
    assert follow(log, "--once", url="http://127.0.0.1:9/log") == 2
    assert "cannot be reached: connection refused" in capsys.readouterr().err


def test_a_folder_that_another_follower_has_is_refused(log: SimLog, tmp_path: Path, capsys: Captured) -> None:
    with Mirror(tmp_path / "mirror", log.policy):
        assert follow(log, "--once") == 2
    assert "is locked by another process; stop that one first" in capsys.readouterr().err


def test_a_mirror_is_rechecked_and_mended_on_demand(log: SimLog, tmp_path: Path) -> None:
    assert follow(log, "--once") == 0
    mirror = SimLog(tmp_path / "mirror")
    mirror.damage("tile/entries/000", at=5)
    assert follow(log, "--once") == 0
    assert wrong_with(mirror.folder, log.policy) != []
    assert follow(log, "--once", "--recheck") == 0
    assert wrong_with(mirror.folder, log.policy) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--once", "--interval", "5s"),
        ("--interval", "5"),
        ("--interval", "0s"),
        ("--interval", "-1s"),
        ("--interval", "1y"),
    ],
)
def test_usage_is_checked(log: SimLog, arguments: tuple[str, ...]) -> None:
    assert follow(log, *arguments) == 64


def test_a_mirror_cannot_follow_itself(log: SimLog, tmp_path: Path) -> None:
    assert follow(log, "--once") == 0
    assert follow(log, "--once", url=tmp_path / "mirror") == 64


def test_a_checkpoint_is_remembered_only_when_it_was_verified(
    log: SimLog, tmp_path: Path, state_folder: Path
) -> None:
    assert main(["log", "checkpoint", "--url", str(log.folder)]) == 0
    assert not state_folder.exists()
    assert main(["log", "checkpoint", "--url", str(log.folder), "--state", str(tmp_path / "s")]) == 64


def test_two_commands_have_one_memory(
    log: SimLog, tmp_path: Path, state_folder: Path, capsys: Captured
) -> None:
    assert follow(log, "--once") == 0
    other = publish(log.fork(tmp_path / "other", 100), 300, "other ")
    policy = str(tmp_path / "policy.txt")
    assert main(["log", "checkpoint", "--url", str(other.folder), "--policy", policy]) == 1
    assert "the report is in" in capsys.readouterr().err
    assert [path.name.rpartition("-")[0] for path in state_folder.glob("*.json")] == [f"fork-{ORIGIN}-400"]


def test_the_base_install_is_enough(log: SimLog, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['sqlalchemy', 'fastapi', 'rich', 'granian', 'jinja2', 'yaml']))\n"
        "from touchplate.verify.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["log", "follow", "--url", log.folder, "--to", tmp_path / "mirror", "--once", "--policy"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, command), tmp_path / "policy.txt"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "log")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{ORIGIN}: 300 entries")


# --- as a service ---


@contextmanager
def following(log: SimLog, url: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    folder = log.folder.parent
    command = [sys.executable, "-m", "touchplate.verify", "log", "follow", "--url", url, "--json"]
    command += ["--to", str(folder / "mirror"), "--policy", str(folder / "policy.txt"), *arguments]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    paths = os.pathsep.join(str(ROOT / root) for root in ("log", "builder", "api", "proto"))
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**variables, "PYTHONPATH": paths},
    )
    watchdog = threading.Timer(60, process.kill)  # a service that says nothing fails, and hangs nobody
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def next_update(process: "subprocess.Popen[str]") -> dict[str, str]:
    assert process.stdout is not None
    update: dict[str, str] = json.loads(process.stdout.readline())
    return update


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_follows_until_it_is_told_to_stop(
    log: SimLog, tmp_path: Path, number: signal.Signals
) -> None:
    with serving(log) as served, following(log, served.url, "--interval", "1s") as process:
        assert next_update(process)["size"] == "300"
        publish(log, 300)
        assert next_update(process)["size"] == "600"
        process.send_signal(number)
        assert process.wait(60) == 0
    assert wrong_with(tmp_path / "mirror", log.policy) == []


def test_a_service_outlives_a_log_that_is_away(log: SimLog, tmp_path: Path) -> None:
    note = (log.folder / "checkpoint").read_bytes()
    with serving(log) as served, following(log, served.url, "--interval", "1s") as process:
        assert next_update(process)["size"] == "300"
        (log.folder / "checkpoint").unlink()
        assert process.stderr is not None
        said = next(line for line in process.stderr if "trying again" in line)
        assert "404" in said
        log.write("checkpoint", note)
        publish(log, 5)
        assert next_update(process)["size"] == "305"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
