"""What a person starts from who writes a Conan definition."""

from touchplate.builder.definitions.template import definition_name
from touchplate.builder.ecosystems.conan.definition import OUTPUTS, PROGRAMS
from touchplate.builder.ecosystems.conan.reference import (
    CONANFILE,
    CONANINFO,
    EXPORTED,
    EXPORTED_SOURCES,
    PACKAGE,
    package_revision_of,
)
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

# What the recipe requires, and what that requires, is pinned file by file; `touchplate definition infer`
# finds it. Of a recipe {conanfile_name}, and {exported_name} and {sources_name} where it has them;
# of the package that is used of it {package_name} and {info_name}:
# requirements:
#   - uri: "pkg:conan/NAME@VERSION?file={conanfile_name}&rrev=RREV"
#     sha256: SHA256
#     size: BYTES
#   - uri: "pkg:conan/NAME@VERSION?file={package_name}&package_id=ID&prev=PREV&rrev=RREV"
#     sha256: SHA256
#     size: BYTES
#   - uri: "pkg:conan/NAME@VERSION?file={info_name}&package_id=ID&prev=PREV&rrev=RREV"
#     sha256: SHA256
#     size: BYTES

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
        conanfile_name=CONANFILE,
        exported_name=EXPORTED,
        sources_name=EXPORTED_SOURCES,
        package_name=PACKAGE,
        info_name=CONANINFO,
        conan=default_conan(),
        programs=", ".join(PROGRAMS),
        outputs="".join(outputs),
    )
