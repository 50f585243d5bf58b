"""The demo's main line: set up, refuse, rebuild twice, audit, serve, verify offline."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.e2e.copying_definition import copying_definition
from tests.e2e.demo_setup import (
    jar_path,
    make_keys,
    maven_home,
    mvn,
    public,
    readme_command,
    write_client,
    write_configuration,
)
from tests.e2e.demo_world import JAR, OPERATORS, ORIGIN, PACKAGE, ROOT, World, as_json, expect, sha256
from tests.e2e.lying_mirror import LyingMirror

from touchplate.verify.tiles import TILE_WIDTH, entries_path, envelopes_path, tile_path, tiles_of

PUBLISHED_SHA256 = "6ee731df5c8e5a2976a1ca023b6bb320ea8d3539fbe64c8a1d5cb765127c33b4"


def set_up(world: World) -> str:
    maven_home()
    make_keys(world)
    mirror = LyingMirror(lambda path: stolen_bytes(world) if path == jar_path("3.18.0") else None)
    world.on_exit(mirror.close)
    write_configuration(world, mirror.url)
    write_client(world)
    return "keys for one log, one recorder and two operators; Maven 3.9.11 with an empty local repository"


def stolen_bytes(world: World) -> bytes:
    """What the lying mirror gives for 3.18.0: the jar of 3.17.0, once the client has it."""
    return local_jar(world).read_bytes()


def local_jar(world: World) -> Path:
    return world.folder / "client" / "repository" / jar_path("3.17.0")


def serve(world: World) -> str:
    world.start_node()
    page = world.get("/")
    expect(page.code == 200 and page.shows(ORIGIN), f"the start page answered {page.code}: {page.text[:200]}")
    rules = "commons-lang3 3.17.0 and 3.18.0 need reproduced, all else recorded"
    return f"{world.url} with an empty data folder; {rules}"


def refused_before(world: World) -> str:
    return refused(world, "0 of 2 operators")


def refused_with_one(world: World) -> str:
    return refused(world, "1 of 2 operators")


def refused(world: World, reason: str) -> str:
    """The real client is refused, and prints the reason."""
    answer = mvn(world, "compile")
    expect(answer.code != 0, "mvn compile was not refused: it succeeded")
    lines = [
        line
        for line in answer.text.splitlines()
        if "commons-lang3:jar:3.17.0" in line and "Could not transfer" in line
    ]
    expect(bool(lines), f"mvn failed for another cause:\n{answer.text[-1500:]}")
    expect("403" in lines[0], f"mvn does not print the status: {lines[0]}")
    expect(reason in lines[0], f"mvn does not print {reason!r}: {lines[0]}")
    expect(not local_jar(world).exists(), "the refused jar is in the client's repository")
    why = world.get(f"/why/maven/central/{jar_path('3.17.0')}")
    expect(why.code == 200 and why.shows(reason), f"/why does not explain it: {why.code} {why.text[:300]}")
    detail = lines[0].partition("detail='")[2].partition(", instance=")[0].rstrip("'")
    return f"mvn compile: 403 {detail or reason}"


def rebuild_one(world: World) -> str:
    return rebuild(world, "one", 0)


def rebuild_two(world: World) -> str:
    return (
        rebuild(world, "two", 1)
        + "\ntwo operators on one machine show the mechanism only; they are not independent"
    )


def rebuild(world: World, name: str, number: int) -> str:
    """One operator: own key, own data folder, own process, own work path."""
    what: list[str | Path] = [PACKAGE]
    if world.sabotage == "copying-builder" and number == 0:
        what = ["--definition", copying_definition(world, PACKAGE)]
    answer = world.run(
        world.touchplate, "rebuild", *what, "--json",
        "--data", world.operators / name,
        "--key", world.folder / "keys" / f"{name}.key", "--operator", OPERATORS[number],
        "--log", f"{world.url}/log", "--evidence", f"{world.url}/builder/evidence",
        "--token", f"file:{world.folder / 'keys' / 'worker.token'}",
        live=True,
    )  # fmt: skip
    result = as_json(answer)
    found = result.get("result", "no result")
    why = result.get("failure") or result.get("differences") or result.get("error")
    expect(answer.code == 0 and found == "identical", f"operator {name}: {found} (exit {answer.code}): {why}")
    rebuilds = world.facts.setdefault("rebuilds", [])
    assert isinstance(rebuilds, list)
    rebuilds.append(result)
    return f"{OPERATORS[number]}: identical, sha256 {PUBLISHED_SHA256[:16]}…, logged"


def audit(world: World) -> str:
    """An auditor who trusts the log's key reads the whole log by URL and recomputes it."""
    if world.sabotage == "leaf-changed":
        change_leaf(world)
    trust = world.evidence / "trust.toml"
    answer = world.run(world.touchplate, "log", "fsck", "--url", f"{world.url}/log", "--trust", trust)
    expect(answer.code == 0, f"fsck: {answer.last_words}")
    return answer.text.strip().splitlines()[-1]


