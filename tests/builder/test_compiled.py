"""Classes that a source brings ready made: found in it, wherever they lie, and refused."""

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.mavenparts import publish, zip_bytes
from tests.builder.rebuildparts import JAR, SOURCES, Scene, scene, scripted
from tests.builder.sandboxes import require_sandbox

from touchplate.base.environment import read_environment
from touchplate.builder.definitions.definition import Definition, make_definition
from touchplate.builder.ecosystems.maven import compiled
from touchplate.builder.ecosystems.maven.compiled import digest_classes
from touchplate.builder.errors import DefinitionError
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.verify.jcs import parse_json

CLASS = b"\xca\xfe\xba\xbe\x00\x00\x00\x3d a class of the demo"
OTHER = b"\xca\xfe\xba\xbe\x00\x00\x00\x3d a class of something else"
PACKS = """
def packed(content):
    pathlib.Path("target").mkdir()
    with zipfile.ZipFile("target/demo-1.0.jar", "w") as archive:
        info = zipfile.ZipInfo("demo/A.class", WHEN)
        info.external_attr = 0o100644 << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
"""
"""A build that packs a class, from wherever it has it."""


def class_of(*, methods: int = 0) -> bytes:
    """A class file `package-info` with a constant of each length, a field and these methods."""
    constants = b"\x01\0\x01a\x07\0\x01\x05" + bytes(8) + b"\x0f\x01\0\1" + b"\x12" + bytes(4) + b"\x07\0\x01"
    field = bytes(6) + b"\0\x01" + b"\0\x01" + b"\0\0\0\x02ab"
    head = b"\xca\xfe\xba\xbe\0\0\0\x34" + (8).to_bytes(2, "big") + constants
    return head + b"\x16\0" + bytes(4) + b"\0\x01\0\x02" + b"\0\x01" + field + bytes((0, methods))


INFO = class_of()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def here() -> Iterator[Scene]:
    require_sandbox()
    with scene() as one:
        yield one


def with_source(one: Scene, script: str, files: dict[str, bytes]) -> Definition:
    """A definition whose source release holds `files` beside the script, for a published jar with CLASS."""
    definition = scripted(one, script)
    (source,) = definition.source.files
    build = one.central.need(SOURCES)
    inside = {f"demo-1.0/{name}": data for name, data in files.items()}
    archive = zip_bytes({"demo-1.0/build.py": read(build.data, "demo-1.0/build.py"), **inside})
    publish(one.repository, SOURCES, archive)
    publish(one.repository, JAR, zip_bytes({"demo/A.class": CLASS}))
    value = parse_json(definition.data, max_bytes=len(definition.data))
    assert isinstance(value, dict)
    files_of = [{"uri": source.uri, "sha256": sha256(archive), "size": len(archive)}]
    return make_definition({**value, "source": {"kind": "source-release", "files": files_of}})  # type: ignore[dict-item]


def read(archive: bytes, name: str) -> bytes:
    return zipfile.ZipFile(io.BytesIO(archive)).read(name)


def run(one: Scene, script: str, files: dict[str, bytes]) -> Rebuild:
    definition = with_source(one, PACKS + script, files)
    return rebuild(one.workshop, definition, fetch_published(one.workshop, definition))


def test_a_class_that_the_source_brings_ready_made_is_refused(here: Scene) -> None:
    done = run(here, "packed(pathlib.Path('A.class').read_bytes())", {"A.class": CLASS})
    assert (done.result, done.failure and done.failure.reason) == ("not-built", "refused-input")
    assert done.failure is not None
    assert done.failure.detail == (
        "source file A.class is it: compiled code of the published file that the build has to make"
    )
    inside = zip_bytes({"x.zip": zip_bytes({"B": CLASS})})
    done = run(here, "packed(b'')", {"lib/some.jar": inside})
    assert done.failure is not None
    assert "lib/some.jar holds it as 'x.zip!B'" in done.failure.detail


def test_a_class_that_the_build_makes_or_takes_from_a_jar_of_its_lock_is_not(here: Scene) -> None:
    made = "packed(bytes.fromhex('cafebabe0000003d') + b' a class of the demo')"
    assert run(here, made, {"B.class": OTHER}).result == "identical"
    publish(here.repository, "org/example/lib/1/lib-1.jar", zip_bytes({"B": OTHER, "demo/A.class": CLASS}))
    shaded = """
jar_file = io.BytesIO(get('org/example/lib/1/lib-1.jar'))
packed(zipfile.ZipFile(jar_file).read('demo/A.class'))
"""
    assert run(here, shaded, {}).result == "identical"


def test_classes_are_known_by_what_they_are_and_packages_without_code_are_none() -> None:
    jar = zip_bytes({"A.class": CLASS, "b.bin": OTHER, "C.class": b"text", "demo/package-info.class": INFO})
    assert digest_classes(jar) == {sha256(CLASS), sha256(OTHER)}
    directory = jar.rindex(b"PK\x01\x02", 0, jar.index(b"PK\x01\x02") + 4)
    assert digest_classes(jar[:directory]) >= {sha256(CLASS), sha256(OTHER)}  # as readers of streams see it
    for data in (b"", b"<project/>", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), jar[:40]):
        assert digest_classes(data) == frozenset()


def test_a_class_with_code_is_one_whatever_it_is_called(here: Scene) -> None:
    with_code = class_of(methods=1)
    names = ("demo/package-info.class", "demo/apackage-info.class", "package-info.class")
    for name in names:
        assert digest_classes(zip_bytes({name: with_code})) == {sha256(with_code)}
    assert digest_classes(zip_bytes({names[1]: INFO})) == {sha256(INFO)}  # no name that a package gives
    assert digest_classes(zip_bytes({names[0]: INFO})) == frozenset()
    for cut in range(9, len(INFO)):
        assert len(digest_classes(zip_bytes({names[0]: INFO[:cut]}))) == 1
    done = run(here, "packed(b'')", {"src/package-info.class": CLASS})
    assert done.failure is not None
    assert "src/package-info.class is it" in done.failure.detail


def test_what_javac_makes_of_a_package_is_no_class_with_code(tmp_path: Path) -> None:
    if read_environment().find_program("javac") is None:
        pytest.skip("javac is not installed")
    source = tmp_path / "demo" / "package-info.java"
    source.parent.mkdir()
    source.write_text("@Deprecated package demo;\n")
    subprocess.run(["javac", "-Xpkginfo:always", source], check=True)
    made = source.with_suffix(".class").read_bytes()
    assert digest_classes(zip_bytes({"demo/package-info.class": made})) == frozenset()


def test_a_jar_of_absurd_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MAX_CLASS_BYTES", len(CLASS))
    assert digest_classes(zip_bytes({"A": CLASS, "B": b"text"})) == {sha256(CLASS)}
    with pytest.raises(DefinitionError, match=f"more than {len(CLASS)} bytes of classes"):
        digest_classes(zip_bytes({"A": CLASS, "B": OTHER}))
    monkeypatch.setattr(compiled, "MAX_MEMBERS", 1)
    with pytest.raises(DefinitionError, match="more than 1 members"):
        digest_classes(zip_bytes({"A": b"text", "B": b"text"}))


def test_a_jar_may_have_as_many_members_as_the_limit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MAX_MEMBERS", 4)
    many = {"A": CLASS, "b": b"text" * 100, "c": b"text", "D": OTHER}
    assert digest_classes(zip_bytes(many)) == {sha256(CLASS), sha256(OTHER)}
