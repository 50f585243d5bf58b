"""in-toto Statement v1, and the predicates that touchplate knows (entry format 3, statement format 4).

A statement says something about files; its predicate type says what, and which kind of key may say it. An
administrator's speaks of a log instead.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from touchplate.verify.dsse import MAX_ENVELOPE_BYTES
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.fields import take_list, take_map, take_object, take_text
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json
from touchplate.verify.predicates.admission import ADMISSION_TYPE, Admission, parse_admission_predicate
from touchplate.verify.predicates.comparison import COMPARISON_TYPE, Comparison, parse_comparison
from touchplate.verify.predicates.peers import PEERS_TYPE, PeerChange, parse_peer_change
from touchplate.verify.predicates.provenance import PROVENANCE_TYPE, Provenance, parse_provenance
from touchplate.verify.predicates.record import RECORD_TYPE, Record, parse_record
from touchplate.verify.subjects import (
    LogSubject,
    Subject,
    format_log_subject,
    format_subject,
    make_subject,
    parse_log_subject,
    parse_subject,
)
from touchplate.verify.values import value

__all__ = [
    "ADMISSION_TYPE",
    "COMPARISON_TYPE",
    "KINDS",
    "MAX_SUBJECTS",
    "PEERS_TYPE",
    "PROVENANCE_TYPE",
    "RECORD_TYPE",
    "STATEMENT_TYPE",
    "Admission",
    "Comparison",
    "Kind",
    "LogSubject",
    "PeerChange",
    "Predicate",
    "Provenance",
    "Record",
    "Statement",
    "Subject",
    "make_log_statement",
    "make_statement",
    "make_subject",
    "parse_predicate",
    "parse_statement",
]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"

MAX_SUBJECTS = 256
"""Subjects of one statement. Part of the format; other verifiers take 1,024 and no more."""

Kind: TypeAlias = Literal["rebuilder", "recorder", "administrator", "unknown"]

KINDS: Mapping[str, Kind] = {
    PROVENANCE_TYPE: "rebuilder",
    COMPARISON_TYPE: "rebuilder",
    RECORD_TYPE: "recorder",
    ADMISSION_TYPE: "administrator",
    PEERS_TYPE: "administrator",
}
"""The kind of key that may make a statement of each known predicate type."""

Predicate: TypeAlias = Provenance | Comparison | Record | Admission | PeerChange


@value
class Statement:
    """A statement whose outer form is right. Its predicate is not looked at yet: see `parse_predicate`.

    `kind`: the kind of key that may make it, `unknown` for a predicate type that is not known here. An
    administrator's statement has no file as its subject but a `log`.
    """

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, JSON]
    log: LogSubject | None = None

    @property
    def kind(self) -> Kind:
        """The kind of key that may make such a statement."""
        return KINDS.get(self.predicate_type, "unknown")


def parse_statement(payload: bytes) -> Statement:
    """The statement in an envelope's payload: strict JSON, Statement v1, no unknown top-level field.

    Raises MalformedError. Statements of unknown predicate types are taken, with kind `unknown`.
    """
    value = parse_json(payload, max_bytes=MAX_ENVELOPE_BYTES)
    members = take_object(value, "statement", ("_type", "subject", "predicateType", "predicate"))
    if members["_type"] != STATEMENT_TYPE:
        raise MalformedError(f"statement has _type {shown(members['_type'])}, not {STATEMENT_TYPE!r}")
    predicate_type = take_text(members["predicateType"], "predicateType")
    predicate = take_map(members["predicate"], "predicate")
    if KINDS.get(predicate_type) == "administrator":
        (log,) = take_list(members["subject"], "subject", least=1, most=1)
        return Statement((), predicate_type, predicate, parse_log_subject(log, "subject"))
    subjects = take_list(members["subject"], "subject", least=1, most=MAX_SUBJECTS)
    return Statement(
        subjects=tuple([parse_subject(each, f"subject {number}") for number, each in enumerate(subjects)]),
        predicate_type=predicate_type,
        predicate=predicate,
        log=None,
    )


def parse_predicate(statement: Statement) -> Predicate:
    """The predicate of a statement, with its whole schema checked and against the subjects.

    Raises MalformedError; reason `unknown-predicate` for a type that is not known here.
    """
    if statement.predicate_type == PROVENANCE_TYPE:
        return parse_provenance(statement.subjects, statement.predicate)
    if statement.predicate_type == COMPARISON_TYPE:
        return parse_comparison(statement.subjects, statement.predicate)
    if statement.predicate_type == RECORD_TYPE:
        return parse_record(statement.subjects, statement.predicate)
    if statement.predicate_type == ADMISSION_TYPE:
        return parse_admission_predicate(statement.predicate)
    if statement.predicate_type == PEERS_TYPE:
        return parse_peer_change(statement.predicate)
    raise MalformedError(
        f"predicate type {shown(statement.predicate_type)} is unknown", reason="unknown-predicate"
    )


def make_statement(
    subjects: Sequence[Subject], predicate_type: str, predicate: Mapping[str, JSONValue]
) -> bytes:
    """The payload (RFC 8785) of a statement about `subjects`, to be signed as it is.

    `predicate`: of `format_provenance`, `format_comparison` or `format_record`, or a foreign one. The result
    is read back, so that nobody signs what every reader would refuse: raises MalformedError.
    """
    return _make([format_subject(subject) for subject in subjects], predicate_type, predicate)


def make_log_statement(log: LogSubject, predicate_type: str, predicate: Mapping[str, JSONValue]) -> bytes:
    """The payload of an administrator's statement about `log`, as `make_statement`. Raises MalformedError."""
    return _make([format_log_subject(log)], predicate_type, predicate)


def _make(subjects: Sequence[JSONValue], predicate_type: str, predicate: Mapping[str, JSONValue]) -> bytes:
    payload = format_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": subjects,
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )
    statement = parse_statement(payload)
    if statement.kind != "unknown":
        parse_predicate(statement)
    return payload
