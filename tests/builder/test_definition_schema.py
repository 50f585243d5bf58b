"""The published JSON Schema and the parser say the same of each definition, as far as a schema can say it."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from touchplate.builder.definitions.definition import parse_definition
from touchplate.builder.definitions.json_schema import DIALECT, definition_schema, format_schema
from touchplate.builder.definitions.normalise import normalise_definition
from touchplate.builder.definitions.yamlcore import parse_yaml
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.builder.errors import DefinitionError
from touchplate.verify.jcs import format_json
from touchplate.verify.purl import ECOSYSTEMS

BUILDER = Path(__file__).resolve().parents[2] / "builder"
DEFINITIONS = (BUILDER / "docs" / "definitions.md").read_text(encoding="utf-8")

REQUIRED = {"uri": "pkg:conan/zlib@1.3.1?file=conanfile.py&rrev=ab", "sha256": "ab" * 32, "size": 0}

BEYOND = (
    "names a file twice", "is not used of a requirement", "names no file of a revision",
    "is not a file of pkg:",  # another package
    "two outputs have one",
    "is not in its one spelling",
    "names the default upstream",
    "has unknown qualifiers", "a qualifier twice", "has a qualifier",
    "needs tools.jdk and tools.maven", "use mvn or an absolute path",
    "C preprocessor", "has an id above", "a name stands twice", "has another digest than the name",
    "the uri names another digest", "an image has one output", "an image's source is one archive",
    "is not of the form upstream:",  # of images: a digest at the end
    "lacks size", "lacks commit",  # of a file and of a commit
    "is no file of a recipe", "is no file of the recipe revision",
    "lack out/", "are out/", "lack conanfile.py",
    "name a file twice", "lacks SOURCE_DATE_EPOCH", "names no file of a revision", "belong together",
    "is no revision or package id", "is none of Conan's names", "packages are rebuilt: add package_id",
    "has a name that is empty, relative", "needs repository_url", "has no type",
)  # fmt: skip
"""What a schema cannot say: what several fields have to say together, and the finer points of purls."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 17, 2**52, "", "x", "a b", "a\0b", "017", "0022", "ab" * 32, "../x", "/x",
    "x/./y", "x//y", ".", "-", "x" * 5000, [], ["x"], [1], {}, {"x": "y"}, {"x": 1}, {"a b": "c"},
    {"a=b": "c"}, [{"path": "x"}], "pkg:maven/a/b@1?type=jar", "pkg:conan/a@1?rrev=1&x", "upstream:a/b",
    "upstream:/b", "linux/amd64", "windows/amd64", "1.28.2", "none", "kept", "1000:1000", "12345678901",
)  # fmt: skip


STRIDE = 5
"""Each fifth mutation is tried, so that each value meets some part; all of them take a minute."""


