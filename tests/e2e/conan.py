"""`make e2e-conan`: packages installed through touchplate by a stock Conan client, and refused by it.

A stock conan_server on loopback is the upstream, and C libraries are built and uploaded with a stock client.
One, lz4, is really rebuilt by two operators, from the source that Debian ships; of the others two operators'
test keys sign that they built them. A client with the settings of `touchplate setup conan` then gets these,
and is refused what nobody built, what was changed, and another revision, with the reason in its own output.
Ends with "e2e-conan: ok".
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.conan_packages import OPERATORS, Published
from tests.e2e.conan_rebuilds import LZ4, REBUILDERS, check_rebuild, published_lz4, rebuild, repeat, use
from tests.e2e.conan_world import ConanWorld, Person, new_publisher, new_world
from tests.e2e.offline import check_offline
from tests.e2e.worlds import TOUCHPLATE, MissingToolError, Output, StepFailedError, expect

LATEST_SECONDS = 60  # the upstream's word about its revisions is believed for 15 s
NOT_BUILT = "not reproduced: 0 of 2 operators"
Pair = tuple[Published, Published]


def say(text: str) -> None:
    """A line at once."""
    print(text, flush=True)


@dataclass
class Stage:
    """What stands at the upstream: recipe and package of each."""

    world: ConanWorld
    publisher: Person
    hello: Pair
    newer: Pair
    free: Pair
    changed: Pair
    late: Pair
    lz4: LZ4
    indexes: list[str] = field(default_factory=list)
    """Where the log has what the operators said about lz4."""


def prepare(world: ConanWorld, lz4: LZ4) -> Stage:
    """Build and upload; nobody rebuilt anything yet."""
    publisher = new_publisher(world)
    publish = world.publish
    return Stage(
        world,
        publisher,
        hello=publish(publisher, "hello", "1.0", 1),
        newer=publish(publisher, "hello", "1.1", 2),
        free=publish(publisher, "free", "1.0", 3),
        changed=publish(publisher, "changed", "1.0", 4),
        late=publish(publisher, "late", "1.0", 5),
        lz4=lz4,
    )


def rebuilt(stage: Stage) -> None:
    """lz4 is rebuilt by two operators from its recipe and Debian's tarball, and is served only then."""
    world, lz4 = stage.world, stage.lz4
    _refused(world.user("lz4-before").install("lz4/1.9.4"), NOT_BUILT, "lz4/1.9.4#")
    first, second = (
        _rebuilt_by(stage, name, operator, number) for number, (name, operator) in enumerate(REBUILDERS)
    )
    expect(first == second, f"other bytes, or other tools, at the two operators: {first} {second}")
    repeat(world, lz4, stage.indexes[0])
    use(world, world.user("lz4-after"))
    _checked_offline(stage)
    page = world.get(f"/why/conan/team/{lz4.package.revision.file_path('conan_package.tgz')}")
    expect(b"tar-times@1" in page.body, "the page does not say how it was compared")


def _rebuilt_by(stage: Stage, name: str, operator: str, before: int) -> tuple[str, object]:
    """Digests of the archive that one operator built and of his tools; his word alone is not enough."""
    world = stage.world
    if before:
        _refused(world.user("lz4-one").install("lz4/1.9.4"), "not reproduced: 1 of 2 operators")
    value = rebuild(world, stage.lz4, name, operator)
    signed = value["signed"]
    assert isinstance(signed, dict)
    stage.indexes += signed["indexes"]
    return check_rebuild(stage.lz4, value), value["tools"]


def _checked_offline(stage: Stage) -> None:
    """The log and a trust file are enough to see that both rebuilt it, and that it is not a bit else."""
    world, lz4 = stage.world, stage.lz4
    report = check_offline(
        lz4.package.files["conan_package.tgz"], lz4.purl, stage.indexes, world.folder / "auditor",
        log=f"http://127.0.0.1:{world.node}/log", trust=world.folder / "trust.toml",
    )  # fmt: skip
    found = [(one["operator"], one["how"]) for one in report["operators"]]
    expect(found == [(operator, "equivalent") for _, operator in REBUILDERS], f"it is said of lz4: {found}")


