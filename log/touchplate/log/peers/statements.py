"""Making the statements by which administrators change a log's rules, and saying in words what one does.

From the rules that a peer shows. Everything is checked here as every peer will check it, so that a mistake is
told before anybody signs it. Pure.
"""

from collections.abc import Sequence

from touchplate.log.errors import AdmissionError, RequestError
from touchplate.log.peers.changes import Change, change_rules, parse_change
from touchplate.log.peers.rules import Rules, quorum_of
from touchplate.verify.keys import StatementKey
from touchplate.verify.predicates.admission import KEY_KINDS, AdmittedKey, format_admission_predicate
from touchplate.verify.predicates.peers import Peer, format_peer_change
from touchplate.verify.statements import (
    ADMISSION_TYPE,
    PEERS_TYPE,
    Admission,
    LogSubject,
    PeerChange,
    make_log_statement,
)
from touchplate.verify.trust import AdmissionList, TrustedKey


def make_admission(
    rules: Rules,
    add: AdmissionList,
    remove: Sequence[str],
    *,
    threshold: int | None = None,
    from_index: int = 0,
) -> Change:
    """The change that adds these blocks and removes the keys with these fingerprints (SHA-256 of the SPKI).

    `threshold`: administrators that the next change takes; None: as many as now. Raises AdmissionError
    `bad-change` for a change that the rules do not allow, MalformedError for one that is too long.
    """
    _require_administrators(rules)
    will = [key for key in rules.administrators if key.spki_sha256.hex() not in remove]
    will += [block.key for block in add.keys if block.kind == "administrator" and block.key not in will]
    needed = rules.threshold if threshold is None else threshold
    if not 1 <= needed <= len(will):
        raise AdmissionError(
            f"{len(will)} administrators would be left and the next change would take {needed} of them: give"
            " a threshold of at least 1 and at most as many",
            reason="bad-change",
        )
    blocks = tuple(map(_admitted, add.keys))
    what = Admission(blocks, tuple(sorted(remove)), tuple(sorted(will, key=_spki)), needed, from_index)
    return _made(rules, ADMISSION_TYPE, what)


def make_membership(
    rules: Rules, add: Sequence[Peer], remove: Sequence[str], *, from_index: int = 0
) -> Change:
    """The change by which `add` join the peers, and those named in `remove` leave. Raises as
    `make_admission`."""
    _require_administrators(rules)
    return _made(rules, PEERS_TYPE, PeerChange(tuple(add), tuple(remove), from_index))


def check_change(rules: Rules, change: Change) -> Rules:
    """The rules that a change leads to. Raises AdmissionError when it is not one of these rules."""
    if change.origin != rules.origin or change.rules != rules.digest:
        raise AdmissionError(
            f"the statement changes rules with the digest {change.rules} of the log {change.origin!r}; those"
            f" in force have {rules.digest}: it can change nothing any more",
            reason="outdated",
        )
    return change_rules(rules, change.what)


def check_administrator(rules: Rules, key: StatementKey) -> None:
    """Raise RequestError unless this key may approve changes of these rules."""
    _require_administrators(rules)
    if key not in rules.administrators:
        raise RequestError(f"the key {key.spki_sha256.hex()} is none of this log's administrators'")


def _require_administrators(rules: Rules) -> None:
    if not rules.administrators:
        raise RequestError(
            "this log has no administrators: its list and its peers are those of its genesis for good"
        )


def describe_change(rules: Rules, change: Change) -> list[tuple[str, str]]:
    """What a change does to these rules, as (what, text) pairs. Raises as `check_change`."""
    after = check_change(rules, change)
    what = change.what
    pairs = [("statement", change.digest), ("log", f"{rules.origin}, rules of revision {rules.revision}")]
    pairs.append(("active", f"from entry {what.from_index} on" if what.from_index else "at once"))
    if isinstance(what, PeerChange):
        pairs += [("joins", f"{peer.name} ({peer.node}, {peer.url})") for peer in what.add]
        pairs += [("leaves", name) for name in what.remove]
        count = len(after.peers)
        return [*pairs, ("then", f"{count} peers, of which {quorum_of(count)} decide and cosign")]
    pairs += [
        ("adds", describe_block(key)) for key in after.admission.keys if key not in rules.admission.keys
    ]
    pairs += [
        ("removes", describe_block(key)) for key in rules.admission.keys if key not in after.admission.keys
    ]
    return [
        *pairs,
        ("then", f"{after.threshold} of {len(after.administrators)} administrators change the rules"),
    ]


def describe_block(block: TrustedKey) -> str:
    """A block of a list on one line."""
    end = "" if block.until_index is None else f", until {block.until_index}"
    start = f", from {block.from_index}" if block.from_index else ""
    for_what = f" for {', '.join(block.ecosystems)}" if block.ecosystems else ""
    return f"{block.kind} {block.key.spki_sha256.hex()} of {block.operator}{for_what}{start}{end}"


def _made(rules: Rules, predicate_type: str, what: Admission | PeerChange) -> Change:
    format_what = (
        format_admission_predicate(what) if isinstance(what, Admission) else format_peer_change(what)
    )
    subject = LogSubject(rules.origin, rules.digest)
    change = parse_change(make_log_statement(subject, predicate_type, format_what))
    check_change(rules, change)
    return change


def _admitted(block: TrustedKey) -> AdmittedKey:
    (kind,) = (known for known in KEY_KINDS if known == block.kind)
    return AdmittedKey(
        kind,
        block.operator,
        block.key,
        block.builder,
        tuple(sorted(block.ecosystems)),
        block.from_index,
        block.until_index,
    )


def _spki(key: StatementKey) -> bytes:
    return key.spki
