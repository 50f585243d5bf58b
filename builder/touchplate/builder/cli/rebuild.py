"""`touchplate rebuild`: can a published package be reproduced here? Optionally signed and put into a log."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.values import Secret
from touchplate.builder.attestation.attest import Operator
from touchplate.builder.attestation.evidence import EvidenceServer
from touchplate.builder.attestation.keys import read_signer
from touchplate.builder.cli.probe import add_backend
from touchplate.builder.cli.report import (
    DIFFERENT,
    IDENTICAL,
    exit_code,
    print_rebuild,
    print_repeat,
    rebuild_json,
    repeat_json,
)
from touchplate.builder.cli.root import read_root_lock
from touchplate.builder.cli.workshop import add_workshop_options, infer_typed, opened_workshop, typed_package
from touchplate.builder.definitions.definition import Definition, load_definition, make_definition
from touchplate.builder.definitions.folder import check_definition_of
from touchplate.builder.definitions.normalise import normalise_definition
from touchplate.builder.ecosystem import Inference
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.builder.repeat import read_logged, repeat
from touchplate.builder.repeatability.report import NOT_STABLE
from touchplate.builder.submit import Submission, check_admitted, send_waiting, sign_rebuild
from touchplate.builder.workshop import Workshop
from touchplate.verify.cli_reader import Reader, add_state, open_log
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSONValue
from touchplate.verify.names import check_operator
from touchplate.verify.output import print_json, print_note
from touchplate.verify.trust import load_trust
from touchplate.verify.usage import UsageError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate rebuild`."""
    parser.add_argument(
        "package",
        nargs="?",
        metavar="PURL",
        help="pkg:maven/GROUP/ARTIFACT@VERSION, or pkg:conan/… as the remote lists it",
    )
    parser.add_argument("--from", dest="index", type=int, metavar="INDEX", help="repeat what is logged there")
    build = parser.add_argument_group("the build")
    build.add_argument("--definition", type=Path, metavar="FILE", help="use this instead of inferring one")
    build.add_argument(
        "--folder", type=Path, metavar="DIR", help="the definition that this folder has of PURL"
    )
    build.add_argument("--root", type=Path, metavar="FILE", help="build in the root of this root lock")
    build.add_argument("--refetch", action="store_true", help="find the inputs anew, also if they are known")
    build.add_argument(
        "--twice", action="store_true", help="build again, the same way and varied: what does it depend on?"
    )
    add_workshop_options(build)
    build.add_argument("--work", type=Path, metavar="DIR", help="where builds run; default: below --data")
    add_backend(build)
    logging = parser.add_argument_group("signing and logging")
    logging.add_argument("--key", type=Path, metavar="PEM", help="rebuilder key: sign the result")
    logging.add_argument("--password-file", type=Path, metavar="FILE", help="password of an encrypted key")
    logging.add_argument("--operator", metavar="URL", help="who signs, https://…")
    logging.add_argument("--log", metavar="URL", help="log to write to, or (with --from) to read")
    logging.add_argument("--trust", type=Path, metavar="FILE", help="with --from: trust file of the log")
    add_state(logging)
    logging.add_argument("--evidence", metavar="URL", help="where evidence is stored, …/builder/evidence")
    token = logging.add_mutually_exclusive_group()
    token.add_argument(
        "--token-file", type=Path, metavar="FILE", help="holds the worker token; only yours to read"
    )
    token.add_argument("--token", metavar="REF", help="the same as file:PATH, or env:VARIABLE")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--no-diffoscope", dest="diffoscope", action="store_false", help="differences are not shown in full"
    )
    parser.add_argument("--verbose", action="store_true", help="show each line of the build's output")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Rebuild, sign, submit, print. 0 identical (or repeated), 1 not, 2 cannot be determined, 64 usage."""
    _check_usage(args)
    operator = _operator(args)
    if operator is not None and args.log is not None:
        check_admitted(args.log, operator.signer)
    with opened_workshop(
        args, work=args.work, verbose=args.verbose, backend=args.backend, detailed=args.diffoscope
    ) as workshop:
        if args.index is not None:
            return _repeat(args, workshop)
        inference = None
        if args.definition is not None or args.folder is not None:
            definition = _given_definition(args)
            published = fetch_published(workshop, definition)
        else:
            inference = infer_typed(args, workshop, args.package)
            definition, published = _in_root(args, workshop, inference.definition), inference.published
            workshop.keep_definition(definition)
        signing = operator is not None
        done = rebuild(
            workshop, definition, published, to_sign=signing, refetch=args.refetch, twice=args.twice
        )
        submission = _submit(args, workshop, done, operator)
    _show(args, done, inference, submission)
    return exit_code(done)


def _in_root(args: argparse.Namespace, workshop: Workshop, definition: Definition) -> Definition:
    """An inferred definition, with the root that the person names."""
    if args.root is None:
        return definition
    lock = read_root_lock(args.root)
    workshop.roots.learn(lock)
    value = normalise_definition(definition) | {"root": {"lock": lock.sha256}}
    return make_definition(value)


def _given_definition(args: argparse.Namespace) -> Definition:
    if args.folder is None:
        return load_definition(args.definition)
    one = check_definition_of(args.folder, typed_package(args.package))
    if one.definition is None:
        raise DefinitionError(f"{one.path}: {DefinitionError.listing(one.mistakes)}", mistakes=one.mistakes)
    return one.definition


def _check_usage(args: argparse.Namespace) -> None:
    given = [args.package is not None, args.definition is not None, args.index is not None]
    if sum(given) != 1:
        raise UsageError("give a PURL, --definition FILE or --from INDEX: one of them")
    if (args.key is None) != (args.operator is None):
        raise UsageError("--key and --operator belong together")
    if args.index is not None:
        missing = [name for name in ("log", "trust", "evidence") if getattr(args, name) is None]
        if missing or args.key is not None or args.index < 0:
            raise UsageError("--from needs an index, --log, --trust and --evidence, and signs nothing")
    elif args.log is not None and args.key is None:
        raise UsageError("--log needs --key and --operator: only signed results go into a log")
    if args.state is not None and args.index is None:
        raise UsageError("--state is for --from: nothing else reads a log")
    if args.twice and args.index is not None:
        raise UsageError("--twice is for a PURL or a definition; --from builds again what is logged")
    if args.folder is not None and args.package is None:
        raise UsageError("--folder is for a PURL: it is searched for the PURL's definition")
    if args.root is not None and (args.package is None or args.folder is not None):
        raise UsageError("--root is for inferring; a definition names its own root")
    if args.jdk is not None and (args.package is None or args.folder is not None):
        raise UsageError("--jdk is for inferring; a definition names its own JDK")


def _operator(args: argparse.Namespace) -> Operator | None:
    if args.key is None:
        return None
    check_operator(args.operator)
    return Operator(args.operator, read_signer(args.key, args.password_file))


def _submit(
    args: argparse.Namespace, workshop: Workshop, done: Rebuild, operator: Operator | None
) -> Submission | None:
    if operator is None:
        return None
    submission = sign_rebuild(workshop, done, operator, args.log or "")
    if args.log is None:
        print_note(f"signed, not sent: {workshop.outbox.path(submission.parcel)}")
        return submission
    workshop.display.step(f"submit: {args.log}")
    with _evidence(args) as server:
        sent = send_waiting(workshop, args.log, server)
    # A rebuild that runs beside this one may have sent it with its own.
    indexes = sent.get(submission.parcel.name) or workshop.outbox.indexes(submission.parcel)
    return Submission(submission.parcel, submission.identities, indexes)


@contextmanager
def _evidence(args: argparse.Namespace) -> Iterator[EvidenceServer | None]:
    if args.evidence is None:
        yield None
        return
    token = None
    if args.token_file is not None:
        token = Secret.of_file(args.token_file).resolve()
    elif args.token is not None:
        try:
            token = Secret.parse(args.token, Path()).resolve()
        except ValueError as error:
            raise UsageError(f"--token: {error}") from error
    # The operator names this address himself, so it may be a private one.
    with HTTPClient(AddressRules(anything=True)) as client:
        yield EvidenceServer(args.evidence, client, token)


def _repeat(args: argparse.Namespace, workshop: Workshop) -> int:
    trust = load_trust(args.trust)
    client = open_log(args, args.log, Reader(trust.policy, trust.max_checkpoint_age, trust))
    workshop.display.step(f"read the log: index {args.index}")
    with _evidence(args) as server:
        assert server is not None
        try:
            logged = read_logged(client, args.index, server)
        except VerifyError as error:
            raise HostLack(f"the logged rebuild cannot be read: {error}", reason=error.reason) from error
    done = repeat(workshop, logged)
    if args.json:
        print_json(repeat_json(done))
    else:
        print_repeat(done)
    return IDENTICAL if done.is_same else DIFFERENT


def _show(
    args: argparse.Namespace, done: Rebuild, inference: Inference | None, submission: Submission | None
) -> None:
    indexes = submission.indexes if submission else ()
    if done.repeatability is not None and done.repeatability.again is not None:
        print_note(f"{NOT_STABLE}; {done.result} is about the first build")
    if args.json:
        value = rebuild_json(done, inference.notes if inference else ())
        signed: dict[str, JSONValue] = {"identities": list(submission.identities) if submission else []}
        signed["indexes"] = [str(index) for index in indexes]
        print_json({**value, "signed": signed})
        return
    print_rebuild(done, indexes)
