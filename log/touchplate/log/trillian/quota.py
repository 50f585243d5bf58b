"""How often somebody may call: token buckets, of each user, each tree, and all together.

A personality says in `charge_to` on whose behalf it calls; that is its word. The user of its own token or
certificate is charged beside them.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from touchplate.log.trillian.config import QuotaConfig
from touchplate.log.trillian.errors import QuotaError

BURST_SECONDS = 10
"""What is left over of so many seconds can be used at once."""

MAX_BUCKETS = 10_000
"""Users and trees that are remembered: whoever was not seen for longest is forgotten, with a full bucket."""

MAX_USERS = 16
"""Users that one call can be charged to."""

MAX_USER = 200
"""Characters of a user's name: the names are kept."""

Key = tuple[str, str, bool]
"""What it is of, its name, and whether it is for writing."""


class Quota:
    """All buckets of one server. For one thread."""

    def __init__(self, config: QuotaConfig, now: Callable[[], float]) -> None:
        """`now`: seconds, of a clock that never goes back."""
        self._rates = {
            ("user", False): config.user_read,
            ("user", True): config.user_write,
            ("tree", False): config.tree_read,
            ("tree", True): config.tree_write,
            ("all", False): config.all_read,
            ("all", True): config.all_write,
        }
        self._now = now
        self._buckets: OrderedDict[Key, tuple[float, float]] = OrderedDict()  # (level, when)

    def take(self, tree: int | None, users: Sequence[str], cost: int, *, writes: bool) -> None:
        """Charge a call. Raises QuotaError, and then nothing was charged."""
        wanted = [("all", "", writes)]
        wanted += [] if tree is None else [("tree", str(tree), writes)]
        wanted += [("user", user, writes) for user in dict.fromkeys(users)]
        now, levels = self._now(), {}
        for key in wanted:
            rate = self._rates[key[0], writes]
            if not rate:
                continue
            full = float(rate * BURST_SECONDS)
            level, when = self._buckets.get(key, (full, now))
            level = min(full, level + (now - when) * rate)
            # What costs more than a full bucket is paid off afterwards, else it could never be asked.
            if level < min(cost, full):
                what, name, _ = key
                whose = {"user": f"user {name!r}", "tree": f"tree {name}"}.get(what, "this server")
                raise QuotaError(
                    f"the quota of {whose} is used up: {rate} {'writes' if writes else 'reads'} a second"
                )
            levels[key] = (level - cost, now)
        for key, level_now in levels.items():
            self._buckets[key] = level_now
            self._buckets.move_to_end(key)
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
