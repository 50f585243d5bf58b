"""A git commit as the source of a rebuild: real repositories over loopback, and what one may hold."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.builder.gitparts import GitSite, Repository, git_site
from tests.builder.imageparts import ImageScene
from tests.builder.loghost import log_host
from tests.builder.mavenparts import pom, publish, served
from tests.builder.rebuildparts import COMMON, JAR, PACKAGE, PUBLISHED
from tests.builder.sandboxes import require_sandbox

from touchplate.base.progress import QuietProgress
from touchplate.builder.attestation.attest import Operator
from touchplate.builder.definitions.definition import Definition, SourceFile, make_definition
from touchplate.builder.definitions.normalise import normalise_definition
from touchplate.builder.errors import DefinitionError, HostLack, PhaseFailed
from touchplate.builder.git.commits import fetch_commit, open_remote, read_commit
from touchplate.builder.inputs.upstream_option import parse_upstream
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.builder.repeat import Logged, repeat
from touchplate.builder.submit import sign_rebuild
from touchplate.builder.trees import tree_digest
from touchplate.builder.workshop import Workshop, open_workshop
from touchplate.verify.cli import main
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.jcs import JSONValue
from touchplate.verify.keys import generate_signer
from touchplate.verify.statements import Provenance, parse_predicate, parse_statement
from touchplate.verify.usage import UsageError

URI = "upstream:git.example.org/demo.git"
NONE = "0" * 64


@pytest.fixture
def site() -> Iterator[GitSite]:
    require_sandbox()
    with git_site() as one:
        yield one


@pytest.fixture
def repository(site: GitSite) -> Repository:
    return site.make()


@pytest.fixture
def workshop(site: GitSite) -> Iterator[Workshop]:
    site.folder.chmod(0o755)
    central, data = site.folder / "central", site.folder / "data"
    publish(central, JAR, PUBLISHED)
    with served(central) as url:
        upstreams = [
            parse_upstream(url),
            parse_upstream(f"hub={site.url},identity=git.example.org,ecosystem=git"),
        ]
        with open_workshop(data, QuietProgress(), upstreams=upstreams) as opened:
            yield opened
    assert [one.name for one in data.glob("tree-*")] == []
    assert [one.name for one in (data / "work").glob("*")] == []


def tree_of(files: dict[str, bytes], folder: Path) -> str:
    """The tree digest of plain files, by the same rule but from files that git never saw."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)
    return tree_digest(folder)


def found_digest(workshop: Workshop, commit: str) -> str:
    """What the refusal of a wrong digest says that the right one is."""
    with pytest.raises(DefinitionError, match="has the tree digest") as caught:
        fetch_commit(workshop, SourceFile(URI, NONE, 0, commit))
    return str(caught.value).partition("tree digest ")[2][:64]


def refusal(workshop: Workshop, commit: str) -> str:
    with pytest.raises(PhaseFailed) as caught:
        fetch_commit(workshop, SourceFile(URI, NONE, 0, commit))
    assert (caught.value.phase, caught.value.failure) == ("definition", "refused-input")
    return caught.value.detail


def lack(workshop: Workshop, commit: str) -> str:
    with pytest.raises(HostLack) as caught:
        fetch_commit(workshop, SourceFile(URI, NONE, 0, commit))
    return str(caught.value)


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_the_tree_of_a_commit_is_fetched_without_its_history(
    site: GitSite, workshop: Workshop, tmp_path: Path, form: str
) -> None:
    one = site.make("two.git", form)
    first = one.commit_files({"a.txt": b"before\n"})
    files = {"a.txt": b"after\n", "b": b"\0\1\2"}
    commit = one.commit_files(files, first)
    digest = tree_of(files, tmp_path)
    uri = "upstream:git.example.org/two.git"
    found = fetch_commit(workshop, SourceFile(uri, digest, 0, commit))
    assert found.digests == {"sha256": digest, "gitCommit": commit}
    assert b"before" not in found.data
    assert site.asked == ["POST /two.git/git-upload-pack"]


def test_a_commit_is_asked_for_once(site: GitSite, workshop: Workshop, repository: Repository) -> None:
    commit = repository.commit_files({"a": b"a"})
    digest = found_digest(workshop, commit)
    first = fetch_commit(workshop, SourceFile(URI, digest, 0, commit))
    asked = len(site.asked)
    assert fetch_commit(workshop, SourceFile(URI, digest, 0, commit)).data == first.data
    assert len(site.asked) == asked


