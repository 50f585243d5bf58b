"""Builds in a build root: what they see, what is attested, and what becomes of a root that was changed."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.rebuildparts import PUBLISHED, Scene, scene, scripted
from tests.builder.rootparts import MARK, adopt, home_of, small_root
from tests.builder.sandboxes import require_sandbox

from touchplate.base.environment import read_environment
from touchplate.builder.definitions.definition import Definition, make_definition, parse_definition
from touchplate.builder.ecosystems.oci.definition import FORM as IMAGES
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.builder.roots.lock import RootLock
from touchplate.verify.jcs import JSONValue, format_json

MADE = "jar(b'made from source\\n')"

LOOK = f"""
import hashlib, json, os
print("SEEN", json.dumps({{
    "mark": open("/{MARK}").read(), "etc": sorted(os.listdir("/etc")), "bin": sorted(os.listdir("/usr/bin")),
    "top": sorted(os.listdir("/"))}}), flush=True)
for path in ("/usr/new", "/etc/new"):
    try:
        open(path, "w")
        raise SystemExit("written: " + path)
    except OSError:
        pass
jar(b'made from source\\n')
"""


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A small root, copied for each test that changes one."""
    require_sandbox()
    with tempfile.TemporaryDirectory(prefix="touchplate-root-") as name:
        yield small_root(Path(name) / "root")


@pytest.fixture
def one() -> Iterator[Scene]:
    """A workshop and its upstream."""
    require_sandbox()
    with scene() as opened:
        yield opened


def in_root(definition: Definition, lock: RootLock, **more: JSONValue) -> Definition:
    value = json.loads(definition.data)
    return make_definition({**value, "root": {"lock": lock.sha256}, **more})


def build(one: Scene, definition: Definition) -> Rebuild:
    return rebuild(one.workshop, definition, fetch_published(one.workshop, definition))


def seen(done: Rebuild) -> dict[str, object]:
    assert done.built is not None, done.failure
    line = next(line for line in done.built.result.log.decode().splitlines() if line.startswith("SEEN "))
    found = json.loads(line.removeprefix("SEEN "))
    assert isinstance(found, dict)
    return found


def test_a_build_sees_the_root_and_nothing_of_the_hosts_usr(one: Scene, root: Path) -> None:
    lock = adopt(one.workshop, root)
    found = seen(build(one, in_root(scripted(one, LOOK), lock)))
    assert found["mark"] == "only here\n"
    assert found["etc"] == ["mark"]
    assert found["bin"] == sorted(path.name for path in (root / "usr/bin").iterdir())
    # The control: without the root, the same look shows the host's.
    with pytest.raises(AssertionError, match="No such file or directory"):
        seen(build(one, scripted(one, LOOK)))


def test_the_provenance_names_root_and_lock_and_no_tool_of_the_host(one: Scene, root: Path) -> None:
    lock = adopt(one.workshop, root)
    done = build(one, in_root(scripted(one, MADE), lock))
    named = {tool.name: tool for tool in done.tools}
    assert named["build-root"].digests["sha256"] == lock.tree
    assert named["root-lock"].digests["sha256"] == lock.sha256
    python = hashlib.sha256((root / "usr/bin/python3.11").read_bytes()).hexdigest()
    assert named["/usr/bin/python3"].digests["sha256"] == python
    assert not any(tool.is_host_tool for tool in done.tools)
    assert done.built is not None
    assert done.built.result.report["root"] == {"sha256": lock.tree}
    # The control: the host's tools are said to be the host's.
    host = build(one, scripted(one, MADE))
    assert all(tool.is_host_tool for tool in host.tools)


def test_lock_and_listing_are_evidence(one: Scene, root: Path) -> None:
    lock = adopt(one.workshop, root)
    one.workshop.roots.need(lock.sha256)
    found = one.workshop.roots.evidence_of(lock.sha256)
    assert found[lock.sha256] == lock.data
    assert hashlib.sha256(found[lock.tree]).hexdigest() == lock.tree


