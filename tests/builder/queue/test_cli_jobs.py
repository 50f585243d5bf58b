"""`touchplate jobs` as a person runs it against a real node: folders, waiting, workers."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.builder.queue.queuehost import Host, Process, queue_host
from tests.builder.rebuildparts import PACKAGE
from tests.builder.sandboxes import require_sandbox

from touchplate.builder.cli.job_tables import format_age
from touchplate.builder.definitions.path import definition_path
from touchplate.builder.queue.jobs import Job
from touchplate.builder.queue.wire import format_job, parse_job
from touchplate.verify.cli import main
from touchplate.verify.jcs import format_json, parse_json
from touchplate.verify.purl import parse_purl


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with queue_host(tmp_path) as one:
        yield one


def options(host: Host) -> list[str]:
    return ["--server", host.url, "--token-file", str(host.folder / "boss.token")]


def write(folder: Path, data: bytes, version: str) -> str:
    """A definition of a version of the one package, at its place; its package."""
    package = PACKAGE.replace("@1.0", f"@{version}")
    value = parse_json(data.replace(b"@1.0?", f"@{version}?".encode()), max_bytes=1 << 20)
    place = folder / definition_path(parse_purl(package)).with_suffix(".json")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(format_json(value) + b"\n")
    return package


def add(
    host: Host, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0
) -> list[dict[str, object]]:
    """(new, package) of each, as printed."""
    assert main(["jobs", "add", "--json", *options(host), *arguments]) == code
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)["jobs"]
    return found


def test_a_folder_is_added_once_whatever_is_open_or_done(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "definitions"
    packages = [write(folder, host.script, version) for version in ("1.0", "1.1", "2.0")]
    some = add(host, capsys, "--folder", str(folder), "pkg:maven/org.example/demo@1.*")
    assert [one["new"] for one in some] == [True, True]
    assert [one["new"] for one in add(host, capsys, "--folder", str(folder))] == [False, False, True]
    assert sorted(job.package for job in host.queue.list()) == sorted(packages)
    lease_all(host)
    assert [job.state for job in host.queue.list()] == ["done", "failed", "done"]
    # What is in the log is not made again; what failed is.
    again = add(host, capsys, "--folder", str(folder))
    assert [one["new"] for one in again] == [False, True, False]
    assert [one["new"] for one in add(host, capsys, "--folder", str(folder), "--again")] == [
        True,
        False,
        True,
    ]
    assert main(["jobs", "add", *options(host), "--folder", str(folder), "--priority", "3"]) == 0
    printed = capsys.readouterr()
    assert re.search(r"waiting +pkg:maven/org.example/demo@1.1", printed.out)
    assert "jobs asked for: 0 new of 3" in printed.err


def lease_all(host: Host) -> None:
    """A worker of few words does all three: the second one fails."""
    worker = type(host.queue)(host.queue.url, host.queue.client, (host.folder / "shed.token").read_text())
    while lease := worker.lease("hand", "9.9", "by hand"):
        number = lease.job.number
        if "@1.1" in lease.job.package:
            worker.fail(number, lease.secret, "no")
            continue
        assert worker.judge(number, lease.secret, "identical")
        worker.sign(number, lease.secret, [b"{}"])
        worker.finish(number, lease.secret, [number])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--folder", "{folder}", "pkg:maven/org.else/*"], "no definition of"),
        (["--folder", "{folder}/none"], "none"),
        (["--folder", "{folder}", "--definition", "x"], "give one of them"),
        (["--again", PACKAGE], "--again belongs to --folder"),
        ([], "one of them"),
    ],
)
def test_what_cannot_be_added_is_said_and_nothing_is(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    folder = tmp_path / "definitions"
    write(folder, host.script, "1.0")
    words = [one.format(folder=folder) for one in arguments]
    assert main(["jobs", "add", *options(host), *words]) in (2, 64)
    assert said in capsys.readouterr().err
    assert host.queue.list() == []


def test_a_folder_with_a_mistake_adds_nothing(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "definitions"
    write(folder, host.script, "1.0")
    place = folder / definition_path(parse_purl(PACKAGE)).with_name("1.1.json")
    place.write_bytes(b"{}")
    assert main(["jobs", "add", *options(host), "--folder", str(folder)]) == 2
    assert "1 definitions of" in capsys.readouterr().err
    assert host.queue.list() == []


def test_a_folder_of_more_than_the_queue_takes_says_how_many_were_left(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(999):
        host.queue.add(f"pkg:maven/org.example/other@{number}", "", 0)
    folder = tmp_path / "definitions"
    for version in ("1.0", "1.1", "2.0"):
        write(folder, host.script, version)
    assert main(["jobs", "add", *options(host), "--folder", str(folder)]) == 1
    assert "2 were not added: 1000 jobs are open" in capsys.readouterr().err


def test_waiting_ends_with_the_results_exit_code_and_workers_are_seen(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_sandbox()
    assert main(["jobs", "workers", *options(host)]) == 0
    assert "no worker" in capsys.readouterr().out
    folder = tmp_path / "definitions"
    write(folder, host.script, "1.0")
    bad = tmp_path / "bad.json"
    bad.write_bytes(host.script.replace(b"build.py", b"none.py"))
    worker: Process = host.worker(0, slots=2)
    try:
        worker.wait_ready()
        assert main(["jobs", "add", *options(host), "--folder", str(folder), "--wait"]) == 0
        printed = capsys.readouterr()
        assert re.search(r"1 +new +done +identical +pkg:maven", printed.out)
        assert "job 1: identical" in printed.err
        # Not built; tried once more after a second; in the log then.
        assert main(["jobs", "add", *options(host), "--definition", str(bad), "--wait"]) == 1
        assert "job 2: not-built" in capsys.readouterr().out
        assert main(["jobs", "workers", "--json", *options(host)]) == 0
        found = json.loads(capsys.readouterr().out)["workers"]
        assert [one["name"].rpartition("/")[2] for one in found] == ["0", "1"]
        assert all(one["name"].startswith("shed/w0.") and one["version"] for one in found)
        assert main(["jobs", "workers", *options(host)]) == 0
        assert "usual" in capsys.readouterr().out
        number = host.queue.add("pkg:maven/org.example/demo@1.0?type=zip", "", 0)[0].number
        assert main(["jobs", "add", *options(host), "pkg:maven/org.example/demo@1.0?type=zip", "--wait"]) == 2
        assert f"job {number}: failed" in capsys.readouterr().out
    finally:
        assert worker.end(signal.SIGTERM) == 0


def test_a_running_job_says_who_has_it_for_how_long_and_where_it_is(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.queue.add(PACKAGE, "", 0)
    worker = type(host.queue)(host.queue.url, host.queue.client, (host.folder / "shed.token").read_text())
    lease = worker.lease("hand/0", "9.9", "by hand")
    assert lease is not None
    worker.heartbeat(1, lease.secret, "build: again")
    assert main(["jobs", "list", *options(host)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"1 +leased +1 +\d+s +shed/hand/0 +\d+s +build: again +pkg:maven", out)
    assert main(["jobs", "show", *options(host), "1"]) == 0
    assert re.search(r"phase +build: again", capsys.readouterr().out)
    assert main(["jobs", "workers", *options(host)]) == 0
    assert re.search(r"shed/hand/0 +9\.9 +by hand +\d+s +\d+s +1 +build: again", capsys.readouterr().out)


def test_ages_are_said_in_the_largest_whole_unit() -> None:
    assert [format_age(one) for one in (-5, 0, 59, 60, 3_600, 86_399, 172_800)] == [
        "0s", "0s", "59s", "1m", "1h", "23h", "2d",
    ]  # fmt: skip


def test_a_job_of_an_older_node_is_read() -> None:
    job = Job(1, PACKAGE, "", 0, "waiting", 1, None, 1, "", None, 0, 0, 0, 0, 0, None, "", (), False)
    value: dict[str, Any] = {**format_job(job), "indexes": [], "of a newer one": 1}
    for name in ("leased", "overruns", "phase"):
        del value[name]
    assert parse_job(value) == job
