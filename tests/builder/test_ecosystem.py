"""The ecosystem port: a second ecosystem with tools, sources and a backend of its own, through a rebuild."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.builder.joinery import Glue, Joinery
from tests.builder.mavenparts import publish, served
from tests.builder.rebuildparts import PACKAGE as MAVEN_PACKAGE
from tests.builder.rebuildparts import Scene, scene
from tests.builder.tarparts import gzip_bytes
from tests.verify.cases import make_trust, rebuilder_block
from tests.verify.support import OPERATOR_A, statement_signer

from touchplate.base.errors import UpstreamError
from touchplate.base.progress import QuietProgress
from touchplate.base.upstreams import Upstream
from touchplate.builder.attestation.attest import Operator
from touchplate.builder.cli.report import exit_code, print_rebuild, rebuild_json
from touchplate.builder.definitions.definition import Definition, parse_definition
from touchplate.builder.ecosystem import Ecosystem
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.inputs.upstream_option import parse_upstream, parse_upstreams
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.builder.repeat import Logged, repeat
from touchplate.builder.stabilize.registry import stabilize
from touchplate.builder.submit import sign_rebuild
from touchplate.builder.workshop import Workshop, open_workshop
from touchplate.verify.check import digest_file, judge
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.entry import make_entry
from touchplate.verify.jcs import JSONValue, format_json
from touchplate.verify.keys import generate_signer
from touchplate.verify.predicates.comparison import Result
from touchplate.verify.predicates.provenance import Provenance
from touchplate.verify.purl import parse_purl
from touchplate.verify.statements import Comparison, parse_predicate, parse_statement
from touchplate.verify.usage import UsageError

PACKAGE = "pkg:conan/poem@1?file=poem.txt&rrev=abc"
TEXT, NEEDS = (f"pkg:conan/poem@1?file={name}&rrev=abc" for name in ("text", "needs"))


@dataclass(frozen=True)
class Shop:
    """The Maven scene, and beside it an upstream of the second ecosystem."""

    maven: Scene
    repository: Path
    workshop: Workshop


@pytest.fixture
def shop() -> Iterator[Shop]:
    with opened() as one:
        yield one


@contextmanager
def opened() -> Iterator[Shop]:
    with scene() as maven:
        repository = maven.repository.parent / "conan"
        publish(repository, "recipes/text", b"roses")
        publish(repository, "recipes/needs", b"more/violets")
        publish(repository, "more/violets", b"violets")
        publish(repository, "poem/1/poem.txt", b"roses and violets")
        with served(repository) as url:
            upstreams = parse_upstreams([maven.url, f"conancenter={url}"])
            data = maven.repository.parent / "data2"
            with open_workshop(data, QuietProgress(), upstreams=upstreams) as workshop:
                yield Shop(maven, repository, workshop)


def value(shop: Shop, **changed: JSONValue) -> dict[str, JSONValue]:
    files: list[JSONValue] = []
    for uri, path in ((TEXT, "recipes/text"), (NEEDS, "recipes/needs")):
        found = shop.workshop.repositories.named("conancenter").need(path)
        files.append({"uri": uri, "sha256": found.sha256, "size": len(found.data)})
    return {
        "version": 1,
        "name": "poem",
        "package": PACKAGE,
        "source": {"kind": "source-release", "files": files},
        "glue": " and ",
        "outputs": [{"path": "poem.txt", "package": PACKAGE}],
        **changed,
    }


def parsed(shop: Shop, joinery: Ecosystem, **changed: JSONValue) -> Definition:
    return parse_definition(format_json(value(shop, **changed)), find=lambda name: joinery)


def built(shop: Shop, joinery: Ecosystem, *, to_sign: bool = False, **changed: JSONValue) -> Rebuild:
    definition = parsed(shop, joinery, **changed)
    return rebuild(shop.workshop, definition, fetch_published(shop.workshop, definition), to_sign=to_sign)


def test_a_definition_says_what_its_ecosystem_reads(shop: Shop) -> None:
    definition = parsed(shop, Joinery())
    assert definition.details == Glue(" and ")
    assert definition.command == ()
    assert definition.upstreams == ("conancenter",)
    assert [file.uri for file in definition.source.files] == [TEXT, NEEDS]


def test_mistakes_of_both_halves_of_a_definition_are_listed_together(shop: Shop) -> None:
    with pytest.raises(DefinitionError) as caught:
        parsed(shop, Joinery(), glue=7, umask=22, tools={"jdk": 17})
    assert "glue: 7 is not small letters" in str(caught.value)
    assert "umask: 22" in str(caught.value)
    assert "tools: is unknown; known here: version, name, package, source, glue, outputs" in str(caught.value)
    with pytest.raises(DefinitionError, match="upper case") as caught:
        parsed(shop, Joinery(), package="pkg:conan/Poem@1")
    assert "glue" not in str(caught.value)
    outputs: list[JSONValue] = [
        {"path": "poem.txt", "package": PACKAGE},
        {"path": "other", "package": TEXT},
    ]
    with pytest.raises(DefinitionError, match="one is enough"):
        parsed(shop, Joinery(), outputs=outputs)


def test_a_rebuild_runs_in_the_backend_of_its_ecosystem_and_is_signed_under_its_name(shop: Shop) -> None:
    joinery = Joinery()
    done = built(shop, joinery, to_sign=True)
    assert (done.result, done.backend) == ("identical", "runc")
    assert joinery.bench is not None
    assert joinery.bench.phases == ["fetch", "build"]
    operator = Operator("https://rebuild.example.org", generate_signer())
    envelopes = sign_rebuild(shop.workshop, done, operator).parcel.envelopes
    provenance = parse_predicate(parse_statement(parse_envelope(envelopes[0]).payload))
    assert isinstance(provenance, Provenance)
    assert provenance.builder == "https://rebuild.example.org/touchplate/runc/v1"
    assert provenance.build_type == "https://touchplate.dev/buildtypes/conan/v1"
    assert [one.uri for one in provenance.dependencies if one.kind == "source-release"] == [NEEDS, TEXT]


def test_a_backend_that_lacks_something_signs_nothing_and_builds_nothing(shop: Shop) -> None:
    joinery = Joinery(None, ("a sub-uid range",))
    with pytest.raises(HostLack, match="lacks a sub-uid range"):
        built(shop, joinery, to_sign=True)
    assert joinery.bench is not None
    assert joinery.bench.phases == []
    assert built(shop, joinery).result == "identical"


def test_the_second_rebuild_starts_from_the_known_lock_in_any_backend(shop: Shop) -> None:
    joinery = Joinery()
    built(shop, joinery)
    assert built(shop, joinery).result == "identical"
    assert joinery.bench is not None
    assert joinery.bench.phases == ["build"]


def test_a_failure_is_explained_by_its_ecosystem(shop: Shop) -> None:
    done = built(shop, Joinery(), glue="unglued")
    assert done.failure is not None
    assert done.failure.detail == "exit code 1; UNGLUED: too dry"


def test_a_logged_rebuild_is_repeated_through_its_ecosystem(shop: Shop) -> None:
    joinery = Joinery()
    done = built(shop, joinery)
    assert done.built is not None
    sha256 = done.published[0].sha256
    logged = Logged(3, done.definition, done.built.lock, {PACKAGE: sha256}, {PACKAGE: sha256}, "identical")
    assert repeat(shop.workshop, logged).is_same
    assert joinery.bench is not None
    assert joinery.bench.phases == ["build"]


GZ = "pkg:conan/poem@1?file=poem.gz&rrev=abc"


def rebuilt_gzip(shop: Shop, joinery: Ecosystem, published: bytes) -> Rebuild:
    publish(shop.repository, "poem/1/poem.gz", published)
    return built(shop, joinery, package=GZ, outputs=[{"path": "poem.gz", "package": GZ}])


def test_other_bytes_that_an_allowed_stabilizer_makes_equal_are_equivalent(shop: Shop) -> None:
    published = gzip_bytes(b"roses and violets", time=1)
    done = rebuilt_gzip(shop, Joinery(), published)
    assert (done.result, exit_code(done)) == ("equivalent", 1)
    stabilized = hashlib.sha256(stabilize(published, ["gzip-header@1"])).hexdigest()
    outputs = rebuild_json(done)["outputs"]
    assert isinstance(outputs, list)
    output = outputs[0]
    assert isinstance(output, dict)
    assert (output["result"], output["stabilizers"]) == ("equivalent", ("gzip-header@1",))
    assert output["stabilized"] == {"sha256": stabilized}
    operator = Operator("https://rebuild.example.org", generate_signer())
    parcel = sign_rebuild(shop.workshop, done, operator).parcel
    said = [parse_predicate(parse_statement(parse_envelope(one).payload)) for one in parcel.envelopes]
    assert isinstance(said[1], Comparison)
    assert (said[1].result, said[1].stabilizers) == ("equivalent", ("gzip-header@1",))
    assert (said[1].stabilized, said[1].differences) == (stabilized, None)
    other = rebuilt_gzip(shop, Joinery(), gzip_bytes(b"roses and tulips", time=1))
    assert other.result == "different"


def test_a_rebuild_is_as_good_as_the_worst_of_its_outputs(shop: Shop) -> None:
    done = {
        one.result: one
        for one in (
            built(shop, Joinery()),
            rebuilt_gzip(shop, Joinery(), gzip_bytes(b"roses and violets", time=1)),
            rebuilt_gzip(shop, Joinery(), gzip_bytes(b"roses and tulips")),
        )
    }

    def together(*results: Result) -> Result:
        first = done[results[0]].built
        assert first is not None
        verdicts = [verdict for one in results for verdict in getattr(done[one].built, "verdicts", ())]
        return replace(done[results[0]], built=replace(first, verdicts=tuple(verdicts))).result

    assert together("identical", "equivalent") == "equivalent"
    assert together("equivalent", "different") == "different"
    assert together("different", "identical") == "different"


def test_people_see_after_what_the_files_are_equal(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    print_rebuild(rebuilt_gzip(shop, Joinery(), gzip_bytes(b"roses and violets", time=1)))
    shown = capsys.readouterr().out
    assert "result       equivalent" in shown
    assert "equal after  gzip-header@1" in shown
    assert "poem.gz: gzip header 1 != 1700000000" in shown


@pytest.mark.parametrize(
    ("stabilizers", "says", "counts"),
    [
        ('["gzip-header@1"]', "1 of 1 operator", True),
        ('["gzip-header@1", "tar-times@1"]', "1 of 1 operator", True),
        ('["gzip-header@2", "tar-times@1"]', "equivalent by gzip-header@1 only", False),
        ("[]", "equivalent by gzip-header@1 only", False),
    ],
)
def test_a_reader_counts_it_only_when_all_its_stabilizers_are_listed(
    shop: Shop, stabilizers: str, says: str, counts: bool
) -> None:
    published = gzip_bytes(b"roses and violets", time=1)
    done = rebuilt_gzip(shop, Joinery("bubblewrap"), published)
    operator = Operator(OPERATOR_A, statement_signer("rebuilder-a"))
    envelopes = sign_rebuild(shop.workshop, done, operator).parcel.envelopes
    entries = [make_entry(one, operator.signer.key.spki) for one in envelopes]
    trust = make_trust(
        "operators = 1",
        f"stabilizers = {stabilizers}",
        blocks=[rebuilder_block(OPERATOR_A, "rebuilder-a", ecosystems=("conan",))],
    )
    asked = digest_file(io.BytesIO(published))
    judgement = judge(enumerate(entries), asked, parse_purl(GZ), trust)
    assert judgement.warnings == ()
    assert judgement.levels.reproduced is counts
    assert says in judgement.levels.explain("reproduced")
    assert [one.detail for one in judgement.levels.equivalent] == ["gzip-header@1"]
    assert not judgement.levels.slsa_reproduced


def test_a_package_of_a_type_that_nobody_builds_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"packages of type 'npm' are not rebuilt here; known: .*maven"):
        find_ecosystem("npm")


def test_a_definition_of_such_a_package_is_refused_by_its_line(shop: Shop) -> None:
    def find(name: str) -> Ecosystem:
        raise DefinitionError(f"packages of type {name!r} are not rebuilt here")

    with pytest.raises(DefinitionError, match=r"^line 1: package: packages of type 'conan' are not rebuilt"):
        parse_definition(format_json(value(shop)), find=find)


def test_every_known_ecosystem_answers_to_its_own_name() -> None:
    assert find_ecosystem("maven").name == "maven"


def test_a_hint_that_an_ecosystem_has_no_use_for_is_refused(shop: Shop) -> None:
    with pytest.raises(DefinitionError, match="nothing is inferred from jdk"):
        Joinery().infer(shop.workshop, parse_purl(PACKAGE), {"jdk": "17"})
    package = parse_purl(MAVEN_PACKAGE)
    with pytest.raises(DefinitionError, match="nothing is inferred from gcc"):
        find_ecosystem("maven").infer(shop.workshop, package, {"gcc": "12"})
    with pytest.raises(DefinitionError, match="'newest' is not a major version"):
        find_ecosystem("maven").infer(shop.workshop, package, {"jdk": "newest"})


def test_an_identity_of_one_ecosystem_is_not_that_of_another(shop: Shop) -> None:
    repositories = shop.workshop.repositories
    assert repositories.of_identity("central", "maven").upstream.name == "central"
    with pytest.raises(HostLack, match="no conan upstream of identity 'central'"):
        repositories.of_identity("central", "conan")


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("http://127.0.0.1:1/m2", Upstream("central", "maven", "central", "http://127.0.0.1:1/m2")),
        ("central=http://h/", Upstream("central", "maven", "central", "http://h/")),
        ("http://h/a=b", Upstream("central", "maven", "central", "http://h/a=b")),
        ("conancenter=http://h/c", Upstream("conancenter", "conan", "conancenter", "http://h/c")),
        ("hub=http://h,identity=docker.io,ecosystem=oci", Upstream("hub", "oci", "docker.io", "http://h")),
        ("own=http://h/a,b,ecosystem=maven", Upstream("own", "maven", "own", "http://h/a,b")),
        ("debian=http://h/debian,ecosystem=apt", Upstream("debian", "apt", "debian", "http://h/debian")),
    ],
)
def test_upstreams_are_read_as_people_write_them(text: str, upstream: Upstream) -> None:
    assert parse_upstream(text) == upstream


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hub=http://h", "which ecosystem is it of"),
        ("hub=http://h,ecosystem=npm", "'npm' is no ecosystem"),
        ("hub=http://h,ecosystem=oci,ecosystem=oci", "ecosystem stands twice"),
        ("Hub=http://h,ecosystem=oci", "write lower-case letters"),
        ("=http://h,ecosystem=oci", "write lower-case letters"),
        ("conancenter=auto", "known for Maven only"),
        ("conancenter=", "--upstream 'conancenter='"),
        ("conancenter=file:///etc", "--upstream 'conancenter=file"),
        ("conancenter=http://h?x=1", "has no query"),
        ("central", "--upstream 'central'"),
        ("hub=http://h,identity=,ecosystem=oci", "identity"),
    ],
)
def test_an_upstream_that_cannot_be_read_is_refused_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_upstream(text)
    assert message in str(caught.value)


def test_credentials_of_an_upstream_are_given_by_reference() -> None:
    text = "hub=https://h,ecosystem=oci,credentials=file:/keys/hub,realm=auth.example.org"
    one = parse_upstream(text)
    assert (str(one.credentials), one.realms) == ("file:/keys/hub", frozenset({"auth.example.org"}))
    assert str(parse_upstream("central=auto,credentials=env:CORP").credentials) == "env:CORP"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("central=https://h,credentials=me:hunter2", 'write "file:PATH" or "env:VARIABLE"'),
        ("central=https://h,credentials=me:hun,ter2", "without a comma"),
        ("central=https://h/x,credentials=me:hun,hunter=ter2", "without a comma"),
        ("central=https://h/x,credentials=me:hun,ter2,identity=c", "without a comma"),
        ("central=https://h?x,credentials=me:hunter2,identity=c", 'write "file:PATH"'),
        ("central=https://h,password=hunter2", "'password' is no setting"),
        ("central=https://h,Credentials=me:hunter2", "'Credentials' is no setting"),
        ("central=https://h,credential=hunter2", "'credential' is no setting"),
        ("central=https://me:hunter2@h/", "user name or password"),
        ("https://me:hunter2@h/", "user name or password"),
        ("central=https://me:hunter2/x@h/", "is not a URL"),
        ("central=https://me:hunter2 x@h/", "percent-encoded"),
        ("hub=https:/me:hunter2@h/,ecosystem=oci", "names no host"),
        ("me:hunter2@h", "not an http or https URL"),
        ("https://h/?token=hunter2", "no query"),
        ("hub=https://h,ecosystem=oci,realm=me:hunter2@a", "is no host"),
        ("central=http://h,credentials=file:x", r"https:// .*only"),
        ("central=http://10.0.0.1,credentials=env:hunter2x", r"https:// .*only"),
        ("hub=https://h,ecosystem=oci,realm=https://a/", "is no host"),
        ("hub=https://h,ecosystem=oci,realm=", "is no host"),
        ("central=https://h,realm=a", "realm is for registries"),
    ],
)
def test_a_password_in_place_of_a_reference_is_refused_and_not_repeated(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_upstream(text)
    assert "hunter2" not in str(caught.value)
    assert "ter2" not in str(caught.value)


def test_of_two_upstreams_of_one_name_the_later_counts() -> None:
    (one,) = parse_upstreams(["http://old", "central=http://new"])
    assert one.url == "http://new"


def test_two_names_for_one_identity_are_refused() -> None:
    texts = [f"{name}=http://h,identity=docker.io,ecosystem=oci" for name in ("a", "b")]
    with pytest.raises(UsageError, match=r"a and b are both 'docker.io' of oci"):
        parse_upstreams(texts)
    with pytest.raises(UsageError, match=r"central and own are both 'central' of maven"):
        parse_upstreams(["own=http://h,identity=central,ecosystem=maven"])


def test_a_host_without_maven_needs_no_central_for_other_ecosystems(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MAVEN_HOME", raising=False)
    monkeypatch.setattr("touchplate.base.upstreams.MAVEN_FOLDERS", ())
    data = shop.maven.repository.parent / "data3"
    conan = shop.workshop.repositories.named("conancenter").upstream
    with open_workshop(data, QuietProgress(), upstreams=[conan]) as workshop:
        with pytest.raises(HostLack, match="no upstream 'central' is configured here; known: conancenter"):
            workshop.repositories.named("central")
        assert workshop.repositories.named("conancenter").need("recipes/text").data == b"roses"
    with pytest.raises(UpstreamError, match="install Maven"), open_workshop(data, QuietProgress()):
        pass
