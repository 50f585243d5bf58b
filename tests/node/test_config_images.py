"""Upstreams of images in the node's configuration."""

from pathlib import Path

import pytest
from tests.api.docker.support import upstream_text, write_image_node
from tests.verify.cases import default_blocks

from touchplate.base.errors import ConfigError
from touchplate.node.checks import check_files
from touchplate.node.config import load_config

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:9"


def test_reads_the_example_for_images() -> None:
    config = load_config(ROOT / "deploy" / "examples" / "images.toml")
    hub, internal = config.upstream
    assert (hub.name, hub.default, hub.tags, hub.namespace) == ("hub", True, "follow", "library")
    assert (internal.tags, internal.record, internal.allow_private) == ("pin", False, True)
    assert len(internal.private_hosts) == 2
    assert internal.credentials is not None
    assert [rule.need for rule in config.gate.rule] == [("reproduced",), (), ("recorded",)]


@pytest.mark.parametrize(
    ("block", "mistake"),
    [
        (upstream_text("hub", "auto"), '"auto" is known for Maven only'),
        (upstream_text("hub-", URL), "no repository"),
        (upstream_text("hub", URL, 'namespace = "Library"'), "namespace"),
        (upstream_text("hub", URL, 'tags = "move"'), "tags"),
        (upstream_text("hub", URL, identity="Registry.example.org"), "as it stands in image names"),
        (
            upstream_text("hub", URL, "default = true") + upstream_text("two", URL, "default = true"),
            "both say default = true",
        ),
        (upstream_text("hub", URL) + upstream_text("hub", URL), "two oci upstreams are named"),
        (
            upstream_text("hub", URL, 'tags = "pin"').replace('"oci"', '"maven"'),
            "are for upstreams of ecosystem oci",
        ),
    ],
)
def test_names_the_mistake(tmp_path: Path, block: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write_image_node(tmp_path, block))
    assert mistake in " | ".join(caught.value.mistakes)


def test_a_recorder_that_does_not_count_for_images_is_found_at_the_start(tmp_path: Path) -> None:
    path = write_image_node(tmp_path, upstream_text("hub", URL))
    (tmp_path / "admission.toml").write_text("\n".join(default_blocks()))
    with pytest.raises(ConfigError) as caught:
        check_files(load_config(path))
    (mistake,) = caught.value.mistakes
    assert "the ecosystem 'oci'" in mistake


def test_credentials_that_cannot_be_read_are_found_at_the_start(tmp_path: Path) -> None:
    path = write_image_node(tmp_path, upstream_text("hub", URL, 'credentials = "file:none"'))
    with pytest.raises(ConfigError) as caught:
        check_files(load_config(path))
    assert "upstream[1].credentials" in caught.value.mistakes[0]
