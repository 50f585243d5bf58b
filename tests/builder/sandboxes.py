"""A real sandbox, a real upstream on loopback, and plans for both: shared by the tests of the phases."""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from touchplate.base.environment import read_environment
from touchplate.base.upstreams import Upstream
from touchplate.builder.cache import Cache
from touchplate.builder.errors import HostLack, PhaseFailed
from touchplate.builder.inputs.lock import InputLock
from touchplate.builder.phases import run_build, run_fetch
from touchplate.builder.plan import BuildPlan, BuildResult, Limits
from touchplate.builder.sandbox.bubblewrap import Sandbox, SandboxConfig, open_sandbox
from touchplate.builder.sandbox.gvisor import GvisorSandbox, open_gvisor_sandbox
from touchplate.builder.sandbox.ids import processes_of
from touchplate.builder.sandbox.ranged import FIRST_ID, IDS, RANGES

SECONDS = 20.0
"""Wall clock of a phase in tests: far more than any of them needs, far less than a person waits."""

GET = "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1], timeout=10).read())"
"""Python that prints what a URL gives: `get` in the shell scripts of plans."""

_PRELUDE = f"get() {{ /usr/bin/python3 -c '{GET}' http://127.0.0.1:3128/$1; }}\n"


def require_sandbox() -> None:
    """Skip loudly (fail under CI) where no sandbox of full strength can run."""
    environment = read_environment()
    lacking = []
    if os.getuid() != 0:
        lacking.append("root")
    lacking += [name for name in ("bwrap", "setpriv") if environment.find_program(name) is None]
    if lacking and environment.is_ci:
        pytest.fail(f"sandbox tests need {lacking}")
    if lacking:
        pytest.skip(f"SANDBOX NOT TESTED: this needs {lacking}")


def require_gvisor() -> None:
    """As `require_sandbox`, for gVisor."""
    require_sandbox()
    environment = read_environment()
    if environment.find_program("runsc") is None:
        if environment.is_ci:
            pytest.fail("gVisor tests need runsc")
        pytest.skip("GVISOR NOT TESTED: this needs runsc")


@contextlib.contextmanager
def gvisor_sandbox() -> Iterator[GvisorSandbox]:
    """A probed sandbox of gVisor in a folder of its own; skips loudly where there is no runsc."""
    require_gvisor()
    with open_folder() as folder:
        yield open_gvisor_sandbox(SandboxConfig(folder / "work", folder / "locks", own_ranges()))


class _Upstream(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a mirror that hangs up in the middle of an answer, as it may."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Site:
    """An upstream: answers what `pages` says, and remembers who asked what with which headers.

    A page is bytes, a status, or a function that is given the request handler.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._server = _Upstream(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/root"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            path = self.path.removeprefix("/root/")
            site.asked.append(path)
            site.headers.append({name.lower(): value for name, value in self.headers.items()})
            page = site.pages.get(path, 404)
            if callable(page):
                page(self)
                return
            body = page if isinstance(page, bytes) else b"no"
            self.send_response(200 if isinstance(page, bytes) else page)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


class Heard:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.inputs: list[str] = []
        self.lines: list[str] = []

    def started(self, phase: str) -> None:
        self.phases.append(phase)

    def fetched(self, upstream: str, path: str, size: int) -> None:
        self.inputs.append(f"{upstream}/{path}")

    def line(self, text: str) -> None:
        self.lines.append(text)


class Rig:
    """A cache, a source tree and the upstream `central` of one test, around a sandbox that tests share."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.config = sandbox.config
        self.site = Site()
        self.heard = Heard()
        self.cache = Cache(folder / "cache")
        self.source = folder / "source"
        self.source.mkdir()
        (self.source / "hello.txt").write_text("hello\n")

    def plan(self, script: str, **changes: Any) -> BuildPlan:
        """A plan that runs a shell script (with `get PATH`) and has `central` as its upstream."""
        plan = BuildPlan(
            source=self.source,
            command=("/bin/sh", "-ec", _PRELUDE + script),
            upstreams=(Upstream("central", "maven", "central", self.site.url),),
            limits=Limits(wall_seconds=SECONDS),
        )
        return replace(plan, **changes)

    def fetch(self, plan: BuildPlan) -> InputLock:
        return run_fetch(plan, self.sandbox, self.cache, self.heard)

    def build(self, plan: BuildPlan, lock: InputLock | None = None) -> BuildResult:
        return run_build(plan, lock or InputLock(()), self.sandbox, self.cache, self.heard)

    def output(self, plan: BuildPlan, lock: InputLock | None = None) -> str:
        """The log of a Build."""
        return self.build(plan, lock).log.decode()

    def fails(self, plan: BuildPlan, lock: InputLock | None = None) -> PhaseFailed:
        """Fetch (when no lock is given) and Build must fail, and leave nothing behind."""
        with pytest.raises(PhaseFailed) as caught:
            self.build(plan, self.fetch(plan) if lock is None else lock)
        self.assert_clean()
        return caught.value

    def lacks(self, plan: BuildPlan, lock: InputLock | None = None) -> HostLack:
        """As `fails`, with a lack of the host."""
        with pytest.raises(HostLack) as caught:
            self.build(plan, self.fetch(plan) if lock is None else lock)
        self.assert_clean()
        return caught.value

    def assert_clean(self) -> None:
        """No workspace and no process is left of any job."""
        assert list(self.config.work.iterdir()) == []
        assert [pid for uid in self.config.uids for pid in processes_of(uid)] == []

    def close(self) -> None:
        self.site.close()


def own_ranges() -> range:
    """Four ranges of ids for sandboxes of this process alone; other test runs may go on beside it."""
    first = FIRST_ID + (2 * RANGES + os.getpid() % 900 * 4) * IDS
    return range(first, first + 4 * IDS, IDS)


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that job uids can reach (pytest's own are closed to them)."""
    folder = Path(tempfile.mkdtemp(prefix="touchplate-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def open_test_sandbox() -> Iterator[Sandbox]:
    """A probed sandbox with uids of its own: test runs at one time must not count each other's processes."""
    require_sandbox()
    first = 31_000 + os.getpid() % 2_000 * 8
    with open_folder() as folder:
        yield open_sandbox(SandboxConfig(folder / "work", folder / "locks", range(first, first + 8)))


@contextlib.contextmanager
def open_rig(sandbox: Sandbox) -> Iterator[Rig]:
    """A rig; nothing of any job may be left at the end."""
    with open_folder() as folder:
        rig = Rig(folder, sandbox)
        try:
            yield rig
            rig.assert_clean()
        finally:
            rig.close()
