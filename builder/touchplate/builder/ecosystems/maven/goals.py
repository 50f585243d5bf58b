"""The shortest list of goals that gives the main jar, from what a POM binds.

`mvn package` would also run tests, licence checks, SBOM and javadoc: five times the inputs and the time,
for the same jar. A sources jar cannot even feed most of them. So only goals that shape the main jar are
run, by full name and execution id, with the POM's own versions and configuration.
"""

from dataclasses import dataclass

from touchplate.builder.ecosystems.maven.model import UNBOUND, Model
from touchplate.builder.errors import DefinitionError

PHASES = (
    "validate",
    "initialize",
    "generate-sources",
    "process-sources",
    "generate-resources",
    "process-resources",
    "compile",
    "process-classes",
    "generate-test-sources",
    "process-test-sources",
    "generate-test-resources",
    "process-test-resources",
    "test-compile",
    "process-test-classes",
    "test",
    "prepare-package",
    "package",
)
"""Maven's default life cycle up to the jar, in order (Maven: introduction to the lifecycle)."""

_RESOURCES = "org.apache.maven.plugins:maven-resources-plugin"
_COMPILER = "org.apache.maven.plugins:maven-compiler-plugin"
_JAR = "org.apache.maven.plugins:maven-jar-plugin"
_BUNDLE = "org.apache.felix:maven-bundle-plugin"
_PLUGIN = "org.apache.maven.plugins:maven-plugin-plugin"

SHAPING: dict[tuple[str, str], str] = {
    ("org.apache.maven.plugins:maven-remote-resources-plugin", "process"): "generate-resources",
    (_COMPILER, "compile"): "compile",
    (_BUNDLE, "manifest"): "process-classes",
    (_PLUGIN, "descriptor"): "process-classes",
    ("biz.aQute.bnd:bnd-maven-plugin", "bnd-process"): "process-classes",
    ("org.apache.maven.plugins:maven-shade-plugin", "shade"): "package",
    ("org.moditect:moditect-maven-plugin", "add-module-info"): "package",
}
"""Goals beyond the life cycle that change the main jar → their own default phase.

Goals that make sources or resources are left out, since a sources jar holds what they made; but what remote
resources made there (licence, notice, list of dependencies) is about the sources jar, and made anew."""

_LIFECYCLES: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "jar": (
        ("process-resources", _RESOURCES, "resources", "default-resources"),
        ("compile", _COMPILER, "compile", "default-compile"),
        ("package", _JAR, "jar", "default-jar"),
    ),
    "bundle": (
        ("process-resources", _RESOURCES, "resources", "default-resources"),
        ("compile", _COMPILER, "compile", "default-compile"),
        ("package", _BUNDLE, "bundle", "default-bundle"),
    ),
    "maven-plugin": (
        ("process-resources", _RESOURCES, "resources", "default-resources"),
        ("compile", _COMPILER, "compile", "default-compile"),
        ("process-classes", _PLUGIN, "descriptor", "default-descriptor"),
        ("package", _JAR, "jar", "default-jar"),
    ),
}
"""Packaging → (phase, plugin, goal, execution) that the life cycle itself binds."""


@dataclass(frozen=True)
class GoalPlan:
    """Goals in order, and what the POM binds beside them and inference leaves out."""

    goals: tuple[str, ...]
    left_out: tuple[str, ...]


def shaping_goals(model: Model) -> GoalPlan:
    """The goals, as `group:artifact:goal@execution`, that make the main jar of `model`.

    Raises DefinitionError for a packaging that is not a jar.
    """
    lifecycle = _LIFECYCLES.get(model.packaging)
    if lifecycle is None:
        raise DefinitionError(
            f"packaging {model.packaging[:40]!r} has no known way from a sources jar; write a definition"
        )
    own = {(plugin, execution) for _, plugin, _, execution in lifecycle}
    # Within one phase, Maven runs the life cycle's own goal first, then the POM's in the order written.
    bound = [(phase, f"{plugin}:{goal}@{execution}") for phase, plugin, goal, execution in lifecycle]
    switched_off: set[str] = set()
    left_out: list[str] = []
    for plugin in model.plugins:
        for execution in plugin.executions:
            if (plugin.key, execution.id) in own:
                if execution.phase == UNBOUND:
                    switched_off.add(f"{plugin.key}@{execution.id}")
                continue
            for goal in execution.goals:
                name = f"{plugin.key}:{goal}@{execution.id}"
                default = SHAPING.get((plugin.key, goal))
                phase = execution.phase or default
                if default is None or phase not in PHASES:
                    if phase != UNBOUND:
                        left_out.append(name)
                    continue
                bound.append((phase or default, name))
    if switched_off:
        raise DefinitionError(
            f"the POM switches {min(switched_off)} off; its own way to the jar needs a definition by hand"
        )
    bound.sort(key=lambda item: PHASES.index(item[0]))  # stable: order within a phase is kept
    return GoalPlan(goals=tuple(name for _, name in bound), left_out=tuple(left_out))
