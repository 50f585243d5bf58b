"""Recipes that lie, hide, break out, or never end: a recipe is code, and nothing that it says is believed."""

import io
import tarfile
from dataclasses import replace

import pytest
from tests.builder.conanparts import LIBRARY, Published, Scene, contents, infer, outputs

from touchplate.builder.attestation.attest import Operator
from touchplate.builder.ecosystems.conan.conaninfo import package_id_of
from touchplate.builder.inputs.lock import InputLock
from touchplate.builder.rebuild import Rebuild, rebuild
from touchplate.builder.submit import sign_rebuild
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.keys import generate_signer
from touchplate.verify.predicates.provenance import Provenance
from touchplate.verify.statements import parse_predicate, parse_statement

SECONDS = 60.0
"""Wall clock of a phase here: far more than any of these needs on a busy machine."""


def run(one: Scene, published: Published, recipe: str, *, seconds: float = SECONDS) -> Rebuild:
    """Build from a recipe that downloads nothing, without Fetch."""
    edited = one.serve(published.edited(conanfile=recipe))
    found = infer(one, edited)
    definition = replace(found.definition, limits=replace(found.definition.limits, wall_seconds=seconds))
    return rebuild(one.workshop, definition, found.published, get_lock=lambda *_: InputLock(()))


def with_body(method: str, *lines: str) -> str:
    """The library, with lines before the others of one of its methods."""
    start = f"    def {method}(self):\n"
    body = "".join(f"        {line}\n" for line in lines)
    assert start in LIBRARY
    return LIBRARY.replace(start, start + body)


def at_the_end(*lines: str) -> str:
    """The library, with code that runs when the process that packs it is already done."""
    body = "".join(f"    {line}\n" for line in lines)
    return f"import atexit, os, sys\n\n\ndef last():\n{body}\n\natexit.register(last)\n{LIBRARY}"


def failed(done: Rebuild) -> tuple[str, str]:
    assert done.failure is not None, done.result
    return done.failure.phase, done.failure.reason


def test_a_recipe_that_says_it_is_another_version_is_not_built(here: Scene, published: Published) -> None:
    done = run(here, published, LIBRARY.replace('version = "1.0"', 'version = "9.9"'))
    assert failed(done) == ("build", "exit-status")
    assert done.failure is not None
    assert "the recipe says that it is lib/9.9, and lib/1.0 is asked for" in done.failure.detail


def test_what_a_recipe_prints_and_how_it_leaves_is_no_package(here: Scene, published: Published) -> None:
    lies = f"Package '{published.revision.package_id}' created"
    done = run(
        here,
        published,
        with_body("package", f'print("{lies}", "touchplate: package revision {"0" * 32}")', "os._exit(0)"),
    )
    assert failed(done) == ("build", "exit-status")
    assert done.failure is not None
    assert "the recipe made package none here" in done.failure.detail


def test_files_that_a_recipe_lays_out_by_itself_are_not_packed(here: Scene, published: Published) -> None:
    done = run(
        here,
        published,
        with_body("build", 'os.mkdir("/build/out")', 'open("/build/out/conan_package.tgz", "w").write("x")'),
    )
    assert failed(done) == ("build", "exit-status")


@pytest.mark.parametrize("target", ["/etc/passwd", "/build/out/conaninfo.txt", "/home/build"])
def test_an_output_that_became_a_link_is_refused(here: Scene, published: Published, target: str) -> None:
    path = "/build/out/conan_package.tgz"
    recipe = at_the_end(
        f'if os.path.exists("{path}"):', f'    os.remove("{path}")', f'    os.symlink("{target}", "{path}")'
    )
    done = run(here, published, recipe)
    assert failed(done) == ("collect", "refused-output")


def test_links_out_of_the_package_stay_links(here: Scene, published: Published) -> None:
    done = run(
        here, published, with_body("package", 'os.symlink("/etc/shadow", self.package_folder + "/secret")')
    )
    assert done.result == "different"
    data = outputs(done)["conan_package.tgz"]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getmember("secret").issym()
    assert done.built is not None
    assert "extra-entries" in done.built.verdicts[0].comparison.causes


def test_there_is_no_network_and_no_mirror_in_build(here: Scene, published: Published) -> None:
    tries = [
        "import socket",
        "found = []",
        "for place in (('192.0.2.1', 80), ('127.0.0.1', 3128)):",
        "    try:",
        "        socket.create_connection(place, 5)",
        "        found.append('reached')",
        "    except OSError as error:",
        "        found.append(str(error.errno))",
        "os.makedirs(self.package_folder + '/tried')",
        "open(self.package_folder + '/tried/network', 'w').write(' '.join(found))",
    ]
    done = run(here, published, with_body("package", *tries))
    tried = contents(outputs(done)["conan_package.tgz"])["tried/network"].decode()
    assert len(tried.split()) == 2
    assert "reached" not in tried


