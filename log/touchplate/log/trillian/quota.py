"""How often somebody may call: token buckets, of each caller, each user, each tree, and all together.

A personality says in `charge_to` on whose behalf it calls; that is its word. So the users that are named so
have buckets of their own: naming the user of somebody else's token or certificate takes nothing from him.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from touchplate.log.trillian.config import QuotaConfig
from touchplate.log.trillian.errors import QuotaError

BURST_SECONDS = 10
"""What is left over of so many seconds can be used at once."""

MAX_BUCKETS = 10_000
"""Users, or trees, that are remembered. Only who has a full bucket again is forgotten, else whoever has used
up his could make room for a new one by inventing names; those for whom there is no room share one bucket."""

MAX_USERS = 16
"""Users that one call can be charged to."""

MAX_USER = 200
"""Characters of a user's name: the names are kept."""

STRANGERS = ""
"""Name of the bucket of all for whom there is no room."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call costs, and whom. `caller`: the user of its token or certificate; `users`: as it says."""

    cost: int
    writes: bool
    tree: int | None = None
    caller: str | None = None
    users: Sequence[str] = ()


class Buckets:
    """Those of one kind, such as the users that write. `rate`: what each gets in a second; 0: no limit."""

    def __init__(self, whose: str, rate: int) -> None:
        self.rate = rate
        self.full = float(rate * BURST_SECONDS)
        self._whose = whose
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # (level, when)

    def __len__(self) -> int:
        return len(self._levels)

    def look(self, name: str, now: float) -> tuple[str, float]:
        """The name of the bucket that is there for `name`, and its level."""
        if name not in self._levels and len(self._levels) >= MAX_BUCKETS:
            name = STRANGERS
        return name, self._level(name, now)

    def put(self, name: str, level: float, now: float) -> None:
        """Set a level, and forget some of those that are full."""
        self._levels[name] = (level, now)
        self._levels.move_to_end(name)
        for other in list(islice(self._levels, 2)):  # more than come in
            if self._level(other, now) >= self.full:
                del self._levels[other]
            else:
                self._levels.move_to_end(other)

    def owner(self, name: str) -> str:
        """Whose bucket it is, for a message."""
        return self._whose.format(name)

    def _level(self, name: str, now: float) -> float:
        level, when = self._levels.get(name, (self.full, now))
        return min(self.full, level + (now - when) * self.rate)


class Quota:
    """All buckets of one server. For one thread."""

    def __init__(self, config: QuotaConfig, now: Callable[[], float]) -> None:
        """`now`: seconds, of a clock that never goes back."""
        self._now = now
        self._all = _pair("this server", config.all_read, config.all_write)
        self._trees = _pair("tree {}", config.tree_read, config.tree_write)
        self._callers = _pair("user {!r}", config.user_read, config.user_write)
        self._users = _pair("user {!r}", config.user_read, config.user_write)

    def take(self, charge: Charge) -> None:
        """Charge a call. Raises QuotaError, and then nothing was charged."""
        now = self._now()
        levels = []
        for buckets, name in self._wanted(charge):
            if not buckets.rate:
                continue
            key, level = buckets.look(name, now)
            # What costs more than a full bucket is paid off afterwards, else it could never be asked.
            if level < min(charge.cost, buckets.full):
                what = "writes" if charge.writes else "reads"
                raise QuotaError(
                    f"the quota of {buckets.owner(name)} is used up: {buckets.rate} {what} a second"
                )
            levels.append((buckets, key, level - charge.cost))
        for buckets, key, level in levels:
            buckets.put(key, level, now)

    def _wanted(self, charge: Charge) -> list[tuple[Buckets, str]]:
        kind = charge.writes
        wanted = [(self._all[kind], STRANGERS)]
        if charge.tree is not None:
            wanted.append((self._trees[kind], str(charge.tree)))
        if charge.caller is not None:
            wanted.append((self._callers[kind], charge.caller))
        return wanted + [(self._users[kind], user) for user in dict.fromkeys(charge.users)]


def _pair(whose: str, read: int, write: int) -> tuple[Buckets, Buckets]:
    """Of readers, and of writers."""
    return Buckets(whose, read), Buckets(whose, write)
