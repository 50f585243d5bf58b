"""Settings, plans and tools: where each repository id leads, what is shown inside, and the tree digest."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.mavenparts import pom, publish, zip_bytes
from tests.builder.rebuildparts import JAR, PACKAGE, PUBLISHED, Scene, scene
from tests.builder.sandboxes import require_sandbox

from touchplate.base.durable import DigestFolder
from touchplate.base.progress import QuietProgress
from touchplate.base.xml import parse_xml
from touchplate.builder.definitions.definition import Definition, make_definition
from touchplate.builder.ecosystems.maven.definition import MavenTool
from touchplate.builder.ecosystems.maven.plan import MavenTools, make_plan
from touchplate.builder.ecosystems.maven.settings import format_settings
from touchplate.builder.ecosystems.maven.tools import JDK, need_maven
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.inputs.repository import Repositories, Repository
from touchplate.builder.rebuild import fetch_published
from touchplate.builder.trees import tree_digest
from touchplate.builder.workshop import open_workshop

MAVEN = "org/apache/maven/apache-maven/3.9.11/apache-maven-3.9.11-bin.zip"
DISTRIBUTION = zip_bytes(
    {"apache-maven-3.9.11/bin/mvn": b"#!/bin/sh\n", "apache-maven-3.9.11/lib/a.jar": b""}
)
TOOL = MavenTool("3.9.11", hashlib.sha256(DISTRIBUTION).hexdigest())


@pytest.fixture
def here() -> Iterator[Scene]:
    with scene() as one:
        publish(one.repository, JAR, PUBLISHED)
        publish(one.repository, MAVEN, DISTRIBUTION)
        yield one


def mirrors(data: bytes) -> dict[str, str]:
    found = parse_xml(data).iter("mirror")
    return {each.findtext("mirrorOf") or "": each.findtext("url") or "" for each in found}


def test_each_upstream_has_its_own_mirror_and_every_other_id_is_refused() -> None:
    assert mirrors(format_settings("fetch", ["central"], ["apache.snapshots"])) == {
        "central": "http://127.0.0.1:3128/central/",
        "apache.snapshots": "http://127.0.0.1:3128/not-configured/apache.snapshots/",
        "*,!central,!apache.snapshots": "http://127.0.0.1:3128/not-configured/",
    }
    assert mirrors(format_settings("build", ["central"])) == {
        "central": "file:///repo/central/",
        "*,!central": "file:///repo/not-configured/",
    }


def test_ids_of_repositories_cannot_break_the_settings() -> None:
    for identifier in ("</url><evil>", "a,*", "!central", "../x", ""):
        assert mirrors(format_settings("fetch", ["central"], [identifier])) == {
            "central": "http://127.0.0.1:3128/central/",
            "*,!central": "http://127.0.0.1:3128/not-configured/",
        }


def definition(**changes: object) -> Definition:
    value = {
        "version": 1,
        "name": "demo",
        "package": PACKAGE,
        "source": {
            "kind": "source-release",
            "files": [{"uri": "upstream:central/s.zip", "sha256": "ab" * 32, "size": 1}],
        },
        "tools": {"jdk": 17, "maven": {"version": TOOL.version, "sha256": TOOL.sha256}},
        "command": ["mvn", "-B", "package"],
        "environment": {"MAVEN_OPTS": "-Xmx1g", "SOURCE_DATE_EPOCH": "0"},
        "outputs": [{"path": "target/demo-1.0.jar", "package": PACKAGE}],
        **changes,
    }
    return make_definition(value)  # type: ignore[arg-type]


def test_plan_runs_the_pinned_maven_with_our_settings_and_forbids_the_answer(
    here: Scene, tmp_path: Path
) -> None:
    (tmp_path / "pom.xml").write_bytes(pom("demo"))
    jdk = JDK(Path("/nowhere"), 17, "17.0.1", "Example")
    maven = need_maven(TOOL, here.central, here.workshop.tools)
    made = definition()
    published = fetch_published(here.workshop, made)
    plan = make_plan(made, tmp_path, MavenTools(jdk, maven), here.workshop.repositories, published)
    assert plan.command == (
        *("/maven/bin/mvn", "-s", "/settings.xml", "-Dmaven.repo.local=/home/build/m2"),
        *("-Dmaven.repo.local.tail=/repo/central", "-B", "package"),
    )
    assert plan.environment["MAVEN_OPTS"] == "-Duser.home=/home/build -XX:TieredStopAtLevel=1 -Xmx1g"
    assert plan.environment["JAVA_HOME"] == "/jdk"
    assert plan.environment["SOURCE_DATE_EPOCH"] == "0"
    assert [bind.inside for bind in plan.binds] == ["/maven", "/jdk"]
    assert plan.forbidden.digests == {hashlib.sha256(PUBLISHED).hexdigest()}
    assert plan.forbidden.paths == {("central", JAR)}


def test_where_two_upstreams_can_answer_maven_is_told_which_one_does(here: Scene, tmp_path: Path) -> None:
    # From a tail, a file of the one would be taken for the other's of the same path.
    client, store = here.workshop.client, DigestFolder(tmp_path / "store")
    other = Repository(replace(here.central.upstream, name="corporate", identity="corporate"), client, store)
    repositories = Repositories([here.central, other])
    made = definition(upstreams=["central", "corporate"])
    plan = make_plan(made, tmp_path, MavenTools(None, None), repositories, ())
    assert not [word for word in plan.command if "tail" in word]
    plan = make_plan(definition(), tmp_path, MavenTools(None, None), repositories, ())
    assert "-Dmaven.repo.local.tail=/repo/central" in plan.command


def test_an_upstream_that_is_not_configured_is_a_lack_of_this_host(here: Scene, tmp_path: Path) -> None:
    made = definition(upstreams=["corporate"])
    with pytest.raises(HostLack, match="no upstream 'corporate' is configured here; known: central"):
        make_plan(made, tmp_path, MavenTools(None, None), here.workshop.repositories, ())


def test_maven_is_unpacked_once_and_its_program_can_be_run(here: Scene) -> None:
    maven = need_maven(TOOL, here.central, here.workshop.tools)
    assert os.access(maven.home / "bin" / "mvn", os.X_OK)
    (here.repository / MAVEN).unlink()
    assert need_maven(TOOL, here.central, here.workshop.tools).home == maven.home


def test_a_maven_with_another_digest_is_refused(here: Scene) -> None:
    publish(here.repository, MAVEN, b"other bytes")
    with pytest.raises(DefinitionError, match=f"and {TOOL.sha256} is asked for"):
        need_maven(TOOL, here.central, here.workshop.tools)
    assert not here.workshop.tools.exists()


def test_folders_outside_a_jdk_that_its_links_need_are_shown_too(tmp_path: Path) -> None:
    home, outside = tmp_path / "jdk", tmp_path / "etc" / "java"
    home.mkdir()
    (outside / "security").mkdir(parents=True)
    (outside / "security" / "policy").write_text("x")
    (outside / "net.properties").write_text("x")
    (home / "net.properties").symlink_to(outside / "net.properties")
    (home / "policy").symlink_to(outside / "security" / "policy")
    (home / "own").symlink_to("net.properties")
    binds = JDK(home, 17, "17", "Example").binds()
    assert [(bind.host, bind.inside) for bind in binds] == [(home, "/jdk"), (outside, str(outside))]


def test_tree_digest_is_over_lines_of_files_modes_and_links(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"1")
    (tmp_path / "b").chmod(0o700)
    (tmp_path / "a b%").write_bytes(b"")
    (tmp_path / "a b%").chmod(0o600)
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "link").symlink_to("../b")
    empty, one = hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"1").hexdigest()
    lines = f"f 0644 {empty} a%20b%25\nf 0755 {one} b\nl ../b z/link\n"
    assert tree_digest(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()


def test_tree_digest_refuses_other_kinds_of_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HostLack, match="neither file nor link"):
        tree_digest(tmp_path)


def test_a_maven_that_is_not_what_its_artifact_holds_is_not_used(here: Scene) -> None:
    home = need_maven(TOOL, here.central, here.workshop.tools).home
    program = home / "bin" / "mvn"
    before = program.read_bytes()
    for path, content in ((program, b"#!"), (home / "more.jar", b"x")):
        path.write_bytes(content)
        with pytest.raises(HostLack, match="not what its artifact holds"):
            need_maven(TOOL, here.central, here.workshop.tools)
        program.write_bytes(before)


def test_what_a_killed_process_left_is_removed(here: Scene) -> None:
    require_sandbox()
    for name in ("tools/.new-0123", "tree-0123"):
        (here.workshop.data / name / "deep").mkdir(parents=True)
    need_maven(TOOL, here.central, here.workshop.tools)
    here.workshop.open_sandbox()
    assert not (here.workshop.data / "tools" / ".new-0123").exists()
    assert not (here.workshop.data / "tree-0123").exists()


@pytest.mark.parametrize(
    "folder", ["/usr/local/touchplate-test", "/usr", "/bin/../usr/share/touchplate-test"]
)
def test_data_that_every_build_could_read_is_refused(folder: str) -> None:
    with pytest.raises(HostLack, match="every build can read"), open_workshop(Path(folder), QuietProgress()):
        pass
    assert folder == "/usr" or not Path(folder).exists()
