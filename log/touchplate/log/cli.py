"""`touchplate log`: recompute a log, show its checkpoint, follow it. What only reads a served log needs no
extra."""

import argparse
from collections.abc import Callable
from pathlib import Path

from touchplate.base.progress import counting, open_progress
from touchplate.log import cli_folders, cli_follow, cli_operate, cli_tree
from touchplate.log.cli_findings import count_findings, findings_json, print_findings
from touchplate.log.cli_store import open_file, open_rows, read_store
from touchplate.log.errors import CorruptTreeError
from touchplate.log.fsck import Result, Source, check_log, unverified_body
from touchplate.log.served import ServedLog
from touchplate.verify.checkpoints import UnverifiedCheckpoint
from touchplate.verify.cli_reader import Reader, add_policy, add_state, open_head, open_log, read_believed
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import MalformedError
from touchplate.verify.notes import MAX_NOTE_BYTES
from touchplate.verify.output import print_json, print_line, print_note
from touchplate.verify.reading import read_at_most
from touchplate.verify.sources import open_source
from touchplate.verify.usage import OK, REFUSED, UsageError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `touchplate log`."""
    commands = parser.add_subparsers(dest="log_command", required=True, metavar="COMMAND")
    fsck = commands.add_parser(
        "fsck",
        help="recompute a whole log and name everything that is wrong",
        description="Recompute a whole log and name everything that is wrong. Exit code 0 clean, 1 findings, "
        "2 when it cannot be read.",
    )
    where = fsck.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--config", type=Path, metavar="FILE", help="the node's TOML: its database and log key"
    )
    where.add_argument(
        "--db", type=Path, metavar="FILE", help="a log's SQLite database (PostgreSQL: --config)"
    )
    where.add_argument("--url", metavar="URL", help="a log as it is served, or a folder with the same paths")
    fsck.add_argument("--origin", metavar="NAME", help="which tree, when the database holds several")
    fsck.add_argument(
        "--raw", action="store_true", help="with --url: a log of any bytes, which has no envelopes"
    )
    fsck.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="a checkpoint kept from before: the log must still contain that tree (repeatable)",
    )
    add_policy(fsck, required=False)
    fsck.set_defaults(run_log=_fsck)
    show = commands.add_parser(
        "checkpoint",
        help="fetch, verify and print a log's checkpoint",
        description="Fetch and print a log's checkpoint. With --policy or --trust it is verified, must go on "
        "from the one that is remembered, and is remembered.",
    )
    show.add_argument(
        "--url", required=True, metavar="URL", help="the log's URL, or a folder with the same paths"
    )
    add_policy(show, required=False)
    add_state(show)
    show.set_defaults(run_log=_checkpoint)
    cli_follow.register(commands)
    cli_folders.register(commands)
    cli_operate.register(commands)
    cli_tree.register(commands)


def run(args: argparse.Namespace) -> int:
    """Run what was parsed. Returns 0, or 1 when fsck found something; raises what `touchplate` reports."""
    command: Callable[[argparse.Namespace], int] = args.run_log
    return command(args)


def _fsck(args: argparse.Namespace) -> int:
    reader = read_believed(args)
    policy = None if reader is None else reader.policy
    source: Source
    close: Callable[[], None] | None = None
    if args.url is not None:
        if args.origin is not None:
            raise UsageError(
                "--origin chooses a tree of a database; a served log has the origin of its policy"
            )
        source = _served(args.url, reader, is_raw=args.raw)
    else:
        if args.raw:
            raise UsageError("--raw is for --url; a database knows what its trees are")
        origin = args.origin
        if args.config is None:
            source, close = open_rows(open_file(args.db), origin)
        else:
            store = read_store(args.config)
            origin, own = store.choose(origin)
            policy = policy or own
            source, close = store.open_rows(origin)
    against = [_read_kept(path) for path in args.against]
    try:
        with open_progress(quiet=args.json) as progress:
            task = progress.task("entries", unit="entries")
            try:
                result = check_log(source, policy=policy, against=against, progress=counting(task))
            except CorruptTreeError as error:  # so damaged that there is no size to begin with
                result = Result()
                result.add("database", str(error))
            task.finish(f"{result.size} recomputed")
    finally:
        if close is not None:
            close()
    return _report(result, checked_signature=policy is not None, as_json=args.json)


def _report(result: Result, *, checked_signature: bool, as_json: bool) -> int:
    if as_json:
        print_json(
            {
                "clean": result.clean,
                "size": str(result.size),
                "root": encode_base64(result.root),
                "checkpointVerified": checked_signature,
                **findings_json(result),
            }
        )
        return OK if result.clean else REFUSED
    print_findings(result)
    if not checked_signature:
        print_note("the checkpoint's signature was not checked: give --policy or --trust")
    outcome = "clean" if result.clean else count_findings(result)
    print_line(f"{result.size} entries, root {encode_base64(result.root)}: {outcome}")
    return OK if result.clean else REFUSED


def _checkpoint(args: argparse.Namespace) -> int:
    reader = read_believed(args)
    cosigners = None
    if reader is None:
        if args.state is not None:
            raise UsageError("--state needs --policy or --trust: only a verified checkpoint is remembered")
        note = open_source(args.url).read("checkpoint", MAX_NOTE_BYTES)
        body = unverified_body(note)
        origin, size, root = body.origin, body.size, body.root
    else:
        head = open_log(args, args.url, reader).checkpoint()
        note, origin, size, root = head.note.encode(), head.origin, head.size, head.root
        cosigners = [name for name, _ in head.cosigners]
    if args.json:
        print_json(
            {
                "origin": origin,
                "size": str(size),
                "root": encode_base64(root),
                "verified": cosigners is not None,
                "cosigners": cosigners,
                "checkpoint": note.decode("utf-8", "replace"),
            }
        )
        return OK
    for line in note.decode("utf-8", "replace").removesuffix("\n").split("\n"):
        print_line(line)
    if cosigners is None:
        print_note("not verified: give --policy or --trust")
    else:
        print_note(f"verified, cosigned by {', '.join(cosigners) or 'nobody (the policy asks for none)'}")
    return OK


def _served(url: str, reader: Reader | None, *, is_raw: bool) -> Source:
    def read_head(note: bytes) -> tuple[int, bytes]:
        head = unverified_body(note) if reader is None else open_head(note, reader)
        return head.size, head.root

    return ServedLog(open_source(url), read_head, is_raw=is_raw)


def _read_kept(path: Path) -> UnverifiedCheckpoint:
    try:
        return unverified_body(read_at_most(path, MAX_NOTE_BYTES))
    except MalformedError as error:
        raise MalformedError(f"--against: {path} is no checkpoint: {error}", reason=error.reason) from error