def refused_before(stage: Stage) -> None:
    """What nobody rebuilt is refused, and the client prints why."""
    user = stage.world.user("before")
    done = user.install("hello/1.0")
    _refused(done, NOT_BUILT, "hello/1.0#")
    expect(f"http://127.0.0.1:{stage.world.node}/why/conan/team/" in done.text, "the page is not named")
    done = user.install("hello/1.0", "--build=missing")
    _refused(done, NOT_BUILT)
    _refused(user.install("hello/[>=1.0]"), "hello/[>=1.0]")


def refused_package(stage: Stage) -> None:
    """One operator's word is not enough, and another package of a recipe that passes is refused."""
    world = stage.world
    recipe, package = stage.hello
    world.rebuild_package(recipe, package, OPERATORS[:1])
    _refused(world.user("one-operator").install("hello/1.0"), "not reproduced: 1 of 2 operators")
    world.rebuild_package(recipe, package)
    stage.publisher.must("install", "--requires=hello/1.0", "--build=hello/1.0", "-s", "build_type=Debug")
    stage.publisher.must("upload", "hello/1.0:*", "-r", "upstream", "-c")
    user = world.user("other-package")
    _refused(user.install("hello/1.0", "-s", "build_type=Debug"), NOT_BUILT, "conan_package.tgz")


def served(stage: Stage) -> None:
    """What two operators rebuilt is installed, and its bytes are those that were published."""
    user = stage.world.user("served")
    done = user.install("hello/1.0", "--deployer=full_deploy", f"--deployer-folder={stage.world.folder}/out")
    expect(done.code == 0, f"hello/1.0 is not served: {done.text[-1500:]}")
    library = next((stage.world.folder / "out").rglob("libhello.a"))
    main = stage.world.folder / "main.c"
    main.write_text("int hello(void); int main(void) { return hello() == 1 ? 0 : 1; }\n")
    program = stage.world.folder / "main"
    built = stage.world.run("gcc", main, library, "-o", program)
    expect(built.code == 0, f"the library cannot be linked: {built.text}")
    expect(stage.world.run(program).code == 0, "the library does something else")
    for published in stage.hello:
        for name, data in published.files.items():
            reply = stage.world.get(f"/conan/team/{published.revision.file_path(name)}")
            expect(reply.body == data, f"{name} of {published.revision} has other bytes")
    done = user.install("free/1.0")
    expect(done.code == 0, f"free/1.0 is not served: {done.text[-1500:]}")


def proofs(stage: Stage) -> None:
    """The proof that the client fetched by itself is checked offline."""
    world, user = stage.world, stage.world.user("proofs")
    _, package = stage.hello
    user.must("install", "--requires=hello/1.0")
    reference = f"hello/1.0#{package.revision.rrev}:{package.revision.package_id}#{package.revision.prev}"
    folder = Path(user.must("cache", "path", reference, "--folder=metadata").text.split()[-1]) / "sign"
    archive = world.folder / "conan_package.tgz"
    archive.write_bytes(package.files["conan_package.tgz"])
    purl = package.revision.package_url("conan_package.tgz", "remote.example.org")
    verify: list[str | Path] = [
        TOUCHPLATE, "verify", archive, "--bundle", folder / "conan_package.tgz.touchplate.json",
        "--trust", world.folder / "trust.toml", "--require", "reproduced", "--package", str(purl),
    ]  # fmt: skip
    offline: list[str | Path] = ["unshare", "-n", "-r", "--"]
    done = world.run(*offline, *verify)
    expect(done.code == 0, f"the proof is refused: {done.text}")
    expect("rebuild-b.example.org" in done.text, f"the report names no operator: {done.text}")
    data = archive.read_bytes()
    archive.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    expect(world.run(*offline, *verify).code == 1, "a changed file passes with the proof of another one")
    lines = (folder / "conan_package.tgz.intoto.jsonl").read_text().splitlines()
    expect(len(lines) == 3, f"{len(lines)} statements, not a record and two of rebuilders")


def ranges(stage: Stage) -> None:
    """A range takes the newest version that passes, not the newest that there is."""
    done = stage.world.user("ranges").install("hello/[>=1.0]")
    expect(done.code == 0, f"the range is refused: {done.text[-1500:]}")
    expect(
        "hello/1.0#" in done.text and "hello/1.1#" not in done.text, f"another version: {done.text[-800:]}"
    )


