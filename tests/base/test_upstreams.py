"""Upstreams, and the Maven central of a Maven that the tests lay out as distributions do."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from touchplate.base.config import load
from touchplate.base.environment import Environment, read_environment
from touchplate.base.errors import ConfigError, UpstreamError
from touchplate.base.upstreams import (
    SUPER_POM,
    Upstream,
    covers_central,
    find_maven_central,
    find_maven_home,
    maven_central,
    resolve_upstream,
)

POM = b"""<project><repositories>
<repository><id>other</id><url>https://other.example.org</url></repository>
<repository><id>central</id><url>https://central.example.org/maven2/</url></repository>
</repositories></project>"""


def install(folder: Path, pom: bytes = POM) -> Environment:
    """A Maven in `folder`/maven, its `mvn` linked from a folder of the search path, and a home folder."""
    home = folder / "maven"
    for name in ("bin", "lib", "conf"):
        (home / name).mkdir(parents=True)
    mvn = home / "bin" / "mvn"
    mvn.write_text("#!/bin/sh\n")
    mvn.chmod(0o755)
    (folder / "bin").mkdir()
    (folder / "bin" / "mvn").symlink_to(mvn)
    with zipfile.ZipFile(home / "lib" / "maven-model-builder-3.9.11.jar", "w") as jar:
        jar.writestr(SUPER_POM, pom)
    return Environment({"PATH": str(folder / "bin"), "HOME": str(folder / "user")})


def mirrors(*pairs: tuple[str, str], blocked: str = "false") -> bytes:
    each = "".join(
        f"<mirror><id>m</id><mirrorOf>{of}</mirrorOf><url>{url}</url><blocked>{blocked}</blocked></mirror>"
        for of, url in pairs
    )
    text = f'<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors>{each}</mirrors></settings>'
    return text.encode()


def write_user_settings(folder: Path, data: bytes) -> None:
    (folder / "user" / ".m2").mkdir(parents=True)
    (folder / "user" / ".m2" / "settings.xml").write_bytes(data)


def test_reads_central_from_the_super_pom(tmp_path: Path) -> None:
    found = find_maven_central(install(tmp_path))
    assert found.url == "https://central.example.org/maven2"
    assert found.source.name == "maven-model-builder-3.9.11.jar"


def test_finds_maven_by_link_by_variable_or_not_at_all(tmp_path: Path) -> None:
    environment = install(tmp_path)
    assert find_maven_home(environment) == tmp_path / "maven"
    named = Environment({"PATH": "", "MAVEN_HOME": str(tmp_path / "maven")})
    assert find_maven_home(named) == tmp_path / "maven"
    assert find_maven_home(Environment({"PATH": str(tmp_path)})) != tmp_path / "maven"


def test_a_mirror_of_the_user_goes_before_the_global_one(tmp_path: Path) -> None:
    environment = install(tmp_path)
    settings = tmp_path / "maven" / "conf" / "settings.xml"
    settings.write_bytes(mirrors(("*", "https://global.example.org/")))
    assert maven_central(environment) == "https://global.example.org"
    write_user_settings(tmp_path, mirrors(("*", "https://user.example.org")))
    found = find_maven_central(environment)
    assert (found.url, found.source) == (
        "https://user.example.org",
        tmp_path / "user" / ".m2" / "settings.xml",
    )


def test_a_mirror_that_names_central_goes_before_one_that_covers_all(tmp_path: Path) -> None:
    environment = install(tmp_path)
    write_user_settings(
        tmp_path, mirrors(("*", "https://all.example.org"), ("central", "https://one.example.org"))
    )
    assert maven_central(environment) == "https://one.example.org"


def test_blocked_and_foreign_mirrors_do_not_count(tmp_path: Path) -> None:
    environment = install(tmp_path)
    write_user_settings(tmp_path, mirrors(("*", "https://blocked.example.org"), blocked="true"))
    settings = tmp_path / "maven" / "conf" / "settings.xml"
    settings.write_bytes(mirrors(("external:http:*", "http://0.0.0.0/"), ("other", "https://o.example.org")))
    assert maven_central(environment) == "https://central.example.org/maven2"


@pytest.mark.parametrize(
    ("pattern", "covers"),
    [
        ("*", True), ("central", True), ("external:*", True), ("a, central", True), ("*,!a", True),
        ("", False), ("centra", False), ("*,!central", False),
        ("!central,*", False), ("external:http:*", False),
    ],
)  # fmt: skip
def test_knows_which_mirror_patterns_cover_central(pattern: str, covers: bool) -> None:
    assert covers_central(pattern) is covers


def test_fills_in_variables_of_the_environment_and_refuses_others(tmp_path: Path) -> None:
    environment = install(tmp_path)
    write_user_settings(tmp_path, mirrors(("*", "https://${env.MIRROR}/m2")))
    filled = Environment({**environment.variables, "MIRROR": "mirror.example.org"})
    assert maven_central(filled) == "https://mirror.example.org/m2"
    with pytest.raises(UpstreamError, match="write the url"):
        maven_central(environment)


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE s [<!ENTITY a 'b'>]><settings/>", b"not xml", b"<settings>", b"<a>" * 100 + b"</a>" * 100,
        mirrors(("*", "file:///etc")), mirrors(("*", "https://user:secret@m.example.org/")),
        b"<settings>" + b" " * (1 << 20) + b"</settings>",
    ],
    ids=["dtd", "text", "cut", "deep", "file", "password", "large"],
)  # fmt: skip
def test_refuses_settings_that_cannot_be_trusted_and_names_the_file(tmp_path: Path, data: bytes) -> None:
    environment = install(tmp_path)
    write_user_settings(tmp_path, data)
    with pytest.raises(UpstreamError, match=r"settings\.xml") as caught:
        maven_central(environment)
    assert "secret" not in str(caught.value)


def test_refuses_a_maven_without_a_readable_super_pom(tmp_path: Path) -> None:
    environment = install(tmp_path, pom=b"<project/>")
    with pytest.raises(UpstreamError, match="names no repository"):
        maven_central(environment)
    jar = tmp_path / "maven" / "lib" / "maven-model-builder-3.9.11.jar"
    jar.write_bytes(b"not a jar")
    with pytest.raises(UpstreamError, match="reinstall Maven"):
        maven_central(environment)


def test_damaged_jars_give_our_error_or_the_same_address(tmp_path: Path) -> None:
    environment = install(tmp_path)
    jar = tmp_path / "maven" / "lib" / "maven-model-builder-3.9.11.jar"
    good, address, refused = jar.read_bytes(), maven_central(environment), 0
    for at in range(len(good)):
        jar.write_bytes(good[:at] + bytes([good[at] ^ 0x11]) + good[at + 1 :])
        try:
            assert maven_central(environment) == address, at
        except UpstreamError:
            refused += 1
    assert refused > len(good) // 2


def test_an_address_in_the_configuration_goes_before_maven(tmp_path: Path) -> None:
    upstream = Upstream("central", "maven", "central", "http://127.0.0.1:8081/m2/", record=True)
    assert resolve_upstream(upstream, Environment({})).url == "http://127.0.0.1:8081/m2"
    automatic = resolve_upstream(Upstream("central", "maven", "central"), install(tmp_path))
    assert automatic.url == "https://central.example.org/maven2"


def test_a_configuration_lists_what_is_wrong_with_an_upstream() -> None:
    text = 'name = "Central"\necosystem = "conan"\nidentity = ""\nrecord = true'
    with pytest.raises(ConfigError) as caught:
        load(Upstream, text, where=Path("a.toml"))
    assert len(caught.value.mistakes) == 3
    for url in ("ftp://h/", "http://h/?a", "https://u:p@h/"):
        assert len(Upstream("a", "maven", "a", url).check()) == 1


def test_the_maven_of_this_machine_has_a_central() -> None:
    environment = read_environment()
    if find_maven_home(environment) is None:
        assert not environment.is_ci, "continuous integration needs Maven"
        pytest.skip("no Maven on this machine")
    assert maven_central(environment).startswith("http")
