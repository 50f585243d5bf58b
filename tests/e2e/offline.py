"""What a rebuild left in a log, checked as an auditor does who believes neither node nor network.

The entries leave the log as a proof bundle (`touchplate prove`); `touchplate verify` then runs in a network
namespace of its own, which has no way out, with the file, the bundle and a trust file. With one byte of the
file flipped it must refuse, and say why.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.worlds import TOUCHPLATE, StepFailedError, expect, tool

CHECK_SECONDS = 120
"""One command on a busy machine; on an idle one it takes half a second."""

FLIPPED = {"verdict": "refused", "step": 2, "reason": "wrong-digest"}
"""What is said of a file that differs in one byte from the one that the bundle is about."""


def check_offline(
    data: bytes, package: str, indexes: Sequence[str], folder: Path, *, log: str, trust: Path
) -> dict[str, Any]:
    """Verify `data`, published as `package`, by the entries `indexes` of `log` alone. `folder`: a new one.

    `log`: a URL; `trust`: a trust file. Returns the report of `touchplate verify`. Raises StepFailedError
    when it does not verify, when other entries count, when a flipped byte passes, or when the namespace in
    which this is checked has a network after all; MissingToolError without unshare.
    """
    folder.mkdir(parents=True)
    artifact, bundle = folder / "artifact", folder / "bundle.json"
    artifact.write_bytes(data)
    common: list[str | Path] = ["--trust", trust, "--package", package]
    prove: list[str | Path] = ["prove", "--log", log, "--bundle", artifact, *common]
    prove += [part for index in indexes for part in ("--index", index)]
    made = _run(folder, *prove, "--out", bundle, "--state", folder / "state")
    expect(made.returncode == 0, f"no proof bundle of {package}: {_last_words(made)}")
    proven = [one["index"] for one in json.loads(bundle.read_bytes())["entries"]]
    expect(proven == sorted(indexes, key=int), f"the bundle has the entries {proven}, not {indexes}")

    verify: list[str | Path] = ["verify", artifact, "--bundle", bundle, *common]
    verify += ["--require", "reproduced", "--json"]
    passed = _offline(folder, *verify)
    expect(passed.returncode == 0, f"{package} does not verify offline: {_last_words(passed)}")
    report: dict[str, Any] = json.loads(passed.stdout)
    counted = {one["index"] for one in report["operators"]}
    expect(
        report["verdict"] == "verified" and report["levels"] == ["reproduced"] and bool(counted),
        f"{package} is not reproduced: {passed.stdout!r}",
    )
    expect(counted <= set(indexes), f"entries {counted} count, and {indexes} are those of the rebuild")

    artifact.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    flipped = _offline(folder, *verify)
    expect(
        is_refused(flipped.returncode, flipped.stdout),
        f"{package} with a flipped byte: {_last_words(flipped)}",
    )
    artifact.write_bytes(data)
    _check_no_network(folder, *prove)
    return report


def is_refused(code: int, printed: bytes) -> bool:
    """Whether `touchplate verify --json` refused a file because of its bytes: by exit code and reason."""
    try:
        said = json.loads(printed)
    except ValueError:
        return False
    return code == 1 and {name: said.get(name) for name in FLIPPED} == FLIPPED


def offline_mistakes(
    answer: dict[str, Any], data: bytes, folder: Path, *, log: str, trust: Path
) -> list[str]:
    """What is wrong, if anything, with the entries of a signed rebuild of `data`; `answer`: its JSON.

    `folder`: one that several may share.
    """
    indexes = answer["signed"]["indexes"]
    package = answer["outputs"][0]["package"]
    try:
        check_offline(data, package, indexes, folder / f"by-{indexes[0]}", log=log, trust=trust)
    except StepFailedError as error:
        return [str(error)]
    return []


def _check_no_network(folder: Path, *prove: str | Path) -> None:
    """What just reached the log reaches nothing from where the file was verified."""
    cut_off = _offline(folder, *prove, "--out", folder / "never.json", "--state", folder / "new-state")
    expect(
        cut_off.returncode == 2 and not (folder / "never.json").exists(),
        f"the log can be read in a namespace without a network: {_last_words(cut_off)}",
    )


def _offline(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return _run(folder, *arguments, before=[tool("unshare"), "--net", *user, "--"])


def _run(
    folder: Path, *arguments: str | Path, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*before, str(TOUCHPLATE), *(str(part) for part in arguments)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CHECK_SECONDS,
        check=False,
    )


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    return f"exit code {done.returncode}: {said[-1000:]}"
