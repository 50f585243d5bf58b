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
    project: str = ""
    """Who made it: people who build and release together."""
    says: str = ""
    """Text that the comparison must hold; empty = the release must come out identical."""
    refused: str = ""
    """Stable word of the error with which inference must refuse the release; nothing is built then."""
    control: Edit | None = None
    """For a release that differs: the edit that takes the cause away."""
    variations: tuple[Variation, ...] = ()


CASES = (
    Case(
        "commons-lang3 3.17.0",
        "pkg:maven/org.apache.commons/commons-lang3@3.17.0",
        "6ee731df5c8e5a2976a1ca023b6bb320ea8d3539fbe64c8a1d5cb765127c33b4",
        project="Commons",
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
        project="Commons",
        source="sources-jar",
        variations=(Variation(with_javadoc_files_as_resources(), "extra-entries"),),
    ),
    Case(
        "commons-cli 1.11.0",
        "pkg:maven/commons-cli/commons-cli@1.11.0",
        "8f7f8605d68e15bf32db61ec94eac6fdafc51b1bdbe1e0e0802b57d23f387792",
        project="Commons",
        jdk=25,
        source="sources-jar",
        variations=(Variation(with_javadoc_files_as_resources(), "extra-entries"),),
    ),
    Case(
        "maven-archiver 3.6.1",
        "pkg:maven/org.apache.maven/maven-archiver@3.6.1",
        "a5fd6e2121c0a3f5e5cafdf336e21ba2e67a2cf7e781f69e3b8ae28215832823",
        project="Maven",
    ),
    Case(
        "maven-clean-plugin 3.3.2",
        "pkg:maven/org.apache.maven.plugins/maven-clean-plugin@3.3.2",
        "0c86dc6dc7c3370ebe08b353a02a98fb17d14303036c00eb12f0c8977f264b9f",
        project="Maven",
    ),
    Case(
        "sling.discovery.api 1.0.6",
        "pkg:maven/org.apache.sling/org.apache.sling.discovery.api@1.0.6",
        "fed0893109ab91fcdfdda8d0ad60452173e7a1e8fbd91daa37da04a99c536d3e",
        project="Sling",
        variations=(Variation(with_line_separator("\n", "LF"), "pom.properties: line ends CRLF != LF"),),
    ),
    Case(
        "commons-exec 1.6.0",
        "pkg:maven/org.apache.commons/commons-exec@1.6.0",
        "13dcf3850478ef8de5d24d298a60eed5e8305eb20538fe632c82ea1dff6b5ea0",
        project="Commons",
        source="sources-jar",
    ),
    Case(
        "commons-text 1.15.0",
        "pkg:maven/org.apache.commons/commons-text@1.15.0",
        "58d2da30f058512a1e7f914e39241deca4dff5c27a085b4ed2faa9e7208067f6",
        project="Commons",
        jdk=25,
        source="sources-jar",
    ),
    Case(
        "animal-sniffer-annotations 1.23",
        "pkg:maven/org.codehaus.mojo/animal-sniffer-annotations@1.23",
        "9ffe526bf43a6348e9d8b33b9cd6f580a7f5eed0cf055913007eda263de974d0",
        project="MojoHaus",
    ),
    Case(
        "build-helper-maven-plugin 3.4.0",
        "pkg:maven/org.codehaus.mojo/build-helper-maven-plugin@3.4.0",
        "aa0c731d3f90fe7e9be5446353af6a3c954628f85c18a440aeedb2b898284f2f",
        project="MojoHaus",
    ),
    Case(
        "sling.engine 2.16.2",
        "pkg:maven/org.apache.sling/org.apache.sling.engine@2.16.2",
        "036386f5c2fac1600f8c2886ed6e5921abd0868deb5072bebd267b75e47a234c",
        project="Sling",
    ),
    Case(
        "sling.feature 2.0.2",
        "pkg:maven/org.apache.sling/org.apache.sling.feature@2.0.2",
        "0ecdc367dd92e110b0ce87f895125a29441fc3f89c3dbf64ecc5a6866e65afb1",
        project="Sling",
    ),
    Case(
        "maven-resources-plugin 3.3.1",
        "pkg:maven/org.apache.maven.plugins/maven-resources-plugin@3.3.1",
        "eb4069c7fe50a313b3f5295ccd214f30402f63971c26f443f7f3e798be8cc2a7",
        project="Maven",
    ),
    Case(
        "enforcer-api 3.4.1",
        "pkg:maven/org.apache.maven.enforcer/enforcer-api@3.4.1",
        "e311d2f9b124ab757cc2dc90f5a410f3947d843a7d4512508f1ddaaa20cc7976",
        project="Maven",
    ),
    Case(
        "plexus-utils 4.0.0",
        "pkg:maven/org.codehaus.plexus/plexus-utils@4.0.0",
        "270cd703b48c6e5c8c691f1875f22d62d22cfe072c73ae2f5814d83d68c1da0b",
        project="Plexus",
    ),
    Case(
        "commons-csv 1.12.0",
        "pkg:maven/org.apache.commons/commons-csv@1.12.0",
        "e11a33d65e5f2e92769c0b13c548e0c2da01e37c1581417ea3fd7d5d9474fee6",
        project="Commons",
        source="sources-jar",
    ),
    Case(
        "commons-codec 1.17.1",
        "pkg:maven/commons-codec/commons-codec@1.17.1",
        "f9f6cb103f2ddc3c99a9d80ada2ae7bf0685111fd6bffccb72033d1da4e6ff23",
        project="Commons",
        source="sources-jar",
    ),
    Case(
        "commons-logging 1.3.4",
        "pkg:maven/commons-logging/commons-logging@1.3.4",
        "bc2dfe32f1ef06509e6a065144c1adf7b420eabf11a87f30bd127f8faa332016",
        project="Commons",
        source="sources-jar",
    ),
    Case(
        "file-management 3.1.0",
        "pkg:maven/org.apache.maven.shared/file-management@3.1.0",
        "2e8cb2d546a01c2259cb17f1e06732db3d14b079d19622bf8400c82cb1ee6b96",
        project="Maven",
    ),
    Case(
        "exec-maven-plugin 3.6.3",
        "pkg:maven/org.codehaus.mojo/exec-maven-plugin@3.6.3",
        "389d6d7b681b4b6bace1eb7b415703889ac011b2b8a8c133a6e5bcf738758aa0",
        project="MojoHaus",
        jdk=25,
    ),
    Case(
        "animal-sniffer-annotations 1.26",
        "pkg:maven/org.codehaus.mojo/animal-sniffer-annotations@1.26",
        "342f4d815eae69bb980620d0a622862709be37d38f47577675b42c739a962da9",
        project="MojoHaus",
        jdk=25,
    ),
    Case(
        "plexus-sec-dispatcher 4.1.0",
        "pkg:maven/org.codehaus.plexus/plexus-sec-dispatcher@4.1.0",
        "efc10a957d070940701a591685dab92c33f0ba3ffea9518b8d691b23897734fe",
        project="Plexus",
    ),
    Case(
        "plexus-archiver 4.11.0",
        "pkg:maven/org.codehaus.plexus/plexus-archiver@4.11.0",
        "d24c3ca2185009d81b1ce3ee90cff1cfeab53b70fadbb3ae0c02a867d7c96034",
        project="Plexus",
        jdk=25,
    ),
    Case(
        "felix.http.servlet-api 6.1.0",
        "pkg:maven/org.apache.felix/org.apache.felix.http.servlet-api@6.1.0",
        "8ec6b6d129ca2cf7c09f332940d602f49f9e5c4c31fa597e6ef132386b794169",
        project="Felix",
    ),
    Case(
        "johnzon-core 2.0.2",
        "pkg:maven/org.apache.johnzon/johnzon-core@2.0.2",
        "a7771bed9f8b1b336af4311fedad49dfbe6304d6907206bbe2cdf8c814b50d83",
        project="Johnzon",
    ),
    Case(
        "opennlp-tools 2.5.4",
        "pkg:maven/org.apache.opennlp/opennlp-tools@2.5.4",
        "5efedb26d0e97e53707a8d2f0e2e28f05fcf654fce2a33f8bfe11c2d4c2a4fe9",
        project="OpenNLP",
    ),
    Case(
        "jakarta.data-api 1.0.1",
        "pkg:maven/jakarta.data/jakarta.data-api@1.0.1",
        "68fcefdf0e9e6804edd0050f740d181b6902fb40fa4de0345aeec06dfddc1861",
        project="Jakarta Data",
        source="sources-jar",
    ),
    Case(
        "jakarta cdi lang-model 4.1.0",
        "pkg:maven/jakarta.enterprise/jakarta.enterprise.lang-model@4.1.0",
        "bb56f571f60d2862b2387d5468fe8f5540f8094727283ed991f89082708095ee",
        project="Jakarta CDI",
        source="sources-jar",
    ),
    Case(
        "expressly 6.0.0",
        "pkg:maven/org.glassfish.expressly/expressly@6.0.0",
        "86ee67c7040278bac5204b571f738b8b859f014ceb5f896bd935bacbdaf33cb9",
        project="Expressly",
        source="sources-jar",
    ),
    Case(
        "git-commit-id-maven-plugin 9.0.2",
        "pkg:maven/io.github.git-commit-id/git-commit-id-maven-plugin@9.0.2",
        "ee45c24d6d5ecbac5c0c4d0f0322bbce8911a6fd53db66f7347ca83cd41d1193",
        project="git-commit-id",
        source="sources-jar",
    ),
    Case(
        "junit-jupiter-params 6.0.0",
        "pkg:maven/org.junit.jupiter/junit-jupiter-params@6.0.0",
        "",  # nothing is compared
        project="JUnit",
        refused="gradle",
    ),
)