def test_a_kept_tree_that_the_disk_changed_is_fetched_again(
    site: GitSite, workshop: Workshop, repository: Repository
) -> None:
    commit = repository.commit_files({"a": b"a"})
    digest = found_digest(workshop, commit)
    file = SourceFile(URI, digest, 0, commit)
    first = fetch_commit(workshop, file)
    for path in (workshop.cache.outputs.folder).glob("??/*"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes().replace(b"a", b"b"))
    (mark,) = (workshop.data / "commits").iterdir()
    mark.write_text("x")
    assert fetch_commit(workshop, file).sha256 == first.sha256
    assert len(site.asked) == 2
    mark.write_text(workshop.cache.outputs.put([b"no tar"]).sha256)
    assert fetch_commit(workshop, file).sha256 == first.sha256
    assert len(site.asked) == 3


def test_a_kept_tree_of_one_repository_is_not_that_of_another(
    site: GitSite, workshop: Workshop, repository: Repository
) -> None:
    commit = repository.commit_files({"a": b"a"})
    digest = found_digest(workshop, commit)
    fetch_commit(workshop, SourceFile(URI, digest, 0, commit))
    site.make("other.git")
    with pytest.raises(DefinitionError, match="no such commit"):
        fetch_commit(workshop, SourceFile("upstream:git.example.org/other.git", digest, 0, commit))


def test_a_commit_that_is_not_there_and_a_repository_that_is_not_there_are_named(
    workshop: Workshop, repository: Repository
) -> None:
    with pytest.raises(DefinitionError, match=r"has no such commit: .*1111"):
        fetch_commit(workshop, SourceFile(URI, NONE, 0, "1" * 40))
    with pytest.raises(DefinitionError, match="no such repository"):
        fetch_commit(workshop, SourceFile("upstream:git.example.org/none.git", NONE, 0, "1" * 40))


def test_a_tree_is_no_commit(workshop: Workshop, repository: Repository) -> None:
    tree = repository.tree([("100644", "a", repository.blob(b"a"))])
    with pytest.raises((HostLack, PhaseFailed, DefinitionError)):
        fetch_commit(workshop, SourceFile(URI, NONE, 0, tree))


def test_no_upstream_is_asked_that_nobody_named(workshop: Workshop) -> None:
    with pytest.raises(HostLack, match="no git upstream of identity 'elsewhere'"):
        fetch_commit(workshop, SourceFile("upstream:elsewhere/demo.git", NONE, 0, "1" * 40))


@pytest.mark.parametrize(
    ("mode", "name", "word"),
    [
        ("100644", ".git", "git"),
        ("100644", ".GIT", "git"),
        ("100644", "..", "git's own checks"),
        ("100644", "a\\b", "backslash"),
        ("100644", "a\nb", "control"),
        ("120000", "link", "leads out of the tree"),
        ("160000", "module", "is a submodule"),
    ],
)
def test_what_a_tree_may_not_hold_is_refused(
    workshop: Workshop, repository: Repository, mode: str, name: str, word: str
) -> None:
    oid = "1" * 40 if mode == "160000" else repository.blob(b"../../etc/passwd")
    assert word in refusal(workshop, repository.commit([(mode, name, oid)]))


@pytest.mark.parametrize("target", [b"/etc/passwd", b"..", b"x/../../y", b"a/../.."])
def test_links_lead_nowhere_outside(workshop: Workshop, repository: Repository, target: bytes) -> None:
    commit = repository.commit([("120000", "pom.xml", repository.blob(target))])
    assert "leads out of the tree" in refusal(workshop, commit)


def test_names_that_differ_in_case_alone_are_two_files(
    workshop: Workshop, repository: Repository, tmp_path: Path
) -> None:
    files = {"README": b"one", "readme": b"two"}
    commit = repository.commit_files(files)
    assert found_digest(workshop, commit) == tree_of(files, tmp_path)


