"""Definitions of images: every mistake with its line, and what to write instead."""

import pytest

from touchplate.builder.definitions.definition import parse_definition
from touchplate.builder.ecosystems.oci.definition import details_of
from touchplate.builder.errors import DefinitionError

DIGEST = "a" * 64
PURL = f"pkg:oci/app@sha256:{DIGEST}?repository_url=registry.example.org/team/app"
GOOD = f"""version: 1
name: app
package: "{PURL}"
source:
  kind: source-release
  files:
    - uri: "upstream:registry.example.org/team/app/blobs/sha256:{DIGEST}"
      sha256: {DIGEST}
      size: 7
image:
  containerfile: Containerfile
  timestamp: 1700000000
  platform: linux/amd64
  bases:
    - name: "docker.io/library/debian:12"
      uri: "upstream:docker.io/library/debian/manifests/sha256:{DIGEST}"
      size: 500
tools: {{buildah: 1.28.2}}
outputs:
  - path: manifest.json
    package: "{PURL}"
"""


def mistakes(old: str, new: str) -> str:
    assert old in GOOD
    with pytest.raises(DefinitionError) as caught:
        parse_definition(GOOD.replace(old, new, 1).encode())
    return str(caught.value)


def test_definition_of_an_image_is_read() -> None:
    definition = parse_definition(GOOD.encode())
    details = details_of(definition)
    assert definition.command == ()
    assert details.bases[0].place.path == f"library/debian/manifests/sha256:{DIGEST}"
    assert (details.network, details.base_layers, details.names, details.storage) == (
        "default",
        "kept",
        "systemd",
        "overlay",
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  timestamp: 1700000000\n", "", "line 11: image: lacks timestamp; add it"),
        (
            "linux/amd64",
            "windows/amd64",
            "line 13: image.platform: 'windows/amd64' is not linux/ARCHITECTURE",
        ),
        (f"      sha256: {DIGEST}", f"      sha256: {'b' * 64}", "the uri names another digest than sha256"),
        ("Containerfile\n", "../Containerfile\n", "line 11: image.containerfile"),
        ("Containerfile\n", "Containerfile.in\n", "C preprocessor; give it another name"),
        (
            "docker.io/library/debian:12",
            "debian:12",
            "line 15: image.bases.0.name: 'debian:12' is not an image's full",
        ),
        (
            "docker.io/library/debian:12",
            f"docker.io/library/debian@sha256:{'b' * 64}",
            "another digest than the name",
        ),
        (f"debian/manifests/sha256:{DIGEST}", "debian/manifests/12", "line 16: image.bases.0.uri"),
        (f"debian/manifests/sha256:{DIGEST}", f"debian/blobs/sha256:{DIGEST}", "/manifests/sha256:<digest>"),
        ("app/blobs/", "app/manifests/", "line 7: source.files.0.uri"),
        ("source-release", "vcs", "source.files.0: lacks commit; add it"),
        ("{buildah: 1.28.2}", "{buildah: newest}", "line 18: tools.buildah"),
        ("{buildah: 1.28.2}", "{docker: 20}", "tools.docker: is unknown; known here: buildah"),
        ("path: manifest.json", "path: image.tar", "an image has one output: path manifest.json"),
        ("  bases:", "  network: host\n  bases:", "image.network: 'host' is unknown; use default or none"),
        ("  bases:", "  owner: 70000:0\n  bases:", "image.owner"),
        ("  bases:", "  secrets: []\n  bases:", "image.secrets: is unknown"),
        (
            "  bases:",
            "  args: {A: 1}\n  bases:",
            "image.args.A: 1 does not fit: a mapping of names to text; quote numbers",
        ),
        ("  bases:", "  labels: {'a=b': c}\n  bases:", "image.labels: the name 'a=b' does not fit"),
        ("tools:", "command: [sh]\ntools:", "command: is unknown"),
        ("tools:", "environment: {A: b}\ntools:", "environment: is unknown; known here: version"),
        ("version: 1", "version: 1\nupstreams: [hub]", "upstreams: is unknown; known here: version"),
    ],
)
def test_mistake_is_named_with_line_and_remedy(old: str, new: str, said: str) -> None:
    assert said in mistakes(old, new)


def test_all_mistakes_are_named_at_once() -> None:
    broken = GOOD.replace("linux/amd64", "amd64").replace("1.28.2", "new").replace("manifest.json", "x")
    with pytest.raises(DefinitionError) as caught:
        parse_definition(broken.encode())
    assert str(caught.value).count("line ") == 3
