"""Permissions of entries: how two differ, and whether all that differs is what two umasks leave. Pure."""

import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace

from touchplate.builder.comparison.contents import Difference, ModeDifference

_OTHERS = 0o077
"""What a umask in use takes away: permissions of the owner's group and of all others."""

_SET_ID = stat.S_ISUID | stat.S_ISGID

_FILE, _PROGRAM = 0o666, 0o777
"""Modes that programs ask for when they make a file, and a folder or a program."""


def compare_modes(path: str, theirs: int, ours: int, *, is_folder: bool) -> Iterator[Difference]:
    """How two modes (`st_mode`, 0 for none) differ, with or without the type of file in them. Whose rights a
    program has, and who may run it then, is no matter of a umask, and what is a link is no file: neither is
    said to be a difference of permissions. (Of a folder, set-id says which group its files get.)"""
    kinds = {stat.S_IFMT(mode) or stat.S_IFREG for mode in (theirs, ours)}
    if len(kinds) > 1 and not kinds <= {stat.S_IFREG, stat.S_IFDIR}:
        yield Difference(path, "content", f"type of file {theirs:06o} != {ours:06o}")
    elif has_set_id(theirs | ours) and not is_folder and stat.S_IMODE(theirs ^ ours):
        yield Difference(path, "set-id", f"{_shown(theirs)} != {_shown(ours)}")
    elif stat.S_IMODE(theirs) == stat.S_IMODE(ours) != 0 and theirs != ours:
        yield ModeDifference(path, "modes", f"{theirs:06o} != {ours:06o}", theirs, ours)
    elif theirs != ours:
        yield ModeDifference(path, "modes", f"{_shown(theirs)} != {_shown(ours)}", theirs, ours)


def has_set_id(mode: int) -> bool:
    """Whether a program runs with the rights of its owner or group."""
    return bool(mode & _SET_ID)


def compare_owners(path: str, theirs: str, ours: str, modes: int) -> Iterator[Difference]:
    """How two owners differ, as they are written for people.

    `modes`: all permissions of the program on either side, since they may lend it the rights of its owner.
    """
    if theirs == ours:
        return
    # With a line end in it, some readers of tars take the rest of a name for another record.
    cause = "content" if "\n" in theirs + ours else "set-id" if has_set_id(modes) else "owners"
    yield Difference(path, cause, f"{theirs} != {ours}")


def name_umask(differences: list[Difference]) -> list[Difference]:
    """`differences`, with the cause `umask` for those of modes when one umask on either side explains them
    all."""
    modes = [one for one in differences if isinstance(one, ModeDifference)]
    if not _are_by_umask((one.theirs, one.ours) for one in modes):
        return differences
    return [replace(one, cause="umask") if isinstance(one, ModeDifference) else one for one in differences]


def _are_by_umask(pairs: Iterable[tuple[int, int]]) -> bool:
    taken, left = [0, 0], [0, 0]  # of others' permissions, on either side, by any entry
    for pair in pairs:
        asked = _PROGRAM if pair[0] & stat.S_IXUSR else _FILE
        if (pair[0] ^ pair[1]) & ~_OTHERS or pair[0] & stat.S_IRWXU != asked & stat.S_IRWXU:
            return False
        for side, mode in enumerate(pair):
            if mode & _OTHERS & ~asked:
                return False
            taken[side] |= asked & ~mode & _OTHERS
            left[side] |= mode & _OTHERS
    return not any(one & other for one, other in zip(taken, left, strict=True))


def _shown(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}" if mode else "none"
