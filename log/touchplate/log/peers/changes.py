"""How the rules of a peers' log change: administrators approve, enough of them make it so. Pure.

An approval is an entry like any other: an administrator's signature over a statement. The statement names the
log and the digest of the rules that it changes; each administrator signs the same statement. When as many as
the threshold have, the change is scheduled for an index of the tree, and active from there on.

    approve   an entry at an index   -> approvals, perhaps a scheduled change
    advance   an index               -> the scheduled change, once its index is reached
    expel     proof of two votes     -> a peer less

Whatever makes new rules voids all that was approved and not active yet: it was approved for other rules. So
what is pending can never be applied to rules that its signers did not see, a statement is never active twice,
and an administrator who is removed has no say left over.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from touchplate.log.errors import AdmissionError
from touchplate.log.peers.rules import MAX_REMOVED, Rules, check_rules, fingerprints, join_lists, tolerated
from touchplate.verify.errors import MalformedError, VerifyError
from touchplate.verify.predicates.peers import Peer
from touchplate.verify.statements import (
    Admission,
    PeerChange,
    Predicate,
    Statement,
    parse_predicate,
    parse_statement,
)
from touchplate.verify.trust import TrustedKey

MAX_APPROVALS = 8
"""Changes of one revision that one administrator may approve. Bounds what is pending by that many for each
administrator, and nobody's statements can crowd out another's."""

What: TypeAlias = Admission | PeerChange


@dataclass(frozen=True, slots=True)
class Change:
    """An administrators' statement. `payload`: as it is signed; `rules`: digest (hex) of those it changes."""

    payload: bytes
    origin: str
    rules: str
    what: What

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the payload: how it is named."""
        return hashlib.sha256(self.payload).hexdigest()


@dataclass(frozen=True, slots=True)
class Approval:
    """A change that is not decided yet, or decided and not active.

    `index`: of the first entry with it; `by`: SHA-256 (hex) of the keys that signed it, in order.
    """

    statement: str
    index: int
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The change that enough administrators approved last: active from `index` on."""

    index: int
    change: Change


@dataclass(frozen=True, slots=True)
class Agreed:
    """The rules in force, and what administrators have approved for them."""

    rules: Rules
    approvals: tuple[Approval, ...] = ()
    scheduled: Scheduled | None = None


def read_change(payload: bytes, statement: Statement, predicate: Predicate) -> Change | None:
    """The change in a statement; None when it is no administrator's."""
    if statement.log is None or not isinstance(predicate, Admission | PeerChange):
        return None
    return Change(payload, statement.log.origin, statement.log.rules, predicate)


def parse_change(payload: bytes) -> Change:
    """The administrators' statement in a payload. Raises MalformedError for another one."""
    statement = parse_statement(payload)
    change = read_change(payload, statement, parse_predicate(statement))
    if change is None:
        raise MalformedError(f"{statement.predicate_type} is no statement of administrators")
    return change


def approve(agreed: Agreed, change: Change, spki: bytes, index: int) -> Agreed:
    """What follows from an administrator's entry at `index`; its key is on the list and made the signature.

    Raises AdmissionError: `wrong-log`, `outdated`, `bad-change`, `too-many-approvals`.
    """
    rules = agreed.rules
    if change.origin != rules.origin:
        raise AdmissionError(
            f"it speaks of the log {change.origin!r}, this is {rules.origin!r}", reason="wrong-log"
        )
    if change.rules != rules.digest:
        raise AdmissionError(
            f"it changes rules with the digest {change.rules}; those in force, of revision {rules.revision},"
            f" have {rules.digest}: make it anew for these",
            reason="outdated",
        )
    change_rules(rules, change.what)
    who = hashlib.sha256(spki).hexdigest()
    if sum(who in each.by for each in agreed.approvals) >= MAX_APPROVALS:
        raise AdmissionError(
            f"this administrator has approved {MAX_APPROVALS} changes of revision {rules.revision} already",
            reason="too-many-approvals",
        )
    approval = next((each for each in agreed.approvals if each.statement == change.digest), None)
    approval = approval or Approval(change.digest, index, ())
    if who in approval.by:
        return agreed
    others = tuple(each for each in agreed.approvals if each.statement != change.digest)
    approval = replace(approval, by=tuple(sorted({*approval.by, who})))
    approvals = tuple(sorted((*others, approval), key=lambda each: each.index))
    scheduled = agreed.scheduled
    if len(approval.by) == rules.threshold:  # not above: a late approval must not undo a later decision
        scheduled = Scheduled(max(change.what.from_index, index + 1), change)
    return Agreed(rules, approvals, scheduled)


