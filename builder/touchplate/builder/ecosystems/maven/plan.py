"""A BuildPlan for a Maven definition: tree, tools, settings, environment, and what may not be an input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from touchplate.base.upstreams import Upstream
from touchplate.builder.definitions.definition import Definition
from touchplate.builder.ecosystems.maven.compiled import digest_classes
from touchplate.builder.ecosystems.maven.coordinates import coordinates_of, identity_of
from touchplate.builder.ecosystems.maven.failure import missing_poms
from touchplate.builder.ecosystems.maven.pom import parse_pom
from touchplate.builder.ecosystems.maven.settings import SETTINGS_INSIDE, format_settings
from touchplate.builder.ecosystems.maven.sources import POM_NAME
from touchplate.builder.ecosystems.maven.tools import JDK, JDK_INSIDE, MAVEN_INSIDE, Maven
from touchplate.builder.errors import DefinitionError
from touchplate.builder.inputs.repository import MAX_FILE_BYTES, RemoteFile, Repositories
from touchplate.builder.plan import HOME_FOLDER, REPOSITORY_FOLDER, Bind, BuildPlan, Forbidden, Phase
from touchplate.builder.roots.store import Root
from touchplate.builder.roots.use import shown

MAVEN_ARGUMENTS = ("-s", SETTINGS_INSIDE, f"-Dmaven.repo.local={HOME_FOLDER}/m2")

SHORT_RUN = "-XX:TieredStopAtLevel=1"
"""For Maven's JVM: its second compiler takes half the CPU of a build of seconds, and pays off after minutes.
A definition of a long build can say 4 in its own MAVEN_OPTS, which come later and win."""


@dataclass(frozen=True)
class MavenTools:
    """The tools as found on this host; None where the definition asks for none."""

    jdk: JDK | None
    maven: Maven | None
    root: Root | None = None
    """The build root that is shown; None: the host's /usr."""


def make_plan(
    definition: Definition,
    tree: Path,
    tools: MavenTools,
    repositories: Repositories,
    published: Sequence[RemoteFile],
) -> BuildPlan:
    """The plan of both phases. `published`: the files that the outputs are compared with, in their order.

    Raises DefinitionError when definition and tools do not fit, HostLack for an unknown upstream.
    """
    upstreams = tuple(repositories.named(name).upstream for name in definition.upstreams)
    others = _repository_ids(tree)

    def files(phase: Phase) -> Mapping[str, bytes]:
        return {SETTINGS_INSIDE: format_settings(phase, definition.upstreams, others)}

    return BuildPlan(
        source=tree,
        command=_command(definition, upstreams),
        binds=_binds(tools),
        root=shown(tools.root),
        environment=_environment(definition, tools),
        umask=definition.umask,
        upstreams=upstreams,
        files=files,
        outputs=tuple(output.path for output in definition.outputs),
        went_without=missing_poms,
        forbidden=_forbidden(definition, repositories, published),
        # No larger than a published file may be: both are in memory when they are compared.
        limits=replace(definition.limits, output_bytes=MAX_FILE_BYTES),
        allow_metadata=definition.allow_metadata,
    )


def _command(definition: Definition, upstreams: Sequence[Upstream]) -> tuple[str, ...]:
    program, *arguments = definition.command
    if program != "mvn":
        return definition.command
    return (f"{MAVEN_INSIDE}/bin/mvn", *MAVEN_ARGUMENTS, *_tail(upstreams), *arguments)


def _tail(upstreams: Sequence[Upstream]) -> tuple[str, ...]:
    """In Build, Maven from 3.9 on takes the locked files where they lie, hashed by us, instead of copying
    each into a repository of its own with two checksum files: a sixth of the CPU of a build of seconds.

    Maven does not ask which repository a file of a tail came from. So it is given one only where there is one
    upstream, to which nothing else can answer. In Fetch the folder is not there, and everything is asked for.
    """
    if len(upstreams) != 1:
        return ()
    return (f"-Dmaven.repo.local.tail={REPOSITORY_FOLDER}/{upstreams[0].name}",)


def _binds(tools: MavenTools) -> tuple[Bind, ...]:
    maven = (Bind(tools.maven.home, MAVEN_INSIDE, fetched=True),) if tools.maven else ()
    return (*maven, *(tools.jdk.binds() if tools.jdk else ()))


def _environment(definition: Definition, tools: MavenTools) -> dict[str, str]:
    environment = dict(definition.environment)
    if tools.jdk is not None:
        environment.setdefault("JAVA_HOME", JDK_INSIDE)
    if tools.maven is not None:
        # uid 1000 has no passwd entry inside; Java would take `?` for its home.
        own = environment.get("MAVEN_OPTS", "")
        environment["MAVEN_OPTS"] = f"-Duser.home={HOME_FOLDER} {SHORT_RUN} {own}".strip()
    return environment


def _forbidden(
    definition: Definition, repositories: Repositories, published: Sequence[RemoteFile]
) -> Forbidden:
    paths = {
        (
            repositories.of_identity(identity_of(output.package), "maven").upstream.name,
            coordinates_of(output.package).path,
        )
        for output in definition.outputs
    }
    classes = (digest_classes(file.data) for file in published)
    return Forbidden(
        digests=frozenset(file.sha256 for file in published),
        paths=frozenset(paths),
        compiled=frozenset().union(*classes),
    )


def _repository_ids(tree: Path) -> tuple[str, ...]:
    path = tree / POM_NAME
    try:
        return parse_pom(path.read_bytes()).repositories if path.is_file() and not path.is_symlink() else ()
    except DefinitionError:  # Maven will say what is wrong with it, as the build's own failure
        return ()
