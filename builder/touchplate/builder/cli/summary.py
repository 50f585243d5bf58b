"""`touchplate vsa`: the end-to-end check of one file, and a verifier's signed summary of how it ended."""

import argparse
import re
import time
from importlib import metadata
from pathlib import Path

from touchplate.builder.attestation.keys import read_signer
from touchplate.builder.attestation.summary import (
    SLSA_VERSIONS,
    Outcome,
    Verifier,
    Wording,
    check_verifier,
    judge_file,
    load_policy,
    make_summary,
    sign_summary,
)
from touchplate.verify.bundle import MAX_BUNDLE_BYTES, format_bundle
from touchplate.verify.check import FileDigests, Proved, Question
from touchplate.verify.cli_keygen import PUBLIC_MODE, refuse_existing, require_name, write_new
from touchplate.verify.cli_prove import search_progress
from touchplate.verify.cli_reader import Reader, add_state, open_log
from touchplate.verify.cli_summary import add_artifact, read_artifact, summary_json, summary_pairs
from touchplate.verify.cli_verify import BUNDLE_SUFFIX, chosen_levels, chosen_package, prove_given
from touchplate.verify.errors import (
    MalformedError,
    RefusedError,
    ReportedError,
    TransportError,
    VerifyError,
    shown,
)
from touchplate.verify.http_source import check_log_url
from touchplate.verify.jcs import JSONValue
from touchplate.verify.names import check_operator
from touchplate.verify.output import (
    error_json,
    flush_output,
    print_error,
    print_json,
    print_note,
    print_pairs,
    print_text,
)
from touchplate.verify.predicates.summary import Summary
from touchplate.verify.purl import PackageURL
from touchplate.verify.reading import read_at_most
from touchplate.verify.report_text import remedy
from touchplate.verify.search import find_entries, make_bundle, most_useful
from touchplate.verify.trust import TrustFile
from touchplate.verify.usage import OK, REFUSED, UNDETERMINED, UsageError

