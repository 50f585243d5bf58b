"""What a block does: the peers' state machine. Pure: no clock, network or file; `known` asks the tree.

All five questions of the engine (may this transaction wait, what do I propose, is this proposal acceptable,
what follows from this block, who may vote) are answered by one walk over the transactions in order:

    a transaction counts whole or not at all
    each of its entries is well formed, signed, and allowed by the admission list AT THE INDEX IT WOULD GET
    an administrator's entry approves a change of the rules, which may hold for the entries after it
    an entry whose identity is in the tree, or came before in this block, adds nothing; the first one counts
    a transaction that adds nothing, or little for its length, is refused: nobody fills blocks with repeats

A proposal with a refused transaction is refused. A block that was decided all the same (by more than a
third of liars, or before a peer joined) is executed by the same walk, in which that transaction does
nothing: all peers that execute it agree, whatever they voted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from touchplate.log.admission import check_permission
from touchplate.log.errors import AdmissionError, CorruptTreeError
from touchplate.log.growth import grow
from touchplate.log.peers.changes import Agreed, advance, approve, expel
from touchplate.log.peers.checks import Check, CheckedEntry
from touchplate.log.peers.rules import Rules, quorum_of
from touchplate.log.peers.state import State, Validator, validators_of
from touchplate.log.peers.transactions import parse_tx
from touchplate.log.ports import PackedEntry
from touchplate.verify.predicates.peers import Peer

Known = Callable[[Sequence[bytes]], Mapping[bytes, int]]
"""The indexes of those identities that are in the tree of the state asked about."""

OK, REFUSED, REPEATED = 0, 1, 2
"""Codes of a transaction: it adds entries; it breaks a rule; it repeats what is there, and adds nothing or
too little."""

MAX_LENGTH_FACTOR = 4
"""How many times as long as what it adds a transaction may be. Every peer keeps every block for good, so
repeats that ride along with a new entry would cost as much as those that come alone; and what an honest peer
hands in has some: entries that were handed in elsewhere too, or came into a block meanwhile."""

DUPLICATE_VOTE = 1
"""Kind of misbehaviour: a validator signed two votes of one height and round."""

TX_OVERHEAD_BYTES = 8
"""Bytes that a block spends on each transaction beside its own: a field tag and a length."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one transaction does: `new` are the entries that it adds, in order; `reason` says why it is
    refused."""

    code: int
    new: tuple[PackedEntry, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A decided block. `misbehaviour`: (kind, validator's address) pairs that the engine has proof of."""

    height: int
    txs: tuple[bytes, ...]
    misbehaviour: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Executed:
    """A block's consequences. `guilty`: peers that it removes for having voted twice; `updates`: validators
    that vote from now on, or no more (power 0)."""

    state: State
    verdicts: tuple[Verdict, ...]
    entries: tuple[PackedEntry, ...]
    guilty: tuple[Peer, ...]
    updates: tuple[Validator, ...]


def judge(state: State, txs: Sequence[bytes], known: Known, check: Check) -> list[Verdict]:
    """The walk: one verdict per transaction of a block upon `state`."""
    return _walk(state, txs, known, check)[0]


def _walk(state: State, txs: Sequence[bytes], known: Known, check: Check) -> tuple[list[Verdict], Agreed]:
    """The verdicts, and what is agreed after the block."""
    read = [_read(tx, check) for tx in txs]
    identities = {
        one.entry.identity: None for batch in read if not isinstance(batch, Verdict) for one in batch
    }
    there = set(known(list(identities)))
    verdicts: list[Verdict] = []
    size, agreed = state.size, state.agreed
    for batch in read:
        if isinstance(batch, Verdict):
            verdict = batch
        else:
            verdict, agreed = _judge_batch(agreed, batch, there, size)
        there.update(entry.identity for entry in verdict.new)
        size += len(verdict.new)
        verdicts.append(verdict)
    return verdicts, advance(agreed, size)


def check_tx(state: State, tx: bytes, known: Known, check: Check) -> Verdict:
    """Whether a transaction may wait for a block: what it would do if it came next."""
    return judge(state, [tx], known, check)[0]


