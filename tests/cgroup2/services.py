"""Run in the machine, as root: what builder/docs/fleet.md tells an operator who wants services.

Its blocks as they stand, but for the place where packages come from and the package: a small one, on
loopback, whose build takes a while. Then a worker that is killed, stopped, and started; and a node that is
killed. Each check says what it saw.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.builder.rebuildparts import CONTENT, scene, scripted
from tests.guides import commands, run_script

GUIDE = Path("builder/docs/fleet.md")
NODE, WORKER = "touchplate", "touchplate-worker"
PROGRAM = Path("/opt/touchplate/bin")
"""Where the guide installs; the wheel of this tree is there."""

QUEUE = ("--server", "http://127.0.0.1:8350", "--token-file", "keys/boss.token")
SLOW = f'import time\nphase == "build" and time.sleep(20)\njar({CONTENT!r})\n'
"""A build that can be killed in the middle."""

UNTIL_SECONDS = 600.0
"""For what has to come about: a lease (60 s), a restart (30 s), and a slow machine."""

NOISE = ("failed dropping", "Traceback", "Permission denied", "but the mode is different")
"""What no journal of a right installation says."""


def blocks_before(text: str, line: str) -> str:
    """The commands up to a line, which the page has to have."""
    before, found, _ = text.partition(line)
    assert found, line
    return before


def services(page: Path) -> str:
    """The `bash` blocks of a page, in order: those that need systemd."""
    found = re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(found) == 2, "one for the node, one for a worker"
    return "\n".join(found)


def guide(upstream: str) -> str:
    """Keys, lists and configuration, and both services, as one script."""
    text = blocks_before(commands(GUIDE), "touchplate serve --config node.toml >") + services(GUIDE)
    for old, new in {
        'url = "auto"': f'url = "{upstream}"\nallow_private = true',
        "OPTIONS=--slots 2": f"OPTIONS=--slots 2 --upstream {upstream}",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def said(*command: str) -> str:
    """What a command prints; it must end with 0."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def state(unit: str, name: str) -> str:
    """A property of a unit."""
    return said("systemctl", "show", "-P", name, unit).strip()


def until(what: str, is_so: Callable[[], bool]) -> None:
    """Wait for something, and say that it is so."""
    end = time.monotonic() + UNTIL_SECONDS
    while not is_so():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.5)
    print(what, flush=True)


def building() -> list[str]:
    """Command lines of builds."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        if "build.py" in line:
            found.append(line)
    return found


def job(number: int) -> dict[str, object]:
    """A job as the queue has it."""
    shown: dict[str, object] = json.loads(said("touchplate", "jobs", "show", str(number), "--json", *QUEUE))
    return shown


def kill(unit: str) -> Callable[[], str]:
    """Kill the main process of a unit, and nothing else: what the unit says once it was started again."""
    before = state(unit, "InvocationID")
    os.kill(int(state(unit, "MainPID")), signal.SIGKILL)

    def said_since() -> str:
        now = state(unit, "InvocationID")
        said_now = said("journalctl", "-o", "cat", f"_SYSTEMD_INVOCATION_ID={now}")
        return said_now if now != before else ""

    return said_since


def try_services() -> None:
    """Follow the guide, then let things happen. Raises AssertionError."""
    os.environ["PATH"] = f"{PROGRAM}:{os.environ['PATH']}"
    with scene() as one:
        folder = one.repository.parent / "operator"
        folder.mkdir()
        Path(folder, "demo.json").write_bytes(scripted(one, SLOW).data)
        about = {"CLONE": str(Path.cwd())}
        run_script(guide(one.url), folder, about, PROGRAM)
        os.chdir(folder)
        print("both services were installed as the guide says", flush=True)
        try_jobs()
    said_by = said("journalctl", "-o", "cat", "-u", NODE, "-u", WORKER)
    assert [word for word in NOISE if word in said_by] == [], said_by


def try_jobs() -> None:
    """Jobs that are left alone, killed and stopped; then the node is killed."""
    added = ("touchplate", "jobs", "add", "--definition", "demo.json", *QUEUE)
    said(*added, "--wait")
    assert (job(1)["state"], job(1)["result"]) == ("done", "identical")
    print("a job was built and logged", flush=True)

    said(*added)
    until("the second job is being built", lambda: bool(building()))
    said_since = kill(WORKER)
    until("nothing of a killed worker's build is left", lambda: not building())
    until("systemd starts the worker again", lambda: "working for" in said_since())
    until("the job that was lost is built again", lambda: job(2)["state"] == "done")
    assert job(2)["result"] == "identical"

    said(*added)
    until("the third job is being built", lambda: bool(building()))
    said("systemctl", "stop", WORKER)
    assert building() == []
    assert (state(WORKER, "ActiveState"), state(WORKER, "Result")) == ("inactive", "success")
    print("a stopped worker leaves nothing", flush=True)

    said_since = kill(NODE)
    until("systemd starts the node again", lambda: "ready at" in said_since())
    said("systemctl", "start", WORKER)
    until("the job of before is built", lambda: job(3)["state"] == "done")
    said("systemctl", "disable", "--now", NODE, WORKER)


if __name__ == "__main__":
    try_services()
