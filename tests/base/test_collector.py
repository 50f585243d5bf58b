"""The collector's settings are the whole process's, so each test has a process of its own."""

import subprocess
import sys

SETTLED = """
import gc
from touchplate.base.collector import settle
class Node:
    pass
def cycle():
    one = Node()
    one.self = one
    return one
kept = [cycle() for _ in range(1000)]
settle()
"""


def run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SETTLED + script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_what_is_alive_at_the_start_is_not_looked_at_again() -> None:
    assert int(run("print(gc.get_freeze_count())")) > 1000
    assert run("print(any(one is kept[0] for one in gc.get_objects()))") == "False"


def test_cycles_that_requests_make_are_still_collected() -> None:
    script = """
import weakref
seen = weakref.ref(cycle())
made = []
for _ in range(200_000):
    made.append([])
print(seen() is None)
"""
    assert run(script) == "True"
