"""What a person starts from who writes a Maven definition."""

from touchplate.builder.definitions.template import definition_name
from touchplate.builder.ecosystems.maven.coordinates import coordinates_of, identity_of
from touchplate.builder.ecosystems.maven.sources import SOURCE_RELEASE
from touchplate.builder.ecosystems.maven.tools import DEFAULT_MAVEN
from touchplate.builder.errors import DefinitionError
from touchplate.verify.names import format_upstream_uri
from touchplate.verify.purl import PackageURL

_TEMPLATE = """\
version: 1
name: {name}
package: "{package}"

source:
  # source-release: one archive with the release tree, whose single top folder is stripped.
  # sources-jar: the -sources.jar and the .pom, in this order; a weaker claim, and counted only by readers
  # who say so.
  # vcs: the tree of a git commit; one file with the uri of the repository, commit (the full id), sha256 (the
  # tree digest) and no size.
  kind: source-release
  files:
    - uri: "{source}"
      sha256: FILL-IN  # of the file, in lower-case hex
      size: FILL-IN    # in bytes

tools:
  jdk: FILL-IN  # major version, from this host: Build-Jdk-Spec in META-INF/MANIFEST.MF of the published jar
  maven:        # fetched as an artifact, and exactly this one
    version: "{maven.version}"
    sha256: {maven.sha256}

# Without a shell. mvn is the Maven above; anything else is an absolute path below /usr.
command: [mvn, -B, -ntp, clean, package, -DskipTests, -Drat.skip, -Dmaven.javadoc.skip]

# The defaults. SOURCE_DATE_EPOCH and MAVEN_OPTS belong here, numbers in quotes.
environment: {{TZ: UTC, LANG: C.UTF-8, LC_ALL: C.UTF-8}}
umask: "022"

# The only places that Fetch can reach.
upstreams: [central]

# Below the build folder, each with the published file that it has to equal.
outputs:
  - path: "target/{file}"
    package: "{package}"
"""


def make_template(package: PackageURL) -> str:
    """See `Ecosystem.make_template`."""
    coordinates = coordinates_of(package)
    if coordinates.extension == "pom" and not coordinates.classifier:
        raise DefinitionError(f"{package} is a POM, which is published as it is; write type=jar")
    source = coordinates.sibling("zip", SOURCE_RELEASE).path
    return _TEMPLATE.format(
        name=definition_name(f"{coordinates.group}.{coordinates.artifact}-{coordinates.version}"),
        package=package,
        source=format_upstream_uri(identity_of(package), source),
        maven=DEFAULT_MAVEN,
        file=coordinates.file_name,
    )
