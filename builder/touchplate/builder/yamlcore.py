"""A strict reader of YAML 1.2 core, with the line of every value.

Definitions are read by several tools and people. What two YAML readers understand differently, or what
hides content (anchors, tags, duplicate keys, `yes` as a boolean), is refused here; JSON (RFC 8785 too) is
valid input.
"""

import re
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from touchplate.builder.errors import DefinitionError

MAX_BYTES = 256 * 1024
"""A definition is written by hand or inferred; the largest inferred one has 2 kB."""

MAX_DEPTH = 32
"""As for JSON; PyYAML's composer recurses."""

Value: TypeAlias = "bool | int | str | list[Value] | dict[str, Value] | None"

# YAML 1.2.2 10.3.2 (core schema tag resolution); floats have no use here and are refused.
_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_OCTAL = re.compile(r"0o[0-7]{1,18}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


@dataclass
class Document:
    """A value, and the line (from 1) at which each of its parts begins, by path such as `source.files.0`."""

    value: Value
    lines: dict[str, int] = field(default_factory=dict)

    def line(self, path: str) -> int:
        """Line of `path`, or of the nearest part around it."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path, 1)


def parse_yaml(data: bytes) -> Document:
    """The one document in `data`. Raises DefinitionError with the line of the mistake."""
    if len(data) > MAX_BYTES:
        raise DefinitionError(f"definition of {len(data)} bytes is longer than {MAX_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DefinitionError(f"definition is not utf-8 at byte {error.start}") from error
    if text.startswith("\ufeff"):
        raise DefinitionError("definition starts with a byte order mark; remove it")
    _check_events(text)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _syntax_error(error) from error
    if node is None:
        raise DefinitionError("definition is empty")
    document = Document(value=None)
    document.value = _read(node, "", document.lines)
    return document


def _syntax_error(error: yaml.YAMLError) -> DefinitionError:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return DefinitionError(f"{where}not yaml: {getattr(error, 'problem', None) or error}")


def _check_events(text: str) -> None:
    # Before composing: depth must not meet Python's recursion limit, and the composer resolves aliases.
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = _line(event)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise DefinitionError(f"line {line}: anchors and aliases are refused; write the value out")
            if tag := getattr(event, "tag", None):
                raise DefinitionError(f"line {line}: tags are refused; remove {tag[:40]!r}")
            if isinstance(event, yaml.DocumentStartEvent) and (event.version or event.tags):
                raise DefinitionError(f"line {line}: directives are refused; remove the % line")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    raise DefinitionError(f"line {line}: nested deeper than {MAX_DEPTH} levels")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError as error:
        raise _syntax_error(error) from error


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _read(node: yaml.Node, path: str, lines: dict[str, int]) -> Value:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return _read_mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_read(item, _join(path, str(number)), lines) for number, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode), node
    if any("\ud800" <= character <= "\udfff" for character in node.value):
        raise DefinitionError(
            f"line {lines[path]}: the text holds a lone surrogate; write the character itself"
        )
    if node.style is not None:  # quoted or block: always text
        return str(node.value)
    return _scalar(node.value, lines[path])


def _read_mapping(node: yaml.MappingNode, path: str, lines: dict[str, int]) -> dict[str, Value]:
    mapping: dict[str, Value] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = _read(key_node, _join(path, "?"), lines)
        if not isinstance(key, str):
            raise DefinitionError(f"line {line}: the key {str(key)[:40]!r} is not text; quote it")
        if key in mapping:
            raise DefinitionError(f"line {line}: the key {key[:40]!r} stands twice; keep one")
        mapping[key] = _read(value_node, _join(path, key), lines)
    return mapping


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _scalar(text: str, line: int) -> Value:
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        raise DefinitionError(f"line {line}: {text[:40]!r} is a fraction or too long; quote it if it is text")
    return text
