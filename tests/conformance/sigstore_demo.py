"""Asks sigstore-go about the bundles that a real node handed out: `python -m
tests.conformance.sigstore_demo`.

Reads `evidence.json` of `make demo`. Each bundle must be accepted for its artifact and key, and refused
without its log entry, for another artifact, with another log's key, and for another signer's key: a verifier
that skipped the log would pass the first alone.

Exit 0 when all verdicts are right or there is no Go (a failure under CI=true), 1 after a surprise, 2 when the
evidence cannot be read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.go_programs import NoGoError, build_program
from tests.conformance.sigstore_go import run_checker
from tests.conformance.sigstore_world import Document, M, b64, changed

from touchplate.base.environment import read_environment
from touchplate.verify.errors import VerifyError
from touchplate.verify.keys import parse_public_pem

HINT = ("verificationMaterial", "publicKey", "hint")


@dataclass(frozen=True)
class Evidence:
    """What the demo left: bundles by file name, trusted root, the artifact's digest, public keys by hint."""

    bundles: dict[str, Document]
    root: Document
    sha256: str
    keys: dict[str, str]


def read_evidence(path: Path) -> Evidence:
    """The evidence behind `evidence.json`; its folder counts from the file. Raises OSError, KeyError,
    ValueError.
    """
    facts = json.loads(path.read_text(encoding="utf-8"))
    folder = path.parent / facts["folder"]
    pems = {file.name: file.read_text(encoding="ascii") for file in sorted(folder.glob("*.pem"))}
    return Evidence(
        {name: _document(folder / name) for name in facts["sigstore"]["bundles"]},
        _document(folder / facts["sigstore"]["trusted_root"]),
        facts["artifact"]["sha256"],
        read_keys(pems),
    )


def read_keys(pems: Mapping[str, str]) -> dict[str, str]:
    """Public keys in PEM, from their names to the hints that bundles give for them. Raises ValueError, which
    names the key that is none."""
    keys = {}
    for name, pem in pems.items():
        try:
            keys[b64(parse_public_pem(pem).spki_sha256)] = pem
        except VerifyError as error:
            raise ValueError(f"{name}: {error}") from None
    return keys


def questions(evidence: Evidence) -> Iterator[dict[str, object]]:
    """The cases for the Go checker, with documents in the place of file names."""
    other_root = evidence.root
    for number in range(len(evidence.root["tlogs"])):  # one for each peer, and one of them would do
        other_root = changed(other_root, "tlogs", number, "publicKey", "rawBytes", to=b64(_OTHER_LOG_KEY))
    other_file = hashlib.sha256(b"another artifact").hexdigest()
    for name, bundle in evidence.bundles.items():
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
        good: dict[str, object] = {
            "name": f"{name}: as the node gave it",
            "bundle": bundle,
            "trustedRoot": evidence.root,
            "publicKey": evidence.keys[hint],
            "sha256": evidence.sha256,
            "expect": "ok",
        }
        yield good
        bad: dict[str, dict[str, object]] = {
            "without its log entry": {"bundle": changed(bundle, *M[:-1], to=[])},
            "another index": {"bundle": changed(bundle, *M, "logIndex", to=_next_index(bundle))},
            "another artifact": {"sha256": other_file},
            "another log's key": {"trustedRoot": other_root},
        }
        others = [pem for other, pem in evidence.keys.items() if other != hint]
        if others:
            bad["another signer's key"] = {"publicKey": others[0]}
        for what, change in bad.items():
            yield {**good, **change, "name": f"{name}: {what}", "expect": "refused"}


def write_questions(evidence: Evidence, folder: Path) -> Path:
    """Write the cases and their documents into `folder`; the path of the list."""
    listed = []
    for number, question in enumerate(questions(evidence)):
        for what in ("bundle", "trustedRoot"):
            file = f"{number:03}-{what}.json"
            (folder / file).write_text(json.dumps(question[what]), encoding="utf-8")
            question[what] = file
        listed.append(question)
    path = folder / "cases.json"
    path.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    return path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.sigstore_demo", description=__doc__)
    parser.add_argument("evidence", type=Path, nargs="?", default=Path("evidence.json"))
    parser.add_argument("--cache", type=Path, help="folder for the built checker")
    arguments = parser.parse_args(argv)
    environment = read_environment()
    try:
        evidence = read_evidence(arguments.evidence)
    except (OSError, KeyError, ValueError) as error:
        print(
            f"cannot read the evidence {arguments.evidence}: {error!r}; run `make demo` first",
            file=sys.stderr,
        )
        return 2
    try:
        checker = build_program(environment, "sigstore", arguments.cache)
    except NoGoError as error:
        print(f"SIGSTORE-GO NOT ASKED: {error}", file=sys.stderr)
        return 1 if environment.is_ci else 0
    return report(checker, evidence)


def report(checker: Path, evidence: Evidence) -> int:
    """Print a line for each verdict; 0 when all are right."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_questions(evidence, Path(folder))
        expected = {case["name"]: case["expect"] for case in json.loads(path.read_text(encoding="utf-8"))}
        verdicts = run_checker(checker, path)
    surprises = 0
    for name, expect in expected.items():
        right = verdicts[name].got == expect
        surprises += not right
        detail = "" if right else f"  EXPECTED {expect}: {verdicts[name].detail}"
        print(f"sigstore-go  {verdicts[name].got:8} {name}{detail}")
    print(f"sigstore-go: {len(expected) - surprises} of {len(expected)} verdicts as they must be")
    return 1 if surprises or not evidence.bundles else 0


# SPKI of an Ed25519 key that nobody signs with: any 32 bytes are a key to a verifier that only loads it.
_OTHER_LOG_KEY = bytes.fromhex("302a300506032b6570032100") + hashlib.sha256(b"another log").digest()


def _next_index(bundle: Document) -> str:
    return str(int(bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"]) + 1)


def _document(path: Path) -> Document:
    made: Document = json.loads(path.read_text(encoding="utf-8"))
    return made


if __name__ == "__main__":
    sys.exit(main())