def test_attributes_filters_and_hooks_have_no_say(
    site: GitSite, workshop: Workshop, repository: Repository, tmp_path: Path
) -> None:
    files = {
        ".gitattributes": b"* text eol=crlf filter=evil ident export-ignore\nid export-subst\n",
        ".gitmodules": b'[submodule "x"]\n\tpath = x\n\turl = http://127.0.0.1:9/x\n',
        ".lfsconfig": b"[lfs]\n\turl = http://127.0.0.1:9/\n",
        "id": b"$Id$ $Format:%H$\n",
    }
    hook = repository.path / "hooks"
    hook.mkdir(exist_ok=True)
    commit = repository.commit_files(files)
    assert found_digest(workshop, commit) == tree_of(files, tmp_path)


def test_modes_and_inner_links_are_kept_and_times_are_the_same_everywhere(
    workshop: Workshop, repository: Repository, tmp_path: Path
) -> None:
    run = repository.blob(b"#!/bin/sh\n")
    inner = repository.tree([("100755", "run", run), ("120000", "up", repository.blob(b"../link"))])
    commit = repository.commit([("40000", "bin", inner), ("120000", "link", repository.blob(b"bin/run"))])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/run").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "bin/run").chmod(0o755)
    (tmp_path / "bin/up").symlink_to("../link")
    (tmp_path / "link").symlink_to("bin/run")
    assert found_digest(workshop, commit) == tree_digest(tmp_path)


def corrupt(data: bytes) -> bytes:
    at = data.index(b"PACK") + 20
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def other_pack(data: bytes) -> bytes:
    """A good answer that holds another commit's pack: an empty one."""
    pack = b"PACK" + (2).to_bytes(4, "big") + (0).to_bytes(4, "big")
    pack += hashlib.sha1(pack, usedforsecurity=False).digest()
    return b"000dpackfile\n" + b"%04x" % (len(pack) + 5) + b"\x01" + pack + b"0000"


