"""`touchplate link check`: what instances of rebuilderd say of a file. Never one of the levels."""

import argparse
from collections.abc import Sequence

from touchplate.verify.cli_summary import add_artifact, read_artifact
from touchplate.verify.cli_verify import trusted
from touchplate.verify.errors import RefusedError
from touchplate.verify.files import FileDigests
from touchplate.verify.jcs import JSONValue
from touchplate.verify.links import MAX_LINK_BYTES, CheckedLink, agreeing_operators, check_link
from touchplate.verify.output import (
    error_json,
    print_json,
    print_line,
    print_note,
    print_pairs,
    print_refusal,
)
from touchplate.verify.reading import read_at_most
from touchplate.verify.trust import TrustFile
from touchplate.verify.usage import OK, REFUSED, UsageError
from touchplate.verify.values import value

NOTICE = "counts for no level: it names no source, no tools and no sandbox, and stands in no log"

_REMEDIES = {
    0: "correct the trust file; nothing was checked",
    1: "give the attestation as rebuilderd serves it; links of other tools are not read",
    2: "take keys from the people who run the instances, and list them as [[rebuilderd]] in the trust file",
    3: "fetch the attestation of this very file",
}

MAX_LINKS = 1_000
"""Links in one call: instances that rebuild one file are a few dozen."""


def register(parser: argparse.ArgumentParser) -> None:
    """The options of `touchplate link check`."""
    parser.add_argument(
        "links", nargs="+", metavar="LINK", help="a file that rebuilderd serves as attestation"
    )
    add_artifact(parser)
    parser.add_argument(
        "--trust", required=True, metavar="FILE", help="your trust file, with its [[rebuilderd]]"
    )
    parser.add_argument(
        "--operators", type=int, default=1, metavar="N", help="operators who must say so (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Check them. 0 when enough operators say so, 1 when not; raises OSError and UsageError."""
    if args.operators < 1:
        raise UsageError("--operators: at least 1")
    if len(args.links) > MAX_LINKS:
        raise UsageError(f"at most {MAX_LINKS} links at a time")
    file = read_artifact(args)
    try:
        trust = trusted(args.trust)
    except RefusedError as error:
        if args.json:
            print_json({"verdict": "refused", **_refusal_json(error)})
        print_refusal(error, _REMEDIES[error.step], [])
        return REFUSED
    answer = _check(args.links, file, trust, args.operators)
    if args.json:
        print_json(_json(answer))
    else:
        _print(answer)
    for path, refusal in answer.refused:
        print_note(
            f"{path} says nothing about the file (step {refusal.step}, {refusal.reason}): {refusal}; "
            f"{_REMEDIES[refusal.step]}"
        )
    print_note(NOTICE)
    return OK if answer.is_enough else REFUSED


@value
class _Answer:
    """What the links say: those that count, those that do not, each with its path."""

    file: FileDigests
    needed: int
    good: tuple[tuple[str, CheckedLink], ...]
    refused: tuple[tuple[str, RefusedError], ...]

    @property
    def operators(self) -> tuple[str, ...]:
        return agreeing_operators(each for _, each in self.good)

    @property
    def is_enough(self) -> bool:
        return len(self.operators) >= self.needed


def _check(paths: Sequence[str], file: FileDigests, trust: TrustFile, needed: int) -> _Answer:
    good: list[tuple[str, CheckedLink]] = []
    refused: list[tuple[str, RefusedError]] = []
    for path in paths:
        try:
            good.append((path, check_link(read_at_most(path, MAX_LINK_BYTES), file, trust)))
        except RefusedError as error:
            refused.append((path, error))
    return _Answer(file, needed, tuple(good), tuple(refused))


def _print(answer: _Answer) -> None:
    number = len(answer.operators)
    of = "" if answer.is_enough else f"of {answer.needed} needed "
    print_line(f"{number} {'operator' if number == 1 else 'operators'} {of}built exactly these bytes")
    pairs: list[tuple[str, str]] = []
    for path, checked in answer.good:
        link = checked.link
        pairs.append(("link", path))
        pairs += [
            ("signed by", f"{key.operator}, key {key.key.spki_sha256.hex()}") for key in checked.signers
        ]
        pairs += [("from", f"{name} (sha256 {each['sha256']})") for name, each in link.materials.items()]
        if link.is_own_input:
            pairs.append(("note", "the input is the file itself, which was at hand while it was rebuilt"))
    print_pairs(pairs)


def _json(answer: _Answer) -> JSONValue:
    return {
        "verdict": "rebuilt-elsewhere" if answer.is_enough else "refused",
        "artifact": {"digest": {"sha256": answer.file.sha256}},
        "operators": answer.operators,
        "needed": answer.needed,
        "levels": [],
        "links": [{"file": path, **_link_json(each)} for path, each in answer.good],
        "refused": [{"file": path, **_refusal_json(one)} for path, one in answer.refused],
    }


def _refusal_json(error: RefusedError) -> dict[str, JSONValue]:
    return {**error_json(error), "remedy": _REMEDIES[error.step]}


def _link_json(checked: CheckedLink) -> dict[str, JSONValue]:
    link = checked.link
    return {
        "product": link.product,
        "materials": {name: dict(digest) for name, digest in link.materials.items()},
        "isOwnInput": link.is_own_input,
        "signers": [
            {"operator": key.operator, "spkiSha256": key.key.spki_sha256.hex()} for key in checked.signers
        ],
    }
