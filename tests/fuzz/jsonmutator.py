"""Changes JSON member by member, which a blind mutation of its text hardly ever does."""

import json
from random import Random
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**53 - 1, 2**63, "", "0", "1", "01", "A", "AA==", "null", [], {}, [""],
    [[]], {"": ""}, "sha256", "0" * 64, "pkg:maven/g/a@1?type=jar", "https://a.example.org", "\u0000",
    "\ud800", "é",
)  # fmt: skip
"""What stands where it is not expected."""

Place = tuple[Any, Any]
"""A container and the key or index in it."""


def places(document: Any) -> list[Place]:
    """Every member and item of a JSON document, outermost first."""
    found: list[Place] = []
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


def mutate_json(data: bytes, random: Random) -> bytes | None:
    """`data` with one to three changes: a value replaced, removed, repeated, moved; None if it is no JSON
    with members."""
    try:
        document = json.loads(data)
        for _ in range(random.randint(1, 3)):
            found = places(document) if isinstance(document, dict | list) else []
            if not found:
                return None
            _change(found, random)
        separators = (",", ":") if random.random() < 0.9 else (", ", ": ")
        text = json.dumps(document, separators=separators, ensure_ascii=random.random() < 0.2)
    except (ValueError, RecursionError):
        return None
    return text.encode("utf-8", "surrogatepass")


def _change(found: list[Place], random: Random) -> None:
    (holder, key), (other, other_key) = random.choice(found), random.choice(found)
    # Copies: two places that share one value could make a document without end.
    odd, another = _copy(random.choice(ODD_VALUES)), _copy(other[other_key])
    kind = random.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = odd
    elif kind == 2:
        holder[key] = another
    elif kind == 3 and isinstance(holder, list):
        holder.insert(random.randrange(len(holder) + 1), _copy(holder[key]))
    elif kind == 4 and isinstance(holder, list):
        random.shuffle(holder)
    elif isinstance(holder[key], int) and not isinstance(holder[key], bool):
        holder[key] += random.choice((-1, 1))
    elif isinstance(holder, dict):
        holder[random.choice(("x", "uri", "keyid", "name", key + "x"))] = odd


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))
