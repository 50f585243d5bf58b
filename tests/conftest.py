"""For every test: no memory of logs is shared, neither between tests nor with whoever runs them.

Commands remember a log's last checkpoint by its origin in the user's state folder. The logs of the tests are
all of one origin and each is new, so to a shared memory they would be forks of one another.
"""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, also for the processes that it starts."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder / "touchplate"