def refused_tampered(stage: Stage) -> None:
    """One changed bit in what two operators rebuilt: refused before it was ever seen here, and after."""
    world = stage.world
    recipe, package = stage.changed
    world.rebuild_package(recipe, package)
    path = world.stored(package, "conan_package.tgz")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    _refused(world.user("tampered").install("changed/1.0"), "conan_package.tgz", "not reproduced")
    # What was recorded first is what everybody gets, so the right bytes come too late now.
    path.write_bytes(data)
    _refused(world.user("tampered-2").install("changed/1.0"), "not reproduced")


def refused_changed(stage: Stage) -> None:
    """Bytes that change after somebody saw them are refused whatever the rules say."""
    world = stage.world
    _, package = stage.free
    (blob,) = (world.folder / "data/blobs").rglob(_sha256(package.files["conan_package.tgz"]))
    blob.unlink()
    path = world.stored(package, "conan_package.tgz")
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    _refused(world.user("changed").install("free/1.0"), "conan_package.tgz changed", "recorded")
    path.write_bytes(data)
    done = world.user("unchanged").install("free/1.0")
    expect(done.code == 0, f"the right bytes are refused: {done.text[-1000:]}")


def refused_revision(stage: Stage) -> None:
    """A newer revision that nobody rebuilt is refused; who names none gets the newest rebuilt one."""
    world = stage.world
    old, _ = stage.hello
    new, _ = world.publish(stage.publisher, "hello", "1.0", 6)
    expect(new.revision.rrev != old.revision.rrev, "the same revision")
    for _ in range(LATEST_SECONDS):
        if (
            new.revision.rrev.encode()
            in world.get(f"/conan/team/{old.revision.reference.path}/revisions").body
        ):
            break
        time.sleep(1)
    _refused(world.user("revision").install(f"hello/1.0#{new.revision.rrev}"), new.revision.rrev, NOT_BUILT)
    done = world.user("revision-2").install("hello/1.0")
    expect(done.code == 0, f"the rebuilt revision is refused: {done.text[-1000:]}")
    expect(f"hello/1.0#{old.revision.rrev}" in done.text, f"another revision: {done.text[-1000:]}")


def served_alone(stage: Stage) -> None:
    """With the upstream down, what is held is served; what is not fails, and nobody else is asked."""
    world = stage.world
    world.endings[0]()
    user = world.user("alone")
    done = user.install(f"hello/1.0#{stage.hello[0].revision.rrev}")
    expect(done.code == 0, f"held, and not served: {done.text[-1000:]}")
    done = user.install("free/1.0")
    expect(done.code == 0, f"held, and not served: {done.text[-1000:]}")
    # Clients try again after a 5xx, and then show the status only.
    _refused(user.install("late/1.0"), "502")
    reply = world.get(f"/conan/team/{stage.late[0].revision.path}/files")
    expect(reply.status == 502 and b"gave no usable answer" in reply.body, f"another answer: {reply}")


def uploads(stage: Stage) -> None:
    """Logging in and uploading are refused in words."""
    user = stage.world.user("uploads")
    _refused(user.conan("remote", "login", "touchplate-team", "demo", "-p", "demo"), "without an account")


def _refused(done: Output, *why: str) -> None:
    expect(done.code != 0, f"installed, and should be refused: {done.text[-800:]}")
    for text in why:
        expect(text in done.text, f"the client does not show {text!r}: {done.text[-1500:]}")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


STEPS: tuple[Callable[[Stage], None], ...] = (
    rebuilt,
    refused_before,
    refused_package,
    served,
    proofs,
    ranges,
    refused_tampered,
    refused_changed,
    refused_revision,
    uploads,
    served_alone,
)


def run() -> None:
    """All steps. Raises StepFailedError."""
    with new_world() as world, published_lz4(world) as lz4:
        say(f"--  {world.run(world.tools / 'conan', '--version').text.strip()}")
        stage = prepare(world, lz4)
        for step in STEPS:
            step(stage)
            say(f"ok  {' '.join((step.__doc__ or '').split())}")


def main() -> int:
    """Exit code."""
    try:
        run()
    except MissingToolError as error:
        say(f"e2e-conan: SKIPPED, {error} is not installed (deploy/dev/setup conan)")
        return 1 if os.environ.get("CI") == "true" else 0
    except StepFailedError as error:
        say(f"e2e-conan: FAILED: {error}")
        return 1
    say("e2e-conan: ok")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main())
