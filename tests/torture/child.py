"""The parent of all processes that are killed: imports everything once, then forks one for each run.

`python -m tests.torture.child`: one JSON object per line on stdin. `{"argv": …, "out": …, "err": …,
"plan": …}` starts `touchplate ARGV` in a forked process and is answered by its pid; `{"wait": pid}` is
answered by its exit code, -N for signal N. The process runs the same `main` as the console script does. With
`"go": FILE` in the place of a plan it has no hooks, and waits for that file first: for a tracer to come. With
`"wall": FILE` its clock is as wrong as that file says.
"""

import contextlib
import ctypes
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.torture.hooks import Hooks, Plan
from tests.torture.hooks_postgresql import install as install_postgresql
from tests.torture.walls import install as install_wall

import touchplate.builder.cli.rebuild
import touchplate.log.cli
import touchplate.log.frontends.service
import touchplate.log.trillian.face
import touchplate.node.log_node
import touchplate.node.serve
import touchplate.node.wiring  # noqa: F401  # imported here, once, so that no run pays for it
from touchplate.verify.cli import main

PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = 2**64 - 1
"""prctl(2)."""


def run(order: dict[str, Any]) -> int:
    """In the forked process."""
    if "go" in order:
        let_trace()
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, order["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        descriptor = os.open(name, flags, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    if "go" in order:
        wait_for(Path(order["go"]))
    else:
        hooks = Hooks(Plan(**order["plan"]))
        hooks.install()
        install_postgresql(hooks)
    if "wall" in order:
        install_wall(Path(order["wall"]))
    code = main(order["argv"])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def let_trace() -> None:
    """Let any process trace this one: Yama would let ancestors only."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(PR_SET_PTRACER_ANY), 0, 0, 0)


def wait_for(go: Path) -> None:
    """Until the file is there."""
    while not go.exists():
        time.sleep(0.005)


def fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = run(order)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def serve() -> None:
    assert threading.active_count() == 1, "a thread would be lost in every fork"
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = fork(order)
        os.write(1, f"{answer}\n".encode())


if __name__ == "__main__":
    serve()