def good() -> dict[str, dict[str, Any]]:
    """A full document of each ecosystem: the example of the docs with every default written out, and more."""
    found: dict[str, dict[str, Any]] = {}
    for example in re.findall(r"```yaml\n(version:.*?)```", DEFINITIONS, re.DOTALL):
        definition = parse_definition(example.encode())
        found[definition.ecosystem.name] = dict(normalise_definition(definition))
    for document in found.values():
        document["sandbox"] = {"backend": "bubblewrap", "needs": ["seccomp"]}
    found["maven"] |= {"allow_metadata": True, "stabilizers": ["zip-entry-times@1"]}
    found["conan"] |= {"allow_metadata": False, "requirements": [REQUIRED]}
    found["oci"]["image"] |= {
        "context": "folder", "target": "stage", "owner": "1000:1000", "layers": True,
        "args": {"A": "b"}, "labels": {"a.b/c": "d"}, "annotations": {"e f": "g"},
        "apt": {"archive.example.org/debian": "debian"},
    }  # fmt: skip
    return found


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every part, but of a list the first item only: the others are read alike."""
    yield path
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value[:1]):
            yield from paths(item, (*path, name))


def mutations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """`document` with one part taken away, replaced, or added to."""
    for path in list(paths(document))[1:]:
        for value in ("take away", "twice", *VALUES):
            changed = deepcopy(document)
            parent: Any = changed
            for part in path[:-1]:
                parent = parent[part]
            if value == "take away":
                del parent[path[-1]]
            elif value == "twice":
                parent.append(parent[-1]) if isinstance(parent, list) else parent.update(
                    more=parent[path[-1]]
                )
            else:
                parent[path[-1]] = value
            yield changed


def mistakes(document: dict[str, Any]) -> list[str]:
    try:
        parse_definition(format_json(document))
    except DefinitionError as error:
        return [one.text for one in error.mistakes]
    return []


def test_the_committed_schema_is_the_parsers() -> None:
    committed = (BUILDER / "definition.schema.json").read_text(encoding="utf-8")
    assert committed == format_schema(), "run: touchplate definition schema > builder/definition.schema.json"
    assert definition_schema()["$schema"] == DIALECT
    Draft202012Validator.check_schema(json.loads(committed))


@pytest.mark.parametrize("ecosystem", ECOSYSTEMS)
def test_parser_and_schema_agree_on_good_and_on_mutated_definitions(ecosystem: str) -> None:
    validator = Draft202012Validator(definition_schema())
    document = good()[ecosystem]
    assert mistakes(document) == []
    assert [error.message for error in validator.iter_errors(document)] == []
    seen = {"both take": 0, "both refuse": 0, "beyond a schema": 0}
    wrong = []
    for changed in list(mutations(document))[::STRIDE]:
        said, fits = mistakes(changed), validator.is_valid(changed)
        beyond = all(any(part in text for part in BEYOND) for text in said)
        if fits and not said:
            seen["both take"] += 1
        elif said and not fits:
            seen["both refuse"] += 1
        elif said and beyond:
            seen["beyond a schema"] += 1
        else:
            wrong.append((said, [error.message[:200] for error in validator.iter_errors(changed)]))
    assert wrong == []
    assert all(count > 2 for count in seen.values()), seen
    assert seen["both refuse"] > 20 * seen["beyond a schema"], seen


@pytest.mark.parametrize("ecosystem", ECOSYSTEMS)
def test_each_field_of_the_parser_is_in_the_schema(ecosystem: str) -> None:
    form = find_ecosystem(ecosystem).form
    drawn = definition_schema()["$defs"][ecosystem]
    assert set(drawn["required"]) == {"version", "name", "package", "source", "outputs", *form.required}
    assert set(drawn["properties"]) == set(good()[ecosystem]) | {"upstreams", "allow_metadata", "root"} - set(
        form.unused
    )
    assert drawn["additionalProperties"] is False


def test_a_package_of_another_type_fits_no_schema() -> None:
    document = good()["maven"] | {"package": "pkg:npm/left-pad@1"}
    assert not Draft202012Validator(definition_schema()).is_valid(document)
    assert mistakes(document)


def test_what_a_definition_means_is_written_out_whole() -> None:
    for document in good().values():
        definition = parse_definition(format_json(document))
        again = parse_definition(format_json(normalise_definition(definition)))
        assert normalise_definition(again) == normalise_definition(definition)
        assert again.details == definition.details
        assert parse_yaml(again.data).value == normalise_definition(definition)


@pytest.mark.parametrize(("ecosystem", "takes"), [("maven", True), ("oci", True), ("conan", False)])
def test_parser_and_schema_agree_on_a_commit_as_source(ecosystem: str, takes: bool) -> None:
    commit = {"uri": "upstream:git.example.org/a.git", "sha256": "ab" * 32, "commit": "c" * 40}
    document = good()[ecosystem] | {"source": {"kind": "vcs", "files": [commit]}}
    assert Draft202012Validator(definition_schema()).is_valid(document) is takes
    assert (mistakes(document) == []) is takes
    document["source"]["files"] = [commit | {"commit": "main"}]
    assert not Draft202012Validator(definition_schema()).is_valid(document)
