"""A strict reader of YAML 1.2 core, with the place of every value.

Definitions are read by several tools and people. What two YAML readers understand differently, or what
hides content (anchors, tags, duplicate keys, `yes` as a boolean, characters that turn the text around), is
refused here, each mistake with its place and what to write instead; JSON (RFC 8785 too) is valid input.
"""

import re
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import yaml

from touchplate.builder.errors import DefinitionError, Mistake

MAX_BYTES = 256 * 1024
"""A definition is written by hand or inferred; the largest inferred one has 2 kB. Reading this much takes
PyYAML a few seconds, and definitions may be a stranger's."""

MAX_DEPTH = 32
"""As for JSON; PyYAML's composer recurses."""

MAX_MISTAKES = 100
"""Of one text, that are listed: nobody reads more, and each of a million keys can be one."""

Value: TypeAlias = "bool | int | str | list[Value] | dict[str, Value] | None"

# YAML 1.2.2 10.3.2 (core schema tag resolution); floats have no use here and are refused.
_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_LONG = re.compile(r"[-+]?[1-9][0-9]{18,}|0x[0-9a-fA-F]{16,}")

_TWO_MEANINGS = (
    (re.compile(r"y|Y|n|N|(?:yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)"), "true or false"),
    (re.compile(r"[-+]?0[0-9_]+|0o[0-7]+"), "octal"),
    (re.compile(r"[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]*_[0-9a-fA-F_]*|[-+]?[0-9][0-9_]*_[0-9_]*"), "a number"),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "a number to the base 60"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?"), "a date"),
    (re.compile(r"=|<<"), "an instruction"),
)
"""Plain scalars to which YAML 1.1 (yaml.org/type) or 1.2 gives a meaning that the other does not."""

_REFUSED = re.compile("[\x85\u2028\u2029\ufeff\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")
"""Line ends of YAML 1.1 that are none in 1.2 and in editors, byte order marks, and marks of direction
(Unicode TR 36): what a person sees would not be what is read."""

_REMEDIES = (
    ("another document", "one definition in one file"),
    ("mapping values are not allowed", "quote text that holds ': ', or indent the line as its neighbours"),
    ("'\\t'", "indent with spaces"),
    ("that cannot start any token", "quote the text"),
    ("could not find expected ':'", "write 'name: value'; quote text of several lines"),
    ("expected <block end>", "indent the line as its neighbours"),
    ("did not find expected", "close the bracket"),
    ("expected ',' or", "close the bracket, and put a comma between items"),
    ("end of stream", "close the quotes"),
    ("escape", "write a backslash twice in double quotes, or use single quotes"),
    ("chr()", "an escape names no character"),
    ("too large", "an escape names no character"),
    ("special characters are not allowed", "remove the control character"),
)
"""Part of PyYAML's word for a mistake → what to do."""


class _Mark(Protocol):
    """A place as PyYAML says it, from 0."""

    line: int
    column: int


@dataclass
class Document:
    """A value, and the place (line and column, from 1) at which each of its parts begins, by path such as
    `source.files.0`. `mistakes`: those after which the rest can still be read."""

    value: Value
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def place(self, path: str) -> tuple[int, int]:
        """Line and column of `path`, or of the nearest part around it."""
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return self.places.get(path, (1, 1))

    def mistake(self, mark: "_Mark | None", text: str) -> None:
        """Note a mistake; the text is given up when there are too many."""
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        self.mistakes.append(Mistake(line, column, "", text))
        if len(self.mistakes) >= MAX_MISTAKES:
            self.finish()

    def finish(self) -> None:
        """Raise DefinitionError with all mistakes, if there are any."""
        if self.mistakes:
            raise DefinitionError.listing(self.mistakes)


def parse_yaml(data: bytes) -> Document:
    """The one document in `data`. Raises DefinitionError naming line and remedy, for all mistakes at once."""
    document = read_yaml(data)
    document.finish()
    return document


def read_yaml(data: bytes) -> Document:
    """As `parse_yaml`, but mistakes after which the rest can be read stay in the document.

    Raises DefinitionError for the others: what is no YAML, too large, too deep, or has aliases.
    """
    text = _decode(data)
    document = Document(value=None)
    try:
        _check_events(text, document)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter: an escape beyond Unicode
        _note_syntax(error, text, document)
        document.finish()
        raise  # unreachable: one was noted
    if node is None:
        raise _whole("definition is empty; `touchplate definition new` writes a first one")
    document.value = _read(node, "", document)
    return document


