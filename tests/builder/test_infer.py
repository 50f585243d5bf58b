"""Inference: from what was published to a definition, over a loopback repository."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.builder.mavenparts import manifest, pom, publish, zip_bytes
from tests.builder.rebuildparts import FOLDER, JAR, PACKAGE, SOURCES, Scene, scene
from tests.builder.test_maven_model import BUNDLE, COMPILE, MANIFEST, RESOURCES, build, profile
from tests.builder.test_maven_model import JAR as JAR_GOAL

from touchplate.builder.ecosystem import Inference
from touchplate.builder.ecosystems.maven.definition import details_of
from touchplate.builder.ecosystems.maven.infer import infer
from touchplate.builder.ecosystems.maven.tools import DEFAULT_MAVEN, need_jdk
from touchplate.builder.errors import BuilderError, DefinitionError, HostLack
from touchplate.verify.purl import parse_purl

POM = f"{FOLDER}/demo-1.0.pom"
SOURCES_JAR = f"{FOLDER}/demo-1.0-sources.jar"


@pytest.fixture
def here() -> Iterator[Scene]:
    with scene() as one:
        publish(one.repository, JAR, zip_bytes({"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 17")}))
        publish(one.repository, POM, pom("demo"))
        publish(one.repository, SOURCES_JAR, zip_bytes({"A.java": b"class A {}"}))
        yield one


def inferred(one: Scene, jdk: int | None = None) -> Inference:
    return infer(parse_purl(PACKAGE), one.central, jdk=jdk)


def test_sources_jar_and_pom_make_a_definition(here: Scene) -> None:
    found = inferred(here)
    definition = found.definition
    assert definition.source.kind == "sources-jar"
    assert [file.uri for file in definition.source.files] == [
        f"upstream:central/{SOURCES_JAR}",
        f"upstream:central/{POM}",
    ]
    assert definition.command == ("mvn", "-B", "-ntp", RESOURCES, COMPILE, JAR_GOAL)
    assert details_of(definition).jdk == 17
    assert details_of(definition).maven == DEFAULT_MAVEN
    assert definition.outputs[0].path == "target/demo-1.0.jar"
    assert [file.path for file in found.published] == [JAR]


def test_same_release_gives_the_same_definition_bytes(here: Scene) -> None:
    assert inferred(here).definition.data == inferred(here).definition.data
    assert inferred(here).definition.data.endswith(b"}\n")


def test_parents_are_read_from_the_upstream(here: Scene) -> None:
    publish(here.repository, POM, pom("demo", parent="parent:3"))
    with pytest.raises(DefinitionError, match=r"no file 'org/example/parent/3/parent-3\.pom'"):
        inferred(here)
    publish(
        here.repository, "org/example/parent/3/parent-3.pom", pom("parent", version="3", more=build(BUNDLE))
    )
    assert inferred(here).definition.command[3:] == (RESOURCES, COMPILE, MANIFEST, JAR_GOAL)


def test_a_chain_of_parents_without_end_is_refused(here: Scene) -> None:
    publish(here.repository, POM, pom("demo", parent="demo:1.0"))
    with pytest.raises(DefinitionError, match="more than 16 parents"):
        inferred(here)


def test_a_source_release_is_preferred_and_built_whole(here: Scene) -> None:
    publish(
        here.repository, SOURCES, zip_bytes({"demo-1.0/pom.xml": pom("demo"), "demo-1.0/src/A.java": b""})
    )
    definition = inferred(here).definition
    assert definition.source.kind == "source-release"
    left_out = ("-DskipTests", "-Drat.skip", "-Dmaven.javadoc.skip")
    assert definition.command == ("mvn", "-B", "-ntp", "clean", "package", *left_out)


def test_a_module_of_a_source_release_is_found(here: Scene) -> None:
    files = {"p-1/pom.xml": pom("parent"), "p-1/demo/pom.xml": pom("demo"), "p-1/other/pom.xml": pom("other")}
    publish(here.repository, SOURCES, zip_bytes(files))
    definition = inferred(here).definition
    assert definition.command[-3:] == ("-pl", "demo", "-am")
    assert definition.outputs[0].path == "demo/target/demo-1.0.jar"


PARENTS_SOURCES = "org/example/parent/{0}/parent-{0}-source-release.zip"


def module_of(one: Scene, version: str, *names: str, more: Mapping[str, bytes] | None = None) -> None:
    """`demo` 1.0 as a module of `parent`, whose source release holds the modules `names` and `more` files."""
    publish(one.repository, POM, pom("demo", parent=f"parent:{version}"))
    publish(
        one.repository,
        f"org/example/parent/{version}/parent-{version}.pom",
        pom("parent", version=version),
    )
    files = {f"p/{name}/pom.xml": pom(name.rpartition("/")[2]) for name in names} | dict(more or {})
    files["p/pom.xml"] = pom("parent", version=version)
    publish(one.repository, PARENTS_SOURCES.format(version), zip_bytes(files))


def test_a_module_is_built_from_the_source_release_of_its_parent(here: Scene) -> None:
    module_of(here, "1.0", "demo", "other")
    definition = inferred(here).definition
    assert definition.source.kind == "source-release"
    assert [file.uri for file in definition.source.files] == [
        f"upstream:central/{PARENTS_SOURCES.format('1.0')}"
    ]
    assert definition.command[-3:] == ("-pl", "demo", "-am")
    assert definition.outputs[0].path == "demo/target/demo-1.0.jar"


def test_a_parent_of_another_version_is_another_release(here: Scene) -> None:
    module_of(here, "7", "demo")
    assert inferred(here).definition.source.kind == "sources-jar"


def test_a_parents_source_release_without_the_module_does_not_count(here: Scene) -> None:
    module_of(here, "1.0", "other")
    assert inferred(here).definition.source.kind == "sources-jar"


def test_poms_that_are_no_modules_are_passed_over(here: Scene) -> None:
    poms = {"p/broken/pom.xml": b"<project>@version@", "p/src/it/demo/pom.xml": pom("demo")}
    module_of(here, "1.0", "other", more=poms)
    assert inferred(here).definition.source.kind == "sources-jar"
    module_of(here, "1.0", "zz/deep/demo", more={"p/a/src/test/pom.xml": pom("demo"), **poms})
    assert inferred(here).definition.outputs[0].path == "zz/deep/demo/target/demo-1.0.jar"


def test_poms_of_a_release_that_are_too_much_to_read_are_refused(here: Scene) -> None:
    large = pom("x", more=f"<!--{'x' * 1_900_000}-->")
    poms = {f"p/m{number}/pom.xml": large for number in range(9)}
    module_of(here, "1.0", "demo", more={**poms, "p/no-bomb": os.urandom(200_000)})
    with pytest.raises(DefinitionError, match=r"have 171\d{5} bytes together, more than 16777216"):
        inferred(here)


def test_a_modules_own_source_release_comes_first(here: Scene) -> None:
    module_of(here, "1.0", "demo")
    publish(here.repository, SOURCES, zip_bytes({"demo-1.0/pom.xml": pom("demo"), "demo-1.0/A.java": b""}))
    assert inferred(here).definition.source.files[0].uri == f"upstream:central/{SOURCES}"


def test_files_that_activate_a_modules_profiles_are_those_of_the_module(here: Scene) -> None:
    elsewhere = "<build><directory>elsewhere</directory></build>"
    more = profile("<file><exists>own.txt</exists></file>", elsewhere)
    for place, folder in (("p/own.txt", "target"), ("p/demo/own.txt", "elsewhere")):
        files = {"p/pom.xml": pom("parent"), "p/demo/pom.xml": pom("demo"), place: b""}
        publish(here.repository, POM, pom("demo", more=more))
        publish(here.repository, SOURCES, zip_bytes(files))
        assert inferred(here).definition.outputs[0].path == f"demo/{folder}/demo-1.0.jar"


def test_jdk_can_be_asked_for(here: Scene) -> None:
    assert details_of(inferred(here, jdk=25).definition).jdk == 25


def test_a_toolchain_is_said_and_not_inferred(here: Scene) -> None:
    lines = ("Build-Jdk-Spec: 17", "Build-Tool-Jdk-Spec: 21", "Created-By: Maven JAR Plugin 3.4.1")
    publish(here.repository, JAR, zip_bytes({"META-INF/MANIFEST.MF": manifest(*lines)}))
    found = inferred(here)
    assert details_of(found.definition).jdk == 17
    assert found.reasons["tools.jdk"] == (
        "JDK 17 (Build-Jdk-Spec of the manifest), published by Maven JAR Plugin 3.4.1, "
        "under JDK 21 with a toolchain, which is not inferred"
    )


def test_a_tool_of_a_long_name_is_not_said_in_full(here: Scene) -> None:
    lines = ("Build-Jdk-Spec: 17", *("Created-By: " + "z" * 60, *(" " + "z" * 60 for _ in range(5000))))
    publish(here.repository, JAR, zip_bytes({"META-INF/MANIFEST.MF": manifest(*lines)}))
    found = inferred(here)
    assert max(map(len, (*found.notes, *found.reasons.values()))) < 200


PROPERTIES = "META-INF/maven/org.example/demo/pom.properties"


def publish_jar(one: Scene, more: Mapping[str, bytes]) -> None:
    publish(one.repository, JAR, zip_bytes({"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 17"), **more}))


def test_the_publishers_line_separator_is_read_from_what_maven_wrote(here: Scene) -> None:
    publish_jar(here, {PROPERTIES: b"artifactId=demo\r\nversion=1.0\r\n"})
    found = inferred(here)
    assert found.definition.environment["JAVA_TOOL_OPTIONS"] == "'-Dline.separator=\r\n'"
    assert any("CRLF" in note and "pom.properties" in note for note in found.notes)
    assert "CRLF (pom.properties of the published jar" in found.reasons["environment"]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {PROPERTIES: b""},
        {PROPERTIES: b"a=b\nc=d\n"},
        {PROPERTIES: b"a=b\r\nc=d\n"},  # mixed: no machine's
        {PROPERTIES.replace("demo", "shaded"): b"a=b\r\n"},  # another project's, packed into the jar
        {"a.properties": b"a=b\r\n"},
    ],
)
def test_no_line_separator_is_inferred_from_anything_else(here: Scene, more: Mapping[str, bytes]) -> None:
    publish_jar(here, more)
    found = inferred(here)
    assert "JAVA_TOOL_OPTIONS" not in found.definition.environment
    assert "CRLF" not in found.reasons["environment"]


MARKER = "<!-- do_not_remove: published-with-gradle-metadata -->"


def test_a_release_that_gradle_made_is_not_built_and_says_so(here: Scene) -> None:
    publish(here.repository, POM, pom("demo", more=MARKER))
    with pytest.raises(DefinitionError, match=r"^not built: Gradle made org/example/demo/1\.0") as caught:
        inferred(here)
    assert caught.value.reason == "gradle"
    publish(here.repository, JAR, zip_bytes({"META-INF/MANIFEST.MF": manifest()}))  # no JDK: said second
    with pytest.raises(DefinitionError, match="Gradle made"):
        inferred(here)


def test_gradles_marker_in_mavens_pom_is_no_gradle(here: Scene) -> None:
    publish(here.repository, "org/example/p/1/p-1.pom", pom("p", version="1"))
    for one in (pom("demo", parent="p:1", more=MARKER), pom("demo", more=MARKER + build(BUNDLE))):
        publish(here.repository, POM, one)
        assert inferred(here).definition.command[0] == "mvn"
    publish(here.repository, POM, pom("demo", more=MARKER))
    publish_jar(here, {PROPERTIES: b"a=b\n"})
    assert inferred(here).definition.command[0] == "mvn"


def test_without_a_jdk_in_the_manifest_the_remedy_is_named(here: Scene) -> None:
    publish(here.repository, JAR, zip_bytes({"META-INF/MANIFEST.MF": manifest()}))
    with pytest.raises(DefinitionError, match="give --jdk N"):
        inferred(here)


def test_a_package_that_is_not_there_is_no_verdict(here: Scene) -> None:
    with pytest.raises(DefinitionError, match="has no file"):
        infer(parse_purl("pkg:maven/org.example/none@1?type=jar"), here.central)


def test_without_any_source_nothing_is_inferred(here: Scene) -> None:
    (here.repository / SOURCES_JAR).unlink()
    with pytest.raises(DefinitionError, match="neither a source-release archive nor a sources jar"):
        inferred(here)


def test_a_pom_that_speaks_of_another_package_is_refused(here: Scene) -> None:
    publish(here.repository, POM, pom("other"))
    with pytest.raises(DefinitionError, match=r"says it is org\.example:other:1\.0"):
        inferred(here)


def test_only_main_jars_are_inferred(here: Scene) -> None:
    with pytest.raises(DefinitionError, match="only main jars"):
        infer(parse_purl("pkg:maven/org.example/demo@1.0?type=pom"), here.central)


@pytest.mark.parametrize("path", [JAR, POM, SOURCES_JAR])
def test_garbage_from_the_upstream_gives_only_our_errors(here: Scene, path: str) -> None:
    original = (here.repository / path).read_bytes()
    for data in (b"", b"\x00" * 100, original[: len(original) // 2], b"PK\x05\x06" + bytes(18)):
        publish(here.repository, path, data)
        with pytest.raises(BuilderError):
            inferred(here)


def test_folders_and_files_activate_profiles(here: Scene) -> None:
    publish(here.repository, SOURCES_JAR, zip_bytes({"a/b/A.java": b""}))
    elsewhere = "<build><directory>elsewhere</directory></build>"
    for asked, folder in (
        ("src/main/java/a", "elsewhere"),
        ("src/main/java/a/b/", "elsewhere"),
        ("src/main/java/a/b/A.java", "elsewhere"),
        ("src/main/java/a/B", "target"),
        ("src/main/jav", "target"),
    ):
        more = profile(f"<file><exists>{asked}</exists></file>", elsewhere)
        publish(here.repository, POM, pom("demo", more=more))
        assert inferred(here).definition.outputs[0].path == f"{folder}/demo-1.0.jar", asked


def test_missing_jdk_is_a_lack_of_this_host(tmp_path: Path) -> None:
    home = tmp_path / "jdk-17"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "javac").write_text("")
    (home / "release").write_text('JAVA_VERSION="17.0.15"\nIMPLEMENTOR="Example"\n')
    assert need_jdk(17, (tmp_path,)).vendor == "Example"
    with pytest.raises(HostLack, match="needs JDK 21; this host has 17"):
        need_jdk(21, (tmp_path,))
    with pytest.raises(HostLack, match="this host has none"):
        need_jdk(21, (tmp_path / "nothing",))
