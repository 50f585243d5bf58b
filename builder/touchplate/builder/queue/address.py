"""`--server` and `--token-file`: where a queue is, and with what one comes to it."""

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from touchplate.verify.usage import UsageError


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add the two options."""
    parser.add_argument("--server", required=True, metavar="URL", help="the node, https://HOST[:PORT][/PATH]")
    parser.add_argument(
        "--token-file", type=Path, required=True, metavar="FILE", help="holds the token; only yours to read"
    )


def server_url(args: argparse.Namespace) -> str:
    """The node's address without a slash at its end. Raises UsageError.

    A token in plain text is for everybody on the way to read: outside this machine only https will do.
    """
    url: str = args.server.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"--server {url[:200]!r}: write https://HOST[:PORT][/PATH]")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise UsageError("--server: the token would travel in plain text; write https://…")
    return url
