"""`touchplate peer rules|admit|members|approve`: administrators see and change the rules of a log."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from touchplate.base.config import Secret
from touchplate.log.errors import BusyError, RequestError
from touchplate.log.peers.changes import Change, parse_change
from touchplate.log.peers.joining import load_card
from touchplate.log.peers.overview import RULES_PATH, Overview, parse_overview
from touchplate.log.peers.state import MAX_STATE_BYTES
from touchplate.log.peers.statements import (
    check_administrator,
    describe_block,
    describe_change,
    make_admission,
    make_membership,
)
from touchplate.verify.dsse import MAX_ENVELOPE_BYTES, parse_envelope, sign_envelope
from touchplate.verify.encoding import decode_base64
from touchplate.verify.jcs import JSONValue
from touchplate.verify.keys import StatementSigner, load_signer
from touchplate.verify.output import print_json, print_note, print_pairs
from touchplate.verify.sources import LogSource, add_envelope, open_source
from touchplate.verify.trust import AdmissionList, load_admission
from touchplate.verify.usage import OK, UsageError

MAX_ENTRY_BYTES = 2 * MAX_ENVELOPE_BYTES
"""Bytes of an entry's JSON: base64 of the envelope, and a key."""

SEEN_SECONDS = 10.0
"""After its answer to `add` a peer shows the rules as they are after that block, within moments."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to those of `touchplate peer`."""
    rules = commands.add_parser("rules", help="who may write, who decides, and what is approved")
    _add_url(rules)
    rules.set_defaults(run_peer=_rules)
    admit = commands.add_parser(
        "admit",
        help="change who may write: make a statement, and approve it first",
        description="Change the admission list. Without --key, shows what would be signed.",
    )
    _add_url(admit)
    _add_key(admit)
    admit.add_argument("--add", type=Path, metavar="FILE", help="key blocks, as in an admission list")
    admit.add_argument(
        "--remove", action="append", default=[], metavar="HEX", help="SHA-256 of a key's SPKI (each)"
    )
    admit.add_argument(
        "--threshold", type=int, metavar="N", help="administrators that the next change takes; absent: as now"
    )
    admit.set_defaults(run_peer=_admit)
    members = commands.add_parser(
        "members",
        help="change the peers: make a statement, and approve it first",
        description="Change the peers. Without --key, shows what would be signed.",
    )
    _add_url(members)
    _add_key(members)
    members.add_argument(
        "--add",
        type=Path,
        action="append",
        default=[],
        metavar="CARD",
        help="a joining peer's card (each)",
    )
    members.add_argument(
        "--remove", action="append", default=[], metavar="NAME", help="a peer that leaves (each)"
    )
    members.set_defaults(run_peer=_members)
    for each in (admit, members):
        each.add_argument(
            "--from-index",
            type=int,
            default=0,
            metavar="N",
            help="first entry it holds for; else the next",
        )
    approve = commands.add_parser(
        "approve",
        help="approve what another administrator has approved",
        description="Approve the statement of an entry. Without --key, shows it.",
    )
    _add_url(approve)
    _add_key(approve)
    approve.add_argument("--index", type=int, required=True, metavar="N", help="an entry with the statement")
    approve.add_argument("--statement", metavar="HEX", help="its SHA-256, as it was shown: what is signed")
    approve.set_defaults(run_peer=_approve)


def _add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", required=True, metavar="URL", help="the log of a peer, best of your own")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", type=Path, metavar="FILE", help="the administrator's private key")
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="of the key; absent: it is not encrypted"
    )


def _rules(args: argparse.Namespace) -> int:
    seen = _read_rules(open_source(args.url))
    rules = seen.rules
    if args.json:
        print_json(_overview_json(seen))
        return OK
    administrators = f"{rules.threshold} of {len(rules.administrators)} administrators"
    pairs = [
        ("log", f"{rules.origin}, {seen.size} entries, block {seen.height}"),
        ("rules", f"revision {rules.revision}, {rules.digest}"),
        ("changed by", administrators if rules.administrators else "nobody: it has no administrators"),
    ]
    pairs += [("writes", describe_block(block)) for block in rules.admission.keys]
    pairs += [("decides", f"{peer.name} ({peer.node}, {peer.url})") for peer in rules.peers]
    pairs += [
        ("approved", f"{each.statement} by {len(each.by)} of {rules.threshold}, entry {each.index}")
        for each in seen.approvals
    ]
    if seen.scheduled is not None:
        pairs.append(("scheduled", f"{seen.scheduled.change.digest}, from entry {seen.scheduled.index} on"))
    print_pairs(pairs)
    return OK


