"""The levels of one file: a pure function over evidence that steps 3 to 5 of the check let through.

Nothing is verified here and nothing is fetched. Every rule is monotonic: a further piece of evidence can
only add to a level, never take one away, since a proof bundle comes from a party that nobody trusts.
"""

from collections.abc import Iterable, Sequence

from touchplate.verify.values import value

LEVELS = ("recorded", "reproduced")
"""The levels that exist, in the order in which they are shown."""

SLSA_REPRODUCED = "SLSA_BUILD_REPRODUCED"
"""The SLSA property that a report may mention (SLSA VSA v1, verifiedLevels)."""

SLSA_MINIMUM_OPERATORS = 2
"""Operators. One rebuilder agrees with itself only, whatever a trust file asks for."""


@value
class ReproducedRule:
    """What a reader asks for before it calls a file reproduced: trust file `[levels.reproduced]`."""

    operators: int = 2
    sources: tuple[str, ...] = ("vcs", "source-release")
    stabilizers: tuple[str, ...] = ()


@value
class FirstSight:
    """A good record: this operator's node saw exactly these bytes first."""

    index: int
    operator: str


@value
class Rebuild:
    """A good provenance for one digest. `sources`: the kinds of all its source dependencies, none twice."""

    index: int
    operator: str
    sources: frozenset[str]
    tools_pinned: bool = True


@value
class Compared:
    """A good comparison about the file. `result` as in the comparison predicate, v1.

    `rebuild` is the provenance that the comparison names, when it is at hand, good, of the same operator and
    for the digest that was rebuilt; it speaks of other bytes than the file's, so it counts only through here.
    """

    index: int
    operator: str
    result: str
    stabilizers: tuple[str, ...] = ()
    rebuild: Rebuild | None = None
    detail: str = ""


Evidence = FirstSight | Rebuild | Compared


@value
class Counted:
    """One operator that counts for `reproduced`, by its best entry. `how`: identical or equivalent."""

    operator: str
    index: int
    how: str
    sources: tuple[str, ...]
    tools_pinned: bool = True


@value
class Uncounted:
    """An operator that rebuilt the file in a way which this reader does not count, and why."""

    operator: str
    index: int
    why: str


@value
class Finding:
    """A comparison that neither adds nor takes away, reported for people: operator, index, one line."""

    operator: str
    index: int
    detail: str


@value
class Levels:
    """The verdict over one file. `explanations` holds one line per level, in the order of `LEVELS`."""

    recorded: bool
    reproduced: bool
    needed: int
    recorders: tuple[FirstSight, ...]
    operators: tuple[Counted, ...]
    uncounted: tuple[Uncounted, ...]
    equivalent: tuple[Finding, ...]
    contradicted_by: tuple[Finding, ...]
    not_built: tuple[Finding, ...]
    explanations: tuple[str, ...]

    def has(self, level: str) -> bool:
        """Whether `level` (one of `LEVELS`) is reached. KeyError for a level that does not exist."""
        return {"recorded": self.recorded, "reproduced": self.reproduced}[level]

    def explain(self, level: str) -> str:
        """The line about `level`, such as `1 of 2 operators (1 more from sources-jar only)`."""
        return dict(zip(LEVELS, self.explanations, strict=True))[level]

    @property
    def reached(self) -> tuple[str, ...]:
        """The levels that hold, in the order of `LEVELS`."""
        return tuple(level for level in LEVELS if self.has(level))

    @property
    def slsa_reproduced(self) -> bool:
        """Whether `SLSA_BUILD_REPRODUCED` may be said: two operators made these very bytes."""
        identical = sum(counted.how == "identical" for counted in self.operators)
        return self.reproduced and identical >= SLSA_MINIMUM_OPERATORS


