"""Entries of two archives, matched by name: what is missing, too much, or in another order. Pure."""

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    orders = ([name for name, number in names if (name, number) in common] for names in (theirs, ours))
    found += compare_order("", "entries", *orders)
    return Matched(tuple(found), tuple((theirs[one], ours[one]) for one in theirs if one in common))


_ARCHIVES = (".jar", ".war", ".zip")


def compare_order(
    path: str,
    what: str,
    theirs: Sequence[str],
    ours: Sequence[str],
    *,
    fold: Callable[[str], str] = str.lower,
) -> Iterator[Difference]:
    """Whether the same names stand in another order, and whether that matters: of two that are unpacked to
    one file the last one stays; and the order of archives inside is a class path for Spring Boot. `fold`:
    makes names equal that are one where these are unpacked."""
    if theirs == ours:
        return
    archives = ([name for name in names if name.lower().endswith(_ARCHIVES)] for names in (theirs, ours))
    places = {fold(posixpath.normpath(f"/{name}")) for name in theirs}
    if len(places) < len(theirs) or len({tuple(names) for names in archives}) > 1:
        yield Difference(path, "content", f"the same {what} in another order, which matters for some of them")
    else:
        yield Difference(path, "entry-order", f"the same {what} in another order")


def _by_name(names: Iterable[str]) -> dict[tuple[str, int], int]:
    """(name, how many of this name came before) → position: names may stand twice in a published archive."""
    seen: Counter[str] = Counter()
    positions = {}
    for position, name in enumerate(names):
        positions[(name, seen[name])] = position
        seen[name] += 1
    return positions
