"""`touchplate trust`: make a trust file from given keys, show what one says, export it for others."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from touchplate.verify.blocks import UNLOGGED
from touchplate.verify.cli_keygen import PUBLIC_MODE, refuse_existing, require_name, write_all_new, write_new
from touchplate.verify.errors import shown
from touchplate.verify.jcs import JSONValue
from touchplate.verify.notes import format_verifier_key, parse_verifier_key
from touchplate.verify.output import print_json, print_note, print_pairs, print_table
from touchplate.verify.predicates.provenance import SOURCE_KINDS
from touchplate.verify.purl import ECOSYSTEMS
from touchplate.verify.sigstore import EXPORT_NOTICE, trusted_root
from touchplate.verify.trust import TrustedKey, TrustFile, load_trust, parse_trust
from touchplate.verify.trust_text import TrustChoices, format_trust_text
from touchplate.verify.usage import OK, UsageError

USUAL_NAME = "trust.toml"
POLICY_NAME = "policy.txt"
"""Of the usual trust file; that of another one has its name before it."""

_KEY_KINDS = {
    "rebuilder": "who rebuilt packages; as many must agree as --operators says",
    "recorder": "who saw what an upstream published",
    "verifier": "whose verification summaries `touchplate vsa check` believes",
    "rebuilderd": "an instance of rebuilderd whose links `touchplate link check` shows",
}

MAX_KEY_FILE_BYTES = 16 << 10
"""Bytes of a file named on the command line: a public key takes less than one KiB."""


def register(parser: argparse.ArgumentParser) -> None:
    """The options of `touchplate trust init | show | export`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="init | show | export")
    _register_init(actions.add_parser("init", help="write a commented trust file and its policy"))
    show = actions.add_parser("show", help="print what a trust file says")
    show.add_argument("--trust", type=Path, required=True, metavar="FILE", help="the trust file")
    show.add_argument("--json", action="store_true", help="print JSON")
    export = actions.add_parser("export", help="write the log keys for other verifiers")
    export.add_argument("--trust", type=Path, required=True, metavar="FILE", help="the trust file")
    export.add_argument(
        "--sigstore", action="store_true", required=True, help="as Sigstore's trusted_root.json"
    )
    export.add_argument("--out", type=Path, metavar="FILE", help="a new file; default: standard output")


def run(args: argparse.Namespace) -> int:
    """Do what was asked. Raises VerifyError or OSError."""
    if args.action == "init":
        return _init(args)
    trust = load_trust(args.trust)
    if args.action == "export":
        return _export(trust, args.out)
    if args.json:
        print_json(_trust_json(trust))
    else:
        _print_trust(trust)
    return OK


def _register_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path(USUAL_NAME), metavar="FILE", help=f"default: {USUAL_NAME}"
    )
    parser.add_argument(
        "--log",
        action="append",
        required=True,
        metavar="VKEY",
        help="a log's public key, as text or as a file",
    )
    parser.add_argument(
        "--witness",
        action="append",
        default=[],
        metavar="VKEY",
        help="a cosigner's public key; all must cosign",
    )
    for kind, meaning in _KEY_KINDS.items():
        parser.add_argument(
            f"--{kind}", action="append", default=[], metavar="OPERATOR=KEY.pem", help=meaning
        )
    parser.add_argument(
        "--backend", default="bubblewrap", help="isolation of the rebuilders (default: bubblewrap)"
    )
    parser.add_argument("--ecosystem", action="append", choices=ECOSYSTEMS, help="default: maven")
    parser.add_argument("--operators", type=int, default=2, help="operators that must agree (default: 2)")
    parser.add_argument(
        "--source",
        action="append",
        choices=SOURCE_KINDS,
        help="kinds of source that count (default: vcs, source-release)",
    )
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def _init(args: argparse.Namespace) -> int:
    require_name(args.out)
    # A second trust file in a folder has a policy beside it, too.
    usual = args.out.name == USUAL_NAME
    policy = args.out.with_name(POLICY_NAME if usual else f"{args.out.stem}.{POLICY_NAME}")
    choices = TrustChoices(
        logs=tuple(_text_or_file(key) for key in args.log),
        witnesses=tuple(_text_or_file(key) for key in args.witness),
        rebuilders=_operator_keys(args.rebuilder),
        recorders=_operator_keys(args.recorder),
        verifiers=_operator_keys(args.verifier),
        rebuilderds=_operator_keys(args.rebuilderd),
        backend=args.backend,
        ecosystems=tuple(args.ecosystem or ("maven",)),
        operators=args.operators,
        sources=tuple(args.source or ("vcs", "source-release")),
    )
    trust_text, policy_text = format_trust_text(choices, policy.name)
    # What is written must be readable: a wrong key is found now, not at the first check.
    trust = parse_trust(trust_text, lambda _: policy_text)
    refuse_existing(args.out, policy)
    write_all_new(
        [
            (policy, policy_text.encode("utf-8"), PUBLIC_MODE),
            (args.out, trust_text.encode("utf-8"), PUBLIC_MODE),
        ]
    )
    if args.json:
        print_json({"origin": trust.policy.origin, "policy": str(policy), "trust": str(args.out)})
    else:
        print_pairs([("trust file", str(args.out)), ("policy", str(policy)), ("origin", trust.policy.origin)])
    rebuilders = {key.operator for key in trust.keys if key.kind == "rebuilder"}
    if len(rebuilders) < trust.reproduced.operators:
        print_note(
            f"{len(rebuilders)} operator{' has a key' if len(rebuilders) == 1 else 's have keys'} to rebuild "
            f"with, {trust.reproduced.operators} must agree: nothing can be reproduced until more are added"
        )
    return OK