def _whole(text: str, line: int = 1, column: int = 1) -> DefinitionError:
    return DefinitionError(text, mistakes=[Mistake(line, column, "", text)])


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _whole(f"definition is longer than {MAX_BYTES} bytes; one file defines one package")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4]:
        raise _whole("definition is not utf-8 but utf-16 or utf-32; save it as utf-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, start = before.count(b"\n") + 1, before.rfind(b"\n") + 1
        column = len(before[start:].decode("utf-8", "replace")) + 1
        raise _whole(
            f"definition is not utf-8 at byte {error.start}; save it as utf-8", line, column
        ) from error
    if text.startswith("\ufeff"):
        raise _whole("definition starts with a byte order mark; remove it")
    if match := _REFUSED.search(text):
        line, column = _place(text, match.start())
        raise _whole(
            f"line {line}: the character U+{ord(match[0]):04X} is refused: it shows another text than is"
            ' read; remove it, or write "\\u…" in double quotes',
            line,
            column,
        )
    return text


def _place(text: str, position: int) -> tuple[int, int]:
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def _note_syntax(error: Exception, text: str, document: Document) -> None:
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    remedy = next((remedy for part, remedy in _REMEDIES if part in problem), "compare with the examples")
    mark: _Mark | None = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    position = getattr(error, "position", None)
    if mark is None and isinstance(position, int):  # a character that YAML refuses
        line, column = _place(text, position)
        document.mistakes.append(Mistake(line, column, "", f"not yaml: {problem}; {remedy}"))
    else:
        document.mistake(mark, f"not yaml: {problem}; {remedy}")


def _check_events(text: str, document: Document) -> None:
    # Before composing: depth must not meet Python's recursion limit, and the composer resolves aliases.
    depth, has_aliases = 0, False
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            document.mistake(mark, "anchors and aliases are refused; write the value out")
            has_aliases = has_aliases or isinstance(event, yaml.AliasEvent)
        if tag := getattr(event, "tag", None):
            document.mistake(mark, f"tags are refused; remove {tag[:40]!r}")
        if isinstance(event, yaml.DocumentStartEvent) and (event.version or event.tags):
            document.mistake(mark, "directives are refused; remove the % line")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                document.mistake(mark, f"nested deeper than {MAX_DEPTH} levels; no definition is")
                document.finish()
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    if has_aliases:
        document.finish()


def _read(node: yaml.Node, path: str, document: Document) -> Value:
    document.places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode):
        return _read_mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_read(item, _join(path, str(number)), document) for number, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode), node
    if any("\ud800" <= character <= "\udfff" for character in node.value):
        document.mistake(node.start_mark, "the text holds a lone surrogate; write the character itself")
        return ""
    if node.style is not None:  # quoted or block: always text
        return str(node.value)
    return _scalar(node, document)


def _read_mapping(node: yaml.MappingNode, path: str, document: Document) -> dict[str, Value]:
    mapping: dict[str, Value] = {}
    for key_node, value_node in node.value:
        key = _read(key_node, _join(path, "?"), document)
        if not isinstance(key, str):
            document.mistake(key_node.start_mark, f"the key {str(key)[:40]!r} is not text; quote it")
        elif key in mapping:
            document.mistake(key_node.start_mark, f"the key {key[:40]!r} stands twice; keep one")
        else:
            mapping[key] = _read(value_node, _join(path, key), document)
    return mapping


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _scalar(node: yaml.ScalarNode, document: Document) -> Value:
    text = str(node.value)
    for pattern, other in _TWO_MEANINGS:
        if pattern.fullmatch(text):
            shown = text[:40]
            document.mistake(
                node.start_mark, f'{shown} is {other} to some readers and not to others; write "{shown}"'
            )
            return text
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    if _HEXADECIMAL.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text) or _LONG.fullmatch(text):
        document.mistake(
            node.start_mark, f"{text[:40]!r} is a fraction or too long a number; quote it if it is text"
        )
        return text
    return text