def pack_answer(objects: list[tuple[int, bytes]]) -> bytes:
    """A good answer with a pack of small objects, each of a type (1 commit, 2 tree, 3 blob)."""
    parts = [b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big")]
    for kind, data in objects:
        low, high = len(data) & 15, len(data) >> 4
        parts.append(bytes([kind << 4 | low | (0x80 if high else 0), *([high] if high else [])]))
        parts.append(zlib.compress(data))
    pack = b"".join(parts)
    pack += hashlib.sha1(pack, usedforsecurity=False).digest()
    bands = [b"\x01" + pack[start : start + 60_000] for start in range(0, len(pack), 60_000)]
    return b"000dpackfile\n" + b"".join(b"%04x" % (len(band) + 4) + band for band in bands) + b"0000"


@pytest.mark.parametrize(
    "alter",
    [
        corrupt,
        other_pack,
        lambda data: data[: len(data) // 2],
        lambda data: data[:-4],
        lambda data: data + b"0000",
        lambda data: b"",
        lambda data: b"0000",
        lambda data: b"zzzz" + data,
        lambda data: b"<html>sign in</html>",
        lambda data: b"0003" + data,
    ],
    ids=[
        "corrupt",
        "other",
        "half",
        "no-end",
        "two-ends",
        "empty",
        "no-pack",
        "no-length",
        "html",
        "length-3",
    ],
)
def test_an_answer_that_is_not_the_commits_pack_says_nothing_about_the_package(
    site: GitSite, workshop: Workshop, repository: Repository, alter: object
) -> None:
    commit = repository.commit_files({"a": b"a" * 100})
    site.alter = alter  # type: ignore[assignment]
    assert "demo.git" in lack(workshop, commit)


def test_an_answer_without_end_is_cut(
    site: GitSite, workshop: Workshop, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchplate.builder.git.protocol.MAX_PACK_BYTES", 100_000)
    commit = repository.commit_files({"a": os.urandom(200_000)})
    assert "more than 100000 bytes" in refusal(workshop, commit)


def test_ten_gigabytes_of_nothing_are_refused_before_they_are_written(
    site: GitSite, workshop: Workshop, repository: Repository
) -> None:
    blob = repository.blob(bytes(600 << 20))
    commit = repository.commit([("100644", f"{number}", blob) for number in range(17)])
    assert "17 files have" in refusal(workshop, commit)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(
    site: GitSite, workshop: Workshop, repository: Repository, status: int
) -> None:
    site.status, site.location = status, "http://127.0.0.1:9/demo.git/git-upload-pack"
    assert "redirect" in lack(workshop, "1" * 40)


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_a_server_that_does_not_answer_says_nothing_about_the_package(
    site: GitSite, workshop: Workshop, status: int
) -> None:
    site.status = status
    assert str(status) in lack(workshop, "1" * 40)


def scripted(workshop: Workshop, repository: Repository, script: str) -> tuple[Definition, str]:
    files = {"build.py": (COMMON + script).encode(), "pom.xml": pom("demo")}
    commit = repository.commit_files(files)
    digest = found_digest(workshop, commit)
    definition = make_definition(
        {
            "version": 1,
            "name": "demo",
            "package": PACKAGE,
            "source": {"kind": "vcs", "files": [{"uri": URI, "sha256": digest, "commit": commit}]},
            "command": ["/usr/bin/python3", "build.py"],
            "outputs": [{"path": "target/demo-1.0.jar", "package": PACKAGE}],
        }
    )
    return definition, digest


def run(workshop: Workshop, definition: Definition) -> Rebuild:
    return rebuild(workshop, definition, fetch_published(workshop, definition))


def test_a_package_is_rebuilt_from_a_commit_and_the_provenance_names_it(
    site: GitSite, workshop: Workshop, repository: Repository
) -> None:
    definition, digest = scripted(workshop, repository, "jar(b'made from source\\n')")
    done = run(workshop, definition)
    assert done.result == "identical"
    operator = Operator("https://rebuild.example.org", generate_signer())
    envelopes = sign_rebuild(workshop, done, operator).parcel.envelopes
    provenance = parse_predicate(parse_statement(parse_envelope(envelopes[0]).payload))
    assert isinstance(provenance, Provenance)
    assert provenance.source_kinds == {"vcs"}
    (source,) = [one for one in provenance.dependencies if one.kind == "vcs"]
    assert source.uri == URI
    assert source.digests == {"sha256": digest, "gitCommit": definition.source.files[0].commit}


def test_a_logged_rebuild_from_a_commit_is_repeated_on_another_host(
    site: GitSite, workshop: Workshop, repository: Repository
) -> None:
    definition, _ = scripted(workshop, repository, "jar(b'made from source\\n')")
    done = run(workshop, definition)
    assert done.built is not None
    rebuilt = {PACKAGE: done.built.verdicts[0].rebuilt.sha256}
    logged = Logged(0, definition, done.built.lock, rebuilt, {}, "built")
    upstreams = workshop.repositories.upstreams
    with open_workshop(site.folder / "other", QuietProgress(), upstreams=upstreams) as other:
        asked = len(site.asked)
        assert repeat(other, logged).is_same
    assert len(site.asked) == asked + 1


def test_a_logged_commit_is_repeated_by_command_where_its_repository_is_named(
    site: GitSite,
    workshop: Workshop,
    repository: Repository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (central,) = [one.url for one in workshop.repositories.upstreams if one.ecosystem == "maven"]
    definition, _ = scripted(workshop, repository, "jar(b'made from source\\n')")
    refused = normalise_definition(definition)
    module = repository.commit([("160000", "module", "1" * 40)])
    refused["source"] = {"kind": "vcs", "files": [{"uri": URI, "sha256": NONE, "commit": module}]}
    (tmp_path / "good.yaml").write_bytes(definition.data)
    (tmp_path / "refused.yaml").write_bytes(make_definition(refused).data)

    def touchplate(*arguments: str, named: bool = True) -> tuple[int, str]:
        git_place = ["--upstream", f"hub={site.url},identity=git.example.org,ecosystem=git"] if named else []
        code = main(["rebuild", "--upstream", central, *git_place, "--json", *arguments])
        return code, capsys.readouterr().out

    with log_host(tmp_path / "host") as host:
        first = ["--data", str(site.folder / "first"), *host.signing]
        assert touchplate("--definition", str(tmp_path / "good.yaml"), *first)[0] == 0
        assert touchplate("--definition", str(tmp_path / "refused.yaml"), *first)[0] == 1
        second = ["--data", str(site.folder / "second"), *host.reading]
        asked = len(site.asked)
        for index in "012":
            code, said = touchplate("--from", index, *second)
            assert (code, json.loads(said)["same"]) == (0, True)
        assert len(site.asked) == asked + 2  # each commit once
        code, said = touchplate("--from", "0", *second, named=False)
        assert (code, "ecosystem=git" in json.loads(said)["error"]) == (2, True)


def test_the_answer_in_a_commit_is_no_source(workshop: Workshop, repository: Repository) -> None:
    commit = repository.commit_files({"demo.jar": PUBLISHED, "pom.xml": pom("demo")})
    definition = make_definition(
        {
            "version": 1,
            "name": "demo",
            "package": PACKAGE,
            "source": {
                "kind": "vcs",
                "files": [{"uri": URI, "sha256": found_digest(workshop, commit), "commit": commit}],
            },
            "command": ["/usr/bin/cp", "demo.jar", "target/demo-1.0.jar"],
            "outputs": [{"path": "target/demo-1.0.jar", "package": PACKAGE}],
        }
    )
    failure = run(workshop, definition).failure
    assert failure is not None
    assert (failure.phase, failure.reason) == ("fetch", "refused-input")


def test_a_refused_commit_is_a_package_that_is_not_built(workshop: Workshop, repository: Repository) -> None:
    definition, _ = scripted(workshop, repository, "")
    commit = repository.commit([("160000", "module", "1" * 40)])
    value = normalise_definition(definition)
    value["source"] = {"kind": "vcs", "files": [{"uri": URI, "sha256": NONE, "commit": commit}]}
    done = run(workshop, make_definition(value))
    assert done.result == "not-built"
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("definition", "refused-input")
    assert "submodule" in done.failure.detail


def test_a_definition_with_a_commit_is_read_and_written_as_it_is(
    workshop: Workshop, repository: Repository
) -> None:
    definition, digest = scripted(workshop, repository, "")
    assert definition.source.files[0].sha256 == digest
    assert make_definition(normalise_definition(definition)).source == definition.source


@pytest.mark.parametrize(
    "file",
    [
        {"uri": URI, "sha256": NONE},
        {"uri": URI, "sha256": NONE, "size": 1},
        {"uri": URI, "sha256": NONE, "commit": "main"},
        {"uri": URI, "sha256": NONE, "commit": "1" * 39},
        {"uri": URI, "sha256": NONE, "commit": "A" * 40},
        {"uri": "https://git.example.org/demo.git", "sha256": NONE, "commit": "1" * 40},
    ],
    ids=["no-commit", "size", "branch", "short", "upper-case", "address"],
)
def test_a_source_that_names_no_exact_commit_is_refused(
    workshop: Workshop, repository: Repository, file: dict[str, JSONValue]
) -> None:
    value = normalise_definition(scripted(workshop, repository, "")[0])
    with pytest.raises(DefinitionError, match=r"source\.files"):
        make_definition({**value, "source": {"kind": "vcs", "files": [file]}})


def test_a_source_is_the_tree_of_one_commit(workshop: Workshop, repository: Repository) -> None:
    value = normalise_definition(scripted(workshop, repository, "")[0])
    files: list[JSONValue] = [{"uri": URI, "sha256": NONE, "commit": one * 40} for one in "12"]
    with pytest.raises(DefinitionError, match="more than one commit"):
        make_definition({**value, "source": {"kind": "vcs", "files": files}})


def test_an_image_is_rebuilt_from_a_commit(images: ImageScene, site: GitSite, repository: Repository) -> None:
    context = {"Containerfile": b"FROM scratch\nCOPY hello.txt /\n", "hello.txt": b"hello\n"}
    published = images.publisher.publish("team/committed", context)
    commit = repository.commit_files(context)
    hub = parse_upstream(f"git={site.url},identity=git.example.org,ecosystem=git")
    upstreams = (*images.workshop.repositories.upstreams, hub)
    site.folder.chmod(0o755)
    with open_workshop(site.folder / "images", QuietProgress(), upstreams=upstreams) as workshop:
        digest = found_digest(workshop, commit)
        value = normalise_definition(images.define(published))
        value["source"] = {"kind": "vcs", "files": [{"uri": URI, "sha256": digest, "commit": commit}]}
        done = run(workshop, make_definition(value))
        assert list(workshop.work.iterdir()) == []
    assert done.result == "identical"
    assert [one.digests["gitCommit"] for one in done.sources] == [commit]


def test_a_link_through_links_does_not_climb_out(workshop: Workshop, repository: Repository) -> None:
    up = repository.blob(b"../../../top")
    inner = repository.tree([("120000", "up", up)])
    middle = repository.tree([("40000", "c", inner)])
    outer = repository.tree([("40000", "b", middle)])
    top = repository.tree([("100644", "file", repository.blob(b""))])
    away = repository.blob(b"a/b/c/up/../../../etc/passwd")
    commit = repository.commit([("40000", "a", outer), ("40000", "top", top), ("120000", "away", away)])
    assert "leads out of the tree" in refusal(workshop, commit)


def test_a_chain_of_folders_that_ends_git_is_told_as_it_is(
    site: GitSite, workshop: Workshop, repository: Repository
) -> None:
    """git goes down a folder within itself, and a stack ends: 8 MiB at some ten thousand."""
    blob, entry = b"blob 0\0", b"100644 a\0"
    trees = [entry + hashlib.sha1(blob, usedforsecurity=False).digest()]
    for _ in range(60_000):
        above = b"tree %d\0" % len(trees[-1]) + trees[-1]
        trees.append(b"40000 d\0" + hashlib.sha1(above, usedforsecurity=False).digest())
    top = hashlib.sha1(b"tree %d\0" % len(trees[-1]) + trees[-1], usedforsecurity=False).hexdigest()
    commit = f"tree {top}\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\na\n".encode()
    objects = [(3, b""), *((2, tree) for tree in trees), (1, commit)]
    site.alter = lambda _: pack_answer(objects)
    name = hashlib.sha1(b"commit %d\0" % len(commit) + commit, usedforsecurity=False).hexdigest()
    assert "without a word, exit code 1" in lack(workshop, name)


def test_a_tree_that_holds_itself_over_and_over_is_refused(
    workshop: Workshop, repository: Repository
) -> None:
    """Ten folders in each of ten, nine deep: some kilobytes, and a thousand million files."""
    tree = repository.tree([("100644", "file", repository.blob(b""))])
    for _ in range(9):
        tree = repository.tree([("40000", f"{number}", tree) for number in range(10)])
    commit = repository.commit([("40000", "all", tree)])
    assert "more than 100000 files" in refusal(workshop, commit)


_CHILD = """
import sys
from pathlib import Path
from touchplate.base.progress import QuietProgress
from touchplate.builder.git.commits import open_remote, read_commit
from touchplate.builder.inputs.upstream_option import parse_upstream
from touchplate.builder.workshop import open_workshop
data, central, hub, uri, commit = sys.argv[1:]
upstreams = [parse_upstream(central), parse_upstream(hub)]
with open_workshop(Path(data), QuietProgress(), upstreams=upstreams) as workshop:
    read_commit(workshop, open_remote(workshop, uri), commit)
    sys.stdin.read()
"""


@pytest.mark.parametrize("step", ["asked", "unpacking", "in the sandbox", "kept"])
def test_nothing_is_left_of_a_fetch_that_was_killed(
    site: GitSite, workshop: Workshop, repository: Repository, step: str
) -> None:
    files = {f"{number}": os.urandom(10_000) for number in range(60)}
    commit = repository.commit_files(files)
    data, free = workshop.data, threading.Event()

    def hold(body: bytes) -> bytes:
        free.wait(60)
        return body

    steps: dict[str, Callable[[], bool]] = {
        "asked": lambda: bool(site.asked),
        "unpacking": lambda: any(data.glob("tree-*/pack")),
        "in the sandbox": lambda: any((data / "work").glob("*/build/repository")),
        "kept": lambda: any((data / "commits").glob("*")),
    }
    reached = steps[step]
    site.alter = hold if step == "asked" else None
    hub = f"hub={site.url},identity=git.example.org,ecosystem=git"
    command = [sys.executable, "-c", _CHILD, str(data), "http://127.0.0.1:9/", hub, URI, commit]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            while not reached():
                assert child.poll() is None, "it ended before it came so far"
                time.sleep(0.001)
        finally:
            child.kill()
    free.set()
    site.alter = None
    digest = read_commit(workshop, open_remote(workshop, URI), commit).tree
    assert fetch_commit(workshop, SourceFile(URI, digest, 0, commit)).commit == commit
    assert all(not one.name.startswith(".") for one in (data / "commits").iterdir())


def test_credentials_for_repositories_are_refused_and_not_forgotten() -> None:
    with pytest.raises(UsageError, match="asked without credentials"):
        parse_upstream("hub=https://git.example.org,ecosystem=git,credentials=env:TOKEN")
