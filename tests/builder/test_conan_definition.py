"""Conan definitions: read, refused with every mistake, inferred from a remote, and made into plans."""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.builder.conanparts import Published, tgz, upstreams
from tests.builder.sandboxes import Site

from touchplate.base.durable import DigestFolder
from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.upstreams import Upstream
from touchplate.builder.definitions.definition import Definition, make_definition, parse_definition
from touchplate.builder.definitions.normalise import normalise_definition
from touchplate.builder.definitions.yaml_writer import format_yaml
from touchplate.builder.ecosystems.conan.choice import Target
from touchplate.builder.ecosystems.conan.conaninfo import package_id_of
from touchplate.builder.ecosystems.conan.definition import details_of
from touchplate.builder.ecosystems.conan.failure import Pinned, explain_failure
from touchplate.builder.ecosystems.conan.infer import infer
from touchplate.builder.ecosystems.conan.plan import ConanTools, describe_tools, make_plan
from touchplate.builder.ecosystems.conan.profile import host_arch
from touchplate.builder.ecosystems.conan.reference import CONANINFO, PACKAGE, Revision
from touchplate.builder.ecosystems.conan.requirements import Requirement
from touchplate.builder.ecosystems.conan.revisions import package_revision, recipe_revision
from touchplate.builder.ecosystems.conan.tools import Conan, Gcc, Program, default_conan, default_gcc
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.inputs.repository import RemoteFile, Repositories, Repository

RECIPE = {
    "conanfile.py": b"from conan.tools.cmake import CMake\n",
    "conan_export.tgz": tgz({"conandata.yml": b"sources: {}\n"}),
}
MADE = b"!<arch>\nmade"
TWICE = [{"uri": "pkg:conan/lib@1.0?file=conanfile.py&rrev=ab", "sha256": "0" * 64, "size": 1}] * 2


def a_package(info: str, *, recipe: dict[str, bytes] = RECIPE, time: bytes = b"1700000000") -> Published:
    package = {
        PACKAGE: tgz({"lib/liblib.a": MADE, "include/lib.h": b"int lib;\n"}),
        CONANINFO: info.encode(),
        "conanmanifest.txt": time + b"\n",
    }
    prev, package_id = package_revision(package), package_id_of(info.encode())
    return Published(Revision("lib", "1.0", recipe_revision(recipe), package_id, prev), recipe, package)


def settings(**changes: str) -> str:
    """A conaninfo.txt for this machine."""
    usual = {
        "arch": host_arch(),
        "build_type": "Release",
        "compiler": "gcc",
        "compiler.version": "12",
        "os": "Linux",
    }
    pairs = {**usual, **{name.replace("__", "."): value for name, value in changes.items()}}
    return "".join(["[settings]\n", *(f"{key}={value}\n" for key, value in sorted(pairs.items()) if value)])


class Remote:
    """A remote, two source upstreams and one of another ecosystem."""

    def __init__(self, site: Site, repositories: Repositories) -> None:
        self.site = site
        self.repositories = repositories
        self.required: tuple[Requirement, ...] = ()
        self.asked: list[Target] = []

    def find_requirements(self, target: Target, *others: object) -> tuple[Requirement, ...]:
        """What Conan is asked for a package that may require others."""
        self.asked.append(target)
        return self.required

    def definition(self, package: Published) -> Definition:
        package.put(self.site.pages)
        return infer(package.purl, self.repositories, self.find_requirements).definition


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    site = Site()
    more = (
        Upstream("others", "conan", "others", f"{site.url}/others"),
        Upstream("central", "maven", "central", site.url),
    )
    try:
        with HTTPClient(AddressRules.parse(hosts=["127.0.0.1"])) as client:
            folder = DigestFolder(tmp_path)
            yield Remote(
                site, Repositories(Repository(one, client, folder) for one in (*upstreams(site), *more))
            )
    finally:
        site.close()


def test_inferred_definition_is_written_for_people_with_reasons(remote: Remote) -> None:
    package = a_package(settings())
    package.put(remote.site.pages)
    inference = infer(package.purl, remote.repositories, remote.find_requirements)
    value = normalise_definition(inference.definition)
    data = format_yaml(value, inference.reasons)
    assert replace(parse_definition(data), data=b"") == replace(inference.definition, data=b"")
    for reason in inference.reasons.values():
        assert f"# {reason}\n" in data.decode()