def _export(trust: TrustFile, out: Path | None) -> int:
    data = trusted_root(trust.policy)
    if out is None:
        print_json(_parsed(data))
    else:
        write_new(out, data + b"\n", PUBLIC_MODE)
    print_note(EXPORT_NOTICE)
    return OK


def _parsed(data: bytes) -> JSONValue:
    from touchplate.verify.jcs import parse_json

    return parse_json(data, max_bytes=len(data))


def _text_or_file(value: str) -> str:
    """A verifier key given as text, or the text of the file of that name.

    One key and nothing else: it becomes a line of the policy, and a file from somebody else must not bring
    lines of its own.
    """
    text = value if value.count("+") >= 2 else _read(Path(value))
    return format_verifier_key(parse_verifier_key(text))


def _operator_keys(pairs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(_operator_key(pair) for pair in pairs)


def _operator_key(pair: str) -> tuple[str, str]:
    operator, equals, name = pair.partition("=")
    if not equals or not operator or not name:
        raise UsageError(f"{shown(pair)} is not OPERATOR=KEY.pem")
    return operator, _read(Path(name))


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_KEY_FILE_BYTES + 1)
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > MAX_KEY_FILE_BYTES:
        raise UsageError(f"{path} is not the file of a public key")
    return text


def _print_trust(trust: TrustFile) -> None:
    policy, rule = trust.policy, trust.reproduced
    age = f"{trust.max_checkpoint_age} s" if trust.max_checkpoint_age else "not asked for"
    pairs = [("origin", policy.origin)]
    pairs += [("log key", format_verifier_key(log.key)) for log in policy.logs]
    pairs += [("witness", f"{one.name} {format_verifier_key(one.key)}") for one in policy.witnesses]
    pairs += [
        ("quorum", policy.quorum),
        ("checkpoint age", age),
        ("reproduced", f"{rule.operators} operators, from {', '.join(rule.sources)}"),
        ("stabilizers", ", ".join(rule.stabilizers) or "none: only identical bytes count"),
    ]
    print_pairs(pairs)
    if trust.keys:
        print_pairs([("", "")])
        heads = ("kind", "operator", "key (sha-256 of SPKI)", "ecosystems", "indexes")
        print_table(heads, [_key_row(key) for key in trust.keys])


def _key_row(key: TrustedKey) -> tuple[str, ...]:
    end = "" if key.until_index is None else str(key.until_index)
    fingerprint = key.key.spki_sha256.hex()
    indexes = "" if key.kind in UNLOGGED else f"{key.from_index}..{end}"
    return key.kind, key.operator, fingerprint, " ".join(key.ecosystems), indexes


def _trust_json(trust: TrustFile) -> JSONValue:
    rule = trust.reproduced
    return {
        "origin": trust.policy.origin,
        "logs": [format_verifier_key(log.key) for log in trust.policy.logs],
        "witnesses": {one.name: format_verifier_key(one.key) for one in trust.policy.witnesses},
        "quorum": trust.policy.quorum,
        "maxCheckpointAge": trust.max_checkpoint_age,
        "reproduced": {
            "operators": rule.operators,
            "sources": rule.sources,
            "stabilizers": rule.stabilizers,
        },
        "keys": [
            {
                "kind": key.kind,
                "operator": key.operator,
                "builder": key.builder,
                "spkiSha256": key.key.spki_sha256.hex(),
                "ecosystems": key.ecosystems,
                "fromIndex": str(key.from_index),
                "untilIndex": None if key.until_index is None else str(key.until_index),
            }
            for key in trust.keys
        ],
    }
