"""A definition for a released library, from what was published with it: nobody writes one by hand.

Read are the published jar's manifest (which JDK), the POM with its parents (which goals) and the source (a
release archive, its own or its parent's; else the commit of a tag, where its repository was named; else the
sources jar with the POM). What was inferred is saved,
shown and attested.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from touchplate.builder.archives.folders import missing_above
from touchplate.builder.archives.manifest import BuildTraces, read_traces
from touchplate.builder.definitions.definition import VCS, make_definition
from touchplate.builder.ecosystem import Inference
from touchplate.builder.ecosystems.maven.coordinates import Coordinates, coordinates_of
from touchplate.builder.ecosystems.maven.definition import MavenTool
from touchplate.builder.ecosystems.maven.goals import shaping_goals
from touchplate.builder.ecosystems.maven.model import MAX_PARENTS, Host, Model, effective_model
from touchplate.builder.ecosystems.maven.modules import find_parents_release, module_folder
from touchplate.builder.ecosystems.maven.pom import Pom, parse_pom
from touchplate.builder.ecosystems.maven.publisher import refuse_gradle, uses_crlf
from touchplate.builder.ecosystems.maven.sources import (
    POM_NAME,
    SOURCE_RELEASE,
    SOURCES_JAR,
    FoundSource,
    find_release,
    need_sources_jar,
)
from touchplate.builder.ecosystems.maven.tools import DEFAULT_MAVEN
from touchplate.builder.errors import DefinitionError
from touchplate.builder.git.commits import CommitTree
from touchplate.builder.inputs.repository import RemoteFile, Repository
from touchplate.verify.jcs import JSONValue
from touchplate.verify.purl import PackageURL

_MVN = ("mvn", "-B", "-ntp")  # no questions, no progress lines

_PACKAGE = (*_MVN, "clean", "package", "-DskipTests", "-Drat.skip", "-Dmaven.javadoc.skip")
"""For a release tree, which has all that the publisher's own build needs. Javadoc goes into a jar of its own,
and asks for pages of other hosts."""

_ENVIRONMENT = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}

# Read by the JVM itself, before it makes the constant System.lineSeparator(): `mvn -D` comes too late.
# Quoted, since it is split at white space, which the separator is.
_CRLF = {"JAVA_TOOL_OPTIONS": "'-Dline.separator=\r\n'"}

_CRLF_NOTE = "line separator CRLF (pom.properties of the published jar, which Maven wrote with its machine's)"

_TREES = (SOURCE_RELEASE, VCS)
"""Kinds of source that are the publisher's own tree."""

_TOOL_CHARS = 80  # of the tool's name, a stranger's words that are shown and written into the definition

_JAR_PACKAGINGS = ("jar", "bundle", "maven-plugin", "ejb")


FindCommit = Callable[[Coordinates, Sequence[Pom]], tuple[FoundSource | None, str]]
"""The commit of a release, and why it is that one or none; see `scm.ScmFinder.find`."""


def _no_commit(coordinates: Coordinates, chain: Sequence[Pom]) -> tuple[FoundSource | None, str]:
    return None, ""


def infer(
    package: PackageURL,
    repository: Repository,
    *,
    jdk: int | None = None,
    maven: MavenTool = DEFAULT_MAVEN,
    find_commit: FindCommit = _no_commit,
) -> Inference:
    """Infer how `package` (a main jar) was built. `jdk` overrides what the published manifest says;
    `find_commit` is asked where no source release was published.

    Raises DefinitionError when the release does not tell enough, HostLack when the upstream cannot be read.
    """
    coordinates = coordinates_of(package)
    if coordinates.extension != "jar" or coordinates.classifier:
        raise DefinitionError(f"only main jars are inferred, not {package}; write a definition")
    published = repository.need(coordinates.path)
    pom = repository.need(coordinates.sibling("pom").path)
    project = parse_pom(pom.data)
    refuse_gradle(published.data, project, pom.data, coordinates)
    traces = read_traces(published.data)
    major = jdk if jdk is not None else _jdk_major(traces, package)
    crlf = uses_crlf(published.data, coordinates)
    chain = read_chain(repository, project)
    commit_note = ""
    source = find_release(repository, coordinates) or find_parents_release(repository, coordinates, chain)
    if source is None:
        source, commit_note = find_commit(coordinates, chain)
    source = source or need_sources_jar(repository, coordinates, pom)
    tree = source.names()
    if not tree - {POM_NAME}:
        raise DefinitionError(f"the {source.kind} of {coordinates.folder} holds nothing to build")
    folder = _project_folder(source, coordinates)
    places = _places(name.removeprefix(folder) for name in tree if name.startswith(folder))
    model = effective_model(chain, Host(jdk_major=major, file_exists=lambda path: path.rstrip("/") in places))
    _check_model(model, coordinates)
    way = _release_way(folder) if source.kind in _TREES else _sources_way(model)
    definition = make_definition(
        {
            "version": 1,
            "name": f"{coordinates.group}.{coordinates.artifact}-{coordinates.version}",
            "package": str(package),
            "source": {
                "kind": source.kind,
                "files": [_described(file) for file in source.files],
            },
            "tools": {"jdk": major, "maven": {"version": maven.version, "sha256": maven.sha256}},
            "command": way.command,
            "environment": {**_ENVIRONMENT, **(_CRLF if crlf else {})},
            "umask": "022",
            "upstreams": [repository.upstream.name],
            "outputs": [{"path": f"{way.folder}{model.output}.jar", "package": str(package)}],
        }
    )
    jdk_note = f"JDK {major} ({'asked for' if jdk is not None else 'Build-Jdk-Spec of the manifest'})"
    jdk_note = ", ".join((jdk_note, *_said_of_tools(traces)))
    found = (_CRLF_NOTE,) if crlf else ()
    said = (commit_note,) if commit_note else ()
    notes = (f"source: {source.kind}", *said, jdk_note, *found, *way.notes)
    reasons = _reasons(source, way, jdk_note, found)
    if commit_note:
        reasons["source.kind"] += f"; {commit_note}"
    return Inference(definition, (published,), notes, reasons)


