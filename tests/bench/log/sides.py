"""The sides of the comparisons: our log on either database, Trillian on PostgreSQL, Tessera in a folder.

Each turn has new servers, an empty log and, on PostgreSQL, a new database of the one cluster. Both sides keep
fsync on. Trillian is tuned as well as it goes: a pool of 40 connections, no quota, one sequencer every 50 ms
that takes 5,000 leaves, statistics collected after the first leaves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import grpc
from tests.api.support import write_node
from tests.bench.harness import SkippedError
from tests.bench.log.loads import Target, run
from tests.bench.log.processes import free_port, started
from tests.bench.log.programs import TESSERA, TRILLIAN_SERVER, TRILLIAN_SIGNER, program, trillian_schema
from tests.bench.serving import node_command
from tests.log.raw.support import RAW_ORIGIN, write_key
from tests.log.raw.support import make_tree as make_raw_tree
from tests.postgres import USER, MissingError, Server
from tests.simkeys import log_signer

from touchplate.proto.trillian.trillian_admin_api_pb2 import CreateTreeRequest
from touchplate.proto.trillian.trillian_admin_api_pb2_grpc import TrillianAdminStub
from touchplate.proto.trillian.trillian_log_api_pb2 import InitLogRequest
from touchplate.proto.trillian.trillian_log_api_pb2_grpc import TrillianLogStub
from touchplate.proto.trillian.trillian_pb2 import Tree, TreeState, TreeType

POOL = 40
SIGNER = ("--batch_size=5000", "--sequencer_interval=50ms", "--num_sequencers=1")
WARM_SECONDS = 2
WARM_FLIGHT = 64
CALL_SECONDS = 30
LOG = TreeType.LOG
PREORDERED = TreeType.PREORDERED_LOG
UNUSED = "http://127.0.0.1:9/"
"""The upstream of a node that is asked for none."""


@contextlib.contextmanager
def cluster() -> Iterator[Server]:
    """A PostgreSQL server for all turns. Raises SkippedError."""
    try:
        server = Server()
    except MissingError as error:
        raise SkippedError(str(error)) from error
    try:
        server.start()
        yield server
    finally:
        server.close()


def make_tree(address: str, kind: int) -> int:
    """A new, initialised tree of a running server; its id."""
    with grpc.insecure_channel(address) as channel:
        tree = Tree(tree_state=TreeState.ACTIVE, tree_type=kind)  # type: ignore[arg-type]
        tree.max_root_duration.SetInParent()
        admin = TrillianAdminStub(channel)  # type: ignore[no-untyped-call]
        log = TrillianLogStub(channel)  # type: ignore[no-untyped-call]
        request = CreateTreeRequest(tree=tree)
        tree_id = int(admin.CreateTree(request, timeout=CALL_SECONDS, wait_for_ready=True).tree_id)
        log.InitLog(InitLogRequest(log_id=tree_id), timeout=CALL_SECONDS)
    return tree_id


class Ours:
    """`touchplate log serve` with Trillian's interface; on PostgreSQL, if there is a server for it."""

    def __init__(self, postgres: Server | None = None) -> None:
        self._postgres = postgres

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[tuple[Target, int]]:
        """The HTTP face as a target, and the port of Trillian's interface."""
        http, rpc = free_port(), free_port()
        storage: str | None = None
        pids: tuple[int, ...] = ()
        if self._postgres is not None:
            storage, pids = self._postgres.make_database(), (self._postgres.pid,)
        config = write_log(folder, http, rpc, storage)
        with started(log_command(config), http, folder / "server.log") as pid:
            yield Target(f"http://127.0.0.1:{http}/log", (pid, *pids)), rpc

    @contextlib.contextmanager
    def raw_tree(self, folder: Path, kind: int) -> Iterator[Target]:
        """A new raw tree."""
        with self.running(folder) as (http, rpc):
            address = f"127.0.0.1:{rpc}"
            yield Target(address, http.pids, make_tree(address, kind))

    @contextlib.contextmanager
    def raw_http(self, folder: Path) -> Iterator[Target]:
        """A new raw tree with a key, over HTTP. On SQLite."""
        port = free_port()
        config = write_log(folder, port, None, None)
        tree = make_raw_tree(folder / "data" / "log")
        write_key(folder)
        with config.open("a") as file:
            file.write(f'[[log.raw]]\ntree = {tree}\norigin = "{RAW_ORIGIN}"\nwrite = "everybody"\n')
            file.write(f'key = "file:{RAW_ORIGIN}.key"\n')
        with started(log_command(config), port, folder / "server.log") as pid:
            yield Target(f"http://127.0.0.1:{port}/log/raw/{RAW_ORIGIN}", (pid,))


