"""What an operator does to his log: `touchplate log backup`, `stats`, `freeze`, `rotate-key`."""

import argparse
import time
from pathlib import Path
from typing import Any

from touchplate.base.durable import sync_folder
from touchplate.base.progress import open_progress
from touchplate.log.cli_store import read_store
from touchplate.log.errors import RequestError
from touchplate.log.keys import NOT_RETIRING
from touchplate.verify.cli_keygen import PRIVATE_MODE, refuse_existing, require_name, write_new
from touchplate.verify.encoding import encode_base64, format_time, parse_time
from touchplate.verify.errors import MalformedError
from touchplate.verify.jcs import JSONValue
from touchplate.verify.notes import (
    NoteKey,
    format_signer_key,
    format_verifier_key,
    generate_note_signer,
    open_note,
    parse_signer_key,
)
from touchplate.verify.output import print_json, print_line, print_note, print_pairs
from touchplate.verify.usage import OK, UsageError

OVERLAP_SECONDS = 90 * 24 * 60 * 60
"""The overlap that `rotate-key` proposes: readers have a quarter of a year to add a line to their
policies."""


def register(commands: Any) -> None:
    """Add them to the commands of `touchplate log`."""
    backup = _add(
        commands, "backup", _backup, "copy a log's SQLite database while it is in use, and check the copy"
    )
    backup.add_argument("file", type=Path, metavar="FILE", help="the copy; it must not exist")
    _add(commands, "stats", _stats, "how large a log is, its state, and who signed its checkpoint")
    freeze = _add(commands, "freeze", _freeze, "take no new entries any more")
    freeze.add_argument(
        "--undo", action="store_true", help="take entries again; a running log on SQLite is restarted"
    )
    rotate = _add(
        commands, "rotate-key", _rotate, "make the key that follows a log's key, and say how to change over"
    )
    rotate.add_argument(
        "--new-key", type=Path, required=True, metavar="FILE", help="the new key; made by this"
    )
    rotate.add_argument(
        "--until",
        metavar="TIME",
        help="end of the overlap, in which both keys sign: YYYY-MM-DDThh:mm:ssZ (default: 90 days from now)",
    )


def _add(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary.capitalize()}."
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the node's TOML: its database and log key"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run_log=run)
    return parser


# --- backup -----------------------------------------------------------------------------------------------


def _backup(args: argparse.Namespace) -> int:
    store = read_store(args.config)
    store.refuse_trillian("backup", "back up the database under that Trillian, or `log export`")
    if store.database is None:
        raise RequestError(
            "the log is on PostgreSQL: back it up with pg_basebackup or pg_dump, or `log export`"
        )
    require_name(args.file)
    refuse_existing(args.file)
    from touchplate.log.backup import back_up

    engine = store.open_engine()
    try:
        with open_progress(quiet=args.json) as progress:
            result = back_up(engine, store.origin, store.keys.policy(), args.file, progress)
    finally:
        engine.dispose()
    size, root = str(result.size), encode_base64(result.root)
    if args.json:
        print_json({"file": str(args.file), "size": size, "root": root})
    else:
        print_line(f"{args.file}: {size} entries, root {root}: clean")
    return OK


# --- stats ------------------------------------------------------------------------------------------------


def _stats(args: argparse.Namespace) -> int:
    store = read_store(args.config)
    rows, close = store.open_rows()
    try:
        size, root, checkpoint = rows.head()
        state, stored = rows.state(), rows.stored_bytes()
    finally:
        close()
    found: dict[str, JSONValue] = {
        "origin": store.origin,
        "state": state,
        "size": str(size),
        "root": encode_base64(root),
        "bytes": str(stored),
        "bytesPerEntry": str(stored // size) if size else None,
        "checkpointSize": None,
        "signedBy": [],
    }
    if checkpoint is not None:
        known = {key: format_verifier_key(key) for key in store.keys.known}
        opened = open_note(checkpoint, store.keys.known)
        found["checkpointSize"] = opened.text.split("\n")[1]
        found["signedBy"] = [known[each.key] for each in opened.signatures]
    if args.json:
        print_json(found)
        return OK
    signed = found.pop("signedBy")
    assert isinstance(signed, list)
    pairs = [(name, str(value)) for name, value in found.items() if value is not None]
    print_pairs([*pairs, *[("signed by", str(each)) for each in signed]])
    return OK


# --- freeze -----------------------------------------------------------------------------------------------


def _freeze(args: argparse.Namespace) -> int:
    store = read_store(args.config)
    store.refuse_peers("freeze")
    from touchplate.log.storage.states import freeze, unfreeze

    engine = store.open_engine()
    try:
        size = (unfreeze if args.undo else freeze)(engine, store.origin)
    finally:
        engine.dispose()
    if args.json:
        print_json({"origin": store.origin, "frozen": not args.undo, "size": str(size)})
    elif args.undo:
        print_line(f"{store.origin}: takes entries again, from index {size} on")
    else:
        print_line(f"{store.origin}: frozen at {size} entries; the checkpoint of that size is the final one")
    return OK


# --- rotate-key -------------------------------------------------------------------------------------------


def _rotate(args: argparse.Namespace) -> int:
    store = read_store(args.config)
    store.refuse_peers("rotate-key")
    if store.witnesses:
        raise RequestError(f"log rotate-key: {NOT_RETIRING}")
    if store.keys.retiring is not None:
        raise RequestError(
            "a key of this log is retiring already: remove [log.retiring] when its time is over"
        )
    until = args.until or format_time(int(time.time()) + OVERLAP_SECONDS)
    try:
        if parse_time(until, "--until") <= time.time():
            raise UsageError("--until: is over already; readers need time to learn the new key")
    except MalformedError as error:
        raise UsageError(str(error)) from error
    require_name(args.new_key)
    refuse_existing(args.new_key)
    old = store.keys.signer.key
    write_new(
        args.new_key,
        (format_signer_key(generate_note_signer(store.origin, "log")) + "\n").encode(),
        PRIVATE_MODE,
    )
    sync_folder(args.new_key.absolute().parent)
    new = parse_signer_key(args.new_key.read_text(encoding="utf-8")).key
    lines = [f"log {format_verifier_key(key)}" for key in (new, old)]
    if args.json:
        print_json({"newKey": str(args.new_key), "until": until, "policy": list(lines)})
        return OK
    _print_steps(args, lines, until, old)
    return OK


def _print_steps(args: argparse.Namespace, lines: list[str], until: str, old: NoteKey) -> None:
    """How to change over. Standard output has what is to be copied: lines of a policy, and of the
    configuration."""
    print_note(f"{args.new_key} is made; nothing is changed yet")
    print_note("1. readers: both lines stand in their policies from now on")
    for line in lines:
        print_line(line)
    print_note(
        "2. configuration: the new key as `key`, the old one in [log.retiring]; then restart every frontend"
    )
    settings = ["[log]", f'key = "file:{_from_config(args.new_key, args.config)}"', "[log.retiring]"]
    for line in [*settings, 'key = "…the old key…"', f'until = "{until}"']:
        print_line(line)
    print_note(f"3. after {until}: readers remove the line of {old}; remove [log.retiring], and the old key")


def _from_config(key: Path, config: Path) -> Path:
    """The key's file as the configuration must name it, whose paths begin at its own folder."""
    key, folder = key.absolute(), config.absolute().parent
    return key.relative_to(folder) if key.is_relative_to(folder) else key
