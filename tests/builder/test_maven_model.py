"""POMs: defensive reading, inheritance, profile activation, and the goals that follow."""

import pytest
from tests.builder.mavenparts import pom

from touchplate.builder.ecosystems.maven.failure import explain_failure, missing_poms
from touchplate.builder.ecosystems.maven.goals import shaping_goals
from touchplate.builder.ecosystems.maven.model import Host, Model, effective_model, matches_jdk
from touchplate.builder.ecosystems.maven.pom import interpolate, parse_pom
from touchplate.builder.errors import BuilderError, DefinitionError

RESOURCES = "org.apache.maven.plugins:maven-resources-plugin:resources@default-resources"
COMPILE = "org.apache.maven.plugins:maven-compiler-plugin:compile@default-compile"
JAR = "org.apache.maven.plugins:maven-jar-plugin:jar@default-jar"
MANIFEST = "org.apache.felix:maven-bundle-plugin:manifest@bundle-manifest"
DESCRIPTOR = "org.apache.maven.plugins:maven-plugin-plugin:descriptor@default-descriptor"
MODULE_INFO = "org.moditect:moditect-maven-plugin:add-module-info@add-module-infos"


def plugin(name: str, *executions: str, more: str = "") -> str:
    group, artifact = name.split(":")
    return (
        f"<plugin><groupId>{group}</groupId><artifactId>{artifact}</artifactId>{more}"
        f"<executions>{''.join(executions)}</executions></plugin>"
    )


def execution(identifier: str, goal: str, phase: str = "", more: str = "") -> str:
    bound = f"<phase>{phase}</phase>" if phase else ""
    return f"<execution><id>{identifier}</id>{bound}<goals><goal>{goal}</goal></goals>{more}</execution>"


def build(*plugins: str, managed: str = "") -> str:
    management = f"<pluginManagement><plugins>{managed}</plugins></pluginManagement>" if managed else ""
    return f"<build>{management}<plugins>{''.join(plugins)}</plugins></build>"


def profile(activation: str, content: str) -> str:
    return f"<profiles><profile><id>p</id><activation>{activation}</activation>{content}</profile></profiles>"


BUNDLE = plugin("org.apache.felix:maven-bundle-plugin", execution("bundle-manifest", "manifest"))
MODITECT = plugin("org.moditect:moditect-maven-plugin", execution("add-module-infos", "add-module-info"))


def model(*poms: bytes, jdk: int = 17, files: frozenset[str] = frozenset()) -> Model:
    return effective_model([parse_pom(data) for data in poms], Host(jdk, lambda path: path in files))


def goals(*poms: bytes, jdk: int = 17, files: frozenset[str] = frozenset()) -> tuple[str, ...]:
    return shaping_goals(model(*poms, jdk=jdk, files=files)).goals


def test_plain_jar_has_the_life_cycles_goals() -> None:
    assert goals(pom("a")) == (RESOURCES, COMPILE, JAR)


def test_a_maven_plugin_gets_its_descriptor_where_its_life_cycle_makes_it() -> None:
    packaging = "<packaging>maven-plugin</packaging>"
    assert goals(pom("a", more=packaging)) == (RESOURCES, COMPILE, DESCRIPTOR, JAR)
    more = plugin("org.apache.maven.plugins:maven-plugin-plugin", execution("mine", "descriptor"))
    assert goals(pom("a", more=packaging + build(more))) == (
        RESOURCES,
        COMPILE,
        DESCRIPTOR,
        DESCRIPTOR.replace("default-descriptor", "mine"),
        JAR,
    )


def test_remote_resources_are_fetched_before_resources_are_copied() -> None:
    bundle = plugin("org.apache.maven.plugins:maven-remote-resources-plugin", execution("bundles", "process"))
    process = "org.apache.maven.plugins:maven-remote-resources-plugin:process@bundles"
    parent = pom("parent", more=build(bundle))
    assert goals(pom("a", parent="parent:1.0"), parent) == (process, RESOURCES, COMPILE, JAR)


def test_goals_of_a_parent_and_its_profiles_are_placed_by_phase() -> None:
    parent = pom("parent", more=build(BUNDLE) + profile("<jdk>[9,)</jdk>", build(MODITECT)))
    child = pom("a", parent="parent:1.0")
    assert goals(child, parent) == (RESOURCES, COMPILE, MANIFEST, JAR, MODULE_INFO)
    assert goals(child, parent, jdk=8) == (RESOURCES, COMPILE, MANIFEST, JAR)


def test_what_does_not_shape_the_jar_is_left_out_and_named() -> None:
    check = plugin("org.apache.rat:apache-rat-plugin", execution("rat-check", "check", "validate"))
    plan = shaping_goals(model(pom("a", more=build(check))))
    assert plan.goals == (RESOURCES, COMPILE, JAR)
    assert plan.left_out == ("org.apache.rat:apache-rat-plugin:check@rat-check",)


