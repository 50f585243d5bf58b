"""Conan packages rebuilt for real: a stock client publishes, the sandbox builds, the same bytes come out."""

import hashlib
import io
import tarfile

import pytest
from tests.builder.conanparts import LIBRARY, SOURCES, Published, Scene, contents, infer, outputs, tgz

from touchplate.builder.archives.ar import find_ar_members
from touchplate.builder.ecosystems.conan.definition import EPOCH
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.inputs.lock import LockedInput, make_lock
from touchplate.builder.rebuild import Rebuild, rebuild

DOWNLOADS = (
    LIBRARY.replace("import copy", "import copy, get")
    .replace('    exports_sources = "*.c", "*.h"\n', "")
    .replace("    def build(self)", "    def source(self):\n        get(self, HOW)\n\n    def build(self)")
)
"""The same library, from an archive that the recipe downloads."""

URL = '"http://sources.invalid/archive.tgz"'
TREE: dict[str, bytes | str] = {name: text.encode() for name, text in SOURCES.items()}
ARCHIVE = tgz(TREE)
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()


def run(one: Scene, published: Published) -> Rebuild:
    found = infer(one, one.serve(published))
    return rebuild(one.workshop, found.definition, found.published)


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def modes(data: bytes) -> dict[str, int]:
    return {name: one.mode for name, one in members(data).items() if one.isreg()}


def test_a_package_of_a_stock_client_comes_out_again(here: Scene, published: Published) -> None:
    done = run(here, published)
    assert done.built is not None, done.failure
    archive, info = (verdict.comparison for verdict in done.built.verdicts)
    assert (done.result, archive.result, info.result) == ("equivalent", "equivalent", "identical")
    assert set(archive.stabilizers) <= {"gzip-header@1", "tar-times@1", "tar-owners@1"}
    made, there = outputs(done), published.package
    assert made["conaninfo.txt"] == there["conaninfo.txt"]
    ours, theirs = made["conan_package.tgz"], there["conan_package.tgz"]
    assert list(members(ours)) == list(members(theirs))
    assert contents(ours) == contents(theirs)
    assert modes(ours) == modes(theirs)
    assert {one.mtime for one in members(ours).values()} == {int(done.definition.environment[EPOCH])}
    assert done.built.result.labels == {"revision": f"{published.revision.prev}, as published"}


def test_the_usual_names_of_tools_lead_to_those_of_the_host(here: Scene, published: Published) -> None:
    usual = LIBRARY.replace("gcc -O2", "cc -O2").replace(
        "    def build(self):\n", "    def build(self):\n        self.run(\"awk 'BEGIN { exit 0 }'\")\n"
    )
    assert run(here, published.edited(conanfile=usual)).result == "equivalent"


def test_a_published_umask_of_077_is_named_and_shows_in_modes_alone(here: Scene) -> None:
    published = here.other_client(umask=0o077).publish()
    done = run(here, published)
    assert done.built is not None, done.failure
    comparison = done.built.verdicts[0].comparison
    assert comparison.result == "different"
    assert set(comparison.causes) <= {"umask", "timestamps", "owners", "container"}
    assert "umask" in comparison.causes
    ours = outputs(done)["conan_package.tgz"]
    theirs = published.package["conan_package.tgz"]
    assert contents(ours) == contents(theirs)
    assert (modes(ours)["lib/liblib.a"], modes(theirs)["lib/liblib.a"]) == (0o644, 0o600)


def test_what_a_recipe_downloads_is_locked_by_its_digest(here: Scene, published: Published) -> None:
    here.site.pages[f"sources/{DIGEST}"] = ARCHIVE
    done = run(here, downloading(published, f'{URL}, sha256="{DIGEST}"'))
    assert done.built is not None, done.failure
    locked = [(one.upstream, one.path, one.sha256) for one in done.built.lock.inputs]
    assert locked == [("sources", DIGEST, DIGEST)]
    ours, theirs = outputs(done)["conan_package.tgz"], published.package["conan_package.tgz"]
    assert contents(ours) == contents(theirs)


def test_a_download_without_a_digest_is_not_built_and_says_so(here: Scene, published: Published) -> None:
    done = run(here, downloading(published, URL))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("build", "exit-status")
    assert "downloaded without a sha256" in done.failure.detail


