"""Writing a definition as YAML for people: block style, a comment above each value that has a reason.

Reasons and values may hold a stranger's words (those of a published manifest): nothing in them can end a
comment or a text.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from touchplate.builder.definitions.yamlcore import parse_yaml
from touchplate.builder.errors import DefinitionError
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import printable

_PLAIN = re.compile(r"-?[A-Za-z][A-Za-z0-9_.+/-]*")
_WORDS = re.compile(r"(?i)null|true|false|yes|no|on|off|y|n")


def format_yaml(
    value: Mapping[str, JSONValue], reasons: Mapping[str, str] | None = None, head: Sequence[str] = ()
) -> bytes:
    """`value` (mappings, lists, text, whole numbers, true and false) as YAML that `parse_yaml` reads alike.

    `reasons`: comments, by path as `source.kind`; `head`: comment lines above all. Raises DefinitionError for
    a value that has no such form.
    """
    lines = [_comment(line) for line in head]
    lines += _mapping(value, "", 0, reasons or {})
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    if parse_yaml(data).value != value:
        raise DefinitionError("the definition has a value that cannot be written as yaml")
    return data


def _mapping(
    value: Mapping[str, JSONValue], path: str, indent: int, reasons: Mapping[str, str]
) -> Iterator[str]:
    for name, item in value.items():
        where = f"{path}.{name}" if path else name
        if where in reasons:
            yield " " * indent + _comment(reasons[where])
        yield from _entry(f"{' ' * indent}{_text(name)}:", item, where, (indent, reasons))


def _entry(start: str, item: JSONValue, path: str, around: tuple[int, Mapping[str, str]]) -> Iterator[str]:
    indent, reasons = around
    if isinstance(item, dict) and item:
        yield start
        yield from _mapping(item, path, indent + 2, reasons)
    elif isinstance(item, list) and item:
        yield start
        for number, one in enumerate(item):
            yield from _item(one, f"{path}.{number}", indent + 2, reasons)
    else:
        yield f"{start} {_scalar(item)}"


def _item(one: JSONValue, path: str, indent: int, reasons: Mapping[str, str]) -> Iterator[str]:
    if path in reasons:
        yield " " * indent + _comment(reasons[path])
    if not isinstance(one, dict) or not one:
        yield f"{' ' * indent}- {_scalar(one)}"
        return
    dash = True
    for line in _mapping(one, path, indent + 2, reasons):
        # A comment may stand before the dash, which belongs to the first field.
        if dash and not line.lstrip().startswith("#"):
            line, dash = f"{' ' * indent}- {line[indent + 2 :]}", False
        yield line


def _scalar(value: JSONValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict | list) and not value:
        return "{}" if isinstance(value, dict) else "[]"
    if isinstance(value, int):
        return str(value)
    raise DefinitionError(f"a definition holds no {type(value).__name__} here")


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and not _WORDS.fullmatch(text):
        return text
    return "".join(_shown(character) for character in json.dumps(text, ensure_ascii=False))


def _shown(character: str) -> str:
    if character == " " or character.isprintable():
        return character
    return f"\\u{ord(character):04X}" if ord(character) < 0x10000 else f"\\U{ord(character):08X}"


def _comment(text: str) -> str:
    return f"# {printable(text)}".rstrip()
