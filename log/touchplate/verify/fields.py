"""Taking typed values out of parsed JSON: what is not of the expected shape is refused with its name.

`what` names the value in messages, such as `subject 2 digest`. Every function raises MalformedError.
"""

from collections.abc import Iterable, Mapping

from touchplate.verify.encoding import decode_hex
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.jcs import JSON
from touchplate.verify.names import parse_upstream_uri

DIGEST_BYTES: Mapping[str, int] = {
    "sha256": 32,
    "sha512": 64,
    "sha384": 48,
    "sha1": 20,
    "md5": 16,
}
"""Digests that a check compares, with their sizes; others in a digest set are labels (in-toto digest_set)."""


def take_object(
    value: JSON, what: str, required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, JSON]:
    """An object with all `required` members, perhaps `optional` ones, and no others."""
    members = take_map(value, what)
    if members.keys() == set(required):  # the usual case, and the quick one
        return members
    missing = [key for key in required if key not in members]
    if missing:
        raise MalformedError(f"{what} lacks {', '.join(missing)}")
    unknown = members.keys() - {*required, *optional}
    if unknown:
        raise MalformedError(f"{what} has unknown fields: {shown(sorted(unknown))}")
    return members


def take_map(value: JSON, what: str) -> dict[str, JSON]:
    """An object with any members."""
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is not an object: {shown(value)}")
    return value


def take_texts(value: JSON, what: str, each: str) -> dict[str, str]:
    """An object whose members are strings that are not empty; `each` names one of them, before its key."""
    texts: dict[str, str] = {}
    for key, text in take_map(value, what).items():
        # The message is made only when it is needed: there are several of these objects in each statement.
        texts[key] = text if isinstance(text, str) and text else take_text(text, f"{each} {shown(key)}")
    return texts


def take_list(value: JSON, what: str, *, least: int = 0, most: int | None = None) -> list[JSON]:
    """An array of `least` to `most` items."""
    if not isinstance(value, list):
        raise MalformedError(f"{what} is not an array: {shown(value)}")
    if len(value) < least or (most is not None and len(value) > most):
        limits = f"at least {least}" if most is None else f"{least} to {most}"
        raise MalformedError(f"{what} has {len(value)} items, not {limits}")
    return value


def take_text(value: JSON, what: str) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        raise MalformedError(f"{what} is not a text of one or more characters: {shown(value)}")
    return value


def take_choice(value: JSON, what: str, choices: Iterable[str]) -> str:
    """One of the `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise MalformedError(f"{what} is {shown(value)}, not one of {', '.join(choices)}")
    return value


def take_count(value: JSON, what: str, *, least: int = 0) -> int:
    """A whole number of at least `least`."""
    # bool is an int to Python, not to JSON.
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise MalformedError(f"{what} is not a whole number of at least {least}: {shown(value)}")
    return value


def take_sha256(value: JSON, what: str) -> str:
    """A SHA-256 in lower-case hex."""
    text = take_text(value, what)
    decode_hex(text, 32, what)
    return text


def take_upstream_uri(value: JSON, what: str) -> str:
    """An `upstream:` URI in its one spelling."""
    text = take_text(value, what)
    parse_upstream_uri(text)
    return text


def take_digests(value: JSON, what: str) -> dict[str, str]:
    """A digest set with sha256; each digest of `DIGEST_BYTES` has its size in lower-case hex."""
    digests: dict[str, str] = {}
    for name, digest in take_map(value, what).items():
        digests[name] = take_text(digest, f"{what} {name}")
    if "sha256" not in digests:
        raise MalformedError(f"{what} has no sha256")
    for name, nbytes in DIGEST_BYTES.items():
        if name in digests:
            decode_hex(digests[name], nbytes, f"{what} {name}")
    return digests


def check_same_digests(one: Mapping[str, str], other: Mapping[str, str], what: str) -> None:
    """Check that two digest sets agree wherever both name a digest."""
    for name in sorted(one.keys() & other.keys()):
        if one[name] != other[name]:
            raise MalformedError(f"{what}: {name} {shown(one[name])} differs from {shown(other[name])}")
