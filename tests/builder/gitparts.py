"""Real git repositories served over loopback by git's own http-backend, and packs made wrong on purpose."""

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BACKEND = "/usr/lib/git-core/git-http-backend"

_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{
        f"GIT_{who}_{what}": "test@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
    **{f"GIT_{who}_DATE": "1700000000 +0000" for who in ("AUTHOR", "COMMITTER")},
}

Body = Callable[[bytes], bytes]


def git(folder: Path, *arguments: str, data: bytes = b"") -> str:
    """What git prints in `folder`."""
    command = ["/usr/bin/git", "-C", str(folder), *arguments]
    return (
        subprocess.run(command, input=data, capture_output=True, check=True, env=_ENVIRONMENT)
        .stdout.decode()
        .strip()
    )


@dataclass
class GitSite:
    """A folder of bare repositories behind a server.

    `alter` changes each answer's body; `status` and `location` stand in its place; `asked` is what came.
    """

    folder: Path
    url: str = ""
    alter: Body | None = None
    status: int = 200
    location: str = ""
    asked: list[str] = field(default_factory=list)

    def make(self, name: str = "demo.git", form: str = "sha1") -> "Repository":
        """An empty repository."""
        path = self.folder / name
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--bare", f"--object-format={form}")
        return Repository(path)


@dataclass(frozen=True)
class Repository:
    """A bare repository, filled object by object, so that it can hold what no working tree can."""

    path: Path

    def blob(self, data: bytes) -> str:
        return git(self.path, "hash-object", "-w", "--stdin", data=data)

    def tree(self, entries: list[tuple[str, str, str]]) -> str:
        """A tree of (mode, name, id), as raw bytes: `git mktree` would refuse some of them."""
        raw = b"".join(
            f"{mode.lstrip('0')} {name}\0".encode() + bytes.fromhex(oid)
            for mode, name, oid in sorted(
                entries, key=lambda one: one[1] + ("/" if one[0] == "40000" else "")
            )
        )
        return git(self.path, "hash-object", "-w", "--literally", "-t", "tree", "--stdin", data=raw)

    def commit(self, entries: list[tuple[str, str, str]], parent: str = "") -> str:
        arguments = ["-p", parent] if parent else []
        return git(self.path, "commit-tree", self.tree(entries), *arguments, "-m", "a commit")

    def commit_files(self, files: Mapping[str, bytes], parent: str = "") -> str:
        """A commit of plain files, each at the top of the tree."""
        return self.commit([("100644", name, self.blob(data)) for name, data in files.items()], parent)


class _Handler(BaseHTTPRequestHandler):
    site: GitSite

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the test says what was wrong."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _answer(self, body: bytes) -> None:
        site = self.site
        site.asked.append(f"{self.command} {self.path}")
        if site.status != 200:
            self.send_response(site.status)
            if site.location:
                self.send_header("Location", site.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        environment = {
            **_ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(site.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run([BACKEND], input=body, capture_output=True, check=False, env=environment)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        status = 200
        for line in head.decode().split("\r\n"):
            if line.startswith("Status: "):
                status = int(line.split()[1])
        if site.alter is not None and status == 200:
            content = site.alter(content)
        self.send_response(status)
        self.send_header("Content-Type", "application/x-git-upload-pack-result")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that has enough hangs up."""


@contextmanager
def git_site() -> Iterator[GitSite]:
    """A site in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="touchplate-git-") as name:
        site = GitSite(Path(name))
        handler = type("Handler", (_Handler,), {"site": site})
        server = _Server(("127.0.0.1", 0), handler)
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
