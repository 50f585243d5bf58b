"""Entries of two archives, matched by name: what is missing, too much, or in another order. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from touchplate.builder.comparison.contents import Difference


@dataclass(frozen=True)
class Matched:
    """Differences between two lists of names, and (published, rebuilt) positions of those that both have."""

    differences: tuple[Difference, ...]
    pairs: tuple[tuple[int, int], ...]


def match_entries(published: Sequence[str], rebuilt: Sequence[str]) -> Matched:
    """Match the names of two archives, each in its order."""
    theirs, ours = _by_name(published), _by_name(rebuilt)
    found = [
        Difference(one[0], "missing-entries", "is not in the rebuilt file")
        for one in sorted(theirs.keys() - ours.keys())
    ]
    found += [
        Difference(one[0], "extra-entries", "is only in the rebuilt file")
        for one in sorted(ours.keys() - theirs.keys())
    ]
    common = theirs.keys() & ours.keys()
    if [one for one in theirs if one in common] != [one for one in ours if one in common]:
        found.append(Difference("", "entry-order", "the same entries in another order"))
    return Matched(tuple(found), tuple((theirs[one], ours[one]) for one in theirs if one in common))


def _by_name(names: Iterable[str]) -> dict[tuple[str, int], int]:
    """(name, how many of this name came before) → position: names may stand twice in a published archive."""
    seen: Counter[str] = Counter()
    positions = {}
    for position, name in enumerate(names):
        positions[(name, seen[name])] = position
        seen[name] += 1
    return positions
