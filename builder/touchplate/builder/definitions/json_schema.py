"""The form of definitions as JSON Schema (draft 2020-12), for editors and other people's tools.

Drawn from the parser itself: `read_definition` is run with a reader that notes what is asked for at each path
instead of reading it, once for each ecosystem. So schema and parser cannot part, as far as a schema can say:
what fields have to say together (outputs of the package, a digest in two places) and what YAML may hold (no
anchors, no duplicate keys) is checked by `touchplate definition check` alone.
"""

import json
from collections.abc import Sequence
from typing import Any

from touchplate.builder.definitions.definition import VERSION, read_definition
from touchplate.builder.definitions.schema import (
    MAX_TEXT,
    NO_PURLS,
    SHA256,
    TEXT,
    UMASK,
    VARIABLES,
    Reader,
    TextMap,
)
from touchplate.builder.definitions.yamlcore import Document
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.verify.purl import ECOSYSTEMS, PackageURL

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_ID = f"https://touchplate.dev/schemas/definition/v{VERSION}"
"""A name; nothing is fetched from it."""

_PART = r"(?:[A-Za-z0-9._~:-]|%[0-9A-F]{2})+"
_PLACE = r"(?:[A-Za-z0-9._~:/-]|%[0-9A-F]{2})+"
_QUALIFIERS = rf"[a-z_]+={_PLACE}(?:&[a-z_]+={_PLACE})*"
_PURLS = {
    "maven": rf"pkg:maven/{_PART}/{_PART}@{_PART}\?{_QUALIFIERS}",
    "conan": rf"pkg:conan/{_PART}@{_PART}\?{_QUALIFIERS}",
    "oci": rf"pkg:oci/{_PART}@sha256:[0-9a-f]{{64}}\?repository_url={_PLACE}",
}
_RELATIVE = r"(?!/)(?!(?:[^\0]*/)?\.\.?(?:/|$))(?![^\0]*//)(?![^\0]*/$)[^\0]+"


def definition_schema() -> dict[str, Any]:
    """The schema, as a JSON value."""
    kinds = [
        {
            "if": {
                "properties": {"package": {"type": "string", "pattern": f"^pkg:{name}/"}},
                "required": ["package"],
            },
            "then": {"$ref": f"#/$defs/{name}"},
        }
        for name in ECOSYSTEMS
    ]
    return {
        "$schema": DIALECT,
        "$id": SCHEMA_ID,
        "title": "touchplate definition",
        "description": "Everything that decides how one package version is built.",
        "type": "object",
        "required": ["package"],
        "properties": {"package": {"type": "string", "pattern": f"^pkg:(?:{'|'.join(ECOSYSTEMS)})/"}},
        "allOf": kinds,
        "$defs": {name: _Drawing(name).draw() for name in ECOSYSTEMS},
    }


class _Drawing(Reader):
    """A reader to which every field is there, and that notes what the parser wants of it."""

    def __init__(self, ecosystem: str) -> None:
        super().__init__(Document(value={}))
        self._ecosystem = ecosystem
        self._drawn: dict[str, Any] = {}

    def draw(self) -> dict[str, Any]:
        """The schema of the ecosystem's definitions."""
        read_definition(self, b"", lambda _: find_ecosystem(self._ecosystem))
        return self._drawn

    def _at(self, path: str) -> dict[str, Any]:
        """The schema of the part at `path`."""
        node = self._drawn
        for part in path.split(".") if path else []:
            if part.isdecimal():
                node = node.setdefault("items", {})
            else:
                node = node.setdefault("properties", {}).setdefault(part, {})
        return node

    def mistake(self, path: str, text: str) -> None:
        """Nothing is noted: stand-ins are full of mistakes."""

    def has(self, path: str) -> bool:
        """So that fields that may be left out are asked for too."""
        return True

    def known(self, path: str, *, required: Sequence[str] = (), optional: Sequence[str] = ()) -> None:
        node = self._at(path)
        properties: dict[str, Any] = {name: {} for name in (*required, *optional)}
        earlier = node.get("required", required)  # of another case: what is required is what both require
        node["type"] = "object"
        node["properties"] = {**properties, **node.get("properties", {})}
        if required:
            node["required"] = [name for name in required if name in earlier]
        node["additionalProperties"] = False

    def items(self, path: str, *, low: int, high: int) -> list[str]:
        self._at(path).update({"type": "array", "minItems": low, "maxItems": high})
        return [f"{path}.0"]

    def text(self, path: str, pattern: str = TEXT, form: str = "text") -> str:
        limits = {"type": "string", "maxLength": MAX_TEXT, "pattern": _whole(pattern)}
        self._at(path).update({"description": form, **limits})
        return ""

    def text_map(self, path: str, form: TextMap = VARIABLES) -> dict[str, str]:
        values = {"type": "string", "pattern": _whole(form.values)}
        names = {"propertyNames": {"pattern": _whole(form.names)}, "additionalProperties": values}
        self._at(path).update({"description": form.form, "type": "object", **names})
        return {}

    def choice(self, path: str, choices: Sequence[str]) -> str:
        self._at(path).update({"enum": list(choices)})
        return choices[0]

    def cases(self, found: str, choices: Sequence[str]) -> Sequence[str]:
        return choices

    def number(self, path: str, *, low: int, high: int) -> int | None:
        self._at(path).update({"type": "integer", "minimum": low, "maximum": high})
        return low

    def flag(self, path: str) -> bool:
        self._at(path).update({"type": "boolean"})
        return False

    def sha256(self, path: str) -> str:
        self._at(path).update({"type": "string", "pattern": _whole(SHA256)})
        return ""

    def purl(self, path: str) -> PackageURL:
        pattern = _whole(_PURLS[self._ecosystem])
        self._at(path).update(
            {"description": "a package URL of one file", "type": "string", "pattern": pattern}
        )
        return NO_PURLS[self._ecosystem]

    def upstream_uri(self, path: str) -> str:
        self.text(path, rf"upstream:{_PART}/{_PLACE}", "upstream:<identity>/<path>")
        return ""

    def relative(self, path: str) -> str:
        self.text(path, _RELATIVE, "a relative path without . and ..")
        return ""

    def umask(self, path: str, default: int) -> int:
        self._at(path).update({"description": 'as "022"', "type": "string", "pattern": _whole(UMASK)})
        return default


def _whole(pattern: str) -> str:
    r"""A pattern of Python's `fullmatch` as one of ECMA-262, where no digit may follow `\0`."""
    return "^(?:" + pattern.replace(r"\0", r"\u0000") + ")$"


def format_schema() -> str:
    """The text of `builder/definition.schema.json`."""
    return json.dumps(definition_schema(), indent=2, ensure_ascii=False) + "\n"