def change_leaf(world: World) -> None:
    """Flip one bit of the first leaf in the log's database, behind the back of the running service.

    (Its tiles are not read while they are unfinished: memory has them.)
    """
    database = world.folder / "node" / "log" / "log.sqlite"
    with closing(sqlite3.connect(database)) as connection, connection:
        key, data = connection.execute("SELECT rowid, leaf_data FROM leaves WHERE leaf_index = 0").fetchone()
        changed = data[:-1] + bytes([data[-1] ^ 1])
        connection.execute("UPDATE leaves SET leaf_data = ? WHERE rowid = ?", (changed, key))


def served(world: World) -> str:
    answer = mvn(world, "compile")
    expect(answer.code == 0, f"mvn compile failed:\n{answer.text[-1500:]}")
    expect((world.folder / "client" / "target" / "classes" / "App.class").exists(), "mvn compiled nothing")
    found = sha256(local_jar(world))
    expect(found == PUBLISHED_SHA256, f"mvn got sha256 {found}")
    return f"mvn compile: BUILD SUCCESS; {JAR} in its repository has sha256 {found[:16]}…"


def verified_offline(world: World) -> str:
    """README's command, in the base install, without network, on what the node handed out."""
    collect_evidence(world)
    own = f"{world.folder.relative_to(ROOT)}/"
    command = [
        part.replace("build/demo/", own)
        for part in readme_command("build/auditor/venv/bin/touchplate verify ")
    ]
    answer = world.run(*world.offline(*command, "--json"), cwd=ROOT)
    expect(answer.code == 0, f"verify: {answer.last_words}")
    report = as_json(answer)
    world.facts["verified"] = report
    text = world.run(*world.offline(*command), cwd=ROOT).text
    return "\n".join(line for line in text.splitlines() if line.strip())


def collect_evidence(world: World) -> None:
    """The jar, its bundle, the Sigstore form, and the whole log as files: everything for an own check."""
    jar = world.evidence / JAR
    shutil.copy(local_jar(world), jar)
    world.download(
        f"/maven/central/{jar_path('3.17.0', '.touchplate.json')}", world.evidence / f"{JAR}.touchplate.json"
    )
    bundle = json.loads((world.evidence / f"{JAR}.touchplate.json").read_text(encoding="utf-8"))
    names = []
    for entry in bundle["entries"]:
        name = f"sigstore-{entry['index']}.json"
        world.download(
            f"/api/v1/artifacts/{sha256(jar)}/sigstore/{entry['index']}.json", world.evidence / name
        )
        names.append(name)
    export = world.run(
        world.auditor, "trust", "export", "--sigstore", "--trust", world.evidence / "trust.toml"
    )
    expect(export.code == 0, f"trust export: {export.last_words}")
    (world.evidence / "trusted_root.json").write_text(export.text, encoding="utf-8")
    for key in ("one.pem", "two.pem", "recorder.pem"):
        shutil.copy(world.folder / "keys" / key, world.evidence / key)
    origin, size, root = copy_log(world, world.evidence / "log")
    world.facts["artifact"] = {"package": PACKAGE, "file": JAR, "sha256": sha256(jar)}
    world.facts["log"] = {
        "folder": "log",
        "origin": origin,
        "size": size,
        "root": root,
        "key": public(world, "log.pub").strip(),
    }
    world.facts["sigstore"] = {"bundles": names, "trusted_root": "trusted_root.json"}


def copy_log(world: World, target: Path) -> tuple[str, int, str]:
    """Copy checkpoint, tiles, entry bundles and envelope bundles into a folder with the same paths."""
    note = world.download("/log/checkpoint", target / "checkpoint").read_text(encoding="utf-8")
    origin, size_text, root = note.splitlines()[:3]
    size = int(size_text)
    paths = [tile_path(tile) for tile in tiles_of(size)]
    for number in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        paths += [entries_path(number, width), envelopes_path(number, width)]
    for path in paths:
        world.download(f"/log/{path}", target / path)
    return origin, size, root


def stopped(world: World) -> str:
    code = world.stop_node()
    expect(code == 0, f"the service ended with {code}")
    return "the service stopped in order"