def test_a_source_that_no_upstream_has_is_not_built_and_named(here: Scene, published: Published) -> None:
    done = run(here, downloading(published, f'{URL}, sha256="{DIGEST}"'))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "exit-status")
    assert DIGEST in done.failure.detail


def test_another_file_under_the_digest_of_a_source_is_not_taken(here: Scene, published: Published) -> None:
    here.site.pages[f"sources/{DIGEST}"] = tgz({"lib.c": b"int lib(void) { return 9; }\n", "lib.h": b""})
    with pytest.raises(HostLack, match="has other bytes under"):
        run(here, downloading(published, f'{URL}, sha256="{DIGEST}"'))


def test_a_lock_that_names_other_bytes_by_the_digest_of_a_source_is_not_taken(
    here: Scene, published: Published
) -> None:
    other = tgz({"lib.c": b"int lib(void) { return 9; }\n", "lib.h": b""})
    sha256 = here.workshop.cache.inputs.put([other]).sha256
    lock = make_lock([LockedInput("sources", DIGEST, sha256, len(other))])
    found = infer(here, here.serve(downloading(published, f'{URL}, sha256="{DIGEST}"')))
    with pytest.raises(HostLack, match="has other bytes under"):
        rebuild(here.workshop, found.definition, found.published, get_lock=lambda *_: lock)


def downloading(published: Published, how: str) -> Published:
    return published.edited(conanfile=DOWNLOADS.replace("HOW", how), sources={})


def test_a_flipped_byte_of_the_source_is_different(here: Scene, published: Published) -> None:
    done = run(here, published.edited(sources={**TREE, "lib.c": b"int lib(void) { return 3; }\n"}))
    assert done.result == "different"
    assert done.built is not None
    results = [verdict.comparison.result for verdict in done.built.verdicts]
    assert results == ["different", "identical"]
    assert done.built.result.labels["revision"].endswith(f"not {published.revision.prev}")


def test_a_source_that_does_not_compile_is_not_built(here: Scene, published: Published) -> None:
    done = run(here, published.edited(sources={**TREE, "lib.c": b"int lib(void) { return oops; }\n"}))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("build", "exit-status")
    assert "oops" in done.failure.detail


def test_a_changed_recipe_file_is_refused_before_anything_is_run(here: Scene, published: Published) -> None:
    found = infer(here, here.serve(published))
    here.serve(published, {**published.recipe, "conan_sources.tgz": tgz({"lib.c": b"int lib;\n"})})
    with pytest.raises(DefinitionError, match=f"{published.revision.rrev} is asked for"):
        infer(here, published)
    with pytest.raises(DefinitionError, match="has sha256"):
        rebuild(here.workshop, found.definition, found.published)


def test_a_recipe_that_requires_what_nobody_has_is_refused_and_named(
    here: Scene, published: Published
) -> None:
    asks = LIBRARY.replace("    def build(self)", "    tool_requires = 'tool/1.0'\n\n    def build(self)")
    with pytest.raises(DefinitionError, match=r"requires tool/1\.0, which no upstream has; give its remote"):
        run(here, published.edited(conanfile=asks))


def test_sources_that_hold_the_published_library_are_refused(here: Scene, published: Published) -> None:
    library = contents(published.package["conan_package.tgz"])["lib/liblib.a"]
    done = run(here, published.edited(sources={**TREE, "prebuilt.bin": library}))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")


def test_sources_that_hold_an_object_of_the_published_library_are_refused(
    here: Scene, published: Published
) -> None:
    library = contents(published.package["conan_package.tgz"])["lib/liblib.a"]
    (made,) = [
        part.read(len(library)) for name, part in find_ar_members(io.BytesIO(library)) if "lib" in name
    ]
    done = run(here, published.edited(sources={**TREE, "tests/data.bin": made}))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")
    assert "compiled code of the published file" in done.failure.detail
    archive = tgz({**TREE, "tests/data.bin": made})
    digest = hashlib.sha256(archive).hexdigest()
    here.site.pages[f"sources/{digest}"] = archive
    done = run(here, downloading(published, f'{URL}, sha256="{digest}"'))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")
    assert f"sources/{digest} holds it as '(unpacked)!tests/data.bin'" in done.failure.detail