def _described(file: RemoteFile) -> dict[str, JSONValue]:
    what: dict[str, JSONValue] = (
        {"commit": file.commit} if isinstance(file, CommitTree) else {"size": len(file.data)}
    )
    return {"uri": file.uri, "sha256": file.sha256, **what}


def _reasons(source: FoundSource, way: "_Way", jdk_note: str, environment: tuple[str, ...]) -> dict[str, str]:
    """Why the values are what they are, for the person who reads the definition."""
    kinds = {
        SOURCE_RELEASE: "the release tree that was published with this release or its parent's",
        VCS: "no source release was published; the tree of a commit in a repository that was named here",
        SOURCES_JAR: "no source release was published; the POM stands beside the sources, laid out again",
    }
    commands = {
        SOURCE_RELEASE: "the publisher's own build, without what does not shape the jar",
        VCS: "the publisher's own build, without what does not shape the jar",
        SOURCES_JAR: "the goals that shape the jar, as the POM and its parents bind them",
    }
    return {
        "source.kind": kinds[source.kind],
        "source.files": "as the upstream has them now",
        "tools.jdk": jdk_note,
        "tools.maven": "pinned by touchplate: which Maven it was seldom matters",
        "command": "; ".join((commands[source.kind], *way.notes)),
        "environment": "; ".join(("touchplate's own; the manifest does not say", *environment)),
        "umask": "touchplate's own; the manifest does not say",
        "upstreams": "where the release was read from",
        "outputs": "build.finalName of the POM, in its build folder",
    }


def read_chain(repository: Repository, pom: Pom) -> list[Pom]:
    """`pom` and its parents, read from the upstream. Raises DefinitionError for a chain without end."""
    chain = [pom]
    while chain[-1].parent is not None:
        if len(chain) > MAX_PARENTS:
            raise DefinitionError(f"the POM has more than {MAX_PARENTS} parents")
        parent = chain[-1].parent
        path = Coordinates(parent.group, parent.artifact, parent.version, "pom").path
        chain.append(parse_pom(repository.need(path).data))
    return chain


@dataclass(frozen=True)
class _Way:
    """How the jar is made: the command, where in the tree, and notes."""

    command: list[str]
    folder: str
    notes: tuple[str, ...] = ()


def _jdk_major(traces: BuildTraces, package: PackageURL) -> int:
    if traces.jdk_major is None:
        raise DefinitionError(f"the manifest of {package} does not say which JDK built it; give --jdk N")
    return traces.jdk_major


def _said_of_tools(traces: BuildTraces) -> tuple[str, ...]:
    said = (
        f"published by {traces.created_by[:_TOOL_CHARS]}"
        if traces.created_by
        else "its manifest names no tool"
    )
    if traces.tool_jdk is None:
        return (said,)
    return (said, f"under JDK {traces.tool_jdk[:20]} with a toolchain, which is not inferred")


def _project_folder(source: FoundSource, coordinates: Coordinates) -> str:
    """Where in the source tree the project stands: empty for the top, else with a final slash."""
    if source.kind not in _TREES:
        return ""
    folder = module_folder(source, coordinates.group, coordinates.artifact)
    if folder is None:
        raise DefinitionError(f"the source release has no POM of {coordinates.artifact}; write a definition")
    return folder


def _places(names: Iterable[str]) -> frozenset[str]:
    """The files and the folders that they stand in: a POM may ask for thousands of each."""
    places: set[str] = set()
    for name in names:
        places.update(missing_above(name, places))
        places.add(name)
    return frozenset(places)


def _check_model(model: Model, coordinates: Coordinates) -> None:
    if model.packaging not in _JAR_PACKAGINGS:
        raise DefinitionError(f"packaging {model.packaging[:40]!r} makes no jar; write a definition")
    found = (model.group, model.artifact, model.version)
    if found != (coordinates.group, coordinates.artifact, coordinates.version):
        raise DefinitionError(f"the POM of {coordinates.folder} says it is {':'.join(found)[:120]}")


def _sources_way(model: Model) -> _Way:
    plan = shaping_goals(model)
    notes = (f"left out: {len(plan.left_out)} goals that do not shape the jar",) if plan.left_out else ()
    return _Way([*_MVN, *plan.goals], "", notes)


def _release_way(folder: str) -> _Way:
    """`package` at the top of the release tree; for a module, the module and what it needs."""
    if not folder:
        return _Way(list(_PACKAGE), "")
    return _Way([*_PACKAGE, "-pl", folder.rstrip("/"), "-am"], folder, (f"module {folder}",))
