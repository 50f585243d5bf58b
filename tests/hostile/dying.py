"""A supervisor that is about to be killed: starts a job with daemons, says which ids it has, and waits.

python -m tests.hostile.dying BACKEND FOLDER [WALL LEFT OUT]…
"""

import sys
from pathlib import Path

from tests.hostile.world import World

SCRIPT = """
import signal
for one in (1, 2, 3, 15):
    signal.signal(one, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    os.fork()
    time.sleep(1000)
time.sleep(0.2)
print("running", flush=True)
time.sleep(1000)
"""


def main() -> None:
    """Never returns by itself."""
    backend, folder, *off = sys.argv[1:]
    path = Path(folder)
    path.mkdir()
    path.chmod(0o755)
    world = World(backend, frozenset(off), path)
    with world.sandbox.workspace(world.source) as workspace:

        def say(line: str) -> None:
            print(line, workspace.uid, workspace.ids, flush=True)

        world.run(SCRIPT, workspace=workspace, on_line=say, limits=world.limits(wall_seconds=60))


if __name__ == "__main__":
    main()