def value_of(definition: Definition) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(definition.data)
    return value


def test_an_inferred_definition_says_everything(remote: Remote) -> None:
    published = a_package(settings() + "[options]\nfPIC=True\nshared=False\n")
    definition = remote.definition(published)
    details = details_of(definition)
    assert details.conan == default_conan()
    assert (details.gcc, details.programs) == (12, ("cmake", "make"))
    assert details.options == {"fPIC": "True", "shared": "False"}
    assert details.settings == {
        "arch": host_arch(), "build_type": "Release", "compiler": "gcc", "compiler.cppstd": "gnu17",
        "compiler.libcxx": "libstdc++11", "compiler.version": "12", "os": "Linux",
    }  # fmt: skip
    assert definition.environment["SOURCE_DATE_EPOCH"] == "1700000000"
    assert definition.upstreams == ("sources", "others")
    assert definition.source.kind == "source-release"
    assert {file.uri for file in definition.source.files} == {
        str(published.revision.recipe.purl(name)) for name in RECIPE
    }
    assert [str(output.package) for output in definition.outputs] == [
        str(published.revision.purl(name)) for name in (PACKAGE, CONANINFO)
    ]
    assert parse_definition(definition.data) == definition


def test_a_package_for_every_machine_takes_the_hosts_compiler(remote: Remote) -> None:
    definition = remote.definition(a_package(""))
    assert details_of(definition).gcc == default_gcc()


def test_the_last_word_is_that_of_conaninfo(remote: Remote) -> None:
    definition = remote.definition(a_package(settings(build_type="Debug", compiler__libcxx="libstdc++")))
    assert details_of(definition).settings["build_type"] == "Debug"
    assert details_of(definition).settings["compiler.libcxx"] == "libstdc++"


@pytest.mark.parametrize(
    ("info", "says"),
    [
        (settings(compiler="clang"), "clang"),
        (settings() + "[conf]\ntools.build:cflags=['-O3']\n", "conf"),
        (settings(compiler__version="new"), "new"),
    ],
    ids=["clang", "conf", "version"],
)
def test_what_cannot_be_rebuilt_yet_is_refused_and_named(remote: Remote, info: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        remote.definition(a_package(info))


@pytest.mark.parametrize("setting", [{"os": "Windows"}, {"arch": "sparc"}], ids=["os", "arch"])
def test_a_package_of_another_machine_says_nothing_about_it(remote: Remote, setting: dict[str, str]) -> None:
    with pytest.raises(HostLack, match="this host is"):
        remote.definition(a_package(settings(**setting)))


def test_a_cpp_package_needs_a_cpp_compiler(remote: Remote) -> None:
    definition = remote.definition(a_package(settings(compiler__libcxx="libstdc++11")))
    assert details_of(definition).programs == ("g++", "cmake", "make")


def test_a_manifest_without_a_time_is_refused(remote: Remote) -> None:
    with pytest.raises(DefinitionError, match="time of the build"):
        remote.definition(a_package(settings(), time=b"yesterday"))


def test_another_file_than_the_archive_is_answered_with_what_to_write(remote: Remote) -> None:
    published = a_package(settings())
    published.put(remote.site.pages)
    with pytest.raises(DefinitionError, match=r"file=conan_package\.tgz"):
        infer(published.revision.purl(CONANINFO), remote.repositories, remote.find_requirements)
    with pytest.raises(DefinitionError, match="package_id and prev"):
        infer(published.revision.recipe.purl("conanfile.py"), remote.repositories, remote.find_requirements)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("outputs", 0, "path"), "out/other.tgz", "outputs: lack out/conan_package.tgz"),
        (("outputs", 1), None, "outputs: lack out/conaninfo.txt"),
        (("source", "files", 0, "uri"), "upstream:conancenter/a", "source.files.0.uri"),
        (("source", "files", 0, "uri"), "pkg:conan/lib@1.0?file=conanfile.py&rrev=ab", "recipe revision"),
        (("source", "files", 1), None, "source.files: lack conanfile.py"),
        (("source", "files"), TWICE, "name a file twice"),
        (("environment", "SOURCE_DATE_EPOCH"), "now", "SOURCE_DATE_EPOCH"),
        (("profile", "settings", "os"), "{{ 1 }}", "settings to plain text"),
        (("profile", "options"), {"a b": "1"}, "options to plain text"),
        (("tools", "conan", "version"), "1.60.0", "a release, as 2.34.0"),
        (("tools", "programs"), ["/bin/sh"], "'/bin/sh' is unknown; use autoconf or"),
        (("tools", "programs"), ["reboot"], "'reboot' is unknown"),
        (("environment", "SOURCE_DATE_EPOCH"), "١٢", "SOURCE_DATE_EPOCH"),
        (("command",), ["conan"], "command: is unknown"),
        (("package",), "pkg:conan/lib@1.0?file=conanfile.py&rrev=ab", "package: "),
    ],
    ids=str,
)
def test_a_definition_of_something_else_is_refused(
    remote: Remote, path: tuple[str | int, ...], value: object, says: str
) -> None:
    changed = deepcopy(value_of(remote.definition(a_package(settings()))))
    at: Any = changed
    for part in path[:-1]:
        at = at[part]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    with pytest.raises(DefinitionError) as caught:
        make_definition(changed)
    assert says in str(caught.value)


