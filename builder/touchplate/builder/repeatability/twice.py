"""Does a build repeat? It is made again in the same way, then with everything varied, then one by one.

The same inputs have to give the same bytes. Built again in the same way they do, or the result is not stable
by itself. Varied (`vary.py`), they do, or the package depends on something that is no input; then each factor
is varied alone, and those that change the bytes are named with where the bytes differ. None of this touches
the verdict: that is about the first build.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from touchplate.builder.comparison.compare import Comparison
from touchplate.builder.errors import BuilderError, HostLack, PhaseFailed
from touchplate.builder.plan import BuildPlan, BuildResult, CollectedFile
from touchplate.builder.repeatability.vary import FACTORS, Variation, Variations, apply
from touchplate.verify.jcs import JSONValue, format_json

MOST_BUILDS = 20
"""Builds for one answer, the first one included: one in the same way, one with everything varied, one for
each of the eleven factors, and some to find out early that the rest changes nothing."""

WORTH_ASKING = 3
"""Factors that must be left before a build with all of them is tried: with fewer, it would save nothing."""

NOT_COMPARED = "not compared"
"""Instead of causes: the bytes differ, and the comparison of the two files failed."""

Build = Callable[[BuildPlan], BuildResult]
"""Runs Build from the same lock. Raises PhaseFailed, HostLack."""

Compare = Callable[[str, CollectedFile, CollectedFile], Comparison]
"""Sets two builds' files of one output (its path) beside each other."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Changed:
    """One output that came out otherwise."""

    path: str
    sha256: str
    causes: tuple[str, ...]
    summary: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """What a build gave that was not like the first: other bytes, or nothing at all."""

    factors: tuple[str, ...]
    """What had been varied; nothing for a build in the same way."""
    outputs: tuple[Changed, ...] = ()
    failure: str = ""
    """Why there are no outputs; empty when there are."""


@dataclass(frozen=True)
class Repeatability:
    """What building more than once has shown."""

    outputs: Mapping[str, str]
    """sha256 that the first build gave, by the path of each output."""
    again: Effect | None = None
    """What a build in the same way gave otherwise; None: the same bytes."""
    builds: int = 1
    varied: tuple[Variation, ...] = ()
    """What was varied, all at once; empty when nothing was, since the result is not stable by itself."""
    impossible: Mapping[str, str] = field(default_factory=dict)
    """Factors that were not varied, and why."""
    effects: tuple[Effect, ...] = ()
    """Of each factor that alone changes the result."""
    together: Effect | None = None
    """What all factors at once change, when none of them does it alone."""
    untested: tuple[str, ...] = ()
    """Factors that may change it, too: the number of builds was used up."""
    unfinished: str = ""
    """What this host lacked, in a word, so that not all of this was found out. Evidence is public, and the
    rest is the host's own matter."""

    @property
    def same(self) -> bool:
        """Whether a build in the same way was made and gave the same bytes."""
        return self.builds > 1 and self.again is None

    @property
    def changed_by(self) -> tuple[str, ...]:
        """The factors that alone change the result."""
        return tuple(name for effect in self.effects for name in effect.factors)

    def to_json(self) -> dict[str, JSONValue]:
        """For programs, and as evidence."""
        effects = [one for one in (self.again, *self.effects, self.together) if one is not None]
        return {
            "version": 1,
            "outputs": dict(self.outputs),
            "same": self.same,
            "builds": self.builds,
            "varied": [{"factor": one.factor, "from": one.before, "to": one.after} for one in self.varied],
            "not_varied": [{"factor": name, "why": why} for name, why in self.impossible.items()],
            "changed_by": list(self.changed_by),
            "changed_together": list(self.together.factors) if self.together else [],
            "untested": list(self.untested),
            "details": [_effect_json(one) for one in effects],
            "unfinished": self.unfinished,
        }

    def format(self) -> bytes:
        """The report that is kept as evidence: RFC 8785 JSON."""
        return format_json(self.to_json())


def _effect_json(effect: Effect) -> JSONValue:
    return {
        "factors": list(effect.factors),
        "failure": effect.failure,
        "outputs": [
            {
                "path": one.path,
                "sha256": one.sha256,
                "causes": list(one.causes),
                "summary": list(one.summary),
            }
            for one in effect.outputs
        ],
    }