_URI = r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+"
_COMPONENTS = ("touchplate", "cryptography", "in-toto-attestation")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate vsa`."""
    add_artifact(parser)
    parser.add_argument("--package", required=True, metavar="PURL", help="what the file should be")
    parser.add_argument("--trust", type=Path, required=True, metavar="FILE", help="the policy: a trust file")
    evidence = parser.add_argument_group("evidence")
    evidence.add_argument(
        "--bundle",
        metavar="FILE",
        help=f"its proof bundle (default: the artifact's name with {BUNDLE_SUFFIX})",
    )
    evidence.add_argument("--log", metavar="URL|FOLDER", help="search this log, or a mirror of it, instead")
    evidence.add_argument(
        "--require", action="append", metavar="LEVEL", help="needed level, as for touchplate verify"
    )
    evidence.add_argument(
        "--fresh",
        action="store_true",
        help="refuse a checkpoint older than the trust file's max_checkpoint_age",
    )
    add_state(evidence)
    signing = parser.add_argument_group("signing")
    signing.add_argument("--key", type=Path, required=True, metavar="PEM", help="verifier key")
    signing.add_argument("--password-file", type=Path, metavar="FILE", help="password of an encrypted key")
    signing.add_argument(
        "--verifier", required=True, metavar="URL", help="who signs, https://… (verifier.id)"
    )
    signing.add_argument(
        "--policy-uri", required=True, metavar="URI", help="by which name readers know this trust file"
    )
    signing.add_argument(
        "--slsa-version",
        choices=SLSA_VERSIONS,
        default=SLSA_VERSIONS[0],
        help="whose words levels are said in; 1.0 knows no SLSA_BUILD_REPRODUCED (default: %(default)s)",
    )
    signing.add_argument("--out", type=Path, metavar="FILE", help="a new file; default: standard output")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Check, sign, write. 0 PASSED, 1 FAILED (signed all the same); raises what ends with 2 or 64.

    What refuses everything (steps 0 to 2) is no word about the file: nothing is signed then.
    """
    need = chosen_levels(args.require)
    package = _chosen_file(args.package)
    _check_usage(args)
    file = read_artifact(args)
    trust, policy = load_policy(args.trust, args.policy_uri)
    verifier = _verifier(args)
    check_verifier(verifier, trust, package.ecosystem)
    now = int(time.time())
    try:
        proved = _prove(args, file, package, trust, now)
    except ReportedError as error:  # of the log, not of the file: 1 says that a summary was signed
        print_error(error, as_json=args.json)
        return UNDETERMINED
    outcome = judge_file(proved, file, package, trust, need)
    wording = Wording(policy, now, _log_url(args, trust), args.slsa_version)
    summary = make_summary(outcome, verifier, wording)
    envelope = sign_summary(summary, file, package, verifier.signer)
    if args.out is not None:
        write_new(args.out, envelope, PUBLIC_MODE)
    try:
        _show(args, outcome, summary, envelope)
        flush_output()
    except OSError:  # 2 says that there is no summary: an answer that nobody could take is none
        if args.out is not None:
            args.out.unlink(missing_ok=True)
        raise
    return OK if outcome.refused is None else REFUSED


def _chosen_file(text: str) -> PackageURL:
    """The package of --package, which names a file: a summary's subject is one. Raises UsageError."""
    package = chosen_package(text)
    try:
        _ = package.file_name
    except MalformedError as error:
        raise UsageError(f"--package: {error}") from error
    return package


def _check_usage(args: argparse.Namespace) -> None:
    if args.bundle is not None and args.log is not None:
        raise UsageError("give --bundle or --log: the evidence comes from one of them")
    if args.bundle is None and args.log is None and args.artifact is None:
        raise UsageError(
            "--digest needs --bundle FILE or --log URL: there is no file beside which one could lie"
        )
    if args.state is not None and args.log is None:
        raise UsageError("--state is for --log: nothing else reads a log")
    if re.fullmatch(_URI, args.policy_uri) is None:
        raise UsageError(f"--policy-uri: {shown(args.policy_uri)} is no uri")
    try:
        check_operator(args.verifier)
    except MalformedError as error:
        raise UsageError(f"--verifier: {error}") from error
    if args.out is not None:
        require_name(args.out)
        refuse_existing(args.out)


def _verifier(args: argparse.Namespace) -> Verifier:
    signer = read_signer(args.key, args.password_file)
    return Verifier(args.verifier, signer, {name: metadata.version(name) for name in _COMPONENTS})


def _prove(
    args: argparse.Namespace, file: FileDigests, package: PackageURL, trust: TrustFile, now: int
) -> Proved:
    """Steps 1 to 3 over the given evidence. Raises VerifyError (exit code 2) where they refuse everything."""
    if args.log is not None:
        bundle = _search(args, file, package, trust)
    else:
        bundle = read_at_most(args.bundle or args.artifact + BUNDLE_SUFFIX, MAX_BUNDLE_BYTES)
    try:
        return prove_given(bundle, Question(file, now, args.fresh), trust)
    except RefusedError as error:
        raise VerifyError(
            f"the evidence says nothing about the file (step {error.step}): {error}; nothing was signed; "
            f"{remedy(error)}",
            reason=error.reason,
        ) from error


def _search(args: argparse.Namespace, file: FileDigests, package: PackageURL, trust: TrustFile) -> bytes:
    """The bundle of what the log has about the file; of no entries when it has none."""
    client = open_log(args, args.log, Reader(trust.policy, trust.max_checkpoint_age, trust))
    client.checkpoint()
    found = find_entries(client, file.sha256, search_progress(client.head.size))
    chosen = most_useful(found, trust, package)
    if len(chosen) < len(found):
        print_note(f"{len(found)} entries are about this file; the {len(chosen)} most useful are checked")
    return format_bundle(make_bundle(client, chosen, file, package))


def _log_url(args: argparse.Namespace, trust: TrustFile) -> str:
    """Where entries can be fetched: the log that was read, else what the policy says; "" when nobody does.

    What is no URL of a log is not signed: a password in it would be published.
    """
    if args.log is not None and "://" in args.log:
        return check_log_url(args.log)
    for log in trust.policy.logs:
        if log.url is not None:
            try:
                return check_log_url(log.url)
            except TransportError as error:
                print_note(f"the policy's address of the log is not told: {error}")
    return ""


def _show(args: argparse.Namespace, outcome: Outcome, summary: Summary, envelope: bytes) -> None:
    refused = outcome.refused
    if args.json:
        told: dict[str, JSONValue] = {"verdict": summary.result.lower(), **summary_json(summary)}
        if refused is not None:
            told.update(error_json(refused))
        told["file" if args.out else "envelope"] = str(args.out) if args.out else envelope.decode("ascii")
        print_json(told)
    elif args.out is None:
        print_text(envelope.decode("ascii") + "\n")
    else:
        print_pairs([*summary_pairs(summary), ("file", str(args.out))])
    if refused is not None:
        print_note(f"failed: {refused} ({remedy(refused)})")
    for warning in outcome.report.warnings:
        print_note(str(warning))
