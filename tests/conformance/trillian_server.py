"""A real Trillian for tests: its log server and its log signer on PostgreSQL, started, killed, started again.

The programs are those of `make bench-log` (one Go module, one cache).
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from tests.bench.harness import SkippedError
from tests.bench.log.processes import free_port
from tests.bench.log.programs import TRILLIAN_SERVER, TRILLIAN_SIGNER, program, trillian_schema
from tests.postgres import USER, MissingError, Server

from touchplate.base.environment import read_environment
from touchplate.log.trillian.roots import parse_log_root
from touchplate.proto.trillian.trillian_admin_api_pb2 import ListTreesRequest, UpdateTreeRequest
from touchplate.proto.trillian.trillian_admin_api_pb2_grpc import TrillianAdminStub
from touchplate.proto.trillian.trillian_log_api_pb2 import GetLatestSignedLogRootRequest
from touchplate.proto.trillian.trillian_log_api_pb2_grpc import TrillianLogStub
from touchplate.proto.trillian.trillian_pb2 import Tree
from touchplate.verify.encoding import encode_base64

START_SECONDS = 60
SIGNER = ("--force_master", "--num_sequencers=1")
PROGRAMS = (TRILLIAN_SERVER, TRILLIAN_SIGNER)


class RealTrillian:
    """Trillian in a new database of a PostgreSQL server. `start` before use, `close` at the end."""

    def __init__(self, postgres: Server, folder: Path, interval: str = "100ms") -> None:
        """`interval`: between two looks of the signer. Raises SkippedError when it cannot be built."""
        self._programs = {name: program(name) for name in PROGRAMS}
        self.postgres = postgres
        self.database = postgres.name_of(postgres.make_database())
        postgres.sql(trillian_schema(), self.database)
        self._folder = folder
        self._ports = {name: (free_port(), free_port()) for name in PROGRAMS}
        self._more = {TRILLIAN_SERVER: (), TRILLIAN_SIGNER: (*SIGNER, f"--sequencer_interval={interval}")}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        """Where its gRPC interface is, for good."""
        return f"127.0.0.1:{self._ports[TRILLIAN_SERVER][0]}"

    def start(self, *names: str) -> None:
        """Start those that do not run: both unless named."""
        place = f"host={self.postgres.folder}&port={self.postgres.port}&user={USER}&pool_max_conns=40"
        for name in names or PROGRAMS:
            if name in self._children:
                continue
            rpc, http = self._ports[name]
            command = [
                str(self._programs[name]),
                "--storage_system=postgresql",
                "--quota_system=noop",
                f"--postgresql_uri=postgresql:///{self.database}?{place}",
                f"--rpc_endpoint=127.0.0.1:{rpc}",
                f"--http_endpoint=127.0.0.1:{http}",
                *self._more[name],
            ]
            with (self._folder / f"{name}.log").open("ab") as log:
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self._children[name] = child
        for name in names or PROGRAMS:
            self._await(name)

    def _await(self, name: str) -> None:
        """Return when it listens."""
        port, deadline = self._ports[name][0], time.monotonic() + START_SECONDS
        while not _accepts(port):
            if self._children[name].poll() is not None or time.monotonic() > deadline:
                said = (self._folder / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"{name} did not start: {said[-2000:]}")
            time.sleep(0.05)

    def trees(self) -> list[Tree]:
        """All of its trees."""
        with grpc.insecure_channel(self.address) as channel:
            admin = TrillianAdminStub(channel)  # type: ignore[no-untyped-call]
            return list(admin.ListTrees(ListTreesRequest(), timeout=START_SECONDS).tree)

    def set_state(self, tree_id: int, state: int) -> None:
        """Change the state of a tree."""
        request = UpdateTreeRequest(tree=Tree(tree_id=tree_id, tree_state=state))  # type: ignore[arg-type]
        request.update_mask.paths.append("tree_state")
        with grpc.insecure_channel(self.address) as channel:
            admin = TrillianAdminStub(channel)  # type: ignore[no-untyped-call]
            admin.UpdateTree(request, timeout=START_SECONDS)

    def newest_root(self, tree_id: int) -> tuple[int, str]:
        """Size of a tree, and its root in base64."""
        request = GetLatestSignedLogRootRequest(log_id=tree_id)
        with grpc.insecure_channel(self.address) as channel:
            log = TrillianLogStub(channel)  # type: ignore[no-untyped-call]
            signed = log.GetLatestSignedLogRoot(request, timeout=START_SECONDS).signed_log_root
        root = parse_log_root(signed.log_root)
        return root.size, encode_base64(root.root)

    def kill(self, *names: str) -> None:
        """SIGKILL to those that run: both unless named."""
        for name in names or PROGRAMS:
            child = self._children.pop(name, None)
            if child is not None:
                child.kill()
                child.wait()

    def close(self) -> None:
        """End it."""
        self.kill()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running_trillian(folder: Path, interval: str = "100ms") -> Iterator[RealTrillian]:
    """A Trillian on a PostgreSQL server of its own. Raises SkippedError."""
    try:
        server = Server()
    except MissingError as error:
        raise SkippedError(str(error)) from error
    try:
        server.start()
        trillian = RealTrillian(server, folder, interval)
        try:
            trillian.start()
            yield trillian
        finally:
            trillian.close()
    finally:
        server.close()


@contextmanager
def real_trillian(folder: Path, interval: str = "100ms") -> Iterator[RealTrillian]:
    """The same in a test: without Go or PostgreSQL a loud skip, a failure in CI."""
    try:
        with running_trillian(folder, interval) as trillian:
            yield trillian
    except SkippedError as error:
        if read_environment().is_ci:
            pytest.fail(f"continuous integration needs Trillian: {error}")
        pytest.skip(f"TRILLIAN NOT ASKED: {error}")