def tools(*, is_default: bool = True) -> ConanTools:
    return ConanTools(
        Conan(Path("/somewhere/conan"), "2.34.0", "1" * 64),
        Program("python3", "3.11.2", "2" * 64),
        Gcc("12.2.0", "3" * 64, "/usr/bin/gcc-12", "/usr/bin/g++-12", is_default),
        (Program("cmake", "3.25.1", "4" * 64),),
    )


def plan_of(remote: Remote, published: Published, found: ConanTools) -> Any:
    definition = remote.definition(published)
    files = [RemoteFile("", name, published.package[name]) for name in (PACKAGE, CONANINFO)]
    return make_plan(definition, Path("/tree"), found, remote.repositories, files)


def test_a_plan_shows_a_home_of_our_own_and_asks_nobody(remote: Remote) -> None:
    published = a_package(settings() + "[options]\nshared=False\n")
    plan = plan_of(remote, published, tools())
    assert plan.command == (
        "/usr/bin/python3", "-S", "-P", "/touchplate/build_package.py", "/touchplate/job.json"
    )  # fmt: skip
    assert plan.environment["CONAN_HOME"] == "/home/build/conan"
    assert plan.named_by_digest
    assert plan.binds[0].inside == "/conan"
    assert {bind.inside for bind in plan.binds[1:]} <= {"/etc/alternatives", "/etc/debian_version"}
    assert all(str(bind.host) == bind.inside for bind in plan.binds[1:])
    for phase in ("fetch", "build"):
        shown = plan.files(phase)
        assert json.loads(shown["/touchplate/home/remotes.json"]) == {"remotes": []}
        profile = shown["/touchplate/home/profiles/default"].decode()
        assert "lib/*:shared=False\n" in profile
        assert "compiler_executables" not in profile
        job = json.loads(shown["/touchplate/job.json"])
        assert job["command"] == [
            "conan", "install", f"--requires=lib/1.0#{published.revision.rrev}", "--build=lib/1.0",
            "--no-remote", "--profile:all=default",
        ]  # fmt: skip
        assert (job["phase"], job["mirrors"]) == (phase, ["sources", "others"])
        assert "download_cache = /home/build/sources" in shown["/touchplate/home/global.conf"].decode()


def test_a_compiler_that_is_not_the_default_is_named_in_the_profile(remote: Remote) -> None:
    plan = plan_of(remote, a_package(settings()), tools(is_default=False))
    profile = plan.files("build")["/touchplate/home/profiles/default"].decode()
    assert "tools.build:compiler_executables={'c': '/usr/bin/gcc-12', 'cpp': '/usr/bin/g++-12'}" in profile
    assert "CC=/usr/bin/gcc-12" in profile