def test_child_switches_an_inherited_execution_off() -> None:
    off = plugin("org.apache.felix:maven-bundle-plugin", execution("bundle-manifest", "manifest", "none"))
    parent = pom("parent", more=build(BUNDLE))
    assert goals(pom("a", parent="parent:1.0", more=build(off)), parent) == (RESOURCES, COMPILE, JAR)


def test_managed_executions_count_only_when_the_plugin_is_used() -> None:
    parent = pom("parent", more=build(managed=BUNDLE))
    used = pom("a", parent="parent:1.0", more=build(plugin("org.apache.felix:maven-bundle-plugin")))
    assert goals(pom("a", parent="parent:1.0"), parent) == (RESOURCES, COMPILE, JAR)
    assert goals(used, parent) == (RESOURCES, COMPILE, MANIFEST, JAR)


def test_executions_that_are_not_inherited_stay_with_the_parent() -> None:
    private = plugin(
        "org.apache.felix:maven-bundle-plugin",
        execution("bundle-manifest", "manifest", more="<inherited>false</inherited>"),
    )
    parent = pom("parent", more=build(private))
    assert goals(pom("a", parent="parent:1.0"), parent) == (RESOURCES, COMPILE, JAR)


def test_default_profile_holds_only_when_no_other_is_active() -> None:
    two = (
        "<profiles>"
        f"<profile><id>d</id><activation><activeByDefault>true</activeByDefault></activation>{build(BUNDLE)}</profile>"
        f"<profile><id>j</id><activation><jdk>[17,)</jdk></activation>{build(MODITECT)}</profile>"
        "</profiles>"
    )
    assert goals(pom("a", more=two), jdk=11) == (RESOURCES, COMPILE, MANIFEST, JAR)
    assert goals(pom("a", more=two), jdk=17) == (RESOURCES, COMPILE, JAR, MODULE_INFO)


def test_file_and_property_activation() -> None:
    by_file = pom("a", more=profile("<file><exists>${basedir}/m.txt</exists></file>", build(BUNDLE)))
    assert MANIFEST in goals(by_file, files=frozenset({"m.txt"}))
    assert MANIFEST not in goals(by_file)
    absent = profile("<property><name>!skip</name></property>", build(BUNDLE))
    assert MANIFEST in goals(pom("a", more=absent))
    present = profile("<property><name>release</name></property>", build(BUNDLE))
    assert MANIFEST not in goals(pom("a", more=present))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("17", True),
        ("1.8", False),
        ("[9,)", True),
        ("(17,)", False),
        ("(,17]", True),
        ("[1.8,17)", False),
        ("!17", False),
        ("![9,11]", True),
        ("[8],[17]", True),
    ],
)
def test_jdk_conditions(condition: str, *, holds: bool) -> None:
    assert matches_jdk(condition, 17) is holds


def test_final_name_and_directory_are_resolved() -> None:
    more = (
        "<properties><n>x-${project.version}</n></properties>"
        "<build><finalName>${n}-final</finalName><directory>${basedir}/out</directory></build>"
    )
    assert model(pom("a", version="2.1", more=more)).output == "out/x-2.1-final"


def test_refuses_a_final_name_that_nobody_can_resolve() -> None:
    with pytest.raises(DefinitionError, match="cannot be resolved"):
        model(pom("a", more="<build><finalName>${from.the.machine}</finalName></build>"))
    loop = "<properties><a>${b}${b}</a><b>${a}${a}</b></properties><build><finalName>${a}</finalName></build>"
    with pytest.raises(DefinitionError, match="cannot be resolved"):
        model(pom("a", more=loop))


def test_refuses_a_packaging_without_a_known_way() -> None:
    with pytest.raises(DefinitionError, match="packaging 'war'"):
        goals(pom("a", more="<packaging>war</packaging>"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<project>",
        b"<settings/>",
        b"<project/>",
        b'<!DOCTYPE p [<!ENTITY a "x">]><project><artifactId>&a;</artifactId></project>',
        b'<!DOCTYPE p SYSTEM "file:///etc/passwd"><project><artifactId>a</artifactId></project>',
        b'<?xml version="1.0" encoding="no-such"?><project/>',
        b"\xff\xfe\x00",
    ],
)
def test_refuses_what_is_no_pom(data: bytes) -> None:
    with pytest.raises(DefinitionError):
        parse_pom(data)


