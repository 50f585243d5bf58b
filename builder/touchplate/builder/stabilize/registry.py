"""All stabilizers in their order of application, and the shortest list of them that makes two files equal.

A name with its version stands in signed statements and in trust files for ever: what `tar-times@1` does never
changes; another behaviour is another version beside it. Every step is a pure function of bytes, and giving it
its own output changes nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from touchplate.builder.errors import StabilizeError
from touchplate.builder.stabilize.gzip import neutralise_header
from touchplate.builder.stabilize.tar import drop_owners, drop_times
from touchplate.builder.stabilize.zip import STEPS as ZIP_STEPS

MAX_ALLOWED = 6
"""Stabilizers that one comparison tries: all 63 choices of them are tried on bytes that may be many."""


@dataclass(frozen=True)
class Stabilizer:
    """One step. `apply` raises StabilizeError for bytes that are not of its kind."""

    name: str
    """`name@version`, as in statements and trust files."""
    apply: Callable[[bytes], bytes]


STABILIZERS = (
    Stabilizer("gzip-header@1", neutralise_header),
    Stabilizer("tar-times@1", drop_times),
    Stabilizer("tar-owners@1", drop_owners),
    *(Stabilizer(name, apply) for name, apply in ZIP_STEPS),
)
"""In order of application: what lies outside comes first."""

JAR_STABILIZERS = tuple(name for name, _ in ZIP_STEPS)
"""Those that a zip or a jar can be made equal by."""


@dataclass(frozen=True)
class Stabilized:
    """Two files made equal: by which steps, in order of application, and the sha256 that both then have."""

    stabilizers: tuple[str, ...]
    sha256: str


def stabilize(data: bytes, names: Sequence[str]) -> bytes:
    """`data` after the named steps, in that order. Raises StabilizeError; KeyError for unknown names."""
    known = {one.name: one.apply for one in STABILIZERS}
    for name in names:
        data = known[name](data)
    return data


def find_shortest(published: bytes, rebuilt: bytes, allowed: Sequence[str]) -> Stabilized | None:
    """The shortest list of `allowed` steps that makes both files equal; None when none does.

    Of two lists of one length the one that begins earlier in the registry is taken, so that all rebuilders
    give the same.
    """
    assert len(allowed) <= MAX_ALLOWED
    assert set(allowed) <= {one.name for one in STABILIZERS}
    ordered = [one.name for one in STABILIZERS if one.name in allowed]
    if _differ_after(published, rebuilt, ordered):
        return None
    for count in range(1, len(ordered) + 1):
        for names in combinations(ordered, count):
            made = _stabilize_both(published, rebuilt, names)
            if made is not None and made[0] == made[1]:
                return Stabilized(names, hashlib.sha256(made[0]).hexdigest())
    return None


def _differ_after(published: bytes, rebuilt: bytes, names: Sequence[str]) -> bool:
    """Whether no choice of `names` can help: all of them apply, and leave a difference.

    Steps that apply together commute, and equal bytes stay equal under them. So what is left after all of
    them is left after fewer, and a large jar that differs is not unpacked 31 times to find that out.
    """
    made = _stabilize_both(published, rebuilt, names)
    return made is not None and made[0] != made[1]


def _stabilize_both(published: bytes, rebuilt: bytes, names: Sequence[str]) -> tuple[bytes, bytes] | None:
    """Both after the named steps; None when one of them does not apply."""
    try:
        return stabilize(published, names), stabilize(rebuilt, names)
    except StabilizeError:  # not of this kind, damaged, or too much
        return None
