"""Names of upstream files, operators and builders: each has one spelling, compared byte for byte.

Name format 1. Two spellings of one name would let one operator count twice, or a fact miss its package.
"""

import re
from functools import lru_cache

from touchplate.verify.errors import MalformedError, shown

BACKENDS = ("bubblewrap", "gvisor", "runc")
"""Isolations that a builder id may name; a build under anything less is not signed."""

RECENT_BUILDERS = 256
"""Parsed builder ids that are remembered: a log has few, and each of its provenances names one. Hostile ones
fill 32 MiB at most: an envelope holds less than 64 KiB of such a text, and its operator is kept beside it."""

_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_~:"
_PLAIN_OR_SLASH = _PLAIN + b"/"
# Patterns are compiled on use, and then kept by `re`: compiling takes most of the time of importing a module.
_PERCENT = rb"%([0-9A-Fa-f]{2})"
_CONTROL = "[\x00-\x1f\x7f]"

_HOST = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
_OPERATOR = rf"https://{_HOST}(?::[1-9][0-9]{{0,4}})?(?:/[A-Za-z0-9._~!$&'()*+,;=:-]+)*"
_BUILDER = "(.+)/touchplate/([a-z0-9-]+)/v1"


def encode_name(text: str, *, slash: bool = False) -> str:
    """`text` with every byte but `A-Z a-z 0-9 . - _ ~ :` (and `/` where `slash`) as upper-case `%XX`.

    Raises MalformedError for a lone surrogate.
    """
    plain = _PLAIN_OR_SLASH if slash else _PLAIN
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedError(f"name {shown(text)} holds a lone surrogate") from error
    if not data.translate(None, plain):  # nearly every name: nothing is left without the plain bytes
        return text
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in data)


def decode_name(text: str) -> str:
    """The inverse of `encode_name`, tolerant of other spellings: callers re-encode and compare.

    Raises MalformedError when the result is not UTF-8.
    """
    if "%" not in text and text.isascii():
        return text
    try:
        data = text.encode("utf-8")
        return re.sub(_PERCENT, lambda match: bytes.fromhex(match[1].decode("ascii")), data).decode("utf-8")
    except UnicodeError as error:
        raise MalformedError(f"name {shown(text)} is not utf-8 after decoding") from error


def is_path(text: str) -> bool:
    """Whether `text` is a relative path without empty, `.` and `..` segments and control characters."""
    segments = text.split("/")
    return not ("" in segments or "." in segments or ".." in segments or _has_control(text))


def _has_control(text: str) -> bool:
    # No control character is printable to Python, so text that is printable holds none. Nearly all is.
    return not text.isprintable() and re.search(_CONTROL, text) is not None


def parse_upstream_uri(text: str) -> tuple[str, str]:
    """(identity, path) of `upstream:<identity>/<path>`, both decoded. Raises MalformedError.

    Never the host of a mirror: operators behind different mirrors write the same.
    """
    identity, slash, path = text.removeprefix("upstream:").partition("/")
    if not text.startswith("upstream:") or not slash:
        raise MalformedError(f"uri {shown(text)} is not of the form upstream:<identity>/<path>")
    decoded = decode_name(identity), decode_name(path)
    spelling = format_upstream_uri(*decoded)
    if spelling != text:
        raise MalformedError(f"uri {shown(text)} is not in its one spelling: {shown(spelling)}")
    return decoded


def format_upstream_uri(identity: str, path: str) -> str:
    """`upstream:<identity>/<path>`, the path without leading slash.

    Raises MalformedError for an empty identity and for empty, `.` or `..` segments.
    """
    uri = f"upstream:{encode_name(identity)}/{encode_name(path, slash=True)}"
    if not is_path(identity) or not is_path(path):
        raise MalformedError(f"uri {shown(uri)} has an empty or relative part")
    return uri


def check_operator(text: str) -> None:
    """Check that `text` is `https://` host [`:port`] [path] and nothing else. Raises MalformedError."""
    segments = text.split("/")[3:]
    if re.fullmatch(_OPERATOR, text) is None or "." in segments or ".." in segments:
        raise MalformedError(
            f"operator {shown(text)} is not https://host[:port][/path], in lower case, no slash at the end"
        )


@lru_cache(RECENT_BUILDERS)
def parse_builder(text: str) -> tuple[str, str]:
    """(operator, backend) of a builder id `<operator>/touchplate/<backend>/v1`. Raises MalformedError."""
    match = re.fullmatch(_BUILDER, text)
    if match is None or match[2] not in BACKENDS:
        raise MalformedError(f"builder {shown(text)} is not <operator>/touchplate/<{'|'.join(BACKENDS)}>/v1")
    check_operator(match[1])
    return match[1], match[2]


def format_builder(operator: str, backend: str) -> str:
    """The builder id of an operator's workers under one backend. Raises MalformedError."""
    builder = f"{operator}/touchplate/{backend}/v1"
    parse_builder(builder)
    return builder
