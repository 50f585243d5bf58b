"""builder/docs/fleet.md works as it is written: a node, two workers, a signed rebuild, checked offline.

Other than on the page are the port, the place where packages come from, and the package: a small one, whose
definition is given. The page's own was rebuilt by these commands when it was written.
"""

import json
from pathlib import Path

from tests.builder.rebuildparts import CONTENT, scene, scripted
from tests.builder.sandboxes import require_sandbox
from tests.guides import commands, on_free_ports, run_script

GUIDE = Path(__file__).resolve().parents[2] / "builder" / "docs" / "fleet.md"
QUEUE = "--server http://127.0.0.1:8350 --token-file keys/boss.token"
TRAP = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"
"""Until the last of what it started is gone, its output is open."""


def replaced(text: str, changes: dict[str, str]) -> str:
    """Each change has something to change: else the page no longer says what is tested here."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def test_from_nothing_to_a_fleet() -> None:
    require_sandbox()
    with scene() as one:
        folder = one.repository.parent / "fleet"
        folder.mkdir()
        definition = scripted(one, f"jar({CONTENT!r})\n")
        (folder / "demo.json").write_bytes(definition.data)
        worker = f"touchplate builder work --upstream {one.url} --data {folder / 'kept'}"
        changes = {
            'url = "auto"': f'url = "{one.url}"\nallow_private = true',
            "touchplate builder work": worker,
            "jobs add pkg:maven/org.apache.commons/commons-csv@1.12.0": "jobs add --definition demo.json",
            "org.apache.commons/commons-csv@1.12.0": "org.example/demo@1.0",
            "org/apache/commons/commons-csv/1.12.0": "org/example/demo/1.0",
            "commons-csv-1.12.0.jar": "demo-1.0.jar",
        }
        text = f"{TRAP}\n{replaced(commands(GUIDE), changes)}\ntouchplate jobs list --json {QUEUE}"
        said = run_script(on_free_ports(text, ("8350",)), folder)
    lines = said.splitlines()
    assert "verified: demo-1.0.jar is pkg:maven/org.example/demo@1.0?type=jar, reproduced" in lines
    (job,) = json.loads(said[said.rindex('{"jobs"') :])["jobs"]
    assert (job["state"], job["result"], job["indexes"]) == ("done", "identical", ["0", "1"])
    assert job["worker"].startswith(("shed/", "barn/"))
    assert "Traceback" not in said
