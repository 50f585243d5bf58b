"""The releases of `make rebuild-sample`: what each must come to, and which control names a cause."""

from dataclasses import dataclass

from tests.e2e.controls import (
    Edit,
    with_javadoc_files_as_resources,
    with_jdk,
    with_line_separator,
    without_goal,
)


@dataclass(frozen=True)
class Variation:
    """A definition one edit away from an inferred one, which must differ; the inferred one is its control."""

    edit: Edit
    says: str
    """Text that the comparison must hold."""
    jdk: int | None = None
    """JDK that it needs beyond the release's own."""


@dataclass(frozen=True)
class Case:
    """One release, rebuilt with the definition that is inferred."""

    name: str
    package: str
    sha256: str
    """Of the published file."""
    jdk: int = 17
    """Major version that made the release."""
    source: str = "source-release"
    """Kind of source that inference must find."""
    says: str = ""
    """Text that the comparison must hold; empty = the release must come out identical."""
    control: Edit | None = None
    """For a release that differs: the edit that takes the cause away."""
    variations: tuple[Variation, ...] = ()


CASES = (
    Case(
        "commons-lang3 3.17.0",
        "pkg:maven/org.apache.commons/commons-lang3@3.17.0",
        "6ee731df5c8e5a2976a1ca023b6bb320ea8d3539fbe64c8a1d5cb765127c33b4",
        source="sources-jar",
        variations=(
            Variation(with_jdk(25), "Build-Jdk-Spec 17 != 25", jdk=25),
            Variation(
                without_goal("org.moditect:moditect-maven-plugin", "add-module-info"),
                "META-INF/versions/9/module-info.class: is not in the rebuilt file",
            ),
        ),
    ),
    Case(
        "commons-io 2.18.0",
        "pkg:maven/commons-io/commons-io@2.18.0",
        "f3ca0f8d63c40e23a56d54101c60d5edee136b42d84bfb85bc7963093109cf8b",
        source="sources-jar",
        variations=(Variation(with_javadoc_files_as_resources(), "extra-entries"),),
    ),
    Case(
        "commons-cli 1.11.0",
        "pkg:maven/commons-cli/commons-cli@1.11.0",
        "8f7f8605d68e15bf32db61ec94eac6fdafc51b1bdbe1e0e0802b57d23f387792",
        jdk=25,
        source="sources-jar",
        variations=(Variation(with_javadoc_files_as_resources(), "extra-entries"),),
    ),
    Case(
        "maven-archiver 3.6.1",
        "pkg:maven/org.apache.maven/maven-archiver@3.6.1",
        "a5fd6e2121c0a3f5e5cafdf336e21ba2e67a2cf7e781f69e3b8ae28215832823",
    ),
    Case(
        "maven-clean-plugin 3.3.2",
        "pkg:maven/org.apache.maven.plugins/maven-clean-plugin@3.3.2",
        "0c86dc6dc7c3370ebe08b353a02a98fb17d14303036c00eb12f0c8977f264b9f",
    ),
    Case(
        "sling.discovery.api 1.0.6",
        "pkg:maven/org.apache.sling/org.apache.sling.discovery.api@1.0.6",
        "fed0893109ab91fcdfdda8d0ad60452173e7a1e8fbd91daa37da04a99c536d3e",
        says="pom.properties: line ends CRLF != LF",
        control=with_line_separator("\r\n", "CRLF"),
    ),
    Case(
        "commons-exec 1.6.0",
        "pkg:maven/org.apache.commons/commons-exec@1.6.0",
        "13dcf3850478ef8de5d24d298a60eed5e8305eb20538fe632c82ea1dff6b5ea0",
        source="sources-jar",
    ),
    Case(
        "commons-text 1.15.0",
        "pkg:maven/org.apache.commons/commons-text@1.15.0",
        "58d2da30f058512a1e7f914e39241deca4dff5c27a085b4ed2faa9e7208067f6",
        jdk=25,
        source="sources-jar",
    ),
    Case(
        "animal-sniffer-annotations 1.23",
        "pkg:maven/org.codehaus.mojo/animal-sniffer-annotations@1.23",
        "9ffe526bf43a6348e9d8b33b9cd6f580a7f5eed0cf055913007eda263de974d0",
    ),
    Case(
        "build-helper-maven-plugin 3.4.0",
        "pkg:maven/org.codehaus.mojo/build-helper-maven-plugin@3.4.0",
        "aa0c731d3f90fe7e9be5446353af6a3c954628f85c18a440aeedb2b898284f2f",
    ),
    Case(
        "sling.engine 2.16.2",
        "pkg:maven/org.apache.sling/org.apache.sling.engine@2.16.2",
        "036386f5c2fac1600f8c2886ed6e5921abd0868deb5072bebd267b75e47a234c",
    ),
    Case(
        "sling.feature 2.0.2",
        "pkg:maven/org.apache.sling/org.apache.sling.feature@2.0.2",
        "0ecdc367dd92e110b0ce87f895125a29441fc3f89c3dbf64ecc5a6866e65afb1",
    ),
    Case(
        "maven-resources-plugin 3.3.1",
        "pkg:maven/org.apache.maven.plugins/maven-resources-plugin@3.3.1",
        "eb4069c7fe50a313b3f5295ccd214f30402f63971c26f443f7f3e798be8cc2a7",
    ),
    Case(
        "enforcer-api 3.4.1",
        "pkg:maven/org.apache.maven.enforcer/enforcer-api@3.4.1",
        "e311d2f9b124ab757cc2dc90f5a410f3947d843a7d4512508f1ddaaa20cc7976",
    ),
    Case(
        "plexus-utils 4.0.0",
        "pkg:maven/org.codehaus.plexus/plexus-utils@4.0.0",
        "270cd703b48c6e5c8c691f1875f22d62d22cfe072c73ae2f5814d83d68c1da0b",
    ),
)
