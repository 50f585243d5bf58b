"""The table `[log.bucket]`: where the objects of a log go, and as whom."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from touchplate.base.config import Secret
from touchplate.base.values import Duration

DEFAULT_INTERVAL = Duration(5)
"""Between two updates. Each is paid for: a checkpoint, and up to six partial tiles and bundles."""

DEFAULT_TIMEOUT = Duration(30)
"""For one request, from connection to last byte: the largest object, a full envelope bundle, has 17 MB."""

MAX_TIMEOUT_SECONDS = 600

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", re.ASCII)


@dataclass(frozen=True)
class BucketConfig:
    """An S3-compatible store, a bucket in it that is there, and the right to read, write and list there."""

    endpoint: str
    """URL of the store, such as "https://s3.example.org"; path-style requests are sent to it."""
    bucket: str
    access_key: Secret
    secret_key: Secret
    session_token: Secret | None = None
    """Of temporary credentials. All three are read again every few minutes, so files may be renewed."""
    prefix: str = ""
    """The log's objects have names that begin with it and a slash; empty: the bucket is the log's alone."""
    region: str = "us-east-1"
    """What the store calls its region; most that are not Amazon's take any word."""
    interval: Duration = DEFAULT_INTERVAL
    timeout: Duration = DEFAULT_TIMEOUT
    conditional: bool = True
    """Replace the checkpoint under the condition that nobody else has (ETag, If-Match). False, for a store
    that does not know conditions: then only one process may write."""
    insecure: bool = False
    """Speak plain HTTP to the store although it is not on this machine."""

    def check(self) -> list[str]:
        """Mistakes that a single field does not show."""
        found = self._check_endpoint()
        if not _BUCKET.fullmatch(self.bucket):
            found.append(f"bucket: {self.bucket!r} is no name of a bucket")
        if self.prefix and (not _PREFIX.fullmatch(self.prefix) or {".", ".."} & set(self.prefix.split("/"))):
            found.append(f"prefix: {self.prefix!r}: letters, digits, . _ - between single slashes only")
        if self.interval < 1:
            found.append('interval: at least "1s"')
        if not 1 <= self.timeout <= MAX_TIMEOUT_SECONDS:
            found.append(f'timeout: write "1s" to "{MAX_TIMEOUT_SECONDS}s"')
        return found

    def _check_endpoint(self) -> list[str]:
        try:
            parts = urlsplit(self.endpoint)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
            return ["endpoint: is no URL of a store; write https:// and its host"]
        if parts.username is not None or parts.password is not None:
            return ["endpoint: must not hold a user or password; write access_key and secret_key"]
        loopback = host == "localhost" or host.startswith("127.") or host == "::1"
        if parts.scheme == "http" and not loopback and not self.insecure:
            return ["endpoint: is not encrypted; write https://, or insecure = true if you know that network"]
        return []
