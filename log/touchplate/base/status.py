"""One table from errors to HTTP status and gRPC code: the same error, the same answer, on every face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from touchplate.base import errors


class GRPCCode(IntEnum):
    """The status codes of gRPC, by number, so that nothing but the Trillian face needs the grpc library."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True)
class Status:
    """What a client is told: an HTTP status (RFC 9110 section 15) and the gRPC code that means the same."""

    http: int
    grpc: GRPCCode


BAD_REQUEST = Status(400, GRPCCode.INVALID_ARGUMENT)
UNAUTHENTICATED = Status(401, GRPCCode.UNAUTHENTICATED)
FORBIDDEN = Status(403, GRPCCode.PERMISSION_DENIED)
NOT_FOUND = Status(404, GRPCCode.NOT_FOUND)
REQUEST_TIMEOUT = Status(408, GRPCCode.DEADLINE_EXCEEDED)
CONFLICT = Status(409, GRPCCode.ABORTED)
ALREADY_EXISTS = Status(409, GRPCCode.ALREADY_EXISTS)
PRECONDITION = Status(409, GRPCCode.FAILED_PRECONDITION)
GONE = Status(410, GRPCCode.NOT_FOUND)
TOO_LARGE = Status(413, GRPCCode.INVALID_ARGUMENT)
UNPROCESSABLE = Status(422, GRPCCode.FAILED_PRECONDITION)
TOO_MANY = Status(429, GRPCCode.RESOURCE_EXHAUSTED)
INTERNAL = Status(500, GRPCCode.INTERNAL)
UNIMPLEMENTED = Status(501, GRPCCode.UNIMPLEMENTED)
BAD_GATEWAY = Status(502, GRPCCode.UNAVAILABLE)
UNAVAILABLE = Status(503, GRPCCode.UNAVAILABLE)
OVERLOADED = Status(503, GRPCCode.RESOURCE_EXHAUSTED)
ABORTED = Status(503, GRPCCode.ABORTED)
GATEWAY_TIMEOUT = Status(504, GRPCCode.DEADLINE_EXCEEDED)
NO_ROOM = Status(507, GRPCCode.RESOURCE_EXHAUSTED)
"""Insufficient Storage (RFC 4918 11.5)."""

# How the errors of this room are answered when a request ran into them. Parts add their own rows with
# `extended`.
BASE_ROWS: Mapping[type[BaseException] | str, Status] = MappingProxyType(
    {
        errors.NotStoredError: NOT_FOUND,
        errors.TooLargeError: TOO_LARGE,
        errors.WrongDigestError: BAD_REQUEST,
        errors.FetchTimeoutError: GATEWAY_TIMEOUT,
        errors.FetchError: BAD_GATEWAY,
    }
)


class StatusTable:
    """Finds the status of an error: by its `reason` first, then by its class and that class's bases.

    Whatever stands in no row is INTERNAL (500): an error that nobody foresaw must not look like the client's
    fault.
    """

    def __init__(self, rows: Mapping[type[BaseException] | str, Status] = BASE_ROWS) -> None:
        self._rows = dict(rows)

    def status(self, error: BaseException) -> Status:
        """The status that answers `error`."""
        reason = getattr(error, "reason", None)
        if isinstance(reason, str) and reason in self._rows:
            return self._rows[reason]
        for base in type(error).__mro__:
            if base in self._rows:
                return self._rows[base]
        return INTERNAL

    def extended(self, rows: Mapping[type[BaseException] | str, Status]) -> StatusTable:
        """A new table with further rows; a row that is there already with another status is a mistake
        (ValueError).
        """
        for key, status in rows.items():
            if self._rows.get(key, status) != status:
                raise ValueError(f"{key!r} has status {self._rows[key]} already; one error has one status")
        return StatusTable({**self._rows, **rows})
