"""`touchplate prove`: proofs out of a log or a mirror, for people who believe no node; and their check."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from touchplate.verify.bundle import format_bundle
from touchplate.verify.cli_check_proof import add_check, check_proof
from touchplate.verify.cli_keygen import PUBLIC_MODE, refuse_existing, require_name, write_new
from touchplate.verify.cli_reader import Reader, add_policy, add_state, open_log, require_reader
from touchplate.verify.client import LogClient
from touchplate.verify.encoding import encode_base64
from touchplate.verify.entry import pack_entry
from touchplate.verify.errors import MalformedError
from touchplate.verify.files import FileDigests, digest_file
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_json, print_note, print_text
from touchplate.verify.purl import PackageURL, normalise_purl
from touchplate.verify.reading import open_file
from touchplate.verify.search import Found, choose_package, make_bundle, most_useful, named_by, search_log
from touchplate.verify.tlog_proof import TlogProof, format_tlog_proof
from touchplate.verify.usage import OK, UsageError

PROGRESS_SECONDS = 2.0
"""Between two lines about a long search."""


def register(parser: argparse.ArgumentParser) -> None:
    """The options of `touchplate prove`."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--log", metavar="URL|FOLDER", help="make proofs from this log, or a mirror of it")
    what.add_argument("--check", metavar="FILE", help="check this .tlog-proof, offline")
    make = parser.add_argument_group("making")
    make.add_argument(
        "--index", type=int, action="append", metavar="N", help="the entry (repeatable with --bundle)"
    )
    make.add_argument(
        "--bundle",
        metavar="ARTIFACT",
        help="make the proof bundle of this file, as `touchplate verify` takes it: "
        "of the entries named by --index, else of all that the log has about it",
    )
    make.add_argument(
        "--package", metavar="PURL", help="with --bundle: what the file is, if it has two names"
    )
    make.add_argument("--bare", action="store_true", help="leave the entry out of the .tlog-proof")
    make.add_argument("--out", type=Path, metavar="FILE", help="a new file; default: standard output")
    add_check(parser.add_argument_group("checking"))
    add_policy(parser, required=True)
    add_state(parser)


def run(args: argparse.Namespace) -> int:
    """Prove or check. 0 done or verified, 1 refused, 2 cannot be determined; raises what `main` reports."""
    if args.check is not None:
        _refuse_options(args, "--check", ("index", "bundle", "package", "bare", "out", "state"))
        return check_proof(args)
    _refuse_options(args, "--log", ("entry", "leaf", "key"))
    indexes = args.index or []
    if args.bundle is None and (len(indexes) != 1 or args.package is not None):
        raise UsageError("give one --index, or --bundle ARTIFACT")
    if args.bundle is not None and args.bare:
        raise UsageError("--bare is for a .tlog-proof; a bundle needs its entries")
    if args.out is not None:
        require_name(args.out)
        refuse_existing(args.out)
    reader = require_reader(args)
    client = open_log(args, args.log, reader)
    client.checkpoint()
    if args.bundle is None:
        return _prove(args, client, indexes[0])
    return _bundle(args, client, reader)


def _refuse_options(args: argparse.Namespace, mode: str, names: tuple[str, ...]) -> None:
    given = [name for name in names if getattr(args, name)]
    if given:
        raise UsageError(f"--{given[0]} says nothing together with {mode}")


def _prove(args: argparse.Namespace, client: LogClient, index: int) -> int:
    """One entry, as a .tlog-proof."""
    entry = client.entry(index)
    proof = TlogProof(
        index,
        tuple(client.inclusion(index)),
        client.head.note.encode(),
        None if args.bare else pack_entry(entry),
    )
    _write(args, format_tlog_proof(proof), client, {"index": str(index)})
    return OK


def _bundle(args: argparse.Namespace, client: LogClient, reader: Reader) -> int:
    """Everything about one file, as a proof bundle."""
    with open_file(args.bundle) as file:
        digests = digest_file(file)
    found = _named(args, client, digests) if args.index else _searched(client, digests.sha256)
    package = _package(args.package) if args.package else choose_package(found)
    chosen = most_useful(found, reader.trust, package)
    data = format_bundle(make_bundle(client, chosen, digests, package))
    indexes: list[JSONValue] = [str(each) for each in sorted(each.index for each in chosen)]
    if len(chosen) < len(found):
        print_note(f"{len(found)} entries are about this file; the bundle has the {len(chosen)} most useful")
    _write(args, data, client, {"package": str(package), "indexes": indexes})
    return OK


def _named(args: argparse.Namespace, client: LogClient, digests: FileDigests) -> list[Found]:
    return [named_by(client, index, digests.sha256) for index in dict.fromkeys(args.index)]


def _searched(client: LogClient, sha256: str) -> list[Found]:
    return search_log(client, sha256, search_progress(client.head.size))


def search_progress(size: int) -> Callable[[int], None]:
    """Says on standard error how far a search is, now and then; a short one says nothing."""
    due = time.monotonic() + PROGRESS_SECONDS

    def advance(done: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + PROGRESS_SECONDS
            print_note(f"searched {done} of {size} entries")

    return advance


def _package(text: str) -> PackageURL:
    try:
        return normalise_purl(text)
    except MalformedError as error:
        raise UsageError(f"--package: {error}") from error


def _write(args: argparse.Namespace, data: bytes, client: LogClient, told: dict[str, JSONValue]) -> None:
    """The proof to --out or standard output; with --json what was made, and the proof when it has no file."""
    head = client.head
    if args.out is not None:
        write_new(args.out, data, PUBLIC_MODE)
        told["file"] = str(args.out)
    elif args.json:
        told["proof"] = data.decode("utf-8")
    if args.json:
        print_json({**told, "origin": head.origin, "size": str(head.size), "root": encode_base64(head.root)})
    elif args.out is None:
        print_text(data.decode("utf-8"))
    else:
        print_note(f"{args.out}: proven under the checkpoint of {head.origin}, size {head.size}")
