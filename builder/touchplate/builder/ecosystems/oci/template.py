"""What a person starts from who writes the definition of an image."""

from touchplate.builder.definitions.template import definition_name
from touchplate.builder.ecosystems.oci.definition import OUTPUT
from touchplate.builder.ecosystems.oci.names import image_path
from touchplate.verify.names import format_upstream_uri
from touchplate.verify.purl import PackageURL

_TEMPLATE = """\
version: 1
name: {name}
package: "{package}"

source:
  kind: source-release
  # One tar archive (plain, gzip, bzip2, xz) with Containerfile and context, kept as a blob; its single top
  # folder is stripped. `touchplate definition context FOLDER --out FILE` makes one of a folder. The digest
  # stands in the uri and below it. Or kind vcs: the tree of a git commit, with the uri of the repository,
  # commit (the full id), sha256 (the tree digest) and no size.
  files:
    - uri: "{blob}FILL-IN"
      sha256: FILL-IN
      size: FILL-IN    # in bytes

image:
  containerfile: Containerfile  # path in the archive
  timestamp: FILL-IN            # what the publisher gave as --timestamp, in seconds since 1970
  platform: linux/amd64         # this machine's
  # Every image that FROM or COPY --from names, exactly as there and with its host; leave it out for `scratch`
  # alone.
  bases:
    - name: "FILL-IN"
      uri: "{manifest}FILL-IN"
      size: FILL-IN
  base_layers: kept             # or repacked: pushed to another registry than that of the base
  # Also, where the publisher used them: context, target, owner, network, names, storage, layers, squash,
  # omit_history, no_identity_label, args, labels, annotations. Where a RUN uses apt: apt, which gives each
  # HOST/FOLDER of its sources the name of an upstream.

# This host's, and exactly this release: every release lays images out in its own way.
tools: {{buildah: FILL-IN}}
umask: "022"

# This one, always.
outputs:
  - path: {output}
    package: "{package}"
"""


def make_template(package: PackageURL) -> str:
    """See `Ecosystem.make_template`."""
    place = image_path(package)
    return _TEMPLATE.format(
        name=definition_name(place.repository.replace("/", "-")),
        package=package,
        blob=format_upstream_uri(place.identity, f"{place.repository}/blobs/sha256:"),
        manifest=format_upstream_uri(place.identity, "BASE/manifests/sha256:"),
        output=OUTPUT,
    )
