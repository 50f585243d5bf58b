"""Which refusals a rebuild could lift, and of what. Whoever refuses says so; the node asks for it.

Nothing here decides anything: the gate has spoken by then, and what becomes of the request for a rebuild
changes its answer no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from touchplate.verify.purl import PackageURL

if TYPE_CHECKING:
    from touchplate.api.gate import Decision

RebuildMode = Literal["never", "authenticated", "any"]
"""Whose requests ask for the rebuild of a file that is refused: nobody's, those with a token for it, or
everybody's."""

MAX_CANDIDATES = 8
"""Packages of one refusal that are looked at. An index of images may name thousands."""

_HOPELESS = frozenset({"snapshot"})


@dataclass(frozen=True)
class WantedRebuild:
    """A rebuild that could lift a refusal. `candidates`: package files, one of which is to be rebuilt, the
    best first; may block, since an upstream may have to be asked for them. Raises APIError, StorageError."""

    mode: RebuildMode
    candidates: Callable[[], Sequence[PackageURL]]


def wanted_rebuild(
    decision: Decision, candidates: Callable[[], Sequence[PackageURL]]
) -> WantedRebuild | None:
    """The rebuild that could lift a refusal; None when its rule asks for none, or none would help.

    Where somebody who is believed has built other bytes already, people have to look: another build could at
    best say the same.
    """
    levels, mode = decision.levels, decision.rule.rebuild
    if mode == "never" or decision.verdict != "refuse" or "reproduced" not in decision.need:
        return None
    if levels.reproduced or levels.contradicted_by:
        return None
    if any(reason.word in _HOPELESS for reason in decision.reasons):
        return None
    return WantedRebuild(mode, candidates)


def contradiction(decision: Decision) -> str:
    """Why no rebuild is asked for although the rule does: the log has one with another result. Else empty."""
    found = decision.levels.contradicted_by
    if decision.rule.rebuild == "never" or decision.verdict != "refuse" or not found:
        return ""
    return f"no rebuild is asked for: one gave other bytes, see index {found[0].index} of the log"
