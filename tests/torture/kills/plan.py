"""Which crash points the series of kills aims at, in which kind of log, and how often."""

import random
from collections.abc import Sequence

from tests.torture.kills.lives import CLOSED, RANDOM, SQLITE, STARTING, WITNESSED
from tests.torture.kills.raw import PREORDERED, RAW
from tests.torture.kills.shared import OTHER, POSTGRESQL, SEQUENCER, SERVER, SESSION, WRITER
from tests.torture.kills.tally import Aim
from tests.torture.points import BATCH, SHARED, SIGNED
from tests.torture.points import RAW as RAW_POINTS

KILLS_OF_A_LOG = 20
"""Then a new log begins: recomputing a long one takes longer than the kills."""

_ALONE = (
    *(point.name for point in BATCH),
    "log: batch committed",
    "log's head: temporary file made",
    "log's head: temporary file synced",
    "log's head: renamed",
    "log's head: name of the file synced",
    CLOSED,
)
_WITNESSED = (
    *_ALONE,
    *(point.name for point in SIGNED if "abandoned" not in point.name),
    "log: checkpoint committed",
)
_RAW = (
    *(point.name for point in (*BATCH, *RAW_POINTS) if "written" in point.name),
    "raw tree: batch committed",
    CLOSED,
)
_FIRST = ("database: tree committed", "database: checkpoint committed")
"""Of the very first start of a log, before anything can be acknowledged."""


def _aims(kind: str, steps: Sequence[str], moments: Sequence[str]) -> list[Aim]:
    """Before and after each step, and at the other moments."""
    at = [Aim(kind, step, side) for step in steps for side in ("before", "after")]
    return at + [Aim(kind, moment) for moment in moments]


SQLITE_AIMS = (
    *_aims(SQLITE, _ALONE, (RANDOM, STARTING)),
    *_aims(WITNESSED, _WITNESSED, (RANDOM, STARTING)),
)
RAW_AIMS = tuple(aim for kind in (RAW, PREORDERED) for aim in _aims(kind, _RAW, (RANDOM, STARTING)))
POSTGRESQL_AIMS = tuple(
    _aims(
        POSTGRESQL,
        [point.name for point in SHARED if point.name not in _FIRST],
        (SEQUENCER, OTHER, SERVER, SESSION, WRITER),
    )
)
ALL = (*SQLITE_AIMS, *RAW_AIMS, *POSTGRESQL_AIMS)
"""In the order of the table."""


def once(aims: Sequence[Aim], chooser: random.Random) -> list[Aim]:
    """Each point once, on one of its sides; in any order."""
    sides: dict[tuple[str, str], list[Aim]] = {}
    for aim in aims:
        sides.setdefault((aim.kind, aim.point), []).append(aim)
    found = [chooser.choice(both) for both in sides.values()]
    chooser.shuffle(found)
    return found


def choose(aims: Sequence[Aim], count: int, chooser: random.Random) -> list[Aim]:
    """At least `count` of them, in any order: each once, and half of the rest at no step in particular."""
    if not count:
        return []
    found = list(aims)
    moments = [aim for aim in aims if not aim.side]
    while len(found) < count:
        found.append(chooser.choice(moments if chooser.random() < 0.5 else aims))
    chooser.shuffle(found)
    return found


def split(aims: Sequence[Aim]) -> list[list[Aim]]:
    """The aims of each log: all of one kind."""
    found = []
    for kind in dict.fromkeys(aim.kind for aim in aims):
        mine = [aim for aim in aims if aim.kind == kind]
        found += [mine[at : at + KILLS_OF_A_LOG] for at in range(0, len(mine), KILLS_OF_A_LOG)]
    return found
