"""Who calls, and what he may do: bearer tokens, and the names in clients' certificates."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from touchplate.base.errors import ConfigError
from touchplate.log.trillian.config import TokenConfig, read_token
from touchplate.log.trillian.errors import NotAllowedError, UnauthenticatedError

SCHEME = "bearer "


class Access(IntEnum):
    """What a call needs, and a caller may."""

    READ = 1
    WRITE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `user`: as his token or certificate says, None for nobody in particular."""

    user: str | None
    may: Access


class Gatekeeper:
    """Checks bearer tokens (RFC 6750, in the metadata `authorization`)."""

    def __init__(self, tokens: Sequence[TokenConfig]) -> None:
        """Raises ConfigError."""
        # By digest: how long a look-up takes says nothing about a token.
        self._callers: dict[bytes, Caller] = {}
        for one in tokens:
            caller = Caller(one.user, Access[one.may.upper()])
            other = self._callers.setdefault(_digest(read_token(one)), caller)
            if other is not caller:
                mistake = f"{other.user!r} and {one.user!r} have the same token; give each its own"
                raise ConfigError("log.trillian.tokens", (mistake,))

    @property
    def wants_tokens(self) -> bool:
        """Whether callers need one."""
        return bool(self._callers)

    def admit(self, authorization: str | None, certificate: str | None, needed: Access) -> Caller:
        """The caller of a call that needs `needed`. Without tokens everybody may everything.

        `certificate`: the name in a certificate that was checked. Raises UnauthenticatedError,
        NotAllowedError.
        """
        if not self._callers:
            return Caller(certificate, Access.ADMIN)
        if authorization is None:
            raise UnauthenticatedError('a token is needed: send the metadata "authorization: Bearer …"')
        if authorization[: len(SCHEME)].lower() != SCHEME:
            raise UnauthenticatedError("only bearer tokens are known here")
        caller = self._callers.get(_digest(authorization[len(SCHEME) :].strip()))
        if caller is None:
            raise UnauthenticatedError("this token is not known here")
        if caller.may < needed:
            raise NotAllowedError(
                f"the token of {caller.user!r} may {caller.may.name.lower()}, not {needed.name.lower()}"
            )
        return caller


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