def test_a_failed_build_is_explained_by_its_errors_not_by_mavens_advice() -> None:
    log = (
        b"[INFO] x\n[ERROR] COMPILATION ERROR : \n[ERROR] A.java:[7,3] cannot find symbol\n"
        b"[ERROR] A.java:[7,3] cannot find symbol\n[ERROR] -> [Help 1]\n[ERROR] \n"
        b"[ERROR] Re-run Maven using the -X switch to enable full debug logging.\n[ERROR] \x1b[31mred\n"
    )
    assert explain_failure(log) == "A.java:[7,3] cannot find symbol; \\x1b[31mred"
    assert explain_failure(b"no errors here\n\xff") is None


def test_what_is_not_in_the_lock_is_said_before_what_followed_from_it() -> None:
    """Maven goes on without a POM, and then lacks a class."""
    log = (
        b"[WARNING] The POM for g:plugin:jar:1 is missing, no dependency information available\n"
        b"[WARNING] The POM for g:plugin:jar:1 is missing, no dependency information available\n"
        b"[ERROR] A required class was missing\n"
        b"[ERROR] Could not find artifact g:a:jar:2 in central (file:///repo/central/)\n"
        b"[ERROR] Could not find artifact g:b:jar:2 in central (http://127.0.0.1:8000/central/)\n"
    )
    said = explain_failure(log)
    assert said is not None
    assert said.startswith(
        "the POM of g:plugin:jar:1 is not in the input lock; g:a:jar:2 is not in the input lock; "
        "A required class was missing; "
    )
    assert "g:b:jar:2 is not in" not in said


def test_the_poms_that_maven_went_on_without() -> None:
    said = "[WARNING] The POM for %s is missing, no dependency information available\n"
    names = (
        "org.g:a:jar:1",
        "org.g:a:jar:1",
        "g:b:jar:tests:2.0",
        "g:c",
        "../x:d:jar:1",
        "g:e:jar:1-SNAPSHOT",
    )
    log = "".join(said % name for name in names).encode() + b"\xff\n"
    assert missing_poms(log) == ("org/g/a/1/a-1.pom", "g/b/2.0/b-2.0.pom")
    assert missing_poms(b"[INFO] BUILD SUCCESS\n") == ()


def test_damaged_poms_give_only_our_errors() -> None:
    data = pom("a", parent="p:1", more=build(BUNDLE) + profile("<jdk>[9,)</jdk>", build(MODITECT)))
    refused = 0
    for position in range(len(data)):
        for mutated in (
            data[:position],
            data[:position] + bytes([data[position] ^ 0x20]) + data[position + 1 :],
        ):
            try:
                parsed = parse_pom(mutated)
                shaping_goals(effective_model([parsed], Host(17, lambda _: False)))
            except BuilderError:
                refused += 1
    assert len(data) <= refused < 2 * len(data)  # every cut and some changes, not all of them


def test_values_that_grow_without_end_are_refused_before_they_are_made() -> None:
    with pytest.raises(DefinitionError, match="cannot be resolved"):
        interpolate("${a}", {"a": "${b}" * 250_000, "b": "x" * 1_000_000})
    with pytest.raises(DefinitionError, match="cannot be resolved"):
        interpolate("${a}", {"a": "${a}${a}"})


@pytest.mark.parametrize("condition", ["!" * 100_000 + "17", "[" * 200_000, "[1" * 100_000])
def test_condition_that_only_an_attack_has_is_refused(condition: str) -> None:
    profile = f"<profile><activation><jdk>{condition}</jdk></activation></profile>"
    with pytest.raises(DefinitionError, match="JDK condition"):
        parse_pom(f"<project><artifactId>a</artifactId><profiles>{profile}</profiles></project>".encode())


@pytest.mark.parametrize(
    "more",
    [
        build(plugin("g:p", *(execution("same", f"g{number}") for number in range(3000)))),
        build(*(plugin("g:p", execution(f"e{number}", "x")) for number in range(2000))),
        build(managed="".join(plugin(f"g:p{number}", execution("e", "x")) for number in range(2000))),
        f"<profiles>{'<profile/>' * 6000}</profiles>",
    ],
    ids=["executions", "plugins", "managed", "profiles"],
)
def test_a_pom_that_binds_without_end_is_refused(more: str) -> None:
    """Merging what two megabytes of POM bind takes minutes, and with sixteen such parents days."""
    with pytest.raises(
        DefinitionError, match=r"the POM and its parents have 60\d\d plugins, executions, goals"
    ):
        model(pom("a", more=more), pom("p"))


def test_deep_pom_is_refused_without_recursion() -> None:
    deep = b"<a>" * 200_000 + b"</a>" * 200_000
    with pytest.raises(DefinitionError, match="nested deeper than 64"):
        parse_pom(b"<project><artifactId>a</artifactId>" + deep + b"</project>")
    fits = b"<a>" * 60 + b"</a>" * 60
    assert parse_pom(b"<project><artifactId>a</artifactId>" + fits + b"</project>").artifact == "a"
