"""The table `[witness]`: who this witness is, and which logs it follows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from touchplate.base.config import Secret
from touchplate.log.errors import CheckpointError
from touchplate.log.witness.requests import MAX_ORIGIN_BYTES
from touchplate.verify.errors import MalformedError
from touchplate.verify.notes import NoteKey, NoteSigner, parse_signer_key, parse_verifier_key

MAX_LOGS = 10_000
"""Logs of one witness: the largest public list has hundreds; one takes a kilobyte of memory."""


@dataclass(frozen=True)
class WitnessedLog:
    """A log whose heads are cosigned."""

    keys: tuple[str, ...]
    """Its public keys in note form; a head needs a good signature of one of them, and a bad one of none."""
    origin: str | None = None
    """The first line of its checkpoints; absent: the name of its keys."""

    def check(self) -> list[str]:
        """The form of keys and origin."""
        if not self.keys:
            return ['keys: name at least one public key of the log, "NAME+ID+KEY"']
        found, names = [], set()
        for text in self.keys:
            try:
                key = parse_verifier_key(text)
            except MalformedError as error:
                found.append(f"keys: {error}")
                continue
            names.add(key.name)
            if key.role != "log":
                found.append(f"keys: {key} is a {key.role} key, not a log key")
        if self.origin is None and len(names) > 1:
            found.append("keys: they have different names; write the origin of the log, too")
        if self.origin is not None and not 1 <= len(self.origin.encode()) <= MAX_ORIGIN_BYTES:
            found.append(f"origin: write 1 to {MAX_ORIGIN_BYTES} bytes")
        return found

    @property
    def parsed(self) -> tuple[NoteKey, ...]:
        """The keys, parsed, each once."""
        return tuple(dict.fromkeys(parse_verifier_key(text) for text in self.keys))

    @property
    def named(self) -> str:
        """The origin."""
        return self.origin if self.origin is not None else parse_verifier_key(self.keys[0]).name


@dataclass(frozen=True)
class WitnessConfig:
    """A witness."""

    keys: tuple[Secret, ...]
    """Its cosigner keys, of one name: Ed25519, ML-DSA-44, or one of each; every head is signed by all."""
    log: tuple[WitnessedLog, ...] = ()

    def check(self) -> list[str]:
        """What concerns several fields."""
        found = []
        if not 1 <= len(self.keys) <= 2:
            found.append("keys: name one cosigner key, or one Ed25519 and one ML-DSA-44 key")
        if not 1 <= len(self.log) <= MAX_LOGS:
            found.append(f"log: name 1 to {MAX_LOGS} logs, each in a table [[witness.log]]")
        times = Counter(log.named for log in self.log)
        found += [
            f"log: the origin {origin!r} stands there twice; give all its keys in one table"
            for origin in sorted(each for each, count in times.items() if count > 1)
        ]
        return found


def load_signers(config: WitnessConfig) -> list[NoteSigner]:
    """The witness's keys. Raises ConfigError, MalformedError, CheckpointError for keys that do not fit."""
    signers = [parse_signer_key(secret.resolve()) for secret in config.keys]
    for signer in signers:
        if signer.key.role != "cosigner":
            raise CheckpointError(
                f"the key {signer.key} is a {signer.key.role} key, not a cosigner key; make one with"
                " touchplate keygen --for cosigner"
            )
    if len({signer.key.name for signer in signers}) > 1:
        raise CheckpointError("the keys of a witness have one name")
    if len({signer.key.type for signer in signers}) < len(signers):
        raise CheckpointError("a witness has one key of each algorithm at most")
    return signers
