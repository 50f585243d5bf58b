"""Pins of Conan requirements: read, grouped, looked for at remotes; whatever the inside of a sandbox says."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.builder.conanparts import Published, tgz, upstreams
from tests.builder.requireparts import requirements_of, upload
from tests.builder.sandboxes import Site

from touchplate.base.durable import DigestFolder
from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.upstreams import Upstream
from touchplate.base.values import Secret
from touchplate.builder.cache import Cache
from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.ecosystems.conan import resolve
from touchplate.builder.ecosystems.conan.choice import Target
from touchplate.builder.ecosystems.conan.conaninfo import PackageInfo, package_id_of, parse_conaninfo
from touchplate.builder.ecosystems.conan.deadline import MAX_SECONDS, SHOWN, Deadline, give_up
from touchplate.builder.ecosystems.conan.failure import Pinned, explain_failure
from touchplate.builder.ecosystems.conan.graph import Graph, Node, Question
from touchplate.builder.ecosystems.conan.profile import format_profile
from touchplate.builder.ecosystems.conan.reference import CONANINFO, PACKAGE, Revision
from touchplate.builder.ecosystems.conan.remote import MAX_LIST_BYTES, list_references, list_revisions
from touchplate.builder.ecosystems.conan.requirements import (
    MAX_REQUIREMENTS,
    Requirement,
    fetch_requirement,
    group_requirements,
    pin_files,
    pin_package,
    required_lines,
)
from touchplate.builder.ecosystems.conan.resolve import Resolver
from touchplate.builder.ecosystems.conan.revisions import package_revision, recipe_revision
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.inputs.repository import RemoteFile, Repositories, Repository

INFO = "[settings]\nos=Linux\n[options]\nshared=False\n"
BUILT = 1_700_000_000
"""When the package was built, in Unix seconds."""


def a_package(name: str, version: str = "1.0", *, info: str = INFO, recipe: bytes = b"") -> Published:
    """Some package."""
    files = {"conanfile.py": recipe or f"# {name}/{version}\n".encode()}
    package = {
        PACKAGE: tgz({f"lib/lib{name}.a": b"!<arch>\n" + name.encode()}),
        CONANINFO: info.encode(),
        "conanmanifest.txt": b"%d\n" % BUILT,
    }
    prev, package_id = package_revision(package), package_id_of(info.encode())
    return Published(Revision(name, version, recipe_revision(files), package_id, prev), files, package)


def pins(published: Published) -> Requirement:
    """All that a definition pins of it."""
    revision = published.revision
    recipe = [
        RemoteFile(str(revision.recipe.purl(name)), name, data) for name, data in published.recipe.items()
    ]
    package = {name: RemoteFile("", name, data) for name, data in published.package.items()}
    return Requirement(revision.recipe, revision, (*pin_files(recipe), *pin_package(revision, package)))


OWN = a_package("lib")


class Remote:
    """Remotes on loopback, and a cache."""

    def __init__(self, site: Site, repositories: Repositories, cache: Cache) -> None:
        self.site = site
        self.repositories = repositories
        self.cache = cache

    def upload(self, published: Published, *, time: int = BUILT) -> Published:
        upload(self.site.pages, published, time=time)
        return published

    def resolve(
        self, *answers: Graph, requires: Sequence[str] = (), each: float = 0.0
    ) -> tuple[Requirement, ...]:
        """What is found when the sandbox gives these answers, one after the other; the last for ever. `each`:
        seconds that the sandbox takes for one."""
        self.asked: list[Question] = []

        def run(question: Question, deadline: Deadline) -> Graph:
            deadline.left(question.known)
            self.asked.append(question)
            return answers[min(len(self.asked), len(answers)) - 1]

        target = Target(OWN.revision, PackageInfo(requires=tuple(requires)), INFO.encode(), BUILT)
        deadline = Deadline(lambda: each * len(self.asked))
        return Resolver(target, self.repositories, self.cache, run, deadline).resolve()


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    site = Site()
    other = Upstream("other", "conan", "other.example.org", f"{site.url}/other")
    (tmp_path / "password").write_text("me:secret")
    (tmp_path / "password").chmod(0o600)
    secret = Secret.parse(f"file:{tmp_path}/password", tmp_path)
    private = Upstream("private", "conan", "team.example.org", f"{site.url}/private", credentials=secret)
    try:
        with HTTPClient(AddressRules.parse(hosts=["127.0.0.1"])) as client:
            folder = DigestFolder(tmp_path / "files")
            every = (*upstreams(site), private, other)
            repositories = Repositories(Repository(one, client, folder) for one in every)
            yield Remote(site, repositories, Cache(tmp_path / "cache"))
    finally:
        site.close()


def own_node(**changes: Any) -> Node:
    built = Node(str(OWN.revision.recipe), str(OWN.revision.package_id), "Build", conaninfo=INFO)
    return replace(built, **changes)


def graph(*published: Published, own: Node | None = None, binary: str = "Missing") -> Graph:
    """The graph of our package with these requirements."""
    nodes = [Node(str(one.revision.recipe), str(one.revision.package_id), binary) for one in published]
    used = frozenset(str(one.revision.recipe) for one in (OWN, *published))
    return Graph(nodes=(own or own_node(), *nodes), used=used)


def test_what_is_missing_is_fetched_and_asked_about_again(remote: Remote) -> None:
    zlib = remote.upload(a_package("zlib"))
    found = remote.resolve(Graph(missing=("zlib/1.0",)), graph(zlib))
    assert [str(one) for one in found] == [str(zlib.revision)]
    assert found == (pins(zlib),)
    assert [len(one.requirements) for one in remote.asked] == [0, 1, 1]


def test_what_was_asked_for_on_the_way_and_is_not_used_is_not_pinned(remote: Remote) -> None:
    zlib, other = remote.upload(a_package("zlib")), remote.upload(a_package("other"))
    found = remote.resolve(Graph(missing=("other/1.0", "zlib/1.0")), graph(zlib))
    assert [str(one) for one in found] == [str(zlib.revision)]
    assert str(other.revision) not in str(found)


def test_of_what_is_skipped_the_recipe_is_enough(remote: Remote) -> None:
    zlib = remote.upload(a_package("zlib"))
    found = remote.resolve(Graph(missing=("zlib/1.0",)), graph(zlib, binary="Skip"))
    assert [(one.recipe, one.package) for one in found] == [(zlib.revision.recipe, None)]


def test_another_remote_is_asked_when_that_of_the_package_has_it_not(remote: Remote) -> None:
    zlib = a_package("zlib")
    pages: dict[str, object] = {}
    upload(pages, zlib, time=BUILT)
    remote.site.pages.update({f"other/{path}": page for path, page in pages.items()})
    (found,) = remote.resolve(Graph(missing=("zlib/1.0",)), graph(zlib))
    assert found.recipe.identity == "other.example.org"


def test_what_a_team_keeps_for_itself_is_not_fetched_for_the_recipe_of_a_stranger(remote: Remote) -> None:
    zlib = a_package("zlib")
    pages: dict[str, object] = {}
    upload(pages, zlib, time=BUILT)
    remote.site.pages.update({f"private/{path}": page for path, page in pages.items()})
    with pytest.raises(DefinitionError, match=r"zlib/1\.0, which no upstream has"):
        remote.resolve(Graph(missing=("zlib/1.0",)), graph(zlib))
    assert not [path for path in remote.site.asked if path.startswith("private/")]


def test_revisions_are_those_of_the_time_of_the_build_or_the_first_ones(remote: Remote) -> None:
    old, then, new = (a_package("zlib", recipe=text) for text in (b"# old\n", b"# then\n", b"# new\n"))
    for one, time in ((old, BUILT - 9), (then, BUILT), (new, BUILT + 1)):
        remote.upload(one, time=time)
    (found,) = remote.resolve(Graph(missing=("zlib/1.0",)), graph(then))
    assert found.recipe == then.revision.recipe
    late, later = (a_package("late", recipe=text) for text in (b"# late\n", b"# later\n"))
    for one, time in ((late, BUILT + 5), (later, BUILT + 6)):
        remote.upload(one, time=time)
    (found,) = remote.resolve(Graph(missing=("late/1.0",)), graph(late))
    assert found.recipe == late.revision.recipe


def test_a_range_chooses_among_what_fits_the_published_package(remote: Remote) -> None:
    versions = [a_package("zlib", version) for version in ("1.2.13", "1.3.1", "1.3.2", "1.3.9", "2.0")]
    for one in versions:
        remote.upload(one, time=BUILT + 1 if one.revision.version == "1.3.9" else BUILT)
    chosen = versions[2]
    remote.resolve(
        Graph(missing=("zlib/*",)), Graph(missing=("zlib/1.3.2",)), graph(chosen), requires=["zlib/1.3.Z"]
    )
    assert dict(remote.asked[1].versions) == {"zlib/*": ("zlib/1.3.1", "zlib/1.3.2")}


def test_what_conaninfo_says_of_revision_and_package_is_taken_as_it_stands(remote: Remote) -> None:
    newer, older = (
        a_package("zlib", recipe=b"# newer\n"),
        a_package("zlib", recipe=b"# older\n", info="[options]\na=1\n"),
    )
    remote.upload(older, time=BUILT - 5)
    remote.upload(newer, time=BUILT - 1)
    says = f"zlib/1.0#{older.revision.rrev}:{older.revision.package_id}"
    other = graph(older)
    asked = replace(other, nodes=(other.nodes[0], replace(other.nodes[1], package_id="f" * 40)))
    (found,) = remote.resolve(Graph(missing=("zlib/1.0",)), asked, graph(older), requires=[says])
    assert found.package == older.revision


def test_one_who_asks_for_a_revision_and_one_who_asks_for_any_are_served_by_the_same(remote: Remote) -> None:
    older, newer = a_package("zlib", recipe=b"# older\n"), a_package("zlib", recipe=b"# newer\n")
    remote.upload(older, time=BUILT - 5)
    remote.upload(newer, time=BUILT - 1)
    exact = f"zlib/1.0#{older.revision.rrev}"
    for missing in (("zlib/1.0", exact), (exact, "zlib/1.0")):
        assert remote.resolve(Graph(missing=missing), graph(older)) == (pins(older),)
    other = f"zlib/1.0#{newer.revision.rrev}"
    with pytest.raises(DefinitionError, match=f"requires {other}, and {exact} too; only one revision"):
        remote.resolve(Graph(missing=("zlib/1.0", exact, other)))


def test_a_package_that_is_needed_in_two_forms_is_refused_with_both(remote: Remote) -> None:
    to_run, to_build = remote.upload(a_package("zlib")), a_package("zlib", info="[options]\na=1\n")
    both = replace(graph(to_run), nodes=(*graph(to_run).nodes, graph(to_build).nodes[1]))
    with pytest.raises(
        DefinitionError, match=r"zlib/1\.0#.* in 2 forms, to run with and to build with"
    ) as caught:
        remote.resolve(Graph(missing=("zlib/1.0",)), both)
    for one in (to_run, to_build):
        assert str(one.revision.package_id) in str(caught.value)


def test_a_package_that_no_upstream_has_is_described(remote: Remote) -> None:
    zlib = remote.upload(a_package("zlib"))
    own, node = graph(zlib).nodes
    wants = replace(graph(zlib), nodes=(own, replace(node, package_id="e" * 40, conaninfo=INFO)))
    said = rf"no package of it with the package id {'e' * 40} \(os=Linux, shared=False\); .* upload that"
    with pytest.raises(DefinitionError, match=said):
        remote.resolve(Graph(missing=("zlib/1.0",)), wants)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ("[options]\nextra=x\n", "option 'extra' doesn't exist; Possible options are ['shared']"),
        ("[options]\nfPIC=maybe\n", "'maybe' is not a valid 'options.fPIC' value."),
        ("[settings]\nbuild_type=Any\n", "Invalid setting 'Any' is not a valid 'settings.build_type' value."),
        ("[settings]\nflavour=1\n", "'settings.flavour' doesn't exist for 'settings'"),
    ],
)
def test_a_requirement_that_was_built_for_what_its_recipe_does_not_take_is_named(
    remote: Remote, info: str, said: str
) -> None:
    odd, zlib = remote.upload(a_package("odd", info=info)), remote.upload(a_package("zlib"))
    missing = Graph(missing=("odd/1.0", "zlib/1.0"))
    named = f"so says {CONANINFO} of odd/1.0, whose recipe does not take it"
    with pytest.raises(DefinitionError, match=re.escape(said) + f"; {named}"):
        remote.resolve(missing, graph(odd, zlib), Graph(error=said))
    with pytest.raises(DefinitionError, match=r"cannot be told: 'zlib' is broken$"):
        remote.resolve(missing, graph(odd, zlib), Graph(error="'zlib' is broken"))
    told = parse_conaninfo(info.encode())
    own = Pinned({**told.settings, **told.options}, ("zlib/1.0:ab",))
    log = f"ERROR: {said}\n".encode()
    assert said.split(";")[0] in str(explain_failure(log, own))
    with pytest.raises(HostLack, match=r"of a requirement says it, of zlib/1\.0:ab; pin another package"):
        explain_failure(log, replace(own, own={}))


def test_a_compatible_package_is_taken_when_there_is_no_other(remote: Remote) -> None:
    zlib = remote.upload(a_package("zlib"))
    own, node = graph(zlib).nodes
    wants = replace(node, package_id="e" * 40, compatible=("d" * 40, node.package_id))
    (found,) = remote.resolve(
        Graph(missing=("zlib/1.0",)), replace(graph(zlib), nodes=(own, wants)), graph(zlib)
    )
    assert found.package == zlib.revision


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([Graph(error="a loop")], "its requirements cannot be told: a loop"),
        ([Graph(missing=("nobody/1.0",))], r"requires nobody/1\.0, which no upstream has; give its remote"),
        ([Graph(missing=("lib/1.0",))], r"lib/1\.0 requires itself"),
        ([Graph(missing=("../../x",))], "is no reference of Conan"),
        ([Graph(missing=("a b/1.0",))], "none of Conan's names"),
        ([Graph(missing=("zlib/[>=1]",))], "none of Conan's names"),
        ([Graph(missing=("zlib/1.0#abc",))], r"requires zlib/1\.0#abc, which no upstream has"),
        ([Graph(missing=("zlib/1.0",)), Graph(missing=("zlib/1.0#abc",))], "only one revision is possible"),
        ([Graph(missing=("zlib/*",))], r"zlib/\* is asked for twice"),
        ([Graph(nodes=(Node("who/1.0#ab", "c" * 40, "Missing"),))], "who/1.0#ab, which was not asked for"),
        ([Graph()], "cannot be built: Conan builds nothing"),
        ([Graph(nodes=(own_node(package_id="f" * 40, conaninfo="[options]\n"),))], "published '.settings.'"),
    ],
    ids=str,
)  # fmt: skip
def test_whatever_the_inside_says_is_refused_when_it_makes_no_sense(
    remote: Remote, answers: list[Graph], says: str
) -> None:
    remote.upload(a_package("zlib"))
    with pytest.raises(DefinitionError, match=says):
        remote.resolve(*answers)


def test_a_package_id_from_inside_cannot_lead_to_another_place_of_the_remote(remote: Remote) -> None:
    zlib = remote.upload(a_package("zlib"))
    own, node = graph(zlib).nodes
    odd = replace(graph(zlib), nodes=(own, replace(node, package_id="../../../../../../../secret")))
    remote.site.pages["secret/revisions"] = b'{"revisions": []}'
    with pytest.raises(DefinitionError, match="no revision or package id of Conan"):
        remote.resolve(Graph(missing=("zlib/1.0",)), odd)
    assert not [path for path in remote.site.asked if "secret" in path]


def test_versions_that_conan_2_cannot_name_are_left_out_of_a_range(remote: Remote) -> None:
    zlib = remote.upload(a_package("zlib"))
    listed = ["zlib/1.0@_/_", "zlib/9", "Zlib/1.0", "zlib", "zlib/2.0@me/dev", "zlib/../x"]
    search = next(page for page in remote.site.pages if page.startswith("v2/conans/search"))
    remote.site.pages[search] = json.dumps({"results": listed}).encode()
    remote.resolve(Graph(missing=("zlib/*",)), Graph(missing=("zlib/1.0",)), graph(zlib))
    assert dict(remote.asked[1].versions) == {"zlib/*": ("zlib/1.0",)}


def test_more_requirements_than_allowed_are_refused_before_all_are_fetched(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "MAX_REQUIREMENTS", 3)
    names = tuple(remote.upload(a_package(f"part{number}")).revision.reference for number in range(4))
    with pytest.raises(DefinitionError, match=r"requires more than 3 recipes; part3/1\.0 is one more"):
        remote.resolve(Graph(missing=names[:2]), Graph(missing=names[2:]))


def test_a_chain_without_end_is_given_up(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "MAX_ROUNDS", 3)
    many = [remote.upload(a_package(f"part{number}")) for number in range(4)]
    answers = [Graph(missing=(one.revision.reference,)) for one in many]
    with pytest.raises(DefinitionError, match="not all known after 3 rounds; write the definition by hand"):
        remote.resolve(*answers)


def test_all_questions_together_have_a_time_after_which_a_person_is_told_what_to_write(
    remote: Remote,
) -> None:
    first, second, third = (remote.upload(a_package(name)) for name in ("first", "second", "third"))
    answers = [Graph(missing=(one.revision.reference,)) for one in (first, second, third)]
    each = MAX_SECONDS / 2
    with pytest.raises(DefinitionError, match=f"not all known after {MAX_SECONDS:g} seconds") as caught:
        remote.resolve(*answers, each=each)
    said = str(caught.value)
    assert f"Known so far: {first.revision.recipe}" in said
    assert "touchplate definition new PURL" in said
    assert "`requirements` with uri, sha256 and size" in said
    assert len(remote.asked) == 2
    assert remote.resolve(Graph(missing=("first/1.0",)), graph(first), each=each / 2) == (pins(first),)


def test_remotes_are_asked_nothing_more_when_that_time_is_over(remote: Remote) -> None:
    zlib = remote.upload(a_package("zlib"))
    for missing in ("zlib/1.0", "zlib/*"):
        before = list(remote.site.asked)
        with pytest.raises(DefinitionError, match="Known so far: nothing"):
            remote.resolve(Graph(missing=(missing,)), each=MAX_SECONDS)
        assert remote.site.asked == before
    with pytest.raises(DefinitionError, match=f"Known so far: {zlib.revision.recipe}"):
        remote.resolve(Graph(missing=("zlib/1.0",)), graph(zlib), each=MAX_SECONDS / 2)


def test_of_many_recipes_that_are_known_some_are_named() -> None:
    said = str(give_up("after 1 second", [f"part{number}" for number in range(SHOWN + 2)]))
    assert said.endswith(f", part{SHOWN - 1} and 2 more")


def test_a_range_over_more_versions_than_allowed_is_refused(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "MAX_VERSIONS", 2)
    for version in ("1.0", "1.1", "1.2"):
        remote.upload(a_package("zlib", version))
    with pytest.raises(DefinitionError, match="more than 2 versions to choose among"):
        remote.resolve(Graph(missing=("zlib/*",)))


def test_more_bytes_than_a_build_may_have_are_refused_before_more_is_fetched(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (remote.upload(a_package(name)) for name in ("first", "second", "third"))
    monkeypatch.setattr(resolve, "MAX_BYTES", 2 * len(first.recipe["conanfile.py"]))
    with pytest.raises(DefinitionError, match="25 bytes so far, and 24 are the most of all inputs"):
        remote.resolve(Graph(missing=("first/1.0", "second/1.0", "third/1.0")))
    assert third.revision.recipe.path("conanfile.py") not in remote.site.asked
    asked = Graph(missing=("first/1.0",)), graph(first)
    with pytest.raises(DefinitionError, match="are the most of all inputs"):
        remote.resolve(*asked)
    monkeypatch.undo()
    assert remote.resolve(*asked) == (pins(first),)
    assert second.revision.recipe.path("conanfile.py") in remote.site.asked


@pytest.mark.parametrize("answer", [400, 401, 403, 405, b"<html>", b"[]"], ids=str)
def test_a_server_of_sources_that_is_no_remote_has_nothing_that_is_required(
    remote: Remote, answer: object
) -> None:
    zlib = remote.upload(a_package("zlib"))
    for page in list(remote.site.pages):
        remote.site.pages[f"sources/{page}"] = answer
    remote.site.pages[f"sources/{Revision('none', '1.0', 'ab').recipe_path}/revisions"] = answer
    remote.resolve(Graph(missing=("zlib/*",)), Graph(missing=("zlib/1.0",)), graph(zlib))
    assert dict(remote.asked[1].versions) == {"zlib/*": ("zlib/1.0",)}
    with pytest.raises(DefinitionError, match=r"none/1\.0, which no upstream has"):
        remote.resolve(Graph(missing=("none/1.0",)))


def test_a_list_without_end_is_not_read_to_its_end(remote: Remote) -> None:
    path = f"{Revision('none', '1.0', 'ab').recipe_path}/revisions"
    remote.site.pages[path] = b" " * (MAX_LIST_BYTES + 1)
    with pytest.raises(HostLack, match=f"cannot be read: .* more than the {MAX_LIST_BYTES} bytes"):
        list_revisions(remote.repositories.named("conancenter"), path.removesuffix("/revisions"))


def test_an_upstream_that_is_down_is_a_lack_and_not_one_that_has_nothing(remote: Remote) -> None:
    remote.site.pages[f"sources/{Revision('none', '1.0', 'ab').recipe_path}/revisions"] = 503
    with pytest.raises(HostLack, match="answers 503"):
        remote.resolve(Graph(missing=("none/1.0",)))


def test_a_package_id_that_conan_gives_no_more_is_named(remote: Remote) -> None:
    zlib = remote.upload(a_package("zlib"))
    own, node = graph(zlib).nodes
    other = replace(graph(zlib), nodes=(own, replace(node, package_id="b" * 40)))
    said = f"the package id {'b' * 40} here, .*; upload the package {'b' * 40} of it, too"
    with pytest.raises(DefinitionError, match=said):
        remote.resolve(Graph(missing=("zlib/1.0",)), graph(zlib), other)


def test_what_differs_is_shown_in_short_lines(remote: Remote) -> None:
    own = own_node(package_id="f" * 40, conaninfo="x" * 10_000)
    with pytest.raises(DefinitionError, match="is asked for") as caught:
        remote.resolve(Graph(nodes=(own,)))
    assert len(str(caught.value)) < 1000


def test_requirements_of_more_bytes_than_the_limit_are_refused_where_they_stand() -> None:
    large = [{**one, "size": 1 << 31} for one in WHOLE]
    with pytest.raises(
        DefinitionError, match=rf"requirements: have {3 << 31} bytes, and limits\.fetch_bytes"
    ):
        make_definition(definition_with(large))
    value = definition_with(large) | {"limits": {"fetch_bytes": 3 << 31}}
    assert requirements_of(make_definition(value))


def test_a_profile_says_of_requirements_what_they_were_built_for(remote: Remote) -> None:
    zlib = remote.upload(
        a_package("zlib", info="[settings]\nbuild_type=Release\nos=Linux\n[options]\nshared=True\n")
    )
    fetched = fetch_requirement(pins(zlib), remote.repositories, remote.cache)
    settings = {"os": "Linux", "build_type": "Debug"}
    lines = required_lines(OWN.revision, [fetched], settings)
    profile = format_profile("lib", settings, {"shared": "False"}, {}, lines).decode().splitlines()
    assert profile == [
        "[settings]", "build_type=Debug", "os=Linux", "zlib/1.0:build_type=Release",
        "[options]", "lib/*:shared=False", "zlib/1.0:shared=True",
        "[conf]", "!lib/1.0:tools.graph:skip_build=True", "!lib/1.0:tools.graph:skip_test=True",
    ]  # fmt: skip
    assert format_profile("lib", settings, {}, {}) == b"[settings]\nbuild_type=Debug\nos=Linux\n[options]\n"


def test_pins_are_grouped_by_recipe_and_package() -> None:
    zlib, png = pins(a_package("zlib")), pins(a_package("png1"))
    files = (*zlib.files, *png.files)
    assert group_requirements(OWN.revision, files[::-1]) == tuple(
        replace(one, files=one.files[::-1]) for one in (png, zlib)
    )


@pytest.mark.parametrize("at", [-1, -6])
def test_an_archive_with_another_byte_at_its_end_is_refused(remote: Remote, at: int) -> None:
    """Its members are the same, and so is the revision."""
    zlib = a_package("zlib")
    data = bytearray(zlib.package[PACKAGE])
    data[at] ^= 0x40
    damaged = replace(zlib, package={**zlib.package, PACKAGE: bytes(data)})
    assert package_revision(damaged.package) == zlib.revision.prev
    remote.upload(damaged)
    with pytest.raises(
        DefinitionError, match=r"file=conan_package\.tgz.*: the archive is damaged: .*mend it"
    ):
        remote.resolve(Graph(missing=("zlib/1.0",)), graph(zlib))


def file_of(published: Published, name: str) -> dict[str, Any]:
    is_recipe = name in published.recipe
    revision = published.revision.recipe if is_recipe else published.revision
    return {"uri": str(revision.purl(name)), "sha256": "ab" * 32, "size": 1}


def definition_with(requirements: object) -> dict[str, Any]:
    """The definition of our package."""
    revision = OWN.revision
    return {
        "version": 1,
        "name": "lib",
        "package": str(OWN.purl),
        "source": {"kind": "source-release", "files": [file_of(OWN, "conanfile.py")]},
        "tools": {"conan": {"version": "2.34.0", "lock": "0" * 64}, "gcc": 12},
        "profile": {"settings": {"os": "Linux"}},
        "environment": {"SOURCE_DATE_EPOCH": "1"},
        "outputs": [
            {"path": f"out/{name}", "package": str(revision.purl(name))} for name in (PACKAGE, CONANINFO)
        ],
        "requirements": requirements,
    }


OTHER = a_package("zlib", info="[options]\na=1\n")
"""Another package of the same recipe."""

WHOLE = [file_of(a_package("zlib"), name) for name in ("conanfile.py", PACKAGE, CONANINFO)]


def test_whole_requirements_are_taken() -> None:
    (found,) = requirements_of(make_definition(definition_with(WHOLE)))
    assert found.package == a_package("zlib").revision


@pytest.mark.parametrize(
    ("requirements", "says"),
    [
        ([], "is not a list of 1 to"),
        ([WHOLE[0]] * 1000, "not a list of 1 to 500"),
        ([*WHOLE, WHOLE[0]], "names a file twice"),
        (WHOLE[:2], r"zlib/1\.0 lacks .*file=conaninfo\.txt"),
        (WHOLE[1:], r"zlib/1\.0 lacks .*file=conanfile\.py"),
        ([file_of(OWN, "conanfile.py")], r"lib/1\.0 requires itself"),
        ([*WHOLE, file_of(a_package("zlib", recipe=b"# 2"), "conanfile.py")], "has 2 recipe revisions"),
        ([*WHOLE, *(file_of(OTHER, one) for one in (PACKAGE, CONANINFO))], "has more than one package"),
        ([{**WHOLE[0], "uri": "pkg:maven/a/b@1?type=jar"}], "names no file of a revision"),
        ([*WHOLE, file_of(a_package("zlib"), "conanmanifest.txt")], "is not used of a requirement"),
        ([{**WHOLE[0], "sha256": "x"}], "is not a sha256"),
        ([{**WHOLE[0], "more": 1}], "is unknown"),
        ([file_of(a_package(f"part{number}"), "conanfile.py") for number in range(MAX_REQUIREMENTS + 1)],
         f"{MAX_REQUIREMENTS + 1} recipes, and {MAX_REQUIREMENTS} are the most"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_requirements_that_are_not_whole_are_refused(requirements: object, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        make_definition(definition_with(requirements))


def test_remotes_are_read_for_revisions_and_versions(remote: Remote) -> None:
    first, second = a_package("zlib"), a_package("zlib", recipe=b"# 2\n")
    remote.upload(first, time=1_600_000_000)
    remote.upload(second, time=1_700_000_000)
    repository = remote.repositories.named("conancenter")
    path = first.revision.recipe_path
    assert list_revisions(repository, path) == (
        (second.revision.rrev, 1_700_000_000), (first.revision.rrev, 1_600_000_000)
    )  # fmt: skip
    assert list_references(repository, "zlib/*") == ("zlib/1.0",)
    assert list_references(repository, "none/*") == ()
    remote.site.pages[f"{path}/revisions"] = (
        b'{"revisions": [{"revision": "a", "time": "2026-99-99T00:00:00Z"}]}'
    )
    with pytest.raises(HostLack, match="is no time"):
        list_revisions(repository, path)