def check_twice(
    plan: BuildPlan,
    first: BuildResult,
    variations: Variations,
    *,
    build: Build,
    compare: Compare,
    say: Say,
    until: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Repeatability:
    """Find out whether `first`, built by `plan`, repeats. A lack of the host ends it early, and is said.

    `until`: no build is begun that might not be over at this time of `clock`, whatever it does.
    """

    def build_in_time(varied: BuildPlan) -> BuildResult:
        if until is not None and clock() + varied.limits.wall_seconds > until:
            raise HostLack(
                f"another build may take {varied.limits.wall_seconds:.0f} seconds, and there is no time left"
                " for that: give the queue a greater max_lease, or the definition a smaller wall_seconds",
                reason="no-time",
            )
        return build(varied)

    search = _Search(plan, first, build=build_in_time, compare=compare, say=say)
    try:
        search.run(variations)
    except (BuilderError, OSError) as lack:
        # Whatever it is: the verdict is about the first build, and that is there.
        say(f"twice: not finished: {lack}")
        search.unfinished = lack.reason if isinstance(lack, BuilderError) else "os-error"
    return Repeatability(
        outputs={path: file.sha256 for path, file in first.outputs.items()},
        again=search.again,
        builds=search.builds,
        varied=search.varied,
        impossible=variations.impossible,
        effects=tuple(sorted(search.effects, key=lambda one: FACTORS.index(one.factors[0]))),
        together=search.together,
        untested=tuple(one.factor for one in search.left),
        unfinished=search.unfinished,
    )


class _Search:
    """What is known so far."""

    def __init__(
        self, plan: BuildPlan, first: BuildResult, *, build: Build, compare: Compare, say: Say
    ) -> None:
        self._plan = plan
        self._first = first
        self._build = build
        self._compare = compare
        self._say = say
        self.builds = 1
        self.again: Effect | None = None
        self.varied: tuple[Variation, ...] = ()
        self.effects: list[Effect] = []
        self.together: Effect | None = None
        self.left: tuple[Variation, ...] = ()
        self.unfinished = ""

    def run(self, variations: Variations) -> None:
        """Raises HostLack; what was found until then stays."""
        self._say("twice: the same build once more")
        self.again = self._try(())
        if self.again is not None or not variations.possible:
            return
        names = ", ".join(one.factor for one in variations.possible)
        self._say(f"twice: with everything around it varied: {names}")
        everything = self._try(variations.possible)
        self.varied = variations.possible
        if everything is None:
            return
        self.left = variations.possible
        self._one_by_one()
        if not self.effects and not self.left:
            self.together = everything

    def _one_by_one(self) -> None:
        while self.left and self.builds < MOST_BUILDS:
            one = self.left[0]
            self._say(f"twice: only {one.factor} varied: {one.before} → {one.after}")
            effect = self._try((one,))
            self.left = self.left[1:]
            if effect is None:
                continue
            self.effects.append(effect)
            if len(self.left) >= WORTH_ASKING and self.builds < MOST_BUILDS:
                self._say("twice: all the others varied that are left")
                if self._try(self.left) is None:
                    self.left = ()

    def _try(self, variations: Sequence[Variation]) -> Effect | None:
        """Build with these; None when the bytes are those of the first build."""
        factors = tuple(one.factor for one in variations)
        try:
            made = self._build(apply(self._plan, variations))
        except PhaseFailed as failed:
            self.builds += 1
            return Effect(factors, failure=f"phase {failed.phase}, {failed.failure}: {failed.detail}")
        self.builds += 1
        changed = tuple(
            self._changed(path, file, made.outputs[path])
            for path, file in self._first.outputs.items()
            if made.outputs[path].sha256 != file.sha256
        )
        return Effect(factors, changed) if changed else None

    def _changed(self, path: str, first: CollectedFile, other: CollectedFile) -> Changed:
        try:
            found = self._compare(path, first, other)
        except (BuilderError, OSError) as error:
            # That the bytes differ is known, wherever they do.
            self._say(f"twice: {path} cannot be compared: {error}")
            return Changed(path, other.sha256, (NOT_COMPARED,), ())
        return Changed(path, other.sha256, found.causes, found.summary)
