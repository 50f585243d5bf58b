"""Which goals a POM and its parents bind: the part of Maven's effective model that inference needs.

Inheritance, plugin management and profile activation follow the Maven model reference, for what decides
whether an execution is bound and to which phase. Versions and configuration are left to Maven.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from touchplate.builder.ecosystems.maven.pom import (
    Activation,
    Build,
    Execution,
    Plugin,
    Pom,
    interpolate,
)
from touchplate.builder.errors import DefinitionError

MAX_PARENTS = 16
"""Longest chain of parents: real ones have up to 6, and a POM may name itself."""

MAX_BINDINGS = 5000
"""Plugins, executions, goals and profiles of a POM and its parents together: merging them costs the square.
The largest real ones have some hundreds."""

UNBOUND = "none"
"""The phase by which a POM switches an inherited execution off."""


@dataclass(frozen=True)
class Host:
    """What profile activation may depend on."""

    jdk_major: int
    file_exists: Callable[[str], bool]
    """Whether a path relative to the project's folder exists in the source tree."""


@dataclass(frozen=True)
class Model:
    """A POM with its parents merged and the active profiles applied."""

    group: str
    artifact: str
    version: str
    packaging: str
    properties: Mapping[str, str]
    plugins: tuple[Plugin, ...]
    output: str
    """Path of the main artifact without its extension, relative to the project's folder."""


def effective_model(chain: Sequence[Pom], host: Host) -> Model:
    """The model of `chain` (the project's POM first, then its parents).

    Raises DefinitionError when coordinates or the final name cannot be resolved, or beyond MAX_BINDINGS.
    """
    if not chain or len(chain) > MAX_PARENTS:
        raise DefinitionError(f"a POM with {len(chain) - 1} parents; at most {MAX_PARENTS} are followed")
    if (bindings := sum(_bindings(pom) for pom in chain)) > MAX_BINDINGS:
        raise DefinitionError(
            f"the POM and its parents have {bindings} plugins, executions, goals and profiles, "
            f"more than {MAX_BINDINGS}; write a definition"
        )
    project = chain[0]
    properties: dict[str, str] = {}
    plugins: dict[str, Plugin] = {}
    managed: dict[str, Plugin] = {}
    final_name: str | None = None
    directory: str | None = None
    for pom in reversed(chain):
        for build, more in _layers(pom, host):
            properties.update(more)
            _merge_into(plugins, build.plugins, inherited_only=pom is not project)
            _merge_into(managed, build.managed, inherited_only=pom is not project)
            # finalName and directory are inherited like the rest of <build>.
            final_name = build.final_name or final_name
            directory = build.directory or directory
    group = project.group or (project.parent.group if project.parent else None)
    version = project.version or (project.parent.version if project.parent else None)
    if group is None or version is None:
        raise DefinitionError("the POM has neither a group and version nor a parent that gives them")
    properties = {**properties, **_project_properties(project, group, version)}
    return Model(
        group=interpolate(group, properties),
        artifact=project.artifact,
        version=interpolate(version, properties),
        packaging=project.packaging,
        properties=properties,
        plugins=tuple(_with_management(plugin, managed.get(plugin.key)) for plugin in plugins.values()),
        output=_output(directory, final_name, properties),
    )


def _bindings(pom: Pom) -> int:
    builds = (pom.build, *(profile.build for profile in pom.profiles))
    plugins = [plugin for build in builds for plugin in (*build.plugins, *build.managed)]
    executions = [execution for plugin in plugins for execution in plugin.executions]
    goals = sum(len(execution.goals) for execution in executions)
    return len(pom.profiles) + len(plugins) + len(executions) + goals


def _project_properties(project: Pom, group: str, version: str) -> dict[str, str]:
    own = {"groupId": group, "artifactId": project.artifact, "version": version, "basedir": "."}
    return {f"{prefix}{name}": value for name, value in own.items() for prefix in ("project.", "pom.", "")}


