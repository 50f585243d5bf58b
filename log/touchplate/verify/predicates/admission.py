"""Admission v1: administrators change who may write to a log that several peers hold.

The schema; what it does to a log's rules, and when, is in log/peers/changes.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.errors import MalformedError
from touchplate.verify.fields import take_choice, take_count, take_list, take_object, take_sha256, take_text
from touchplate.verify.jcs import JSON, JSONValue
from touchplate.verify.keys import StatementKey, format_public_pem, parse_public_pem, parse_spki
from touchplate.verify.names import check_operator, parse_builder
from touchplate.verify.purl import ECOSYSTEMS
from touchplate.verify.values import value

ADMISSION_TYPE = "https://touchplate.dev/predicates/admission/v1"

KeyKind: TypeAlias = Literal["rebuilder", "recorder", "administrator"]
KEY_KINDS: tuple[KeyKind, ...] = get_args(KeyKind)


@value
class AdmittedKey:
    """A block of the admission list: a key, whose it is, and for what; tree indexes are half-open."""

    kind: KeyKind
    operator: str
    key: StatementKey
    builder: str | None
    ecosystems: tuple[str, ...]
    from_index: int
    until_index: int | None


@value
class Admission:
    """A change of the admission list, active from a tree index on once enough administrators signed it.

    `remove`: SPKI sha256 in hex. `administrators` and `threshold` are what holds once it is active: who the
    administrators then are, and how many of them the next change takes.
    """

    add: tuple[AdmittedKey, ...]
    remove: tuple[str, ...]
    administrators: tuple[StatementKey, ...]
    threshold: int
    from_index: int


def parse_admission_predicate(predicate: Mapping[str, JSON]) -> Admission:
    """The admission in a predicate (statement format 4). Raises MalformedError."""
    members = take_object(
        dict(predicate), "admission", ("add", "remove", "administrators", "threshold", "from_index")
    )
    administrators = tuple(
        parse_spki(decode_base64(take_text(each, "administrator"), "administrator"))
        for each in take_list(members["administrators"], "administrators", least=1)
    )
    threshold = take_count(members["threshold"], "threshold", least=1)
    if len(set(administrators)) != len(administrators):
        raise MalformedError("administrators name a key twice")
    if threshold > len(administrators):
        raise MalformedError(f"threshold is {threshold} with {len(administrators)} administrators")
    return Admission(
        add=tuple(
            _parse_block(each, f"add {number}")
            for number, each in enumerate(take_list(members["add"], "add"))
        ),
        remove=tuple(take_sha256(each, "remove") for each in take_list(members["remove"], "remove")),
        administrators=administrators,
        threshold=threshold,
        from_index=take_count(members["from_index"], "from_index"),
    )


def format_admission_predicate(admission: Admission) -> dict[str, JSONValue]:
    """The predicate (statement format 4), keys and blocks in the order given."""
    return {
        "add": [_format_block(block) for block in admission.add],
        "remove": list(admission.remove),
        "administrators": [encode_base64(key.spki) for key in admission.administrators],
        "threshold": admission.threshold,
        "from_index": admission.from_index,
    }


def _format_block(block: AdmittedKey) -> dict[str, JSONValue]:
    made: dict[str, JSONValue] = {
        "kind": block.kind,
        "operator": block.operator,
        "key": format_public_pem(block.key),
    }
    if block.builder is not None:
        made["builder"] = block.builder
    if block.kind != "administrator":
        made["ecosystems"] = list(block.ecosystems)
    if block.from_index:
        made["from_index"] = block.from_index
    if block.until_index is not None:
        made["until_index"] = block.until_index
    return made


def _parse_block(value: JSON, what: str) -> AdmittedKey:
    members = take_object(
        value,
        what,
        ("kind", "operator", "key"),
        ("builder", "ecosystems", "from_index", "until_index"),
    )
    kind = next((known for known in KEY_KINDS if known == members["kind"]), None)
    if kind is None:
        raise MalformedError(f"{what} has a kind other than {', '.join(KEY_KINDS)}")
    operator = take_text(members["operator"], f"{what} operator")
    check_operator(operator)
    return AdmittedKey(
        kind=kind,
        operator=operator,
        key=parse_public_pem(take_text(members["key"], f"{what} key")),
        builder=_parse_builder_of(kind, operator, members.get("builder"), what),
        ecosystems=_parse_ecosystems(kind, members.get("ecosystems"), what),
        from_index=take_count(members.get("from_index", 0), f"{what} from_index"),
        until_index=take_count(members["until_index"], f"{what} until_index")
        if "until_index" in members
        else None,
    )


def _parse_builder_of(kind: KeyKind, operator: str, value: JSON, what: str) -> str | None:
    if kind != "rebuilder":
        if value is not None:
            raise MalformedError(f"{what} is a {kind} with a builder, which only a rebuilder has")
        return None
    builder = take_text(value, f"{what} builder")
    if parse_builder(builder)[0] != operator:
        raise MalformedError(f"{what} names a builder of another operator")
    return builder


def _parse_ecosystems(kind: KeyKind, value: JSON, what: str) -> tuple[str, ...]:
    if kind == "administrator":
        if value is not None:
            raise MalformedError(f"{what} is an administrator with ecosystems")
        return ()
    return tuple(
        take_choice(each, f"{what} ecosystem", ECOSYSTEMS)
        for each in take_list(value, f"{what} ecosystems", least=1)
    )