def _overview_json(seen: Overview) -> dict[str, JSONValue]:
    scheduled = seen.scheduled
    return {
        "rules": seen.rules.document,
        "rulesSha256": seen.rules.digest,
        "administrators": [key.spki_sha256.hex() for key in seen.rules.administrators],
        "size": str(seen.size),
        "height": str(seen.height),
        "approvals": [
            {"statement": each.statement, "index": str(each.index), "by": list(each.by)}
            for each in seen.approvals
        ],
        "scheduled": None
        if scheduled is None
        else {"statement": scheduled.change.digest, "index": str(scheduled.index)},
    }


def _admit(args: argparse.Namespace) -> int:
    source = open_source(args.url)
    seen = _read_rules(source)
    add = load_admission(args.add) if args.add is not None else AdmissionList(())
    change = make_admission(
        seen.rules, add, args.remove, threshold=args.threshold, from_index=_from_index(args)
    )
    return _sign(args, source, seen, change)


def _members(args: argparse.Namespace) -> int:
    source = open_source(args.url)
    seen = _read_rules(source)
    cards = [load_card(path) for path in args.add]
    if any(card.origin != seen.rules.origin for card in cards):
        raise RequestError(f"a card is of another log than {seen.rules.origin}")
    change = make_membership(
        seen.rules, [card.peer for card in cards], args.remove, from_index=_from_index(args)
    )
    return _sign(args, source, seen, change)


def _from_index(args: argparse.Namespace) -> int:
    if args.from_index < 0:
        raise UsageError("--from-index: write a number of at least 0")
    return int(args.from_index)


def _approve(args: argparse.Namespace) -> int:
    source = open_source(args.url)
    seen = _read_rules(source)
    change = _read_entry(source, args.index)
    if args.key is not None and args.statement != change.digest:
        what = (
            "give --statement, as it is shown without --key"
            if args.statement is None
            else "it is another one"
        )
        raise UsageError(f"--statement: entry {args.index} holds the statement {change.digest}: {what}")
    return _sign(args, source, seen, change)


def _sign(args: argparse.Namespace, source: LogSource, seen: Overview, change: Change) -> int:
    """Show the change; with a key, approve it and tell how far it is then."""
    pairs = describe_change(seen.rules, change)
    if args.key is None:
        if args.json:
            print_json({"statement": change.digest, "payload": change.payload.decode(), "signed": False})
        else:
            print_pairs(pairs)
            print_note("nothing was signed: give --key")
        return OK
    signer = _load_key(args.key, args.password_file)
    check_administrator(seen.rules, signer.key)
    index = add_envelope(source, sign_envelope(change.payload, signer), signer.key.spki_sha256)
    after = _await_entry(source, index)
    approvals = next((len(each.by) for each in after.approvals if each.statement == change.digest), None)
    is_active = after.rules.revision > seen.rules.revision
    due = after.scheduled is not None and after.scheduled.change.digest == change.digest
    if args.json:
        print_json(
            {
                "statement": change.digest,
                "signed": True,
                "index": str(index),
                "approvals": approvals,
                "threshold": seen.rules.threshold,
                "scheduled": str(after.scheduled.index) if due and after.scheduled is not None else None,
                "revision": after.rules.revision,
            }
        )
        return OK
    count = (
        f"{approvals} of {seen.rules.threshold}" if approvals is not None else "no more: the rules changed"
    )
    pairs += [("entry", str(index)), ("approvals", count), ("revision", str(after.rules.revision))]
    print_pairs(pairs)
    if not is_active and not due:
        print_note(f"the others: touchplate peer approve --url {args.url} --index {index}")
    return OK


def _load_key(path: Path, password_file: Path | None) -> StatementSigner:
    # As secrets: refused when others can read the file.
    pem = Secret.of_file(path).resolve()
    password = Secret.of_file(password_file).resolve() if password_file else None
    return load_signer(pem.encode(), password.encode() if password else None)


def _await_entry(source: LogSource, index: int) -> Overview:
    """The rules once they are those after the entry at `index`."""
    deadline = time.monotonic() + SEEN_SECONDS
    while (seen := _read_rules(source)).size <= index:
        if time.monotonic() > deadline:
            raise BusyError(f"entry {index} is in the log, and the peer does not show the rules after it yet")
        time.sleep(0.1)
    return seen


def _read_rules(source: LogSource) -> Overview:
    return parse_overview(source.read(RULES_PATH.removeprefix("/"), MAX_STATE_BYTES))


def _read_entry(source: LogSource, index: int) -> Change:
    """The statement of an entry. Who signed it does not matter: it is read, shown, and signed anew."""
    try:
        document = json.loads(source.read(f"entry/{index}", MAX_ENTRY_BYTES))
        envelope = decode_base64(str(document["envelope"]), "envelope")
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"the log's answer about entry {index} cannot be understood: {error}") from error
    return parse_change(parse_envelope(envelope).payload)
