"""What a person starts from who writes a Conan definition."""

from touchplate.builder.definitions.template import definition_name
from touchplate.builder.ecosystems.conan.definition import OUTPUTS, PROGRAMS
from touchplate.builder.ecosystems.conan.reference import CONANFILE, EXPORTED, package_revision_of
from touchplate.builder.ecosystems.conan.tools import default_conan
from touchplate.verify.purl import PackageURL

_TEMPLATE = """\
version: 1
name: {name}
package: "{package}"

source:
  kind: source-release
  # Every file of the recipe revision but its conanmanifest.txt, as the remote serves it.
  files:
    - uri: "{conanfile}"
      sha256: FILL-IN  # of the file, in lower-case hex
      size: FILL-IN    # in bytes
    - uri: "{exported}"
      sha256: FILL-IN
      size: FILL-IN

tools:
  conan:  # made from pinned hashes, and exactly this one
    version: "{conan.version}"
    lock: {conan.lock}
  gcc: FILL-IN  # major version, from this host: compiler.version of conaninfo.txt
  # Programs in /usr/bin that the recipe runs, of
  # {programs}.
  programs: [cmake, make]

# Complete: what stands here is not found out on the host. Sections of the published conaninfo.txt.
profile:
  settings:
    os: Linux
    arch: "<FILL-IN>"
    build_type: Release
    compiler: gcc
    compiler.version: "<FILL-IN>"
  options: {{}}

# The time of all files of the package, in seconds since 1970: the first line of the published
# conanmanifest.txt.
environment: {{SOURCE_DATE_EPOCH: FILL-IN}}
umask: "022"

# Where Fetch finds what the recipe downloads, by sha256; leave it out when it downloads nothing.
upstreams: [sources]

# What the recipe requires, and what that requires, is pinned file by file as `requirements`; `touchplate
# definition infer` finds it.

# These two, always.
outputs:
{outputs}"""


def make_template(package: PackageURL) -> str:
    """See `Ecosystem.make_template`."""
    revision = package_revision_of(package)
    outputs = [f'  - path: {path}\n    package: "{revision.purl(name)}"\n' for name, path in OUTPUTS.items()]
    return _TEMPLATE.format(
        name=definition_name(f"{revision.name}-{revision.version}"),
        package=package,
        conanfile=revision.recipe.purl(CONANFILE),
        exported=revision.recipe.purl(EXPORTED),
        conan=default_conan(),
        programs=", ".join(PROGRAMS),
        outputs="".join(outputs),
    )
