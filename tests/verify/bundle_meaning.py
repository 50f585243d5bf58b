"""What a proof bundle says, and the few changes that leave it as it was, each with its reason.

An accepted mutant whose meaning is another one is a hole in the check. Read with the standard library only.
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

INSIGNIFICANT = {
    "white space between tokens, and how a character is escaped": "JSON's own freedom; values stay",
    "the order of the members of an object": "JSON's own freedom; each is there once",
    "artifact.name": "a label for people, compared with nothing (bundle format 6)",
    "artifact.package": "a label: the package asked for comes from the asker (bundle format 6)",
    "right digests beside artifact.digest.sha256": "each is compared with the file; sha256 is demanded",
    "signature lines of unknown keys": "passed over, so that a log can gain cosigners (signed-note)",
    "tlogEntries of unknown log keys": "passed over, so that a bundle outlives a retired log key",
    "all but one of the tlogEntries": "they differ in logId only; the checkpoint has the signatures",
}
"""What may change, and why that is harmless."""


class _TwiceError(Exception):
    """An object has a key twice, so that two readers read two bundles."""


def meaning(data: bytes, file: bytes, log_keys: Mapping[str, str]) -> Any:
    """What the bundle `data` says about `file`, without what is insignificant; None for what says nothing.

    `log_keys`: the known ones, name+id to their log ids in base64.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_members)
    except (ValueError, RecursionError, _TwiceError):
        return None
    if not isinstance(value, dict):
        return None
    artifact = value.get("artifact")
    if isinstance(artifact, dict):
        artifact["name"] = artifact["package"] = "a label"
        digests = artifact.get("digest")
        if isinstance(digests, dict):
            for name in ("sha512", "sha384", "sha1", "md5"):
                if digests.get(name) == hashlib.new(name, file).hexdigest():
                    del digests[name]
    if isinstance(value.get("checkpoint"), str):
        value["checkpoint"] = _note(value["checkpoint"], log_keys)
    material = value.get("verificationMaterial")
    if isinstance(material, dict) and isinstance(material.get("tlogEntries"), list):
        material["tlogEntries"] = _elements(material["tlogEntries"], log_keys)
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _TwiceError
    return members


def _note(note: str, log_keys: Mapping[str, str]) -> str:
    text, separator, lines = note.rpartition("\n\n")
    return text + separator + "\n".join(line for line in lines.split("\n") if _signer(line) in log_keys)


def _signer(line: str) -> str:
    try:
        _, name, signature = line.split(" ")
        return f"{name}+{b64decode(signature, validate=True)[:4].hex()}"
    except ValueError:
        return ""


def _elements(elements: list[Any], log_keys: Mapping[str, str]) -> list[Any]:
    """What the elements of known log keys say, each thing once."""
    said: list[Any] = []
    for element in elements:
        try:
            known = element.pop("logId") in [{"keyId": one} for one in log_keys.values()]
            note = element["inclusionProof"]["checkpoint"]
            note["envelope"] = _note(note["envelope"], log_keys)
        except (TypeError, KeyError, AttributeError):
            known = True
        if known and element not in said:
            said.append(element)
    return said
