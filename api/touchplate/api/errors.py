"""What can go wrong in the adapters, in one tree, and the status that answers each.

    APIError
    ├── BadNameError           the request names nothing that can exist
    ├── NotFoundError          well formed, and not there
    │   └── UnknownUpstreamError
    ├── MethodError            a method that does nothing there
    ├── RangeError             a byte range outside the file
    ├── RefusedError           the gate said no (never 404: clients cache that, or fall through)
    │   └── ChangedError       other bytes for a release file than those that were recorded
    ├── PeersOnlyError         for the other peers of the log only; whoever asks may be anybody
    ├── UpstreamError          the upstream is down, lies about lengths, or answers nonsense
    ├── BusyError              over a budget; the client is told when to come back
    ├── NotReadyError          a record or a proof cannot be had just now
    └── SettingsError          a gate rule or an upstream that cannot be used; found at the start

Texts are lower case, one line, and become the detail of a problem answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from touchplate.base.errors import StorageError, TouchplateError
from touchplate.base.status import (
    BAD_GATEWAY,
    BAD_REQUEST,
    BASE_ROWS,
    FORBIDDEN,
    INTERNAL,
    NOT_FOUND,
    OVERLOADED,
    UNAVAILABLE,
    Status,
    StatusTable,
)

if TYPE_CHECKING:
    from touchplate.api.rebuilds import WantedRebuild


class APIError(TouchplateError):
    """Base of all errors of the adapters. `reason` is stable, kebab-case, and part of the HTTP answer."""

    default_reason = "api-error"


class BadNameError(APIError):
    """The request names nothing that can exist: traversal, control characters, empty segments."""

    default_reason = "bad-name"


class NotFoundError(APIError):
    """Well formed, and not there."""

    default_reason = "not-found"


class UnknownUpstreamError(NotFoundError):
    """No upstream of this name is configured; the message lists those that are."""

    default_reason = "unknown-upstream"


class MethodError(APIError):
    """There is something at this path, and this method does nothing with it."""

    default_reason = "method-not-allowed"


class RangeError(APIError):
    """The byte range that was asked for lies outside the file of `size` bytes (RFC 9110 15.5.17)."""

    default_reason = "range-not-satisfiable"

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class RefusedError(APIError):
    """The gate refused a file. `explain` is the path of the page that says why, in prose; `rebuild` a rebuild
    that could lift the refusal, None when none could; `note` what was done about that, for people."""

    default_reason = "refused"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        explain: str = "",
        rebuild: WantedRebuild | None = None,
        note: str = "",
    ) -> None:
        super().__init__(message, reason=reason)
        self.explain = explain
        self.rebuild = rebuild
        self.note = note


class ChangedError(RefusedError):
    """The bytes of a release file differ from those that the log recorded first.

    Refused whatever the policy says: either the upstream or somebody between it and us rewrote history.
    """

    default_reason = "upstream-changed"


class PeersOnlyError(APIError):
    """Only other peers of the log are answered here, and whoever asks has not shown that it is one."""

    default_reason = "not-a-peer"


class UpstreamError(APIError):
    """The upstream cannot be used for this request: down, cut short, or lying about what it sends."""

    default_reason = "upstream-unreachable"


class BusyError(APIError):
    """A budget is used up. `retry_after` is in whole seconds, at least 1."""

    default_reason = "busy"

    def __init__(self, message: str, *, retry_after: float, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.retry_after = max(1, int(retry_after + 0.999))


class NotReadyError(APIError):
    """A record could not be put into the log, or a proof not be made, just now. Nothing is served instead."""

    default_reason = "log-unavailable"


class SettingsError(APIError):
    """A rule of the gate or an upstream that cannot be used; found when the process starts."""

    default_reason = "bad-configuration"


STATUS = StatusTable(BASE_ROWS).extended(
    {
        BadNameError: BAD_REQUEST,
        NotFoundError: NOT_FOUND,
        MethodError: Status(405, BAD_REQUEST.grpc),
        RangeError: Status(416, BAD_REQUEST.grpc),
        RefusedError: FORBIDDEN,
        PeersOnlyError: FORBIDDEN,
        UpstreamError: BAD_GATEWAY,
        BusyError: OVERLOADED,
        NotReadyError: UNAVAILABLE,
        APIError: INTERNAL,
        StorageError: UNAVAILABLE,
    }
)
"""The status of every error that a request can run into; an error that nobody foresaw is a 500 with an id."""
