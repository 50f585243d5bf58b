"""A POM as data: the little of it that inference needs, read defensively.

Not Maven's model: Maven itself resolves versions and configuration when it builds. Read here is only what
decides *which* goals are to be run and where the output will be.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from touchplate.base.xml import parse_xml
from touchplate.builder.ecosystems.maven.resources import Resource, read_resources
from touchplate.builder.errors import DefinitionError

MAX_POM_BYTES = 2 * 1024 * 1024
"""The largest parent POMs seen have 200 kB."""

_DEFAULT_GROUP = "org.apache.maven.plugins"
_PROPERTY = re.compile(r"\$\{([^${}]{1,200})\}")
_INTERPOLATION_ROUNDS = 10  # properties of properties; a loop ends here and is reported as unresolved
_MAX_VALUE_CHARS = 4096  # of a coordinate or a path (PATH_MAX), with what is put into it
_MAX_CONDITION_CHARS = 200  # of a profile's <jdk>; real ones are `[1.8,)` and the like


@dataclass(frozen=True)
class Execution:
    """One `<execution>`; `phase` None = the goal's own default."""

    id: str
    phase: str | None
    goals: tuple[str, ...]
    inherited: bool = True


@dataclass(frozen=True)
class Plugin:
    """One `<plugin>` of `<build>`, without versions and configuration."""

    group: str
    artifact: str
    executions: tuple[Execution, ...] = ()
    inherited: bool = True

    @property
    def key(self) -> str:
        """`group:artifact`, by which POMs merge plugins."""
        return f"{self.group}:{self.artifact}"


@dataclass(frozen=True)
class Build:
    """`<build>` of a POM or of a profile."""

    plugins: tuple[Plugin, ...] = ()
    managed: tuple[Plugin, ...] = ()
    final_name: str | None = None
    directory: str | None = None
    resources: tuple[Resource, ...] = ()


@dataclass(frozen=True)
class Activation:
    """`<activation>` of a profile; every condition that is given must hold."""

    by_default: bool = False
    jdk: str | None = None
    property_name: str | None = None
    property_value: str | None = None
    file_exists: str | None = None
    file_missing: str | None = None
    os: bool = False


@dataclass(frozen=True)
class Profile:
    """One `<profile>`."""

    id: str
    activation: Activation | None
    build: Build
    properties: Mapping[str, str]


@dataclass(frozen=True)
class Parent:
    """`<parent>`."""

    group: str
    artifact: str
    version: str


@dataclass(frozen=True)
class Pom:
    """One POM as written; `group` and `version` None = inherited."""

    parent: Parent | None
    group: str | None
    artifact: str
    version: str | None
    packaging: str
    properties: Mapping[str, str] = field(default_factory=dict)
    build: Build = Build()
    profiles: tuple[Profile, ...] = ()
    modules: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    """Ids of `<repositories>` and `<pluginRepositories>`."""


def parse_pom(data: bytes) -> Pom:
    """The POM in `data`. Raises DefinitionError when it is no POM, has a DTD, or lacks an artifact id."""
    if len(data) > MAX_POM_BYTES:
        raise DefinitionError(f"POM of {len(data)} bytes is longer than {MAX_POM_BYTES}")
    try:
        root = parse_xml(data)
    except ValueError as error:
        raise DefinitionError(f"POM does not parse: {error}") from error
    if root.tag != "project":
        raise DefinitionError(f"POM starts with <{root.tag[:40]}>, not <project>")
    artifact = _text(root, "artifactId")
    if artifact is None:
        raise DefinitionError("POM has no artifactId")
    parent = _child(root, "parent")
    return Pom(
        parent=None if parent is None else _read_parent(parent),
        group=_text(root, "groupId"),
        artifact=artifact,
        version=_text(root, "version"),
        packaging=_text(root, "packaging") or "jar",
        properties=_read_properties(root),
        build=_read_build(_child(root, "build")),
        profiles=tuple(_read_profile(item) for item in _items(root, "profiles", "profile")),
        modules=tuple(item.text.strip() for item in _items(root, "modules", "module") if item.text),
        repositories=tuple(
            identifier
            for outer, inner in (("repositories", "repository"), ("pluginRepositories", "pluginRepository"))
            for item in _items(root, outer, inner)
            if (identifier := _text(item, "id"))
        ),
    )


