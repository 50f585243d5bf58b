"""`touchplate prove --check`: one .tlog-proof against an entry and a policy, without network."""

import argparse
import time
from typing import Protocol

from touchplate.verify.checkpoints import Checkpoint, checkpoint_age
from touchplate.verify.cli_reader import Reader, require_reader
from touchplate.verify.dsse import MAX_ENVELOPE_BYTES
from touchplate.verify.encoding import encode_base64, format_moment
from touchplate.verify.entry import MAX_PACKED_BYTES, Entry, make_entry, parse_packed, verify_entry
from touchplate.verify.errors import MalformedError, VerifyError
from touchplate.verify.jcs import JSONValue
from touchplate.verify.keys import parse_public_pem
from touchplate.verify.output import error_json, print_json, print_line, print_note, print_pairs
from touchplate.verify.reading import read_at_most
from touchplate.verify.rfc6962 import leaf_hash
from touchplate.verify.statements import parse_statement
from touchplate.verify.tiles import MAX_LEAF_DATA
from touchplate.verify.tlog_proof import (
    MAX_TLOG_PROOF_BYTES,
    TlogProof,
    check_tlog_proof,
    parse_tlog_proof,
)
from touchplate.verify.usage import OK, REFUSED, UsageError
from touchplate.verify.values import value

MAX_KEY_BYTES = 4096
"""Bytes of a public key's file: PEM text with lines of comment above it."""

SHOWN_SUBJECTS = 5
"""Subjects of a statement that are printed; --json has them all."""

_JSON_START = b"{"
_PEM_START = b"-----BEGIN"


class _Options(Protocol):
    def add_argument(self, *names: str, metavar: str, help: str) -> object: ...


@value
class Proven:
    """What a proof shows: a leaf at an index of a tree. `entry`: None when only raw leaf data was given."""

    proof: TlogProof
    checkpoint: Checkpoint
    leaf_data: bytes
    entry: Entry | None


def add_check(options: _Options) -> None:
    """Add the options of --check."""
    options.add_argument(
        "--entry",
        metavar="FILE",
        help="the entry: an envelope (with --key), or a packed entry; default: the one in the proof",
    )
    options.add_argument("--key", metavar="FILE", help="the public key of the envelope, PEM or DER (SPKI)")
    options.add_argument("--leaf", metavar="FILE", help="instead of an entry: the raw data of the leaf")


def check_proof(args: argparse.Namespace) -> int:
    """Check and print. 0 verified, 1 refused. Raises UsageError, OSError, and what a bad policy raises."""
    reader = require_reader(args)
    data = read_at_most(args.check, MAX_TLOG_PROOF_BYTES)
    given = _given(args)
    try:
        proven = _check(data, given, reader)
    except UsageError:
        raise
    except VerifyError as error:
        if args.json:
            print_json({"verdict": "refused", **error_json(error)})
        print_note(f"refused: {error.reason}: {error}")
        return REFUSED
    _print(proven, reader, as_json=args.json)
    return OK


def _given(args: argparse.Namespace) -> tuple[bytes | None, bytes | None, bytes | None]:
    """The bytes of --entry, --key and --leaf."""
    if args.leaf is not None and (args.entry is not None or args.key is not None):
        raise UsageError("--leaf stands alone: it is what an entry and its key would give")
    entry = _read(args.entry, MAX_PACKED_BYTES, "entry")
    key = _read(args.key, MAX_KEY_BYTES, "key")
    if entry is None and key is not None:
        raise UsageError("--key belongs to --entry ENVELOPE")
    if entry is not None and entry.startswith(_JSON_START) != (key is not None):
        raise UsageError("an envelope needs --key, and a packed entry has its key in it")
    return entry, key, _read(args.leaf, MAX_LEAF_DATA, "leaf")


def _read(path: str | None, limit: int, what: str) -> bytes | None:
    if path is None:
        return None
    data = read_at_most(path, limit)
    if len(data) > limit:
        raise UsageError(f"--{what}: the file is longer than the {limit} bytes that it can have")
    return data


