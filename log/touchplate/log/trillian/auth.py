"""Who calls, and what he may do: bearer tokens, and the names in clients' certificates."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from touchplate.base.bearer import BearerTokens, parse_bearer
from touchplate.base.errors import ConfigError
from touchplate.log.errors import UnauthenticatedError
from touchplate.log.trillian.config import TokenConfig, read_token
from touchplate.log.trillian.errors import NotAllowedError


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
        found: dict[str, Caller] = {}
        for one in tokens:
            caller = Caller(one.user, Access[one.may.upper()])
            if (other := found.setdefault(read_token(one), caller)) is not caller:
                mistake = f"{other.user!r} and {one.user!r} have the same token; give each its own"
                raise ConfigError("log.trillian.tokens", (mistake,))
        self._callers = BearerTokens((caller, token) for token, caller in found.items())

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
        if parse_bearer(authorization) is None:
            raise UnauthenticatedError("only bearer tokens are known here")
        caller = self._callers.find(authorization)
        if caller is None:
            raise UnauthenticatedError("this token is not known here")
        if caller.may < needed:
            raise NotAllowedError(
                f"the token of {caller.user!r} may {caller.may.name.lower()}, not {needed.name.lower()}"
            )
        return caller
