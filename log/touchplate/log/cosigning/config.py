"""The table `[log.witness]`: whose cosignatures this log's checkpoints need before they are published."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from touchplate.base.config import Duration
from touchplate.base.connections import parse_origin
from touchplate.base.errors import BadURLError
from touchplate.log.errors import CheckpointError
from touchplate.verify.errors import PolicyError
from touchplate.verify.notes import MAX_SIGNATURE_LINES, NoteKey
from touchplate.verify.policy import MAX_POLICY_BYTES, Policy, Witness, parse_policy
from touchplate.verify.reading import read_at_most

REFRESH = Duration(3600)
"""Seconds between two cosignatures of a head that does not grow: readers who demand an age think in days."""

MAX_SECONDS = 120
"""The longest time that one question may take: as long as the slowest round of a public witness network."""


@dataclass(frozen=True)
class WitnessesConfig:
    """Which witnesses are asked, and when their answers are enough."""

    policy: Path
    """A C2SP tlog-policy: this log's key, the witnesses with the URLs where they are asked, the quorum."""
    timeout: Duration = field(default=Duration(10))
    """For one question to one witness, from connection to last byte."""
    refresh: Duration = field(default=REFRESH)
    """How often a head that does not grow is cosigned again, so that it does not look old."""

    def check(self) -> list[str]:
        """The range of the times."""
        found = []
        if not 1 <= self.timeout <= MAX_SECONDS:
            found.append(f'timeout: write "1s" to "{MAX_SECONDS}s"')
        if self.refresh < 1:
            found.append('refresh: write at least "1s"')
        return found


@dataclass(frozen=True)
class Asked:
    """One witness as it is asked: a URL, and the lines of the policy whose keys answer there."""

    url: str
    witnesses: tuple[Witness, ...]


def load_policy(config: WitnessesConfig, key: NoteKey) -> tuple[Policy, list[Asked]]:
    """The policy, and who is to be asked.

    Raises OSError, PolicyError (`policy`), and CheckpointError when this log's `key` is not in it, its quorum
    could never be reached, or all cosignatures together would not fit into a note.
    """
    try:
        text = read_at_most(config.policy, MAX_POLICY_BYTES).decode()
    except UnicodeDecodeError as error:
        raise PolicyError(f"{config.policy} is not UTF-8: byte {error.start}") from None
    policy = parse_policy(text)
    if key not in [log.key for log in policy.logs]:
        raise CheckpointError(f"{config.policy} has no log line with this log's own key, {key}")
    by_url: dict[str, list[Witness]] = {}
    for witness in policy.witnesses:
        if witness.url is not None:
            by_url.setdefault(_checked(witness.url), []).append(witness)
    asked = [Asked(url, tuple(witnesses)) for url, witnesses in by_url.items()]
    if not policy.is_satisfied([witness.name for each in asked for witness in each.witnesses]):
        raise CheckpointError(
            f"{config.policy}: the quorum {policy.quorum!r} needs witnesses without a URL, which cannot be"
            " asked: write the URL at the end of the witness's line"
        )
    most = MAX_SIGNATURE_LINES - 1  # one is the log's own
    if (count := sum(len(each.witnesses) for each in asked)) > most:
        raise CheckpointError(
            f"{config.policy} names {count} keys of witnesses that are asked, and a checkpoint has room for"
            f" {most}: leave the URLs of some out"
        )
    return policy, asked


def _checked(url: str) -> str:
    try:
        _, target = parse_origin(url)
    except BadURLError as error:
        raise PolicyError(f"a witness's URL: {error}; write http:// or https://, host and path") from error
    if "?" in target:
        raise PolicyError(f"{url!r} is no URL of a witness: write http:// or https://, host and path")
    return url.rstrip("/")
