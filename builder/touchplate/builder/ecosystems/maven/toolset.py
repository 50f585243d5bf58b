"""The tools of a Maven build as its provenance names them: by digest, and whether they came from the host."""

from touchplate.builder.definitions.definition import Definition
from touchplate.builder.ecosystems.maven.plan import MavenTools
from touchplate.builder.roots.use import describe_root, package_label
from touchplate.builder.toolset import HOST, describe_program
from touchplate.verify.predicates.provenance import Dependency


def describe_tools(definition: Definition, tools: MavenTools) -> tuple[Dependency, ...]:
    """One dependency of kind `tool` for each. Raises HostLack when a tool cannot be read.

    Beside these, a build sees the host's `/usr`, unless its definition names a build root: a tool from there
    is annotated `root = host`, and readers are told "tools not pinned". A root is named by digest, and so is
    all that is in it.
    """
    root = tools.root
    described = []
    if tools.jdk is not None:
        package = f"openjdk-{tools.jdk.major}-jdk-headless"
        origin = HOST if root is None else package_label(root, package)
        labels = {"version": tools.jdk.version, "vendor": tools.jdk.vendor, **origin}
        described.append(
            Dependency(
                "tool", {"sha256": tools.jdk.digest()}, name=f"jdk-{tools.jdk.major}", annotations=labels
            )
        )
    if tools.maven is not None:
        artifact = tools.maven.artifact
        digests = {"sha256": artifact.sha256, "sha512": artifact.sha512}
        described.append(Dependency("tool", digests, artifact.uri, "maven", {"version": tools.maven.version}))
    return (*described, *describe_program(definition.command[0], root), *describe_root(root))