def prepare(state: State, txs: Sequence[bytes], max_bytes: int, known: Known, check: Check) -> list[bytes]:
    """A proposal out of waiting transactions: those that count, in order, as far as there is room."""
    chosen, room = [], max_bytes
    for tx, verdict in zip(txs, judge(state, txs, known, check), strict=True):
        if verdict.code != OK:
            continue
        room -= len(tx) + TX_OVERHEAD_BYTES
        if room < 0:
            break
        chosen.append(tx)
    return chosen


def process(state: State, txs: Sequence[bytes], known: Known, check: Check) -> str | None:
    """None when a proposal is acceptable, else what is wrong with it."""
    for number, verdict in enumerate(judge(state, txs, known, check)):
        if verdict.code != OK:
            return f"transaction {number}: {verdict.reason}"
    return None


def execute(state: State, block: Block, known: Known, check: Check) -> Executed:
    """What a decided block makes of `state`. Raises CorruptTreeError for a block that does not come next."""
    if block.height != state.height + 1:
        raise CorruptTreeError(
            f"the engine executes block {block.height}, and this peer has executed {state.height}: its data"
            " and the engine's are not of one peer"
        )
    verdicts, agreed = _walk(state, block.txs, known, check)
    entries = tuple(entry for verdict in verdicts for entry in verdict.new)
    guilty = _guilty(agreed.rules, block.misbehaviour)
    after = State(
        block.height,
        grow(state.edge, [entry.leaf_hash for entry in entries]).edge,
        expel(agreed, guilty),
    )
    return Executed(after, tuple(verdicts), entries, guilty, _updates(state.rules, after.rules))


def _read(tx: bytes, check: Check) -> list[CheckedEntry] | Verdict:
    try:
        return [check(packed) for packed in parse_tx(tx)]
    except AdmissionError as error:
        return Verdict(REFUSED, reason=f"{error.reason}: {error}")


def _judge_batch(
    agreed: Agreed, batch: Sequence[CheckedEntry], there: set[bytes], size: int
) -> tuple[Verdict, Agreed]:
    """One transaction at its place, and what is agreed after it.

    `there` are the identities before it, `size` the index that comes next.
    """
    new: dict[bytes, PackedEntry] = {}
    after = agreed
    for one in batch:
        if one.entry.identity in there or one.entry.identity in new:
            continue
        index = size + len(new)
        after = advance(after, index)
        blocks = after.rules.admission.find(one.spki)
        try:
            if not blocks:
                raise AdmissionError("its key is not on the admission list", reason="unknown-key")
            check_permission(blocks, one.statement, one.builder, index)
            if one.change is not None:
                after = approve(after, one.change, one.spki, index)
        except AdmissionError as error:
            return Verdict(REFUSED, reason=f"{error.reason}: {error}"), agreed
        new[one.entry.identity] = one.entry
    if not new:
        return Verdict(REPEATED, reason="repeated: every entry of it is in the log already"), agreed
    length = sum(len(one.entry.packed) for one in batch)
    if length > MAX_LENGTH_FACTOR * sum(len(entry.packed) for entry in new.values()):
        reason = f"repeated: {len(new)} of its {len(batch)} entries are new, and it is too long for so few"
        return Verdict(REPEATED, reason=reason), agreed
    return Verdict(OK, tuple(new.values())), after


def _guilty(rules: Rules, misbehaviour: Sequence[tuple[int, bytes]]) -> tuple[Peer, ...]:
    """Peers that are removed for having voted twice: never more than the faults that are tolerated.

    Beyond them the log must stop rather than shrink to a few that decide alone. Evidence of one offence comes
    again and again; once removed, a peer is not found any more.
    """
    guilty = {address for kind, address in misbehaviour if kind == DUPLICATE_VOTE}
    spare = len(rules.peers) - quorum_of(rules.seats)
    found = [peer for peer in rules.peers if Validator(peer.public, 1).address in guilty]
    return tuple(found[: max(0, spare)])


def _updates(before: Rules, after: Rules) -> tuple[Validator, ...]:
    """What the engine has to be told: who votes no more, then who votes from now on."""
    if before is after:
        return ()
    old, new = validators_of(before), validators_of(after)
    gone = [Validator(each.public, 0) for each in old if each not in new]
    return (*gone, *(each for each in new if each not in old))
