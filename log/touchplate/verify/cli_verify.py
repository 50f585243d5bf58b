"""`touchplate verify FILE`: the numbered check over a file and the bundle beside it, without network."""

import argparse
import time

from touchplate.verify.bundle import MAX_BUNDLE_BYTES
from touchplate.verify.check import (
    DEFAULT_NEED,
    LevelsMissingError,
    Proved,
    Question,
    Report,
    attested_packages,
    digest_file,
    judge_proved,
    prove_bundle,
    prove_sigstore_bundle,
)
from touchplate.verify.errors import MalformedError, RefusedError, TrustError, shown
from touchplate.verify.jcs import parse_json
from touchplate.verify.levels import LEVELS
from touchplate.verify.output import (
    error_json,
    print_json,
    print_line,
    print_note,
    print_pairs,
    print_refusal,
)
from touchplate.verify.purl import PackageURL, normalise_purl
from touchplate.verify.reading import file_name, open_file, read_at_most
from touchplate.verify.report_text import remedy, report_json, report_pairs
from touchplate.verify.trust import TrustFile, load_trust
from touchplate.verify.usage import OK, REFUSED, UNDETERMINED, UsageError

BUNDLE_SUFFIX = ".touchplate.json"
SIGSTORE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def register(parser: argparse.ArgumentParser) -> None:
    """The options of `touchplate verify`."""
    parser.add_argument("file", metavar="FILE", help="the file to check")
    parser.add_argument("--bundle", metavar="FILE", help=f"its proof bundle (default: FILE{BUNDLE_SUFFIX})")
    parser.add_argument("--trust", required=True, metavar="FILE", help="your trust file")
    parser.add_argument(
        "--package",
        metavar="PURL",
        help="what the file should be; without it: print what it is attested as",
    )
    parser.add_argument(
        "--require",
        action="append",
        metavar="LEVEL",
        help=f"needed level: {', '.join(LEVELS)}; repeat it or separate by commas (default: reproduced)",
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="refuse a checkpoint older than the trust file's max_checkpoint_age",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Check the file. 0 verified, 1 refused, 2 when no package is named; raises OSError and UsageError."""
    need = chosen_levels(args.require)
    package = None if args.package is None else chosen_package(args.package)
    try:
        trust = trusted(args.trust)
        with open_file(args.file) as file:
            bundle = read_at_most(args.bundle or args.file + BUNDLE_SUFFIX, MAX_BUNDLE_BYTES)
            digests = digest_file(file)
        now = int(time.time())
        question = Question(digests, now, args.fresh)
        if package is None:
            return _print_packages(bundle, question, trust, as_json=args.json)
        report = judge_proved(prove_given(bundle, question, trust), digests, package, trust, need)
    except RefusedError as error:
        _print_refused(error, file_name(args.file), as_json=args.json)
        return REFUSED
    _print_verified(report, file_name(args.file), as_json=args.json)
    return OK


def chosen_levels(values: list[str] | None) -> tuple[str, ...]:
    """The levels of --require, each once, in the order of `LEVELS`. Raises UsageError."""
    if values is None:
        return DEFAULT_NEED
    names = [name.strip() for value in values for name in value.split(",")]
    for name in names:
        if name not in LEVELS:
            raise UsageError(f"--require: there is no level {shown(name)}; known: {', '.join(LEVELS)}")
    return tuple(level for level in LEVELS if level in names)


def chosen_package(text: str) -> PackageURL:
    """The package of --package, in its one spelling. Raises UsageError."""
    try:
        return normalise_purl(text)
    except MalformedError as error:
        raise UsageError(f"--package: {error}") from error


def trusted(path: str) -> TrustFile:
    """Step 0: the trust file at `path`. Raises RefusedError, OSError."""
    try:
        return load_trust(path)
    except TrustError as error:
        raise RefusedError(0, error.reason, str(error)) from error


def _is_sigstore(bundle: bytes) -> bool:
    """Which of the two forms a bundle claims to have; what does not parse is refused as ours."""
    try:
        value = parse_json(bundle, max_bytes=MAX_BUNDLE_BYTES)
    except MalformedError:
        return False
    return isinstance(value, dict) and value.get("mediaType") == SIGSTORE_MEDIA_TYPE


def prove_given(bundle: bytes, question: Question, trust: TrustFile) -> Proved:
    """Steps 1 to 3 over a bundle in either of its forms. Raises RefusedError."""
    prove = prove_sigstore_bundle if _is_sigstore(bundle) else prove_bundle
    return prove(bundle, question, trust)


def _print_packages(bundle: bytes, question: Question, trust: TrustFile, *, as_json: bool) -> int:
    packages = attested_packages(prove_given(bundle, question, trust).entries, question.file, trust)
    names = [str(package) for package in packages]
    if as_json:
        print_json({"verdict": "undetermined", "reason": "no-package", "packages": names})
    else:
        for name in names:
            print_line(name)
    found = "these packages are attested" if names else "no package is attested"
    print_note(f"{found} for this file; say with --package which one it should be")
    return UNDETERMINED


def _print_refused(error: RefusedError, name: str, *, as_json: bool) -> None:
    report = error.report if isinstance(error, LevelsMissingError) else None
    if as_json:
        print_json(
            {
                "verdict": "refused",
                **error_json(error),
                "remedy": remedy(error),
                **(report_json(report) if report else {}),
            }
        )
    print_refusal(error, remedy(error), report_pairs(report, name) if report and not as_json else [])


def _print_verified(report: Report, name: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"verdict": "verified", **report_json(report)})
        return
    print_line(f"verified: {name} is {report.package}, {' and '.join(report.need)}")
    print_pairs(report_pairs(report, name))
