"""Two rebuilders get the same bytes, whatever their folders, homes, umasks and clocks; publishers can too."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.builder.conanparts import Client, Published, Scene, infer, scene

from touchplate.builder.ecosystems.conan import plan
from touchplate.builder.rebuild import rebuild

HOOK = Path(plan.__file__).with_name("inside") / "hook_touchplate.py"
TOUCHPLATE = "import sys; from touchplate.verify.cli import main; sys.exit(main(sys.argv[1:]))"
DEBUG = ("-s", "build_type=Debug")


@pytest.fixture(scope="session")
def debug(conan_tools: Path) -> Published:
    """The library with debug information, which names the folders of the stock client that built it."""
    with scene(conan_tools) as one:
        return one.client.publish(*DEBUG)


def rebuilt_by(here: Scene, package: Published, folder: Path, umask: int) -> dict[str, Any]:
    """One rebuilder: a process of his own, with another umask, home and folder."""
    folder.mkdir(parents=True)
    for part in (folder, *folder.parents):
        if here.client.folder in part.parents:
            part.chmod(0o755)
    (folder / "tools").symlink_to((here.workshop.data / "tools").resolve())
    url = here.site.url
    command = [
        *("rebuild", str(package.purl), "--json", "--quiet", "--data", str(folder)),
        *("--upstream", f"conancenter={url}", "--upstream", f"sources={url}/sources,ecosystem=conan"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", TOUCHPLATE, *command],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder / "home"), "TZ": "Asia/Tokyo", "LANG": "C"},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    assert "outputs" in value, value
    return value


def test_two_rebuilders_get_the_same_bytes_also_with_debug_information(here: Scene, debug: Published) -> None:
    here.serve(debug)
    first = rebuilt_by(here, debug, here.client.folder / "one", 0o022)
    second = rebuilt_by(here, debug, here.client.folder / "another/much/deeper/folder", 0o077)
    made = [[one["rebuilt"]["sha256"] for one in value["outputs"]] for value in (first, second)]
    assert made[0] == made[1]
    assert first["labels"] == second["labels"]


def test_debug_information_of_a_stock_client_differs_and_nothing_else(here: Scene, debug: Published) -> None:
    found = infer(here, here.serve(debug))
    done = rebuild(here.workshop, found.definition, found.published)
    assert done.built is not None, done.failure
    comparison = done.built.verdicts[0].comparison
    assert comparison.result == "different"
    found_content = [one for one in json.loads(comparison.report)["differences"] if one["cause"] == "content"]
    assert [one["path"] for one in found_content] == ["lib/liblib.a"]
    assert set(comparison.causes) <= {"content", "timestamps", "owners"}


def test_a_publisher_with_our_hook_publishes_what_others_can_rebuild(here: Scene) -> None:
    epoch = {"SOURCE_DATE_EPOCH": "1600000000"}
    client = Client(here.client.conan, here.client.folder, variables=epoch, hook=HOOK)
    found = infer(here, here.serve(client.publish(*DEBUG)))
    done = rebuild(here.workshop, found.definition, found.published)
    assert done.result == "equivalent", done.built
