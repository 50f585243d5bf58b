"""The demo's main job with the log in a real Trillian: `make e2e-trillian`. Ends with `e2e-trillian: ok`.

The same steps on the same package, with `storage = "trillian"`: what is rebuilt is logged, served, verified
offline, and recomputed by our fsck and by Tessera's. In between, Trillian is killed and comes back.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.bench.harness import SkippedError
from tests.conformance.go_programs import NoGoError, build_program
from tests.conformance.readers import ask_fsck
from tests.conformance.trillian_server import RealTrillian, running_trillian
from tests.e2e import demo
from tests.e2e.demo_setup import jar_path, public
from tests.e2e.demo_world import ROOT, World, expect, new_world, say, table

from touchplate.base.environment import read_environment
from touchplate.proto.trillian.trillian_pb2 import TreeType

FOLDER = ROOT / "build" / "demo-trillian"
WAIT_SECONDS = 60


class Trillians:
    """The steps that only this world has."""

    def __init__(self, trillian: RealTrillian) -> None:
        self._trillian = trillian

    def kept(self, world: World) -> str:
        """Every entry of the log is a leaf of Trillian's tree, and its root is the signed one."""
        checkpoint = world.get("/log/checkpoint").text.splitlines()
        size, root = self._trillian.newest_root(self._tree(world))
        expect(int(checkpoint[1]) == size and checkpoint[2] == root, f"Trillian has size {size}, root {root}")
        expect(size > 0, "nothing was logged")
        return f"Trillian's tree {self._tree(world)} has size {size} and the root of the checkpoint"

    def _tree(self, world: World) -> int:
        (tree,) = self._trillian.trees()
        expect(tree.tree_type == TreeType.LOG, f"the tree is of type {tree.tree_type}")
        expect(tree.description.startswith("log.demo.example "), f"the tree is of {tree.description!r}")
        return int(tree.tree_id)

    def killed(self, world: World) -> str:
        """Trillian is killed: a new file is refused with 503 and never served unrecorded; then it is back."""
        path = f"/maven/central/{jar_path('3.16.0').removesuffix('.jar')}.pom"
        self._trillian.kill()
        answer = world.get(path)
        expect(answer.code == 503, f"without Trillian the node answered {answer.code}: {answer.text[:200]}")
        expect(world.get("/log/checkpoint").code == 200, "the checkpoint is not served without Trillian")
        self._trillian.start()
        deadline = time.monotonic() + WAIT_SECONDS
        while (answer := world.get(path)).code != 200:
            expect(
                answer.code == 503 and time.monotonic() < deadline, f"afterwards it answered {answer.code}"
            )
            time.sleep(0.2)
        return "503 for a file that could not be recorded; recorded and served when Trillian was back"

    def audited(self, world: World) -> str:
        """Our fsck by URL and of what is stored, and Tessera's."""
        trust = world.evidence / "trust.toml"
        words = []
        for where in (
            ("--url", f"{world.url}/log", "--trust", trust),
            ("--config", world.folder / "node.toml"),
        ):
            answer = world.run(world.touchplate, "log", "fsck", *where)
            expect(answer.code == 0, f"fsck {where[0]}: {answer.last_words}")
            words.append(answer.text.strip().splitlines()[-1])
        expect(words[0] == words[1], f"two answers: {words}")
        key = public(world, "log.pub").strip()
        said = ask_fsck(build_program(read_environment(), "fsck"), f"{world.url}/log", key, world.folder)
        expect(said.good, said.text[-500:])
        return f"{words[0]}\nTessera's: {said.verdict}"


def steps(trillian: RealTrillian) -> list[demo.Step]:
    """The demo's, and ours before the service is stopped."""
    own = Trillians(trillian)
    *others, stopped = demo.STEPS
    return [
        *others,
        demo.Step("kept in Trillian", own.kept),
        demo.Step("Trillian killed, and back", own.killed),
        demo.Step("audited by two programs", own.audited),
        stopped,
    ]


def run() -> str:
    """The failure, empty when there is none. Raises SkippedError, NoGoError."""
    build_program(read_environment(), "fsck")
    with (
        tempfile.TemporaryDirectory(prefix="touchplate-trillian-") as folder,
        running_trillian(Path(folder)) as trillian,
        new_world(FOLDER) as world,
    ):
        world.storage = "trillian"
        world.store = f'trillian_store = {{ address = "{trillian.address}" }}'
        shown, failure = demo.run(world, steps(trillian))
    say("\n" + table([(str(row["step"]), str(row["shows"]).splitlines()[0]) for row in shown]))
    return failure


def main() -> int:
    start = time.monotonic()
    try:
        failure = run()
    except (SkippedError, NoGoError) as error:
        say(f"e2e-trillian: NOT RUN: {error}")
        return 1 if read_environment().is_ci else 0
    if failure:
        say(f"what was written is kept in {FOLDER.relative_to(ROOT)}/")
        say("e2e-trillian: FAILED at step " + failure)
        return 1
    say(f"{time.monotonic() - start:.0f} s")
    say("e2e-trillian: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
