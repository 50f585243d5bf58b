"""Targets: what auditors hand each other. A tlog-proof shows one leaf, a report about a log convicts it."""

from collections.abc import Sequence
from functools import cache, partial

from tests import reference
from tests.fuzz.target import Target, attempt, expect
from tests.simkeys import head, solo_policy

from touchplate.verify.checkpoints import Checkpoint
from touchplate.verify.forks import DAMAGE, FORK, damage_report, fork_report, open_report
from touchplate.verify.jcs import format_json, parse_json
from touchplate.verify.tlog_proof import TlogProof, check_tlog_proof, format_tlog_proof, parse_tlog_proof

POLICY = solo_policy()
LIMIT = 1 << 20

HONEST = tuple(b"leaf %d" % number for number in range(7))
FORKED = (*HONEST[:3], b"another", *HONEST[4:])
"""Two histories of one log, the first three leaves of which are the same."""


@cache
def _head(leaves: tuple[bytes, ...]) -> Checkpoint:
    """A signed head; both histories have one of every size."""
    return head(len(leaves), reference.mth(leaves))


def tlog_proof(data: bytes) -> bool:
    """A proof has one spelling; it holds for the leaf that stands at its index, and by the literal path."""
    parsed = attempt(lambda: parse_tlog_proof(data))
    if parsed is None:
        return False
    expect(format_tlog_proof(parsed) == data, "another spelling")
    accepted = False
    for leaf in {*HONEST, *FORKED}:
        opened = attempt(partial(check_tlog_proof, parsed, leaf, POLICY))
        if opened is not None:
            tree = _history(opened)[: opened.size]
            expect(parsed.index < opened.size and tree[parsed.index] == leaf, "a leaf that is not there")
            expect(list(parsed.hashes) == reference.path(parsed.index, tree), "a second proof was accepted")
            accepted = True
    return accepted


def _history(opened: Checkpoint) -> tuple[bytes, ...]:
    """The history that a head is of. A head that nobody signed is a finding."""
    histories = _histories(opened)
    expect(bool(histories), "a head that nobody signed")
    return histories[0]


def _histories(opened: Checkpoint) -> list[tuple[bytes, ...]]:
    return [
        leaves
        for leaves in (HONEST, FORKED)
        if opened.size <= len(leaves) and reference.mth(leaves[: opened.size]) == opened.root
    ]


def _tlog_proofs() -> list[bytes]:
    made = [
        TlogProof(index, tuple(reference.path(index, leaves)), _head(leaves).note.encode(), extra)
        for leaves, index, extra in (
            (HONEST, 0, None),
            (HONEST, 6, b"any"),
            (HONEST[:1], 0, None),
            (HONEST[:4], 3, b"x" * 70),
            (FORKED, 3, None),
        )
    ]
    good = [format_tlog_proof(one) for one in made]
    return [*good, good[0].replace(b"index 0", b"index 1"), good[1][:-1], good[0].replace(b"@v1", b"@v2")]


def log_report(data: bytes) -> bool:
    """Only two heads that no single history has are a fork, and whatever is opened is what was signed."""
    opened = attempt(lambda: open_report(data, POLICY))
    if opened is None:
        return False
    canonical = format_json(parse_json(data, max_bytes=LIMIT))
    expect(open_report(canonical, POLICY) == opened, "another report when written")
    expect(opened.finding in (FORK, DAMAGE), "another finding")
    new = _histories(opened.new)
    expect(bool(new), "a head that nobody signed")
    if opened.old is not None:
        old = _histories(opened.old)
        expect(bool(old), "a head that nobody signed")
        if opened.finding == FORK:
            expect(not any(leaves in old for leaves in new), "an honest log was convicted")
    else:
        expect(opened.finding == DAMAGE, "one head convicts nobody")
    return True


def _fork(old: Sequence[bytes], new: Sequence[bytes], derived: bytes | None = None) -> bytes:
    """What a client reports that saw these two heads, in this order of sizes; or a liar, with his `derived`
    root."""
    heads = _head(tuple(old)), _head(tuple(new))
    if len(old) == len(new):
        return format_json(fork_report(*heads))
    derived = derived or reference.mth(new[: len(old)])
    return format_json(fork_report(*heads, derived, reference.proof(len(old), new)))


def _log_reports() -> list[bytes]:
    good = [_fork(HONEST[:4], FORKED), _fork(FORKED[:5], HONEST), _fork(HONEST, FORKED)]
    honest = [_fork(HONEST[:4], HONEST), _fork(HONEST[:3], FORKED), _fork(HONEST, HONEST)]
    honest.append(_fork(HONEST[:4], HONEST, reference.mth(FORKED[:4])))
    damage = [damage_report(None, _head(HONEST), "x"), damage_report(_head(HONEST[:2]), _head(HONEST), "y")]
    return [*good, *honest, *map(format_json, damage), good[0][:-1], b"{}"]


TARGETS = (
    Target("tlog-proof", tlog_proof, _tlog_proofs, 2048, ("c2sp.org/tlog-proof@v1\n", "extra ", "index ")),
    Target(
        "log-report",
        log_report,
        _log_reports,
        8192,
        ("derivedRoot", "proof", "old", "new", "fork", "damage", "checkpoint"),
        is_json=True,
    ),
)