def _check(data: bytes, given: tuple[bytes | None, bytes | None, bytes | None], reader: Reader) -> Proven:
    proof = parse_tlog_proof(data)
    packed_or_envelope, key, leaf = given
    entry: Entry | None = None
    if leaf is None:
        entry = _entry(packed_or_envelope, key, proof)
        leaf = entry.leaf_data
    checkpoint = check_tlog_proof(proof, leaf, reader.policy)
    if entry is not None:
        verify_entry(entry)
    return Proven(proof, checkpoint, leaf, entry)


def _entry(data: bytes | None, key: bytes | None, proof: TlogProof) -> Entry:
    if data is None:
        if proof.extra is None:
            raise UsageError("the proof does not carry its entry: give it with --entry or --leaf")
        return parse_packed(proof.extra)
    if key is None:
        return parse_packed(data)
    return make_entry(data.removesuffix(b"\n") if len(data) <= MAX_ENVELOPE_BYTES else data, _spki(key))


def _spki(key: bytes) -> bytes:
    if _PEM_START not in key:
        return key
    try:
        return parse_public_pem(key.decode("ascii")).spki
    except UnicodeDecodeError as error:
        raise MalformedError("the key is no PEM text") from error


# --- printing ---------------------------------------------------------------------------------------------


def _print(proven: Proven, reader: Reader, *, as_json: bool) -> None:
    head, proof = proven.checkpoint, proven.proof
    age = checkpoint_age(head, reader.policy, int(time.time()))
    if as_json:
        told: dict[str, JSONValue] = {
            "verdict": "verified",
            "index": str(proof.index),
            "leafHash": encode_base64(leaf_hash(proven.leaf_data)),
            "origin": head.origin,
            "size": str(head.size),
            "root": encode_base64(head.root),
            "cosigners": [{"name": name, "time": format_moment(time)} for name, time in head.cosigners],
            "age": age,
        }
        if proven.entry is not None:
            told["entry"] = _entry_json(proven.entry, reader)
        print_json(told)
        return
    print_line(f"verified: entry {proof.index} is in the log {head.origin}, tree of {head.size}")
    pairs = [("leaf hash", leaf_hash(proven.leaf_data).hex())]
    if proven.entry is not None:
        pairs += _entry_pairs(proven.entry, reader)
    cosigners = ", ".join(f"{name} ({format_moment(time)})" for name, time in head.cosigners)
    pairs += [
        ("cosigners", cosigners or "nobody (the policy asks for none)"),
        ("age", "cannot be told" if age is None else f"{age} s"),
    ]
    print_pairs(pairs)


def _statement(entry: Entry) -> tuple[str | None, list[tuple[str, str]]]:
    """Predicate type, and (package, sha256) of the subjects; nothing for what is no statement."""
    try:
        statement = parse_statement(entry.payload)
    except MalformedError:
        return None, []
    return statement.predicate_type, [(str(each.uri), each.sha256) for each in statement.subjects]


def _listed(entry: Entry, reader: Reader) -> list[str]:
    """Who the trust file says holds the key; no verdict hangs on it here."""
    blocks = reader.trust.find(entry.spki) if reader.trust is not None else ()
    return list(dict.fromkeys(f"{block.kind} of {block.operator}" for block in blocks))


def _entry_json(entry: Entry, reader: Reader) -> dict[str, JSONValue]:
    kind, subjects = _statement(entry)
    told: dict[str, JSONValue] = {
        "identity": entry.identity.hex(),
        "keySha256": entry.key.spki_sha256.hex(),
        "predicateType": kind,
        "subjects": [{"package": package, "sha256": sha256} for package, sha256 in subjects],
    }
    if reader.trust is not None:
        told["signers"] = _listed(entry, reader)
    return told


def _entry_pairs(entry: Entry, reader: Reader) -> list[tuple[str, str]]:
    kind, subjects = _statement(entry)
    pairs = [("key", entry.key.spki_sha256.hex())]
    if reader.trust is not None:
        pairs.append(
            ("signed by", ", ".join(_listed(entry, reader)) or "a key that is not in your trust file")
        )
    pairs.append(("statement", kind or "none that this version understands"))
    for number, (package, sha256) in enumerate(subjects[:SHOWN_SUBJECTS]):
        pairs.append(("about" if number == 0 else "", f"{package} sha256 {sha256}"))
    if len(subjects) > SHOWN_SUBJECTS:
        pairs.append(("", f"… and {len(subjects) - SHOWN_SUBJECTS} more"))
    return pairs
