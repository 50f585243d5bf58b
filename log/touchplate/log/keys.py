"""The keys with which a log signs: one, and for a while the one that it replaces.

A log key is replaced in the open: for an overlap period every checkpoint carries the signature lines of both
keys, so readers who know either go on, and a head that they remembered then is signed by both, too. From its
end on the old key signs nothing; what it signed before stays what it was.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from touchplate.base.config import Secret
from touchplate.verify.encoding import parse_time
from touchplate.verify.errors import MalformedError
from touchplate.verify.notes import NoteKey, NoteSigner, format_verifier_key, parse_signer_key
from touchplate.verify.policy import Policy, parse_policy

NOT_RETIRING = (
    "not with [log.witness]: an outside witness knows one log key per origin, and heads are put to it under"
    " one"
)
"""Why a log that asks witnesses has no second key."""


@dataclass(frozen=True)
class RetiringConfig:
    """The table `[log.retiring]`: the key that was the log's before."""

    key: Secret
    """Its private key."""
    until: str
    """When it stops signing, as "YYYY-MM-DDThh:mm:ssZ"."""

    def check(self) -> list[str]:
        """Mistakes that a single field does not show."""
        try:
            parse_time(self.until, "until")
        except MalformedError as error:
            return [str(error)]
        return []


@dataclass(frozen=True)
class LogKeys:
    """`signer`: the log's key. `retiring`: its predecessor, which also signs before `until` (unix
    seconds)."""

    signer: NoteSigner
    retiring: NoteSigner | None = None
    until: int = 0
    now: Callable[[], float] = time.time

    @property
    def known(self) -> list[NoteKey]:
        """Every key under which a checkpoint is this log's own, the newest first."""
        return [self.signer.key, *([] if self.retiring is None else [self.retiring.key])]

    @property
    def signers(self) -> list[NoteSigner]:
        """Those that sign now."""
        if self.retiring is None or self.now() >= self.until:
            return [self.signer]
        return [self.signer, self.retiring]

    def policy(self) -> Policy:
        """The log's own view of its checkpoints: signed by any of its keys, and that is enough."""
        lines = [f"log {format_verifier_key(key)}\n" for key in self.known]
        return parse_policy("".join(lines) + "quorum none\n")


def load_keys(key: Secret, retiring: RetiringConfig | None = None) -> LogKeys:
    """The keys that a configuration names. Raises ConfigError (secret), VerifyError (form), MalformedError
    when both are one key or of two origins."""
    signer = parse_signer_key(key.resolve())
    if retiring is None:
        return LogKeys(signer)
    old = parse_signer_key(retiring.key.resolve())
    if old.key == signer.key:
        raise MalformedError(f"the key {signer.key} is to retire and to go on: give the new one as `key`")
    if old.key.name != signer.key.name:
        raise MalformedError(
            f"the keys {old.key} and {signer.key} are of two origins: a log keeps its origin"
        )
    return LogKeys(signer, old, parse_time(retiring.until, "until"))
