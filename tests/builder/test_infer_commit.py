"""Inference of the commit that a POM's <scm> names: only in repositories that were named to us."""

from collections.abc import Iterator

import pytest
from tests.builder.gitparts import GitSite, git, git_site
from tests.builder.mavenparts import manifest, pom, publish, served, zip_bytes
from tests.builder.rebuildparts import FOLDER, JAR, PACKAGE, SOURCES
from tests.builder.sandboxes import require_sandbox

from touchplate.base.progress import QuietProgress
from touchplate.builder.ecosystem import Inference
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.builder.errors import HostLack
from touchplate.builder.inputs.upstream_option import parse_upstream
from touchplate.builder.rebuild import fetch_published
from touchplate.builder.workshop import open_workshop
from touchplate.verify.purl import parse_purl

POM = f"{FOLDER}/demo-1.0.pom"
PLACE = "scm:git:https://git.example.org/team/demo.git"


def scm(tag: str = "v1.0", place: str = PLACE, name: str = "connection") -> str:
    return f"<scm><{name}>{place}</{name}><tag>{tag}</tag></scm>"


@pytest.fixture
def site() -> Iterator[GitSite]:
    require_sandbox()
    with git_site() as one:
        one.folder.chmod(0o755)
        central = one.folder / "central"
        publish(central, JAR, zip_bytes({"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 17")}))
        publish(central, POM, pom("demo", more=scm()))
        publish(central, f"{FOLDER}/demo-1.0-sources.jar", zip_bytes({"A.java": b"class A {}"}))
        yield one


def released(site: GitSite, artifact: str = "demo", *, annotated: bool = False, form: str = "sha1") -> str:
    """The commit of the tag v1.0."""
    repository = site.make("team/demo.git", form)
    commit = repository.commit_files({"pom.xml": pom(artifact), "A.java": b"class A {}"})
    git(repository.path, "tag", *(["-a", "-m", "release"] if annotated else []), "v1.0", commit)
    git(repository.path, "tag", "v1.0.1", repository.commit_files({"b": b""}))
    return commit


def inferred(site: GitSite, *, identity: str = "git.example.org") -> Inference:
    with served(site.folder / "central") as url:
        git_place = f"hub={site.url},identity={identity},ecosystem=git"
        upstreams = [parse_upstream(url), parse_upstream(git_place)]
        with open_workshop(site.folder / "data", QuietProgress(), upstreams=upstreams) as workshop:
            found = find_ecosystem("maven").infer(workshop, parse_purl(PACKAGE), {})
            assert fetch_published(workshop, found.definition) == found.published
            return found


@pytest.mark.parametrize("form", ["sha1", "sha256"])
@pytest.mark.parametrize("annotated", [False, True])
def test_the_commit_of_the_tag_is_preferred_to_the_sources_jar(
    site: GitSite, annotated: bool, form: str
) -> None:
    commit = released(site, annotated=annotated, form=form)
    found = inferred(site)
    (file,) = found.definition.source.files
    assert found.definition.source.kind == "vcs"
    assert (file.uri, file.commit) == ("upstream:git.example.org/team/demo.git", commit)
    assert found.definition.command[3:5] == ("clean", "package")
    assert found.definition.outputs[0].path == "target/demo-1.0.jar"
    assert f"commit {commit}, tag 'v1.0'" in found.reasons["source.kind"]
    assert any(commit in note for note in found.notes)


@pytest.mark.parametrize(
    "more",
    [
        scm("v${project.version}"),
        scm(place="scm:git:git@git.example.org:team/demo.git"),
        scm(place="git://git.example.org/team/${project.artifactId}.git/", name="developerConnection"),
        scm(place="https://git.example.org/team/demo.git", name="url"),
    ],
    ids=["property", "scp", "developer", "url"],
)
def test_addresses_are_read_as_people_write_them(site: GitSite, more: str) -> None:
    commit = released(site)
    publish(site.folder / "central", POM, pom("demo", more=more))
    assert inferred(site).definition.source.files[0].commit == commit


def test_a_source_release_stays_preferred(site: GitSite) -> None:
    released(site)
    publish(site.folder / "central", SOURCES, zip_bytes({"demo/pom.xml": pom("demo"), "demo/a": b""}))
    assert inferred(site).definition.source.kind == "source-release"
    assert site.asked == []


def test_nobody_is_asked_who_was_not_named(site: GitSite) -> None:
    released(site)
    found = inferred(site, identity="other.example.org")
    assert found.definition.source.kind == "sources-jar"
    assert not any("commit" in note for note in found.notes)
    assert site.asked == []


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (scm("HEAD"), "and no tag"),
        (scm("../x"), "and no tag"),
        (scm("v1.0 x"), "and no tag"),
        (scm("v${what}"), "and no tag"),
        (scm("v1"), "has no tag 'v1'"),
        (scm(place="scm:git:https://git.example.org/none.git"), "no such repository"),
    ],
    ids=["head", "climbing", "space", "unknown", "prefix", "no-repository"],
)
def test_without_a_commit_it_is_the_sources_jar_and_the_reason_is_shown(
    site: GitSite, more: str, why: str
) -> None:
    released(site)
    publish(site.folder / "central", POM, pom("demo", more=more))
    found = inferred(site)
    assert found.definition.source.kind == "sources-jar"
    assert any(why in note for note in found.notes)
    assert why in found.reasons["source.kind"]


@pytest.mark.parametrize("tag", ["v1.0", "v1.0.1"])
def test_a_tree_without_the_projects_pom_is_not_taken(site: GitSite, tag: str) -> None:
    released(site, "another")
    publish(site.folder / "central", POM, pom("demo", more=scm(tag)))
    found = inferred(site)
    assert found.definition.source.kind == "sources-jar"
    assert any("has no POM of demo" in note for note in found.notes)


def test_a_named_server_that_does_not_answer_is_a_lack_of_this_host(site: GitSite) -> None:
    released(site)
    site.status = 503
    with pytest.raises(HostLack, match="503"):
        inferred(site)
