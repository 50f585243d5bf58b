"""Small jars, POMs and a loopback repository for the builder's tests: real files, served for real."""

import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

EARLY = (2024, 1, 2, 3, 4, 6)


def zip_bytes(
    files: Mapping[str, bytes],
    *,
    time: tuple[int, int, int, int, int, int] = EARLY,
    mode: int = 0o100644,
    method: int = zipfile.ZIP_DEFLATED,
    extra: bytes = b"",
) -> bytes:
    """A zip archive of `files` in their order. `extra`: fields of each member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, time)
            info.external_attr = mode << 16
            info.compress_type, info.extra = method, extra
            archive.writestr(info, content)
    return buffer.getvalue()


def manifest(*lines: str) -> bytes:
    """A manifest of the main section's `lines`."""
    return "".join(f"{line}\r\n" for line in ("Manifest-Version: 1.0", *lines, "")).encode()


def pom(
    artifact: str, *, group: str = "org.example", version: str = "1.0", parent: str = "", more: str = ""
) -> bytes:
    """A POM; `parent` is `artifact:version` of the same group."""
    inherits = ""
    if parent:
        name, _, parent_version = parent.partition(":")
        inherits = (
            f"<parent><groupId>{group}</groupId><artifactId>{name}</artifactId>"
            f"<version>{parent_version}</version></parent>"
        )
    return (
        '<?xml version="1.0"?><project xmlns="http://maven.apache.org/POM/4.0.0">'
        f"{inherits}<groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version>{more}</project>"
    ).encode()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test says what was wrong."""


@contextmanager
def served(folder: Path, handler: type[SimpleHTTPRequestHandler] = QuietHandler) -> Iterator[str]:
    """Serve `folder` over loopback HTTP; the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def publish(folder: Path, path: str, content: bytes) -> None:
    """Put a file into a repository folder."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
