"""Entries about a file that count for nothing, those with one and the same reason together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from touchplate.api.reasons import Meaning, meaning
from touchplate.verify.check import EntryWarning


@dataclass(frozen=True)
class Ignored:
    """Entries that a step of the check cost for the same reason, with the meaning of that reason."""

    indexes: tuple[int, ...]
    step: int
    reason: str
    message: str
    meaning: Meaning


def group(warnings: Iterable[EntryWarning]) -> tuple[Ignored, ...]:
    """The warnings, each reason once, in the order of the first entry that it cost."""
    grouped: dict[tuple[int, str, str], list[int]] = {}
    for one in warnings:
        grouped.setdefault((one.step, one.reason, one.message), []).append(one.index)
    return tuple(
        Ignored(tuple(indexes), step, reason, message, meaning(reason))
        for (step, reason, message), indexes in grouped.items()
    )
