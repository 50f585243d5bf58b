"""`touchplate vsa check`: a verification summary against a file, offline. The builder's part makes them."""

import argparse
import time

from touchplate.verify.cli_verify import chosen_package, trusted
from touchplate.verify.dsse import MAX_ENVELOPE_BYTES
from touchplate.verify.encoding import decode_hex, format_time
from touchplate.verify.errors import MalformedError, RefusedError, shown
from touchplate.verify.files import FileDigests, digest_file
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import error_json, print_json, print_line, print_pairs, print_refusal
from touchplate.verify.predicates.summary import Summary
from touchplate.verify.reading import open_file, read_at_most
from touchplate.verify.summary import DEFAULT_LEVELS, OWN_LEVELS, SummaryQuestion, check_summary
from touchplate.verify.trust import parse_age
from touchplate.verify.usage import OK, REFUSED, UsageError

DIGEST_PREFIX = "sha256:"

_REASON_REMEDIES = {
    "malformed": "give the summary as `touchplate vsa` wrote it; ask the verifier for one in this form",
    "too-large": "give a verification summary: they are small",
    "wrong-package": "is --package what you meant to get?",
    "wrong-policy": "ask for a summary by this policy, or give the uri of one that you know and accept",
    "no-time": "ask for a summary that says when it was made, or leave --max-age out",
    "from-future": "set this machine's clock; when it is right, the verifier's is wrong: tell him",
}
_STEP_REMEDIES = {
    0: "correct the trust file; nothing was checked",
    1: "take verifiers' keys from people, and list them as [[verifier]] in the trust file",
    2: "fetch the summary of this very file",
    3: "give a verification summary; a proof bundle is checked by `touchplate verify`",
    4: "believe a verifier only under the name that it is known by",
    5: "is --package what you meant to get?",
    6: "ask the verifier why, or check the evidence yourself: `touchplate verify`",
    7: "ask for a newer summary or another level, or check the evidence yourself: `touchplate verify`",
}


def register(parser: argparse.ArgumentParser) -> None:
    """The options of `touchplate vsa check`."""
    parser.add_argument(
        "summary", metavar="VSA", help="the summary: a DSSE envelope, as `touchplate vsa` makes"
    )
    add_artifact(parser)
    parser.add_argument("--package", required=True, metavar="PURL", help="what the file should be")
    parser.add_argument(
        "--trust", required=True, metavar="FILE", help="your trust file, with its [[verifier]]"
    )
    parser.add_argument(
        "--require",
        action="append",
        metavar="LEVEL",
        help="needed level, such as SLSA_BUILD_REPRODUCED; repeat it or separate by commas "
        f"(default: {', '.join(DEFAULT_LEVELS)})",
    )
    parser.add_argument(
        "--max-age", metavar="AGE", help="refuse an older summary; a number with s, m, h or d"
    )
    parser.add_argument(
        "--policy-uri",
        metavar="URI",
        help="refuse a summary by another policy of the verifier: levels mean what its policy asks for",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_artifact(parser: argparse.ArgumentParser) -> None:
    """Add --artifact and --digest, one of which is given."""
    artifact = parser.add_mutually_exclusive_group(required=True)
    artifact.add_argument("--artifact", metavar="FILE", help="the file that it should be about")
    artifact.add_argument(
        "--digest",
        metavar="sha256:HEX",
        help="its digest, when the file is not at hand; no other is compared",
    )


def run(args: argparse.Namespace) -> int:
    """Check it. 0 it says so, 1 refused; raises OSError and UsageError."""
    levels = _levels(args.require)
    package = chosen_package(args.package)
    max_age = _max_age(args.max_age)
    file = read_artifact(args)
    try:
        trust = trusted(args.trust)
        envelope = read_at_most(args.summary, MAX_ENVELOPE_BYTES + 1).removesuffix(b"\n")
        question = SummaryQuestion(file, package, levels, int(time.time()), max_age, args.policy_uri)
        checked = check_summary(envelope, question, trust)
    except RefusedError as error:
        remedy = _REASON_REMEDIES.get(error.reason) or _STEP_REMEDIES[error.step]
        if args.json:
            print_json({"verdict": "refused", **error_json(error), "remedy": remedy})
        print_refusal(error, remedy, [])
        return REFUSED
    if args.json:
        print_json({"verdict": "verified", "need": levels, **summary_json(checked.summary)})
        return OK
    print_line(f"verified: {checked.signer.operator} says of {package}: {', '.join(checked.summary.levels)}")
    print_pairs(summary_pairs(checked.summary))
    return OK


def read_artifact(args: argparse.Namespace) -> FileDigests:
    """The digests of --artifact, or what --digest says. Raises OSError, UsageError."""
    if args.artifact is not None:
        with open_file(args.artifact) as file:
            return digest_file(file)
    if not args.digest.startswith(DIGEST_PREFIX):
        raise UsageError(f"--digest: {shown(args.digest)} is not {DIGEST_PREFIX}HEX")
    text = args.digest.removeprefix(DIGEST_PREFIX)
    try:
        decode_hex(text, 32, "the digest")
    except MalformedError as error:
        raise UsageError(f"--digest: {error}") from error
    return FileDigests(0, {"sha256": text}, whole=False)


def summary_pairs(summary: Summary) -> list[tuple[str, str]]:
    """A summary as aligned `name  value` lines."""
    pairs = [
        ("verifier", summary.verifier),
        ("made", "it does not say" if summary.time is None else format_time(summary.time)),
        ("result", summary.result),
        ("levels", ", ".join(summary.levels)),
        ("policy", f"{summary.policy.uri} (sha256 {summary.policy.sha256})"),
    ]
    lines = [f"{one.uri or one.name or 'an attestation'} (sha256 {one.sha256})" for one in summary.inputs]
    return pairs + [("" if number else "from", line) for number, line in enumerate(lines)]


def summary_json(summary: Summary) -> dict[str, JSONValue]:
    """A summary for programs."""
    return {
        "verifier": summary.verifier,
        "versions": dict(summary.versions),
        "time": None if summary.time is None else format_time(summary.time),
        "resource": summary.resource,
        "result": summary.result,
        "levels": summary.levels,
        "slsaVersion": summary.slsa_version,
        "policy": {
            "uri": summary.policy.uri,
            "sha256": summary.policy.sha256,
            "files": dict(summary.policy.files),
        },
        "inputs": [{"uri": one.uri, "name": one.name, "sha256": one.sha256} for one in summary.inputs],
    }


def _levels(values: list[str] | None) -> tuple[str, ...]:
    if values is None:
        return DEFAULT_LEVELS
    names = [name.strip() for value in values for name in value.split(",")]
    if not all(names):
        raise UsageError("--require: a level has a name, such as SLSA_BUILD_REPRODUCED")
    for name in names:
        if name in OWN_LEVELS:  # as `touchplate verify --require` has it
            raise UsageError(f"--require {name}: in a summary this level is called {OWN_LEVELS[name]}")
    return tuple(dict.fromkeys(names))


def _max_age(text: str | None) -> int | None:
    if text is None:
        return None
    age = parse_age(text)
    if age is None:
        raise UsageError(f"--max-age: {shown(text)} is not a number with s, m, h or d, such as 24h")
    return age
