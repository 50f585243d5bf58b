"""Entries of two archives, matched by name: what is missing, too much, or in another order. Pure."""

import posixpath
import stat
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


_SET_ID = stat.S_ISUID | stat.S_ISGID


def compare_modes(path: str, theirs: int, ours: int) -> Iterator[Difference]:
    """How two modes differ, with or without the type of file in them. Whose rights a program has is no
    matter of a umask, and what is a link is no file: neither is said to be a difference of permissions."""
    kinds = {stat.S_IFMT(mode) or stat.S_IFREG for mode in (theirs, ours)}
    if len(kinds) > 1 and not kinds <= {stat.S_IFREG, stat.S_IFDIR}:
        yield Difference(path, "content", f"type of file {theirs:06o} != {ours:06o}")
    elif (theirs ^ ours) & _SET_ID:
        yield Difference(path, "set-id", f"{show_mode(theirs)} != {show_mode(ours)}")
    elif stat.S_IMODE(theirs) == stat.S_IMODE(ours) != 0 and theirs != ours:
        yield Difference(path, "modes", f"{theirs:06o} != {ours:06o}")
    elif theirs != ours:
        yield Difference(path, "modes", f"{show_mode(theirs)} != {show_mode(ours)}")


def show_mode(mode: int) -> str:
    """Permission bits as octal digits."""
    return f"{stat.S_IMODE(mode):04o}" if mode else "none"


def _by_name(names: Iterable[str]) -> dict[tuple[str, int], int]:
    """(name, how many of this name came before) → position: names may stand twice in a published archive."""
    seen: Counter[str] = Counter()
    positions = {}
    for position, name in enumerate(names):
        positions[(name, seen[name])] = position
        seen[name] += 1
    return positions
