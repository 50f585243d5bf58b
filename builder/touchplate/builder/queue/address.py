"""`--server` and `--token-file`: where a queue is, and with what one comes to it."""

import argparse
from pathlib import Path

from touchplate.base.addresses import is_local_name
from touchplate.base.connections import parse_origin
from touchplate.base.errors import BadURLError
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
    try:
        origin, target = parse_origin(url)
    except BadURLError as error:
        raise UsageError(f"--server: {error}; write https://HOST[:PORT][/PATH]") from error
    if "?" in target:
        raise UsageError(f"--server {url[:200]!r}: write https://HOST[:PORT][/PATH]")
    if origin.scheme == "http" and not is_local_name(origin.host):
        raise UsageError("--server: the token would travel in plain text; write https://…")
    return url