def interpolate(text: str, properties: Mapping[str, str]) -> str:
    """`text` with `${name}` replaced. Raises DefinitionError when a name is unknown or refers to itself, or
    when the result is longer than any name or path.
    """
    for _ in range(_INTERPOLATION_ROUNDS):
        found = _PROPERTY.findall(text)
        if len(text) + sum(len(properties.get(name, "")) for name in found) > _MAX_VALUE_CHARS:
            break  # before it is made: two properties of 1 MB can stand for 250 GB
        if not found:
            return text
        text = _PROPERTY.sub(lambda match: properties.get(match[1], match[0]), text)
    raise DefinitionError(f"POM value {text[:120]!r} cannot be resolved; write a definition by hand")


def _children(element: Element | None, name: str) -> Iterator[Element]:
    if element is not None:
        yield from (child for child in element if child.tag == name)


def _child(element: Element | None, name: str) -> Element | None:
    return next(_children(element, name), None)


def _text(element: Element | None, name: str) -> str | None:
    child = _child(element, name)
    text = (child.text or "").strip() if child is not None else ""
    return text or None


def _items(element: Element | None, outer: str, inner: str) -> Iterator[Element]:
    yield from _children(_child(element, outer), inner)


def _read_parent(element: Element) -> Parent:
    group, artifact, version = (_text(element, name) for name in ("groupId", "artifactId", "version"))
    if group is None or artifact is None or version is None:
        raise DefinitionError("the POM's <parent> lacks groupId, artifactId or version")
    return Parent(group, artifact, version)


def _read_properties(element: Element) -> dict[str, str]:
    properties = _child(element, "properties")
    return {} if properties is None else {item.tag: (item.text or "").strip() for item in properties}


def _read_build(element: Element | None) -> Build:
    return Build(
        plugins=tuple(_read_plugins(element)),
        managed=tuple(_read_plugins(_child(element, "pluginManagement"))),
        final_name=_text(element, "finalName"),
        directory=_text(element, "directory"),
        resources=read_resources(element),
    )


def _read_plugins(element: Element | None) -> Iterator[Plugin]:
    for item in _items(element, "plugins", "plugin"):
        artifact = _text(item, "artifactId")
        if artifact is None:
            continue  # Maven itself will refuse the POM, with a better message
        yield Plugin(
            group=_text(item, "groupId") or _DEFAULT_GROUP,
            artifact=artifact,
            executions=tuple(_read_executions(item)),
            inherited=_text(item, "inherited") != "false",
        )


def _read_executions(plugin: Element) -> Iterator[Execution]:
    for item in _items(plugin, "executions", "execution"):
        yield Execution(
            id=_text(item, "id") or "default",
            phase=_text(item, "phase"),
            goals=tuple(goal.text.strip() for goal in _items(item, "goals", "goal") if goal.text),
            inherited=_text(item, "inherited") != "false",
        )


def _read_profile(element: Element) -> Profile:
    activation = _child(element, "activation")
    return Profile(
        id=_text(element, "id") or "default",
        activation=None if activation is None else _read_activation(activation),
        build=_read_build(_child(element, "build")),
        properties=_read_properties(element),
    )


def _read_activation(element: Element) -> Activation:
    by_property = _child(element, "property")
    file = _child(element, "file")
    jdk = _text(element, "jdk")
    if jdk is not None and len(jdk) > _MAX_CONDITION_CHARS:
        raise DefinitionError(f"a profile's JDK condition of {len(jdk)} characters: {jdk[:40]!r}…")
    return Activation(
        by_default=_text(element, "activeByDefault") == "true",
        jdk=jdk,
        property_name=_text(by_property, "name"),
        property_value=_text(by_property, "value"),
        file_exists=_text(file, "exists"),
        file_missing=_text(file, "missing"),
        os=_child(element, "os") is not None,
    )
