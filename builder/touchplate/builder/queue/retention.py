"""For how long jobs are kept after their end. No database here.

What is open is kept, always, and so is what is signed and not yet in the log, since that is open. What has
ended loses first what is large (its live output; its statements, once the log has them), later its row.
"""

from dataclasses import dataclass

from touchplate.builder.queue.jobs import CLOSED, BadJobError, State

HOUR = 3600
DAY = 24 * HOUR

FULL_SECONDS = 7 * DAY
"""How long the live output of a job that ended is kept, and the statements of one that is done: the build log
is evidence, and the statements are in the log."""

LEAST_SECONDS = DAY
"""The least that a configuration may keep: no request opens a job again that ended less than a day ago."""

LEAST_BY_HAND_SECONDS = HOUR
"""The least that a person may: requests are counted by the jobs that they made within the hour, and whoever
follows a job has seen its end by then."""

MOST_SECONDS = 36_500 * DAY
"""A hundred years: for ever."""


@dataclass(frozen=True)
class Retention:
    """Seconds after its end for which a job is kept."""

    ended: int = 365 * DAY
    """Of one that is done or was cancelled. As long as a job that is done is kept, `jobs add --folder` and
    requests know that it was made, and make it no second time."""
    failed: int = 730 * DAY
    """Of one that failed: a dead letter, which a person should have looked at."""

    def seconds(self, state: State) -> int:
        """Of a job in this state, one of CLOSED."""
        assert state in CLOSED, state
        return self.failed if state == "failed" else self.ended


@dataclass(frozen=True)
class Wanted:
    """Jobs that a person wants to have deleted. `older`: seconds since their end; None: as configured."""

    older: int | None = None
    states: tuple[State, ...] = ()
    """Of these, of CLOSED; none: all of those, but with `older` not such as failed."""

    def __post_init__(self) -> None:
        """Raises BadJobError."""
        if wrong := [one for one in self.states if one not in CLOSED]:
            raise BadJobError(f"{wrong[0]!r}: write states of jobs that ended, of {', '.join(CLOSED)}")
        if self.older is not None and not LEAST_BY_HAND_SECONDS <= self.older <= MOST_SECONDS:
            least, most = format_span(LEAST_BY_HAND_SECONDS), format_span(MOST_SECONDS)
            raise BadJobError(f"older: write a time from {least} to {most}")

    def spans(self, retention: Retention) -> dict[State, int]:
        """Seconds after their end, by state, after which jobs go."""
        default = CLOSED if self.older is None else tuple(one for one in CLOSED if one != "failed")
        return {
            state: retention.seconds(state) if self.older is None else self.older
            for state in CLOSED
            if state in (self.states or default)
        }


def format_span(seconds: int) -> str:
    """In days, or in hours when it is none: "365 days", "1 hour"."""
    count, unit = (seconds // DAY, "day") if seconds >= DAY else (seconds // HOUR, "hour")
    return f"{count} {unit}{'' if count == 1 else 's'}"