def advance(agreed: Agreed, index: int) -> Agreed:
    """What holds for the entry at `index`: the scheduled change, if its index is reached."""
    if agreed.scheduled is None or agreed.scheduled.index > index:
        return agreed
    return Agreed(change_rules(agreed.rules, agreed.scheduled.change.what))


def expel(agreed: Agreed, guilty: Sequence[Peer]) -> Agreed:
    """The peers without those `guilty`, whose seats stay empty."""
    if not guilty:
        return agreed
    rules = agreed.rules
    left = _without(rules, [peer.name for peer in guilty])
    return Agreed(replace(left, seats=rules.seats, revision=rules.revision + 1))


def change_rules(rules: Rules, what: What) -> Rules:
    """The rules after a change. Raises AdmissionError `bad-change` for one that they do not allow."""
    try:
        after = _change_list(rules, what) if isinstance(what, Admission) else _change_peers(rules, what)
        after = replace(after, revision=rules.revision + 1)
        check_rules(after)
    except VerifyError as error:
        raise AdmissionError(str(error), reason="bad-change") from error
    return after


def _change_list(rules: Rules, admission: Admission) -> Rules:
    listed = {key.key.spki_sha256.hex() for key in rules.admission.keys}
    for fingerprint in admission.remove:
        if fingerprint not in listed:
            raise MalformedError(f"it removes the key {fingerprint}, which is not on the list")
    kept = [key for key in rules.admission.keys if key.key.spki_sha256.hex() not in admission.remove]
    added = [
        TrustedKey(
            block.kind,
            block.operator,
            block.builder,
            block.key,
            block.ecosystems,
            block.from_index,
            block.until_index,
        )
        for block in admission.add
    ]
    after = replace(rules, admission=join_lists([*kept, *added]), threshold=admission.threshold)
    # Each administrator signs who will be: a change that got in between cannot alter what this one leads to.
    if set(fingerprints(admission.administrators)) != set(fingerprints(after.administrators)):
        raise MalformedError(
            f"it says that {len(admission.administrators)} administrators will be, and not those"
            f" {len(after.administrators)} that its additions and removals lead to"
        )
    return after


def _change_peers(rules: Rules, change: PeerChange) -> Rules:
    """At most as many join or leave at once as may be away; where none may, one.

    Those who leave: readers with the policy of before still get its quorum from those who stay. Those who
    join: they are not up yet, and the log goes on without them. A log of three or fewer tolerates nobody's
    absence anyway.
    """
    before = len(rules.peers)
    left = _without(rules, change.remove)
    after = len(left.peers) + len(change.add)
    for count, members, what in ((len(change.remove), before, "leave"), (len(change.add), after, "join")):
        if count > max(1, tolerated(members)):
            raise MalformedError(
                f"{count} peers {what} at once, and of {members} at most {max(1, tolerated(members))} may:"
                " make several changes of it"
            )
    if len(left.removed) > MAX_REMOVED:
        raise MalformedError(f"this log has removed {MAX_REMOVED} peers, and no more can be told apart")
    peers = tuple(sorted((*left.peers, *change.add), key=lambda peer: peer.name))
    return replace(left, peers=peers, seats=len(peers))


def _without(rules: Rules, names: Sequence[str]) -> Rules:
    """The rules without these peers: they neither vote nor count nor connect any more."""
    for name in names:
        if all(peer.name != name for peer in rules.peers):
            raise MalformedError(f"it removes the peer {name!r}, and there is none of that name")
    gone = [peer.node_id for peer in rules.peers if peer.name in names]
    return replace(
        rules,
        peers=tuple(peer for peer in rules.peers if peer.name not in names),
        removed=tuple(sorted({*rules.removed, *gone})),
    )