def judge_levels(evidence: Iterable[Evidence], rule: ReproducedRule) -> Levels:
    """The levels that `evidence` about one file reaches under `rule` (step 6 of the check)."""
    pieces = sorted(evidence, key=lambda piece: (piece.index, piece.operator))
    recorders = tuple(piece for piece in pieces if isinstance(piece, FirstSight))
    compared = [piece for piece in pieces if isinstance(piece, Compared)]
    counted, uncounted = _count(pieces, rule)
    return Levels(
        recorded=bool(recorders),
        reproduced=len(counted) >= rule.operators,
        needed=rule.operators,
        recorders=recorders,
        operators=counted,
        uncounted=uncounted,
        equivalent=_findings(compared, "equivalent"),
        contradicted_by=_findings(compared, "different"),
        not_built=_findings(compared, "not-built"),
        explanations=(_explain_recorded(recorders), _explain_reproduced(counted, uncounted, rule)),
    )


def _count(
    pieces: Sequence[Evidence], rule: ReproducedRule
) -> tuple[tuple[Counted, ...], tuple[Uncounted, ...]]:
    """Each operator once: by its best entry when one counts, else by its first entry that does not."""
    best: dict[str, Counted] = {}
    rest: dict[str, Uncounted] = {}
    for piece in pieces:
        verdict = _weigh(piece, rule)
        if isinstance(verdict, Counted):
            held = best.get(verdict.operator)
            # Identical bytes beat equivalent ones; pieces come in the order of indexes, so the first stays.
            if held is None or (held.how == "equivalent" and verdict.how == "identical"):
                best[verdict.operator] = verdict
        elif verdict is not None:
            rest.setdefault(verdict.operator, verdict)
    uncounted = tuple(found for operator, found in rest.items() if operator not in best)
    return tuple(best.values()), uncounted


def _weigh(piece: Evidence, rule: ReproducedRule) -> Counted | Uncounted | None:
    """What one piece of evidence says about `reproduced`; None when it says nothing about it."""
    match piece:
        case Rebuild():
            return _weigh_rebuild(piece, piece.index, "identical", rule)
        case Compared(result="equivalent"):
            unlisted = [name for name in piece.stabilizers if name not in rule.stabilizers]
            if unlisted or not piece.stabilizers:
                return Uncounted(piece.operator, piece.index, f"equivalent by {_words(unlisted)} only")
            if piece.rebuild is None:
                return Uncounted(piece.operator, piece.index, "equivalent without its provenance")
            return _weigh_rebuild(piece.rebuild, piece.index, "equivalent", rule)
        case _:
            # `identical` alone never counts: the provenance for the same digest does, and is enough.
            return None


def _weigh_rebuild(rebuild: Rebuild, index: int, how: str, rule: ReproducedRule) -> Counted | Uncounted:
    sources = tuple(sorted(rebuild.sources))
    refused = [kind for kind in sources if kind not in rule.sources]
    if not sources:
        return Uncounted(rebuild.operator, index, "without a source")
    if refused:
        extent = "only" if len(refused) == len(sources) else "in part"
        return Uncounted(rebuild.operator, index, f"from {_words(refused)} {extent}")
    return Counted(rebuild.operator, index, how, sources, rebuild.tools_pinned)


def _findings(compared: Sequence[Compared], result: str) -> tuple[Finding, ...]:
    found = [
        Finding(piece.operator, piece.index, piece.detail) for piece in compared if piece.result == result
    ]
    # One comparison stands there once for each provenance that it names.
    return tuple(dict.fromkeys(found))


def _explain_recorded(recorders: Sequence[FirstSight]) -> str:
    if not recorders:
        return "no record of first sight"
    operators = len({sight.operator for sight in recorders})
    return f"first seen by {operators} {'recorder' if operators == 1 else 'recorders'}"


def _explain_reproduced(
    counted: Sequence[Counted], uncounted: Sequence[Uncounted], rule: ReproducedRule
) -> str:
    noun = "operator" if rule.operators == 1 else "operators"
    line = f"{len(counted)} of {rule.operators} {noun}"
    if not uncounted:
        return line
    reasons: dict[str, int] = {}
    for found in uncounted:
        reasons[found.why] = reasons.get(found.why, 0) + 1
    return f"{line} ({'; '.join(f'{number} more {why}' for why, number in sorted(reasons.items()))})"


def _words(names: Sequence[str]) -> str:
    return " and ".join(names) if names else "no stabilizer"
