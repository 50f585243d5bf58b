"""Upstreams of Conan packages in the node's configuration."""

from pathlib import Path

import pytest
from tests.api.conan.support import upstream_text, write_conan_node
from tests.verify.cases import default_blocks

from touchplate.base.errors import ConfigError
from touchplate.node.checks import check_files
from touchplate.node.config import load_config

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:9/artifactory/api/conan/team"


def test_reads_the_example_for_conan() -> None:
    config = load_config(ROOT / "deploy" / "examples" / "conan.toml")
    center, internal = config.upstream
    assert (center.name, center.identity, center.record) == ("center", "conancenter", True)
    assert (internal.record, internal.allow_private) == (False, True)
    assert internal.credentials is not None
    assert [rule.need for rule in config.gate.rule] == [("reproduced",), (), ("recorded",)]


@pytest.mark.parametrize(
    ("block", "mistake"),
    [
        (upstream_text("auto"), '"auto" is known for Maven only'),
        (upstream_text(URL, "default = true"), "are for upstreams of ecosystem oci"),
        (upstream_text(URL, 'tags = "pin"'), "are for upstreams of ecosystem oci"),
        (upstream_text(URL, identity="a/b"), "identity"),
        (upstream_text(URL) * 2, "two conan upstreams are named"),
        (
            upstream_text(URL, 'credentials = "file:x"').replace('"conan"', '"maven"'),
            "credentials are for upstreams of ecosystem oci or conan",
        ),
    ],
)
def test_names_the_mistake(tmp_path: Path, block: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write_conan_node(tmp_path, block))
    assert mistake in " | ".join(caught.value.mistakes)


@pytest.mark.parametrize(
    ("pattern", "mistake"),
    [
        ("pkg:conan/openssl@*", None),
        ("pkg:conan/*", None),
        ("pkg:conan/*@1.0?repository_url=r.example.org", None),
        ("pkg:conan/lib@1.0?channel=*&user=acme", None),
        ("pkg:conan/openssl", "pkg:conan/NAME@VERSION"),
        ("pkg:conan/OpenSSL@*", "pkg:conan/NAME@VERSION"),
        ("pkg:conan/openssl@1.0?file=conan_package.tgz", "pkg:conan/NAME@VERSION"),
        ("pkg:conan/openssl@1.0?repository_url=conancenter", "pkg:conan/NAME@VERSION"),
    ],
)
def test_a_rule_that_can_match_no_conan_package_is_refused(
    tmp_path: Path, pattern: str, mistake: str | None
) -> None:
    rules = f'[[gate.rule]]\npackage = "{pattern}"\nneed = []\n[[gate.rule]]\nneed = ["recorded"]\n'
    path = write_conan_node(tmp_path, upstream_text(URL), rules)
    if mistake is None:
        assert load_config(path).gate.rule[0].package == pattern
        return
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert mistake in " | ".join(caught.value.mistakes)


def test_a_recorder_that_does_not_count_for_conan_is_found_at_the_start(tmp_path: Path) -> None:
    path = write_conan_node(tmp_path, upstream_text(URL))
    (tmp_path / "admission.toml").write_text("\n".join(default_blocks()))
    with pytest.raises(ConfigError) as caught:
        check_files(load_config(path))
    (mistake,) = caught.value.mistakes
    assert "the ecosystem 'conan'" in mistake


def test_credentials_that_cannot_be_read_are_found_at_the_start(tmp_path: Path) -> None:
    path = write_conan_node(tmp_path, upstream_text(URL, 'credentials = "file:none"'))
    with pytest.raises(ConfigError) as caught:
        check_files(load_config(path))
    assert "upstream[1].credentials" in caught.value.mistakes[0]
