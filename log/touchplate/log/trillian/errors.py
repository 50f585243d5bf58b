"""What only Trillian's interface raises, and the gRPC status of every error: one table for all faces."""

from touchplate.base.status import (
    FORBIDDEN,
    TOO_MANY,
    UNIMPLEMENTED,
    GRPCCode,
)
from touchplate.log.errors import STATUS as LOG_STATUS
from touchplate.log.errors import BusyError, LogError
from touchplate.verify.errors import VerifyError

MAX_DETAIL = 1_000
"""Characters of an error's text that travel: they go into a header, of which clients take 8 KiB."""


class NotAllowedError(LogError):
    """The caller may not do this."""

    default_reason = "not-allowed"


class QuotaError(BusyError):
    """Somebody asked more often than the configuration allows."""

    default_reason = "quota"


class UnsupportedError(LogError):
    """This tree cannot answer such a question."""

    default_reason = "unsupported"


STATUS = LOG_STATUS.extended(
    {
        NotAllowedError: FORBIDDEN,
        QuotaError: TOO_MANY,
        UnsupportedError: UNIMPLEMENTED,
    }
)


def answer(error: Exception) -> tuple[GRPCCode, str]:
    """Code and text that a client gets. What nobody foresaw tells nothing about itself."""
    code = STATUS.status(error).grpc
    if code is GRPCCode.INTERNAL and not isinstance(error, LogError | VerifyError):
        return code, "an internal error; the server's log has it"
    return code, str(error)[:MAX_DETAIL]
