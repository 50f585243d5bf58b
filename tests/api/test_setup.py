"""Settings for clients: readable by what reads them, and none that falls through."""

import json
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.api.docker.support import upstream_text, write_image_node

from touchplate.api.setup import CLIENTS, Server, client_settings
from touchplate.verify.cli import main

SERVER = Server(
    "https://packages.example.org",
    ["central"],
    [("hub", "registry.example.org"), ("internal", "internal.example.org:5000")],
    ["center", "team"],
)
PLAIN = Server("http://127.0.0.1:8350", ["central"], [("hub", "registry.example.org")])


def files(client: str, server: Server = SERVER) -> dict[str, str]:
    return {file.path: file.text for file in client_settings(client, server).files}


def test_containerd_has_nobody_to_go_on_to() -> None:
    found = files("containerd")
    assert {Path(path).parent.name for path in found} == {
        "registry.example.org",
        "internal.example.org:5000",
        "_default",
    }
    for text in found.values():
        settings = tomllib.loads(text)
        assert settings["server"] == SERVER.url
        assert settings["host"] == {SERVER.url: {"capabilities": ["pull", "resolve"]}}


def test_podman_rewrites_names_and_rejects_other_registries() -> None:
    found = files("podman")
    registries = tomllib.loads(found["/etc/containers/registries.conf.d/touchplate.conf"])["registry"]
    assert {one["prefix"]: one["location"] for one in registries} == {
        "registry.example.org": "packages.example.org/hub",
        "internal.example.org:5000": "packages.example.org/internal",
    }
    assert not any(one["insecure"] or "mirror" in one for one in registries)
    policy = json.loads(found["/etc/containers/policy.json"])
    assert policy["default"] == [{"type": "reject"}]
    accepted = policy["transports"]["docker"]
    assert set(accepted) == {"packages.example.org", "registry.example.org", "internal.example.org:5000"}


def test_docker_gets_no_mirror() -> None:
    for server in (SERVER, PLAIN):
        assert not any("registry-mirrors" in text for text in files("docker", server).values())
    daemon = json.loads(files("docker", PLAIN)["/etc/docker/daemon.json"])
    assert daemon == {"insecure-registries": ["127.0.0.1:8350"]}
    assert "/etc/docker/daemon.json" not in files("docker")


def test_plain_http_is_said_to_podman() -> None:
    conf = files("podman", PLAIN)["/etc/containers/registries.conf.d/touchplate.conf"]
    assert all(one["insecure"] for one in tomllib.loads(conf)["registry"])


def test_conan_knows_no_other_remote() -> None:
    found = json.loads(files("conan")["~/.conan2/remotes.json"])
    assert found == {
        "remotes": [
            {"name": f"touchplate-{name}", "url": f"{SERVER.url}/conan/{name}", "verify_ssl": True}
            for name in ("center", "team")
        ]
    }


def test_maven_asks_nobody_else() -> None:
    (text,) = files("maven").values()
    mirror = ElementTree.fromstring(text).find("mirrors/mirror")
    assert mirror is not None
    assert mirror.findtext("mirrorOf") == "*"
    assert mirror.findtext("url") == "https://packages.example.org/maven/central"


@pytest.mark.parametrize("client", CLIENTS)
def test_the_command_prints_for_people_and_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], client: str
) -> None:
    upstreams = upstream_text("hub", "http://127.0.0.1:9") + upstream_text("pinned", "http://127.0.0.1:9")
    config = str(write_image_node(tmp_path, upstreams))
    arguments = ["setup", client, "--config", config, "--server", "https://packages.example.org/"]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["client"] == client
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"What enforces: {told['enforces']}")
    for file in told["files"]:
        assert file["path"] in text
        assert file["text"] in text
    # Of two upstreams of one registry, the first answers for its name.
    assert "packages.example.org/pinned" not in text


def test_a_server_that_is_no_url_of_a_host_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_image_node(tmp_path, upstream_text("hub", "http://127.0.0.1:9")))
    for server in ("packages.example.org", "https://packages.example.org/x", "ftp://x"):
        assert main(["setup", "docker", "--config", config, "--server", server]) != 0
        assert "--server" in capsys.readouterr().err
