"""The tables `[[log.raw]]` of a node's configuration: raw trees that are served over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from touchplate.base.bearer import BearerTokens
from touchplate.base.config import Secret
from touchplate.base.errors import ConfigError
from touchplate.log.keys import LogKeys, load_keys
from touchplate.log.sequencer import Limits
from touchplate.log.tokens import MIN_TOKEN, is_token
from touchplate.verify.notes import is_origin


@dataclass(frozen=True)
class RawConfig:
    """One raw tree. It is read by everybody; nobody writes to it unless this says so."""

    tree: int
    """Its id, as `touchplate log tree create` or TrillianAdmin tells it."""
    origin: str
    """Name of this log and of its key: a bare host name, which also stands in its address,
    /log/raw/<origin>."""
    key: Secret
    """Its signing key in signed-note text form, used for nothing else."""
    write: Literal["nobody", "tokens", "everybody"] = "nobody"
    """Who may add leaves over HTTP. "everybody": whoever reaches the port."""
    tokens: tuple[Secret, ...] = ()
    """Bearer tokens of those who may write."""
    limits: Limits = field(default_factory=Limits)

    def check(self) -> list[str]:
        """Mistakes that a single field does not show."""
        found = []
        if not is_origin(self.origin):
            found.append(
                f"origin: {self.origin!r} is not a bare lower-case host name such as 'raw.example.org'"
            )
        if self.write == "tokens" and not self.tokens:
            found.append('tokens: write = "tokens" needs at least one')
        if self.write != "tokens" and self.tokens:
            found.append(f'tokens: say nothing with write = "{self.write}"; write = "tokens" asks for them')
        return found


def check_together(configs: Sequence[RawConfig], origin: str) -> list[str]:
    """Mistakes that one table does not show. `origin`: the name of the log of attestations."""
    found = []
    trees, origins = set[int](), {origin}
    for number, each in enumerate(configs):
        if each.tree in trees:
            found.append(f"raw[{number}].tree: {each.tree} is served under two origins; it has one key")
        if each.origin in origins:
            found.append(f"raw[{number}].origin: {each.origin!r} is another log's; give it a name of its own")
        trees.add(each.tree)
        origins.add(each.origin)
    return found


def read_tokens(config: RawConfig) -> BearerTokens[bool]:
    """Those who may write: all of them are one caller.

    Raises ConfigError when one cannot be read, or could be guessed.
    """
    tokens = [secret.resolve() for secret in config.tokens]
    for number, token in enumerate(tokens):
        if not is_token(token):
            mistake = f"tokens[{number}]: at least {MIN_TOKEN} printable ASCII characters are needed"
            raise ConfigError(f"log.raw {config.origin}", (mistake,))
    return BearerTokens((True, token) for token in tokens)


def read_keys(config: RawConfig) -> LogKeys:
    """The signing key. Raises ConfigError, VerifyError."""
    return load_keys(config.key)


def check_raw_files(configs: Sequence[RawConfig]) -> None:
    """Read what the tables point at. Raises ConfigError, VerifyError."""
    for config in configs:
        read_keys(config)
        read_tokens(config)
