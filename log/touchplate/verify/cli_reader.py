"""The options of every command that reads a log: whom to believe, and where its last checkpoint is kept."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from touchplate.verify.checkpoints import Checkpoint, check_age, open_checkpoint
from touchplate.verify.client import LogClient
from touchplate.verify.errors import PolicyError, TrustError
from touchplate.verify.heads import default_state, head_path
from touchplate.verify.policy import MAX_POLICY_BYTES, Policy, parse_policy
from touchplate.verify.reading import read_at_most
from touchplate.verify.sources import LogSource
from touchplate.verify.trust import TrustFile, load_trust
from touchplate.verify.usage import UsageError
from touchplate.verify.values import value


class Options(Protocol):
    """A parser, or a group of options in one."""

    def add_argument(self, *names: str, type: Callable[[str], object], metavar: str, help: str) -> object: ...


@value
class Reader:
    """Whom a command believes. `max_age`: seconds within which the quorum must have vouched for a head.

    `trust`: the trust file that the policy came from, None for a bare policy.
    """

    policy: Policy
    max_age: int | None = None
    trust: TrustFile | None = None


def add_policy(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add --policy and --trust, one of which is given, and --json."""
    policy = parser.add_mutually_exclusive_group(required=required)
    policy.add_argument("--policy", type=Path, metavar="FILE", help="who must have signed (C2SP tlog-policy)")
    policy.add_argument("--trust", type=Path, metavar="FILE", help="a trust file, for its policy")
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_state(parser: Options) -> None:
    """Add --state."""
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="where the last checkpoint of each log is remembered, and forks are reported "
        "(default: touchplate in the user's state folder, ~/.local/state)",
    )


def read_believed(args: argparse.Namespace) -> Reader | None:
    """The policy that was given; None when none was. Raises PolicyError, TrustError, OSError."""
    if args.policy is not None:
        return Reader(_load_policy(args.policy))
    if args.trust is None:
        return None
    trust = load_trust(args.trust)
    return Reader(trust.policy, trust.max_checkpoint_age, trust)


def open_log(
    args: argparse.Namespace, source: str | Path | LogSource, reader: Reader, reports: Path | None = None
) -> LogClient:
    """A client that remembers the log's head in --state; see LogClient."""
    state = default_state() if args.state is None else args.state
    head = head_path(state, reader.policy.origin)
    return LogClient(source, reader.policy, head, max_age=reader.max_age, reports=reports)


def open_head(note: bytes, reader: Reader) -> Checkpoint:
    """A checkpoint that was just fetched: verified, and young enough. It is not remembered (`open_log` does).

    Raises what `open_checkpoint` and `check_age` raise.
    """
    opened = open_checkpoint(note, reader.policy)
    if reader.max_age is not None:
        check_age(opened, reader.policy, reader.max_age, int(time.time()))
    return opened


def require_reader(args: argparse.Namespace) -> Reader:
    """The policy, which argparse made sure of. Raises as `read_believed`."""
    reader = read_believed(args)
    if reader is None:
        raise UsageError("give --trust FILE or --policy FILE")
    return reader


def _load_policy(path: Path) -> Policy:
    text = _read_policy(path)
    try:
        return parse_policy(text)
    except PolicyError as error:
        # TOML tables have no place in a policy.
        hint = "; a trust file is given with --trust" if text.lstrip().startswith("[") else ""
        raise PolicyError(f"{path.name}: {error}{hint}", reason=error.reason) from error


def _read_policy(path: Path) -> str:
    data = read_at_most(path, MAX_POLICY_BYTES)
    if len(data) > MAX_POLICY_BYTES:
        raise TrustError(f"{path.name} is longer than {MAX_POLICY_BYTES} bytes; no policy needs as much")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TrustError(f"{path.name} is not utf-8 text (byte {error.start})") from error
