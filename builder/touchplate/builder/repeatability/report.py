"""How the answer to `--twice` is shown: lines for people, JSON for programs."""

import hashlib
from collections.abc import Iterator

from touchplate.builder.repeatability.twice import Effect, Repeatability
from touchplate.verify.jcs import JSONValue

SHOWN_LINES = 4
"""Of a summary; all of it is in the report."""

NOT_STABLE = "NOT STABLE BY ITSELF: a build in the same way gave something else"


def repeatability_json(found: Repeatability) -> dict[str, JSONValue]:
    """Everything, as `--json` has it, and the digest under which the report is kept as evidence."""
    return {**found.to_json(), "report": {"sha256": hashlib.sha256(found.format()).hexdigest()}}


def repeatability_lines(found: Repeatability) -> list[tuple[str, str]]:
    """The table's lines: what was found, where the bytes differ, what was not looked at."""
    return list(_lines(found))


def _lines(found: Repeatability) -> Iterator[tuple[str, str]]:
    if found.again is not None:
        yield "repeatable", f"{NOT_STABLE}; whatever the result above, it may not come again"
        yield from _effect_lines("again", found.again)
    elif found.same:
        yield "repeatable", f"the same bytes when built again in the same way ({found.builds} builds)"
        yield from _dependence_lines(found)
    if found.unfinished:
        yield "unfinished", f"this host could not go on: {found.unfinished}"
    for number, (factor, why) in enumerate(found.impossible.items()):
        yield "" if number else "not varied", f"{factor}: {why}"
    yield "report", f"sha256 {hashlib.sha256(found.format()).hexdigest()}"


def _dependence_lines(found: Repeatability) -> Iterator[tuple[str, str]]:
    if not found.varied:
        return
    names = ", ".join(one.factor for one in found.varied)
    if found.together is not None:
        yield "depends on", "several together, none of them alone"
        yield from _effect_lines("together", found.together)
    elif found.changed_by:
        yield "depends on", ", ".join(found.changed_by)
        values = {one.factor: f"{one.before} → {one.after}" for one in found.varied}
        for effect in found.effects:
            name = effect.factors[0]
            yield name, values[name]
            yield from _effect_lines("", effect)
    elif not found.untested:
        yield "depends on", "nothing that was varied"
    yield "varied", names
    if found.untested:
        yield "not known", f"whether also {', '.join(found.untested)}"


def _effect_lines(name: str, effect: Effect) -> Iterator[tuple[str, str]]:
    if effect.failure:
        yield name, f"not built: {effect.failure}"
    for output in effect.outputs:
        yield name, f"{output.path}: {', '.join(output.causes)}"
        for line in output.summary[:SHOWN_LINES]:
            yield "", f"  {line}"
