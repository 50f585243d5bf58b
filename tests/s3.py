"""A real S3 server of the tests' own: versitygw over a temporary folder, on 127.0.0.1, ended by pid."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

ACCESS, SECRET = "an-access-key-of-tests", "a-secret-key-of-tests"
REGION = "us-east-1"
START_SECONDS = 60


class S3Server:
    """One server. `start` and `stop` as often as wanted; `close` removes it."""

    def __init__(self, program: Path, tls: tuple[Path, Path] | None = None) -> None:
        """`tls`: certificate for `localhost`, and key."""
        self._program = program
        self._tls = tls
        self.folder = Path(tempfile.mkdtemp(prefix="touchplate-s3-"))
        for name in ("buckets", "about"):
            (self.folder / name).mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        host = "http://127.0.0.1" if self._tls is None else "https://localhost"
        return f"{host}:{self._port}"

    def start(self) -> None:
        """Start it and return when it answers."""
        # What it knows of objects beside their bytes lies in a folder: not every file system has attributes.
        command = [str(self._program), "--port", f"127.0.0.1:{self._port}", "--region", REGION, "--quiet"]
        if self._tls is not None:
            command += ["--cert", str(self._tls[0]), "--key", str(self._tls[1])]
        command += ["posix", "--sidecar", str(self.folder / "about"), str(self.folder / "buckets")]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={"ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server did not start: {self.log()[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it at once, as in a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def make_bucket(self, name: str) -> str:
        """A bucket whose objects everybody may read; the URL below which they are."""
        _send("PUT", f"{self.url}/{name}", b"")
        allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}
        allowed["Resource"] = f"arn:aws:s3:::{name}/*"
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        _send("PUT", f"{self.url}/{name}?policy=", policy.encode())
        return f"{self.url}/{name}"

    def names(self, bucket: str) -> set[str]:
        """The names of all objects in a bucket."""
        folder = self.folder / "buckets" / bucket
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _send(method: str, url: str, body: bytes) -> None:
    """One request signed by AWS Signature Version 4."""
    parts = urlsplit(url)
    now = datetime.datetime.now(datetime.UTC)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    asked = f"{method}\n{parts.path}\n{parts.query}\n{lines}\n{names}\n{digest}"
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
    key = f"AWS4{SECRET}".encode()
    for part in (day, REGION, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=START_SECONDS) as response:
        response.read()