def test_the_published_files_and_their_machine_code_may_be_no_inputs(remote: Remote) -> None:
    published = a_package(settings())
    forbidden = plan_of(remote, published, tools()).forbidden
    files = [RemoteFile("", "", data).sha256 for data in (*published.package.values(), MADE, b"int lib;\n")]
    archive, info, manifest, code, header = files
    assert forbidden.digests == {archive, info, code}
    assert {manifest, header}.isdisjoint(forbidden.digests)
    assert ("conancenter", published.revision.path(PACKAGE)) in forbidden.paths


def test_an_empty_conaninfo_forbids_no_empty_file(remote: Remote) -> None:
    forbidden = plan_of(remote, a_package(""), tools()).forbidden
    assert RemoteFile("", "", b"").sha256 not in forbidden.digests


def test_a_static_library_without_members_may_be_an_input(remote: Remote) -> None:
    published = a_package(settings())
    empty = b"!<arch>\n"
    published = replace(published, package={**published.package, PACKAGE: tgz({"lib/libm.a": empty})})
    prev = package_revision({name: published.package[name] for name in (PACKAGE, CONANINFO)})
    published = replace(published, revision=replace(published.revision, prev=prev))
    forbidden = plan_of(remote, published, tools()).forbidden
    assert RemoteFile("", "", empty).sha256 not in forbidden.digests
    assert RemoteFile("", "", published.package[PACKAGE]).sha256 in forbidden.digests


def test_an_archive_that_cannot_be_read_makes_no_plan(remote: Remote) -> None:
    published = a_package(settings())
    broken = replace(published, package={**published.package, PACKAGE: b"none"})
    with pytest.raises(DefinitionError, match=r"published conan_package\.tgz"):
        plan_of(remote, broken, tools())


def test_all_tools_but_conan_are_named_as_the_hosts() -> None:
    described = describe_tools(tools())
    assert [(one.name, one.is_host_tool) for one in described] == [
        ("conan", False), ("gcc", True), ("python3", True), ("cmake", True)
    ]  # fmt: skip


def test_errors_of_conan_and_of_compilers_explain_a_failure() -> None:
    log = (
        b"/s/lib.c:3:5: error: unknown type name\n/s/lib.c:3:5: error: unknown type name\n"
        b"ERROR: lib/1.0: Error in build() method, line 9\n\tself.run('gcc')\n\tConanException: Error 1\n"
        b"nothing\n\tnothing either\n"
    )
    assert explain_failure(log, Pinned()) == (
        "/s/lib.c:3:5: error: unknown type name; lib/1.0: Error in build() method, line 9; self.run('gcc'); "
        "ConanException: Error 1"
    )
    assert explain_failure(b"fine\n", Pinned()) is None


@pytest.mark.parametrize(
    "said",
    [
        b"Package 'zlib/1.3' not resolved: No remote defined",
        b"Version range '>=1' from requirement 'zlib/1.3' required by 'lib/1.0' could not be resolved",
        b"Missing binary: zlib/1.3",
        b"Error loading conanfile at '/a/b.py': Cannot resolve python_requires 'zlib/1.3': No remote",
        b"Error loading conanfile at '/a/b.py':\nCannot resolve python_requires 'zlib/1.3': No remote",
    ],
)
def test_a_requirement_that_is_not_pinned_is_named_with_the_remedy(said: bytes) -> None:
    with pytest.raises(HostLack, match=r"requires zlib/1\.3, which its definition does not pin; infer"):
        explain_failure(b"ERROR: " + said + b"\n", Pinned())


@pytest.mark.parametrize(
    ("files", "is_asked"),
    [
        ({"conanfile.py": b"class A: pass\n"}, False),
        ({"conanfile.py": b"tool_requires = 'a/1.0'\n"}, True),
        ({"conanfile.py": b"from more import *\n", "conan_export.tgz": tgz({"more.py": b""})}, True),
        ({"conanfile.py": b"class A: pass\n", "conan_export.tgz": tgz({"conandata.yml": b""})}, False),
    ],
    ids=["says nothing", "says it", "code elsewhere", "data elsewhere"],
)
def test_conan_is_asked_for_requirements_of_recipes_that_may_have_some(
    remote: Remote, files: dict[str, bytes], *, is_asked: bool
) -> None:
    remote.definition(a_package(settings(), recipe=files))
    assert bool(remote.asked) is is_asked
