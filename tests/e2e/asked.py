"""A refusal that asks for the rebuild, with the real client: part of `make e2e-maven`.

A real Maven is refused and prints the number of a job; a worker with one operator's key does it; the same
command then succeeds. One operator is enough for this node's trust file.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e import demo_steps
from tests.e2e.demo_setup import mvn
from tests.e2e.demo_world import (
    COMMAND_SECONDS,
    OPERATORS,
    PACKAGE,
    ROOT,
    StepFailedError,
    World,
    expect,
    new_world,
    say,
)

NOTE = "a rebuild is asked for: job 1 (touchplate jobs show 1)"
POLL_SECONDS = 0.5


def configure(world: World) -> None:
    """The demo's node with a queue, a rule that asks, and a trust file content with one operator."""
    trust = world.folder / "node-trust.toml"
    trust.write_text(trust.read_text().replace("operators = 2", "operators = 1"))
    tokens = []
    for name in ("work", "admin"):
        world.write(f"keys/{name}.token", f"{name}-token-of-the-e2e-test\n").chmod(0o600)
        tokens.append(
            f'[[queue.token]]\nname = "{name}"\ntoken = "file:keys/{name}.token"\nscopes = ["{name}"]\n'
        )
    config = world.folder / "node.toml"
    text = config.read_text()
    rule = 'commons-lang3@3.17.0"\nneed = ["reproduced"]\n'
    expect(text.count(rule) == 1, "the demo's configuration has another rule for the package")
    config.write_text(text.replace(rule, rule + 'rebuild = "any"\n') + "[queue]\n" + "".join(tokens))


def refused(world: World) -> str:
    """The client prints the job's number."""
    answer = mvn(world, "compile")
    expect(answer.code != 0, "mvn compile was not refused")
    lines = [line for line in answer.text.splitlines() if NOTE in line]
    expect(bool(lines), f"mvn does not print {NOTE!r}:\n{answer.text[-1500:]}")
    (job,) = jobs(world)
    expect(job["package"] == PACKAGE, f"job 1 is of {job['package']}")
    return f"mvn compile: refused, {NOTE}"


def jobs(world: World) -> list[dict[str, object]]:
    """What is in the queue."""
    token = world.folder / "keys" / "admin.token"
    answer = world.run(
        world.touchplate, "jobs", "list", "--json", "--server", world.url, "--token-file", token
    )
    expect(answer.code == 0, f"touchplate jobs list: {answer.last_words}")
    found: list[dict[str, object]] = json.loads(answer.text)["jobs"]
    return found


@contextmanager
def worker(world: World) -> Iterator[None]:
    """`touchplate builder work`; ended by its own pid."""
    command: list[str | Path] = [
        world.touchplate, "builder", "work", "--server", world.url,
        "--token-file", world.folder / "keys" / "work.token", "--key", world.folder / "keys" / "one.key",
        "--operator", OPERATORS[0], "--data", world.operators / "one",
    ]  # fmt: skip
    child = subprocess.Popen([str(part) for part in command], cwd=world.folder, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


def rebuilt(world: World) -> str:
    """The worker takes the job from the queue."""
    with worker(world):
        deadline = time.monotonic() + COMMAND_SECONDS
        while (job := jobs(world)[0])["state"] in ("waiting", "leased"):
            expect(time.monotonic() < deadline, f"the worker did not end the job: {job}")
            time.sleep(POLL_SECONDS)
    expect((job["state"], job["result"]) == ("done", "identical"), f"the job came to {job}")
    return f"touchplate builder work: job 1 {job['state']}, {job['result']}"


def main() -> int:
    """0 when every step showed what it should."""
    with new_world(ROOT / "build" / "asked") as world:
        try:
            demo_steps.set_up(world)
            configure(world)
            world.start_node()
            for step in (refused, rebuilt, demo_steps.served):
                start = time.monotonic()
                say(f"{step(world)} ({time.monotonic() - start:.1f} s)")
        except StepFailedError as error:
            say(f"asked: FAILED: {error}")
            return 1
    say("asked: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
