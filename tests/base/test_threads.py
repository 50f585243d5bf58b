"""The turn of a thread is the whole process's setting, so it is looked at in a process of its own."""

import subprocess
import sys

SCRIPT = """
import sys
from touchplate.base.threads import SWITCH_SECONDS, take_short_turns
before = sys.getswitchinterval()
take_short_turns()
print(sys.getswitchinterval() == SWITCH_SECONDS < before)
"""


def test_turns_become_shorter() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
