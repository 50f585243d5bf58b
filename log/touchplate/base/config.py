"""One TOML file becomes one frozen tree of dataclasses, or one error that lists every mistake.

The dataclasses are the schema. A field's type says what its key may hold: `str`, `int`, `bool`, `Path`,
`Literal`, `Duration`, `ByteSize`, `Secret`, another dataclass (a table), `tuple[X, ...]` (an array, or an
array of tables), and `X | None` for what may be left out. A field without a default is required. A method
`check(self) -> list[str]` on a dataclass may add mistakes that concern several fields at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from touchplate.base.errors import ConfigError, quote
from touchplate.base.values import ByteSize, Duration, Secret

__all__ = ["ByteSize", "Duration", "Secret", "load", "load_file", "load_table"]

# Bytes of a configuration file: thousands of gate rules fit; more is a mistake in the path.
MAX_CONFIG_BYTES = 1024 * 1024
# A key of the TOML file that cannot be the name of a Python field is given as field(metadata={KEY: "from"}).
KEY = "key"

T = TypeVar("T")
_DESCRIPTIONS: Mapping[object, str] = types.MappingProxyType(
    {
        str: "a string",
        int: "an integer",
        bool: "true or false",
        Path: "a path (a string)",
        Duration: 'a duration such as "24h"',
        ByteSize: 'a size such as "4MiB"',
        Secret: 'a reference to a secret, "file:PATH" or "env:VARIABLE"',
    }
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,120}", re.ASCII)
# What stands in the place of a value that could not be read: the mistake is noted already.
_BAD = object()


def load(cls: type[T], text: str, *, where: Path) -> T:
    """Read TOML `text` into the dataclass `cls`. Relative paths count from the folder of the file `where`.

    Raises ConfigError listing all mistakes, each with the key's dotted path, what is wrong and what to write.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(where.name, (f"not TOML: {error}",)) from None
    return load_table(cls, document, where=where)


def load_table(cls: type[T], document: Mapping[str, object], *, where: Path, name: str = "") -> T:
    """`load` for one table of a file that was parsed already; `name`: its dotted path there."""
    reader = _Reader(where.absolute().parent)
    value = reader.table(cls, document, name)
    if reader.mistakes:
        raise ConfigError(where.name, tuple(reader.mistakes))
    return typing.cast("T", value)


def load_file(cls: type[T], path: Path) -> T:
    """`load` from a file; ConfigError also when it cannot be read, is not UTF-8 or is larger than 1 MiB."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(path), (f"cannot read the configuration: {error.strerror}",)) from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(str(path), (f"more than {MAX_CONFIG_BYTES} bytes; wrong file?",))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), (f"not UTF-8: {error.reason} at byte {error.start}",)) from None
    return load(cls, text, where=path)


class _Reader:
    """Walks schema and document together and notes mistakes instead of raising at the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mistakes: list[str] = []

    def mistake(self, path: str, message: str) -> object:
        self.mistakes.append(f"{path}: {message}" if path else message)
        return _BAD

    def table(self, cls: type[Any], document: Mapping[str, object], path: str) -> object:
        """Make a `cls` of a TOML table, or note why not."""
        before = len(self.mistakes)
        hints = typing.get_type_hints(cls)
        fields = {
            field.metadata.get(KEY, field.name): field for field in dataclasses.fields(cls) if field.init
        }
        for key in document:
            if key not in fields:
                self.mistake(_join(path, key), _unknown_key(key, list(fields)))
        values: dict[str, object] = {}
        for key, field in fields.items():
            there = _join(path, key)
            if key in document:
                values[field.name] = self.value(hints[field.name], document[key], there)
            elif not _has_default(field):
                values[field.name] = self.missing(hints[field.name], there)
            elif isinstance(field.default, Path):
                values[field.name] = self.folder / field.default
        if len(self.mistakes) > before:
            return _BAD
        made = cls(**values)
        check: Callable[[], list[str]] | None = getattr(made, "check", None)
        for message in check() if check is not None else ():
            self.mistake(path, message)
        return made

    def missing(self, hint: object, path: str) -> object:
        if isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint is not Secret:
            # Reading an empty table names each key that is missing in it, or finds that none is needed.
            return self.table(hint, {}, path)
        return self.mistake(path, f"is missing; it is {_describe(hint)}")

    def value(self, hint: Any, value: object, path: str) -> object:
        """Turn one TOML value into what the type `hint` says, or note why not."""
        origin = typing.get_origin(hint)
        if origin in (types.UnionType, typing.Union):
            (hint,) = (argument for argument in typing.get_args(hint) if argument is not types.NoneType)
            return self.value(hint, value, path)
        if origin is Literal:
            choices = typing.get_args(hint)
            if any(value == choice and type(value) is type(choice) for choice in choices):
                return value
            return self.mistake(path, f"must be {_describe(hint)}, not {quote(value)}")
        if origin is tuple:
            return self.array(hint, value, path)
        if hint in (Path, Duration, ByteSize, Secret):
            return self.written(hint, value, path)
        if hint in (str, int, bool):
            if type(value) is hint:
                return value
            return self.mistake(path, f"must be {_describe(hint)}, not {quote(value)}")
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            if isinstance(value, dict):
                return self.table(hint, value, path)
            return self.mistake(path, f"must be a table, not {quote(value)}")
        raise TypeError(f"{path}: a configuration cannot hold {hint!r}")

    def array(self, hint: Any, value: object, path: str) -> object:
        item = typing.get_args(hint)[0]
        if not isinstance(value, list):
            return self.mistake(path, f"must be {_describe(hint)}, not {quote(value)}")
        return tuple(self.value(item, element, f"{path}[{number}]") for number, element in enumerate(value))

    def written(self, hint: Any, value: object, path: str) -> object:
        """Values that TOML writes as strings."""
        if not isinstance(value, str):
            # A secret written without quotes must not be repeated either.
            shown = "" if hint is Secret else f", not {quote(value)}"
            return self.mistake(path, f"must be {_describe(hint)}{shown}")
        try:
            if hint is Path:
                return self.path(value)
            if hint is Secret:
                return Secret.parse(value, self.folder)
            return hint.parse(value)
        except ValueError as error:
            return self.mistake(path, str(error))

    def path(self, text: str) -> Path:
        if not text or "\0" in text:
            raise ValueError(f"{quote(text)} is not a path")
        return self.folder / text


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _join(path: str, key: str) -> str:
    # Keys of any other form stand in quotes, as in TOML: this goes to a terminal.
    shown = key if _BARE_KEY.fullmatch(key) else quote(key)
    return f"{path}.{shown}" if path else shown


def _unknown_key(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    return f"unknown key; known here: {', '.join(sorted(known))}"


def _describe(hint: Any) -> str:
    """What to write for a type, in words."""
    if hint in _DESCRIPTIONS:
        return _DESCRIPTIONS[hint]
    origin = typing.get_origin(hint)
    arguments = [argument for argument in typing.get_args(hint) if argument not in (types.NoneType, ...)]
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in arguments)
    if origin is tuple:
        return f"an array, each element {_describe(arguments[0])}"
    if origin in (types.UnionType, typing.Union):
        return _describe(arguments[0])
    return "a table"
