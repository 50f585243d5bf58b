"""Debian's nginx as the peer for serving files: unpacked from its package, not installed, so that no
service is started or changed on this machine."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.bench.caches import cached, say
from tests.bench.harness import SkippedError, check
from tests.bench.serving import Server, pinned

from touchplate.base.environment import read_environment
from touchplate.node.serve import choose_port

WAIT_SECONDS = 20
SYSTEM = Path("/usr/sbin/nginx")

_CONFIG = """
daemon off;
master_process on;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    default_type application/java-archive;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""


def find_nginx() -> Path:
    """The program: the installed one, else that of Debian's package. Raises SkippedError."""
    installed = read_environment().find_program("nginx")
    if installed is not None:
        return installed
    if SYSTEM.exists():
        return SYSTEM
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise SkippedError("there is no nginx, and no apt-get to get Debian's: install nginx")
    try:
        return cached("nginx", _unpack) / "usr" / "sbin" / "nginx"
    except subprocess.CalledProcessError as error:
        raise SkippedError(f"Debian's nginx cannot be fetched ({error}); install nginx-light") from error


def _unpack(folder: Path) -> None:
    say("fetching Debian's nginx package")
    if not _has_candidate():
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["apt-get", "download", "-qq", "nginx"], cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("nginx_*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)


def _has_candidate() -> bool:
    shown = subprocess.run(["apt-cache", "policy", "nginx"], capture_output=True, text=True, check=False)
    return "Candidate: " in shown.stdout and "Candidate: (none)" not in shown.stdout


@contextlib.contextmanager
def running_nginx(folder: Path, root: Path, core: int | None) -> Iterator[tuple[Server, tuple[int, ...]]]:
    """nginx serving the files below `root` with sendfile, one worker, on one core if it is named; and the
    pids of master and worker."""
    _, port = choose_port("127.0.0.1", 0)
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, root=root))
    log = folder / "error.log"
    command = [str(find_nginx()), "-e", str(log), "-p", str(folder), "-c", str(config)]
    with pinned(core):
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait(child, port, log)
        pids = (
            child.pid,
            *map(int, Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()),
        )
        yield Server(child.pid, "127.0.0.1", port), pids
        child.terminate()
        check(child.wait(WAIT_SECONDS) == 0, f"nginx ended badly: {_text(log)}")
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _wait(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with (
            contextlib.suppress(OSError, HTTPException),
            contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection,
        ):
            connection.request("HEAD", "/")
            connection.getresponse().read()
            return
        time.sleep(0.05)
    raise SkippedError(f"nginx did not start: {_text(log)}")


def _text(log: Path) -> str:
    return log.read_text()[-500:] if log.exists() else "it wrote no log"
