"""The errors of `touchplate.base`.

    TouchplateError
    ├── ConfigError            a configuration with mistakes, all of them listed
    ├── StorageError           a file or folder that cannot be written or read
    │   ├── WrongDigestError   the bytes are not those that were asked for
    │   ├── TooLargeError      more bytes than allowed
    │   └── NotStoredError     no file of this digest here
    ├── FetchError             an HTTP exchange that gave no usable answer
    │   ├── BadURLError        not a URL that this client fetches
    │   ├── AddressRefusedError, RedirectRefusedError
    │   ├── FetchTimeoutError, UnreachableError
    │   ├── TruncatedResponseError, ResponseTooLargeError, BadResponseError
    │   └── TokenError         a registry's token service gave no token
    ├── UpstreamError          an upstream whose address cannot be found
    └── ShutdownError          parts that did not stop in order

Each error has a stable kebab-case `reason` for programs; its text is for people: what was being done, the
value, and the remedy. Texts never hold secrets.
"""

from __future__ import annotations

# Characters of a foreign value that an error repeats: enough to recognise it, too few to flood a log.
QUOTE_CHARACTERS = 120


def quote(value: object, limit: int = QUOTE_CHARACTERS) -> str:
    """The `repr` of a value from outside, cut to `limit` characters so that it cannot flood a log line."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def quote_url(url: str) -> str:
    """The same for an address, without its query: stores of files are asked with signed ones, which open the
    file to whoever reads the message."""
    plain, mark, _ = url.partition("?")
    return quote(f"{plain}?…" if mark else plain)


class TouchplateError(Exception):
    """Root of the errors that touchplate raises on purpose; `reason` is stable, the text is not."""

    default_reason = "error"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason if reason is not None else self.default_reason


class ConfigError(TouchplateError):
    """A configuration that cannot be used; `mistakes` lists every one that was found, not only the first."""

    default_reason = "bad-configuration"

    def __init__(self, where: str, mistakes: tuple[str, ...]) -> None:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__(f"{where}: {count}: " + "; ".join(mistakes))
        self.where = where
        self.mistakes = mistakes


class StorageError(TouchplateError):
    """A file or folder could not be written, read or made durable."""

    default_reason = "storage-failed"


class WrongDigestError(StorageError):
    """The bytes have another SHA-256 than the one expected; nothing was stored."""

    default_reason = "wrong-digest"


class TooLargeError(StorageError):
    """More bytes came than allowed; nothing was stored."""

    default_reason = "too-large"


class NotStoredError(StorageError):
    """No file of this digest is held here."""

    default_reason = "not-stored"


class FetchError(TouchplateError):
    """An HTTP exchange failed before a complete answer was there; nothing of it may be used."""

    default_reason = "fetch-failed"


class BadURLError(FetchError):
    """The URL is not one that this client speaks to: other scheme, user name in it, control characters."""

    default_reason = "bad-url"


class AddressRefusedError(FetchError):
    """Every address of the host is private, loopback, link-local or otherwise not public, and none was
    allowed.
    """

    default_reason = "address-refused"


class RedirectRefusedError(FetchError):
    """The server redirects to another host, too often, or in answer to a request that changes something."""

    default_reason = "redirect-refused"


class FetchTimeoutError(FetchError):
    """Connecting, one read, or the whole exchange took longer than the limit."""

    default_reason = "timeout"


class UnreachableError(FetchError):
    """No connection could be made, or it broke before the first byte of an answer."""

    default_reason = "unreachable"


class TruncatedResponseError(FetchError):
    """The body ended before its announced length."""

    default_reason = "truncated-response"


class ResponseTooLargeError(FetchError):
    """The body is larger than the caller allows."""

    default_reason = "response-too-large"


class BadResponseError(FetchError):
    """The answer is not HTTP as this client understands it, or has a body whose end cannot be known."""

    default_reason = "bad-response"


class TokenError(FetchError):
    """A registry's token service gave no token, or is none that may be asked. `status`: what it answered,
    0 when that was not the matter."""

    default_reason = "token"

    def __init__(self, message: str, *, reason: str | None = None, status: int = 0) -> None:
        super().__init__(message, reason=reason)
        self.status = status


class UpstreamError(TouchplateError):
    """The address of an upstream can neither be read from the configuration nor be found on this machine."""

    default_reason = "upstream-unknown"


class ShutdownError(TouchplateError):
    """One or more parts failed to stop, or took longer than their time."""

    default_reason = "unclean-shutdown"