class Trillian:
    """Trillian 1.7.3: server and signer, on the same PostgreSQL server."""

    def __init__(self, postgres: Server) -> None:
        self._postgres = postgres

    @contextlib.contextmanager
    def raw_tree(self, folder: Path, kind: int) -> Iterator[Target]:
        """A new tree, in which some leaves stand before statistics are collected."""
        database = self._postgres.name_of(self._postgres.make_database())
        self._postgres.sql(trillian_schema(), database)
        place = f"host={self._postgres.folder}&port={self._postgres.port}&user={USER}&pool_max_conns={POOL}"
        common = [
            "--storage_system=postgresql",
            "--quota_system=noop",
            f"--postgresql_uri=postgresql:///{database}?{place}",
        ]
        with contextlib.ExitStack() as stack:
            pids, rpc = [self._postgres.pid], 0
            for name, more in ((TRILLIAN_SIGNER, ["--force_master", *SIGNER]), (TRILLIAN_SERVER, [])):
                rpc = free_port()
                ends = [f"--rpc_endpoint=127.0.0.1:{rpc}", f"--http_endpoint=127.0.0.1:{free_port()}"]
                command = [str(program(name)), *common, *ends, *more]
                log = folder / f"{name}.log"
                pids.append(stack.enter_context(started(command, rpc, log, ends_with=None)))
            address = f"127.0.0.1:{rpc}"
            target = Target(address, tuple(pids), make_tree(address, kind))
            if kind == LOG:
                run(target, "queue", WARM_FLIGHT, WARM_SECONDS)
            else:
                run(target, "sequenced", 1, WARM_SECONDS, limit=1)
            self._postgres.sql("ANALYZE", database)
            yield target


class Tessera:
    """Tessera 1.0.4 in a folder, with its lasting look-up of duplicates: its own conformance binary."""

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[tuple[Target, int]]:
        """The log as a target, and no port."""
        port = free_port()
        key = folder / "key"
        key.write_text(log_signer().format() + "\n")
        command = [str(program(TESSERA)), f"--storage_dir={folder / 'log'}", f"--listen=127.0.0.1:{port}"]
        command += [f"--private_key={key}", "--antispam"]
        with started(command, port, folder / "server.log", ends_with=None) as pid:
            yield Target(f"http://127.0.0.1:{port}", (pid,)), 0


def log_command(config: Path) -> list[str]:
    """`touchplate log serve`."""
    command = node_command(config)
    command.insert(command.index("serve"), "log")
    return command


def write_log(folder: Path, http: int, rpc: int | None, storage: str | None) -> Path:
    """Key, admission list and configuration of a log; the path of the TOML file."""
    node = write_node(folder, UNUSED, listen=f"127.0.0.1:{http}").read_text()
    log = node.partition("[log]\n")[2].partition("[")[0]
    text = f'data = "data"\n[http]\nlisten = "127.0.0.1:{http}"\n[log]\n{log}'
    if storage is not None:
        text += f'storage = "{storage}"\n'
    if rpc is not None:
        text += f'[log.trillian]\nlisten = "127.0.0.1:{rpc}"\n'
    path = folder / "log.toml"
    path.write_text(text)
    return path
