"""Entries of two archives, matched by name: what is missing, too much, or in another order. Pure."""

import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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


_SET_ID = stat.S_ISUID | stat.S_ISGID


def compare_modes(path: str, theirs: int, ours: int) -> Iterator[Difference]:
    """How two modes differ, with or without the type of file in them. Whose rights a program has is no
    matter of a umask, and what is a link is no file: neither is said to be a difference of permissions."""
    kinds = {stat.S_IFMT(mode) or stat.S_IFREG for mode in (theirs, ours)}
    if len(kinds) > 1 and not kinds <= {stat.S_IFREG, stat.S_IFDIR}:
        yield Difference(path, "content", f"type of file {theirs:06o} != {ours:06o}")
    elif (theirs ^ ours) & _SET_ID:
        yield Difference(path, "set-id", f"{show_mode(theirs)} != {show_mode(ours)}")
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
