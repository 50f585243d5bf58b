"""The rules of an entry's form written down literally and slowly, each as the format says it.

The readers in `touchplate.verify` take short cuts that need an argument. These take none: everything is made
anew, everything is compared with what it re-encodes to. test_literal.py demands the same verdict of both,
with the same words.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from touchplate.verify import jcs, purl
from touchplate.verify.dsse import MAX_ENVELOPE_BYTES, PAYLOAD_TYPE, Envelope, format_envelope
from touchplate.verify.encoding import decode_base64, decode_hex
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.fields import DIGEST_BYTES, take_map, take_text
from touchplate.verify.jcs import JSON, MAX_DEPTH
from touchplate.verify.names import decode_name
from touchplate.verify.predicates import comparison
from touchplate.verify.purl import ECOSYSTEMS, PackageURL, format_purl
from touchplate.verify.trust import TrustedKey


def parse_json(data: bytes, max_bytes: int) -> JSON:
    """Strict JSON: depth by walking over the text, in every case; a new decoder; every string looked at."""
    if len(data) > max_bytes:
        raise MalformedError(f"json of {len(data)} bytes is longer than {max_bytes}", reason="too-large")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise MalformedError(f"json is not utf-8: {place}") from error
    if text.startswith("\ufeff"):
        raise MalformedError("json starts with a byte order mark; remove it")
    depth = 0
    for match in re.finditer(r'(?s)"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise MalformedError(f"json is nested deeper than {MAX_DEPTH} levels")
    try:
        value: JSON = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=jcs._integer,
            parse_float=jcs._refuse_number,
            parse_constant=jcs._refuse_number,
        )
    except json.JSONDecodeError as error:
        problem = error.msg.lower().removesuffix(" at")
        raise MalformedError(f"json does not parse: {problem} at character {error.pos}") from error
    jcs._check_surrogates(value)
    return value


def _object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    members: dict[str, JSON] = {}
    for key, member in pairs:
        if key in members:
            raise MalformedError(f"json object has the key {shown(key)} twice")
        members[key] = member
    return members


def parse_envelope(data: bytes) -> Envelope:
    """An envelope is what its payload and signature re-encode to."""
    before = b'{"payload":"'
    between = b'","payloadType":"%b","signatures":[{"sig":"' % PAYLOAD_TYPE.encode()
    after = b'"}]}'
    if len(data) > MAX_ENVELOPE_BYTES:
        raise MalformedError("", reason="too-large")
    place = data.find(between)
    if not data.startswith(before) or not data.endswith(after) or place < 0:
        raise MalformedError("")
    payload, signature = data[len(before) : place], data[place + len(between) : -len(after)]
    if b'"' in payload + signature:
        raise MalformedError("")
    envelope = Envelope(
        decode_base64(payload.decode("latin-1"), "envelope payload"),
        decode_base64(signature.decode("latin-1"), "envelope signature"),
    )
    if format_envelope(envelope.payload, envelope.signature) != data:
        raise MalformedError("")
    return envelope


def is_path(text: str) -> bool:
    """No segment is empty, `.` or `..`, and no character is a control one."""
    return re.search("[\x00-\x1f\x7f]", text) is None and all(
        segment not in ("", ".", "..") for segment in text.split("/")
    )


def parse_purl(text: str) -> PackageURL:
    """A package URL is what it re-encodes to."""
    found = _split(text)
    _check(found, text)
    if format_purl(found) != text:
        raise MalformedError(f"purl {shown(text)} is not in its one spelling: {shown(format_purl(found))}")
    return found


def _split(text: str) -> PackageURL:
    if not text.startswith("pkg:"):
        raise MalformedError(f"purl {shown(text)} does not start with pkg:")
    if "#" in text:
        raise MalformedError(f"purl {shown(text)} has a subpath; leave it out")
    path, mark, query = text.removeprefix("pkg:").partition("?")
    first, *parts = path.split("/")
    ecosystem = next((known for known in ECOSYSTEMS if known == first), None)
    if ecosystem is None:
        raise MalformedError(f"purl type {shown(first)} is not one of {', '.join(ECOSYSTEMS)}")
    last, at, version = parts[-1].partition("@") if parts else ("", "", "")
    if not at:
        raise MalformedError(f"purl {shown(text)} has no version")
    names = [decode_name(part) for part in (*parts[:-1], last)]
    if len(names) != (2 if ecosystem == "maven" else 1):
        wanted = "group and artifact" if ecosystem == "maven" else "a name and no namespace"
        raise MalformedError(f"purl {shown(text)} needs {wanted} before the version")
    namespace = names[0] if ecosystem == "maven" else None
    version = decode_name(version)
    return PackageURL(
        ecosystem, namespace, names[-1], version, purl._split_query(query, text) if mark else ()
    )


def _check(found: PackageURL, text: str) -> None:
    keys = [key for key, _ in found.qualifiers]
    unknown = sorted(set(keys) - purl._QUALIFIERS[found.type])
    if unknown:
        raise MalformedError(f"purl {shown(text)} has unknown qualifiers {shown(unknown)}")
    if len(set(keys)) != len(keys):
        raise MalformedError(f"purl {shown(text)} has a qualifier twice")
    names = [found.name, found.version, *([found.namespace] if found.namespace is not None else [])]
    if any(not is_path(name) or "/" in name for name in names):
        raise MalformedError(f"purl {shown(text)} has a name that is empty, relative or holds a slash")
    if any(not is_path(value) for _, value in found.qualifiers):
        raise MalformedError(f"purl {shown(text)} has a qualifier that is empty or relative")
    if any("/" in value for key, value in found.qualifiers if key not in ("file", "repository_url")):
        raise MalformedError(f"purl {shown(text)} has a qualifier with a slash")
    purl._CHECKS[found.type](found, text)


def take_object(value: JSON, what: str, required: Iterable[str], optional: Iterable[str]) -> dict[str, JSON]:
    """All of `required`, perhaps `optional`, nothing else."""
    members = take_map(value, what)
    missing = [key for key in required if key not in members]
    if missing:
        raise MalformedError(f"{what} lacks {', '.join(missing)}")
    unknown = sorted(key for key in members if key not in (*required, *optional))
    if unknown:
        raise MalformedError(f"{what} has unknown fields: {shown(unknown)}")
    return members


def take_texts(value: JSON, what: str, each: str) -> dict[str, str]:
    """Every member a text."""
    return {key: take_text(text, f"{each} {shown(key)}") for key, text in take_map(value, what).items()}


def take_digests(value: JSON, what: str) -> dict[str, str]:
    """Every member a text, sha256 among them, and those of a known size in lower-case hex of that size."""
    digests = {name: take_text(text, f"{what} {name}") for name, text in take_map(value, what).items()}
    if "sha256" not in digests:
        raise MalformedError(f"{what} has no sha256")
    for name in [known for known in DIGEST_BYTES if known in digests]:
        decode_hex(digests[name], DIGEST_BYTES[name], f"{what} {name}")
    return digests


def take_comparison(predicate: dict[str, JSON]) -> dict[str, JSON]:
    """The table of results: what must stand there and what must not."""
    result = comparison._parse_result(predicate.get("result"))
    required = comparison._REQUIRED[result]
    elsewhere = {key for keys in comparison._REQUIRED.values() for key in keys}
    forbidden = sorted(key for key in predicate if key in elsewhere and key not in required)
    if forbidden:
        raise MalformedError(f"a comparison {result} must not have {', '.join(forbidden)}")
    return take_object(predicate, f"comparison {result}", (*comparison._ALWAYS, *required), ())


def find(keys: Iterable[TrustedKey], spki: bytes) -> tuple[Any, ...]:
    """The blocks of a key, by looking at all of them."""
    return tuple(key for key in keys if key.key.spki == spki)