def test_another_upstream_than_those_of_the_definition_is_not_reached_in_fetch(
    here: Scene, published: Published
) -> None:
    here.site.pages["secret"] = b"1"
    here.site.pages["../secret"] = b"1"
    asks = [
        "import urllib.request",
        "for path in ('conancenter/secret', 'central/x', 'sources/../secret', 'sources/a?b=c'):",
        "    try:",
        "        urllib.request.urlopen('http://127.0.0.1:3128/' + path)",
        "    except OSError as error:",
        "        print('touchplate: refused', path, error.code if hasattr(error, 'code') else error)",
        "raise SystemExit(3)",
    ]
    edited = here.serve(published.edited(conanfile=with_body("build", *asks)))
    found = infer(here, edited)
    here.site.asked.clear()
    done = rebuild(here.workshop, found.definition, found.published)
    assert failed(done) == ("fetch", "exit-status")
    assert not [path for path in here.site.asked if "secret" in path]
    assert done.log.count(b"touchplate: refused") == 4


def test_an_input_that_is_not_asked_for_by_its_digest_is_refused(here: Scene, published: Published) -> None:
    here.site.pages["sources/latest.tgz"] = b"another one every day"
    asks = ("import urllib.request", "urllib.request.urlopen('http://127.0.0.1:3128/sources/latest.tgz')")
    found = infer(here, here.serve(published.edited(conanfile=with_body("build", *asks))))
    done = rebuild(here.workshop, found.definition, found.published)
    assert failed(done) == ("fetch", "refused-input")
    assert done.failure is not None
    assert "sources/latest.tgz" in done.failure.detail


def test_a_recipe_without_end_is_stopped(here: Scene, published: Published) -> None:
    done = run(here, published, with_body("build", "import time", "while True: time.sleep(1)"), seconds=8.0)
    assert failed(done) == ("build", "timeout")


def test_a_recipe_that_changes_itself_changes_neither_source_nor_statement(
    here: Scene, published: Published
) -> None:
    recipe = with_body(
        "build",
        "for folder, _, files in os.walk('/home/build/conan'):",
        "    for name in files:",
        "        if name in ('conanfile.py', 'conanmanifest.txt'):",
        "            open(os.path.join(folder, name), 'a').write('# changed\\n')",
        "open('/build/conanfile.py', 'a').write('# changed\\n')",
    )
    edited = here.serve(published.edited(conanfile=recipe))
    found = infer(here, edited)
    done = rebuild(here.workshop, found.definition, found.published)
    assert done.result == "equivalent"
    submission = sign_rebuild(here.workshop, done, Operator("https://rebuild.example.org", generate_signer()))
    statements = [
        parse_predicate(parse_statement(parse_envelope(envelope).payload))
        for envelope in submission.parcel.envelopes
    ]
    provenance = next(one for one in statements if isinstance(one, Provenance))
    named = {
        one.uri: one.digests["sha256"] for one in provenance.dependencies if one.kind == "source-release"
    }
    assert named == {str(edited.revision.recipe.purl(file.path)): file.sha256 for file in done.sources}
    assert {file.data for file in done.sources} == {
        data for name, data in edited.recipe.items() if name != "conanmanifest.txt"
    }
    assert provenance.has_host_tools
    assert provenance.package == edited.purl


def test_a_recipe_of_another_package_id_is_not_built_and_both_are_named(
    here: Scene, published: Published
) -> None:
    other = "\n    def package_id(self):\n        self.info.settings.build_type = 'Debug'\n"
    done = run(here, published, LIBRARY + other)
    assert failed(done) == ("build", "exit-status")
    assert done.failure is not None
    info = published.package["conaninfo.txt"].replace(b"build_type=Release", b"build_type=Debug")
    assert package_id_of(info) in done.failure.detail
    assert str(published.revision.package_id) in done.failure.detail


def test_another_package_id_that_hides_from_conan_is_refused_when_it_is_collected(
    here: Scene, published: Published
) -> None:
    path = "/build/out/conaninfo.txt"
    done = run(
        here, published, at_the_end(f'if os.path.exists("{path}"):', f'    open("{path}", "a").write("x")')
    )
    assert failed(done) == ("collect", "refused-output")
    assert done.failure is not None
    assert package_id_of(published.package["conaninfo.txt"] + b"x") in done.failure.detail
    assert str(published.revision.package_id) in done.failure.detail


def test_nothing_of_fetch_is_there_in_build(here: Scene, published: Published) -> None:
    recipe = with_body(
        "build",
        "seen = [path for path in ('/home/build/left', '/tmp/left', '/build/left') if os.path.exists(path)]",
        "for path in ('/home/build/left', '/tmp/left', '/build/left'): open(path, 'w').close()",
        "if seen: raise Exception(f'seen {seen}')",
    )
    edited = here.serve(published.edited(conanfile=recipe))
    found = infer(here, edited)
    assert rebuild(here.workshop, found.definition, found.published).result == "equivalent"


def test_a_recipe_that_writes_endlessly_is_stopped(here: Scene, published: Published) -> None:
    edited = here.serve(
        published.edited(
            conanfile=with_body(
                "build", "file = open('/home/build/big', 'wb')", "while True: file.write(bytes(1 << 20))"
            )
        )
    )
    found = infer(here, edited)
    small = replace(found.definition.limits, workspace_bytes=64 << 20, wall_seconds=SECONDS)
    definition = replace(found.definition, limits=small)
    done = rebuild(here.workshop, definition, found.published, get_lock=lambda *_: InputLock(()))
    assert failed(done) == ("build", "too-large")
