"""Trillian's own live test and tools (1.7.3) against our server, on both databases."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.go_programs import built
from tests.conformance.trillian_tools import LIVE, build_tools, run_tool
from tests.log.trillian.support import Client, connected, running
from tests.postgres_fixtures import database, postgres

from touchplate.proto.trillian.trillian_admin_api_pb2 import GetTreeRequest
from touchplate.proto.trillian.trillian_pb2 import TreeState, TreeType

__all__ = ["database", "postgres"]

pytestmark = pytest.mark.slow

QUICK = ("createtree", "updatetree", "deletetree", LIVE)
LEAVES = 1000
"""What the live test queues unless told otherwise."""

MDM_SECONDS = 60


@pytest.fixture(scope="module")
def tools() -> dict[str, Path]:
    return built(lambda environment: build_tools(environment, *QUICK), "trillian's tools")


@pytest.fixture(params=["sqlite", "postgresql"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    storage = "sqlite" if request.param == "sqlite" else request.getfixturevalue("database")
    with running(tmp_path, storage=storage) as service, connected(service) as one:
        yield one


def make_tree(tools: dict[str, Path], client: Client, *arguments: str) -> int:
    """What createtree makes: it prints the id only, and has initialised the tree."""
    ran = run_tool(tools["createtree"], f"--admin_server={client.address}", *arguments)
    assert ran.code == 0, ran
    assert re.fullmatch(r"[1-9][0-9]{9,18}\n", ran.out), ran
    return int(ran.out)


def test_trillians_live_test_passes(tools: dict[str, Path], client: Client) -> None:
    tree = make_tree(tools, client)
    ran = run_tool(
        tools[LIVE],
        "-test.run",
        "^TestLiveLogIntegration$",
        "-test.v",
        f"--log_rpc_server={client.address}",
        f"--treeid={tree}",
        "--queue_poll_wait=200ms",
        f"--num_leaves={LEAVES}",
    )
    # Without a tree it would be skipped, with exit code 0.
    assert "--- PASS: TestLiveLogIntegration" in ran.out, ran
    assert ran.code == 0
    assert client.root(tree).size == LEAVES


def test_the_live_test_can_fail(tools: dict[str, Path], client: Client) -> None:
    tree = make_tree(tools, client)
    client.queue(tree, b"not the test's")
    arguments = (f"--log_rpc_server={client.address}", f"--treeid={tree}", "--num_leaves=10")
    ran = run_tool(tools[LIVE], "-test.run", "^TestLiveLogIntegration$", "-test.v", *arguments)
    assert "--- FAIL: TestLiveLogIntegration" in ran.out
    assert ran.code == 1


def test_trillians_tools_make_change_and_delete_trees(tools: dict[str, Path], client: Client) -> None:
    tree = make_tree(
        tools,
        client,
        "--tree_type=PREORDERED_LOG",
        "--display_name=by a tool",
        "--description=of Trillian",
        "--max_root_duration=2h",
    )
    made = client.admin.GetTree(GetTreeRequest(tree_id=tree))
    assert (made.display_name, made.description) == ("by a tool", "of Trillian")
    assert (made.tree_type, made.tree_state) == (TreeType.PREORDERED_LOG, TreeState.ACTIVE)
    assert made.max_root_duration.seconds == 7200
    address = f"--admin_server={client.address}"
    ran = run_tool(tools["updatetree"], address, f"--tree_id={tree}", "--tree_state=FROZEN", "--print")
    assert ran.code == 0, ran
    assert "FROZEN" in ran.out
    assert client.admin.GetTree(GetTreeRequest(tree_id=tree)).tree_state == TreeState.FROZEN
    ran = run_tool(tools["updatetree"], address, f"--tree_id={tree}", "--tree_type=LOG")
    assert ran.code == 0, ran
    assert client.admin.GetTree(GetTreeRequest(tree_id=tree)).tree_type == TreeType.LOG
    ran = run_tool(tools["deletetree"], address, f"--log_id={tree}")
    assert ran.code == 0, ran
    assert client.admin.GetTree(GetTreeRequest(tree_id=tree)).deleted
    assert run_tool(tools["deletetree"], address, f"--log_id={tree}").code != 0


def test_a_tool_is_told_why_it_was_refused(tools: dict[str, Path], client: Client) -> None:
    ran = run_tool(tools["createtree"], f"--admin_server={client.address}", "--display_name=" + "n" * 21)
    assert ran.code != 0
    assert "display_name" in ran.err + ran.out
    address = f"--admin_server={client.address}"
    ran = run_tool(tools["updatetree"], address, "--tree_id=1", "--tree_state=FROZEN")
    assert "made by configuration" in ran.err + ran.out


@pytest.mark.long
def test_trillians_merge_delay_test_finds_nothing_wrong_in_a_minute(tmp_path: Path) -> None:
    program = built(lambda environment: build_tools(environment, "mdmtest"), "trillian's mdmtest")["mdmtest"]
    with running(tmp_path) as service, connected(service) as client:
        command = [str(program), f"--rpc_server={client.address}", f"--admin_server={client.address}"]
        command += ["--leaf_size=1024", "--checkers=3", "--emit_interval=5s", "--min_merge_delay=0s"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            with pytest.raises(subprocess.TimeoutExpired):  # it ends by itself only when it found something
                child.wait(MDM_SECONDS)
            child.send_signal(signal.SIGTERM)
            _, err = child.communicate(timeout=MDM_SECONDS)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    before, _, after = err.partition("Signal received: terminated")
    assert after, err[-2000:]
    assert "monitor failure" not in before, before[-2000:]
    counts = [int(count) for count in re.findall(r"new leaves: (\d+) in", before)]
    assert counts
    assert counts[-1] > 0