def test_a_root_that_was_changed_is_refused_with_the_file(one: Scene, root: Path) -> None:
    lock = adopt(one.workshop, root)
    definition = in_root(scripted(one, MADE), lock)
    assert build(one, definition).result == "identical"
    # In the same process, hidden as well as it goes: same size, same times.
    path = home_of(one.workshop, lock) / "usr/bin/dash"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(HostLack, match=r"'usr/bin/dash' has other bytes; remove the folder") as caught:
        build(one, definition)
    assert caught.value.reason == "root-changed"


def test_a_root_that_was_changed_before_the_process_began_is_refused(one: Scene, root: Path) -> None:
    lock = adopt(one.workshop, root)
    (home_of(one.workshop, lock) / "usr/bin/added").touch()
    with pytest.raises(HostLack, match="is not what it was when it was made"):
        one.workshop.roots.need(lock.sha256)


def test_a_root_that_holds_the_published_file_is_refused(one: Scene, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "root"
    shutil.copytree(root, copy, symlinks=True)
    (copy / "usr/share/java").mkdir()
    (copy / "usr/share/java/demo.jar").write_bytes(PUBLISHED)
    lock = adopt(one.workshop, copy)
    for _ in range(2):  # also when it was looked through before
        done = build(one, in_root(scripted(one, MADE), lock))
        assert done.failure is not None
        assert done.failure.reason == "refused-input"
        assert "usr/share/java/demo.jar" in done.failure.detail


def test_a_lock_that_is_not_known_here_says_what_to_do(one: Scene, root: Path) -> None:
    value = json.loads(scripted(one, "").data) | {"root": {"lock": "ef" * 32}}
    with pytest.raises(HostLack, match="touchplate builder root make FILE"):
        build(one, make_definition(value))


def test_a_jdk_that_the_root_lacks_is_a_mistake_of_the_definition(one: Scene, root: Path) -> None:
    lock = adopt(one.workshop, root)
    definition = in_root(scripted(one, ""), lock, tools={"jdk": 17})
    with pytest.raises(DefinitionError, match="include openjdk-17-jdk-headless in its lock"):
        build(one, definition)


def test_a_jdk_folder_that_leads_out_of_the_root_is_not_taken(one: Scene, root: Path, tmp_path: Path) -> None:
    copy, outside = tmp_path / "root", tmp_path / "outside/jdk"
    shutil.copytree(root, copy, symlinks=True)
    (outside / "bin").mkdir(parents=True)
    (outside / "bin/javac").touch()
    (outside / "release").write_text('JAVA_VERSION="17.0.1"\n')
    (copy / "usr/lib/jvm").symlink_to(outside.parent)
    lock = adopt(one.workshop, copy)
    with pytest.raises(DefinitionError, match="the build root has none"):
        build(one, in_root(scripted(one, ""), lock, tools={"jdk": 17}))


def test_a_root_without_python_is_a_mistake_of_the_definition(one: Scene, root: Path, tmp_path: Path) -> None:
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "root/usr/bin/python3").symlink_to("/usr/bin/python3.11")  # there on the host only
    lock = adopt(one.workshop, tmp_path / "root")
    with pytest.raises(DefinitionError, match="include python3-minimal"):
        build(one, in_root(scripted(one, ""), lock))


def test_gvisor_shows_the_same_root(one: Scene, root: Path) -> None:
    if read_environment().find_program("runsc") is None:
        (pytest.fail if read_environment().is_ci else pytest.skip)("GVISOR NOT TESTED: this needs runsc")
    lock = adopt(one.workshop, root)
    done = build(one, in_root(scripted(one, LOOK, sandbox={"backend": "gvisor"}), lock))
    found = seen(done)
    assert (found["mark"], found["etc"]) == ("only here\n", ["mark"])
    assert found["bin"] == sorted(path.name for path in (root / "usr/bin").iterdir())
    assert (done.backend, done.result) == ("gvisor", "identical")


def test_a_definition_names_a_root_by_the_digest_of_its_lock_only(one: Scene) -> None:
    value = json.loads(scripted(one, "").data)
    for wrong, says in (({"lock": "x"}, "is not a sha256"), ({}, "lacks lock"), ("host", "is not a mapping")):
        with pytest.raises(DefinitionError, match=says):
            parse_definition(format_json(value | {"root": wrong}))
    assert make_definition(value).root == ""


def test_definitions_of_images_name_no_root() -> None:
    assert "root" in IMAGES.unused