def _output(directory: str | None, final_name: str | None, properties: Mapping[str, str]) -> str:
    folder = interpolate(directory or "target", properties).removeprefix("./")
    return f"{folder}/{interpolate(final_name or '${project.artifactId}-${project.version}', properties)}"


def _layers(pom: Pom, host: Host) -> list[tuple[Build, Mapping[str, str]]]:
    """The POM's own build, then those of its active profiles, in the order in which they are merged."""
    active = [item for item in pom.profiles if item.activation and _is_active(item.activation, host)]
    if not active:  # activeByDefault holds only when no other profile of the same POM is active
        active = [item for item in pom.profiles if item.activation is not None and item.activation.by_default]
    layers: list[tuple[Build, Mapping[str, str]]] = [(pom.build, pom.properties)]
    layers.extend((profile.build, profile.properties) for profile in active)
    return layers


def _is_active(activation: Activation, host: Host) -> bool:
    conditions: list[bool] = []
    if activation.jdk is not None:
        conditions.append(matches_jdk(activation.jdk, host.jdk_major))
    if activation.property_name is not None:
        # Properties of the POM do not activate profiles, only those given on the command line: none is.
        negated = activation.property_name.startswith("!")
        value = activation.property_value
        conditions.append(negated or (value is not None and value.startswith("!")))
    for path, wanted in ((activation.file_exists, True), (activation.file_missing, False)):
        if path is not None:
            conditions.append(host.file_exists(_project_path(path)) is wanted)
    if activation.os:
        conditions.append(False)  # which system the publisher had is not known; none of them shapes a jar
    return bool(conditions) and all(conditions)


def _project_path(path: str) -> str:
    for prefix in ("${basedir}/", "${project.basedir}/", "./"):
        path = path.removeprefix(prefix)
    return path


def matches_jdk(condition: str, major: int) -> bool:
    """Whether `<jdk>condition</jdk>` holds for a JDK of this major version: `17`, `!1.8`, `[9,)`, `(,9)`."""
    condition = condition.strip()
    if condition.startswith("!"):
        return not matches_jdk(condition[1:], major)
    if condition[:1] in ("[", "("):
        return any(_in_range(part, major) for part in re.findall(r"[\[(][^\])]*[\])]", condition))
    return _major_of(condition) == major


def _in_range(text: str, major: int) -> bool:
    lower, comma, upper = text[1:-1].partition(",")
    if not comma:
        return _major_of(lower) == major
    low, high = _major_of(lower), _major_of(upper)
    above = low is None or major > low or (text[0] == "[" and major == low)
    below = high is None or major < high or (text[-1] == "]" and major == high)
    return above and below


def _major_of(version: str) -> int | None:
    match = re.match(r"\s*(?:1\.)?([0-9]{1,4})", version)
    return int(match[1]) if match else None


def _merge_into(target: dict[str, Plugin], plugins: Iterable[Plugin], *, inherited_only: bool) -> None:
    for plugin in plugins:
        if inherited_only and not plugin.inherited:
            continue
        executions = tuple(item for item in plugin.executions if item.inherited or not inherited_only)
        known = target.get(plugin.key)
        merged = executions if known is None else _merge_executions(known.executions, executions)
        target[plugin.key] = replace(plugin, executions=merged)


def _merge_executions(base: Iterable[Execution], over: Iterable[Execution]) -> tuple[Execution, ...]:
    """Executions of one plugin by id: goals are united, the phase of `over` wins where it has one."""
    merged = {item.id: item for item in base}
    for item in over:
        known = merged.get(item.id)
        if known is None:
            merged[item.id] = item
        else:
            goals = known.goals + tuple(goal for goal in item.goals if goal not in known.goals)
            merged[item.id] = Execution(item.id, item.phase or known.phase, goals)
    return tuple(merged.values())


def _with_management(plugin: Plugin, managed: Plugin | None) -> Plugin:
    if managed is None:
        return plugin
    return replace(plugin, executions=_merge_executions(managed.executions, plugin.executions))
