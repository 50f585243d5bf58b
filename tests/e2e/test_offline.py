"""The offline check of a rebuild's entries is no formality: without any one part of the evidence it fails."""

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.builder.loghost import OPERATOR, LogHost, log_host
from tests.e2e.offline import check_offline, is_refused, offline_mistakes
from tests.verify.support import LIB, make_provenance, sign

from touchplate.verify.keys import load_signer

DATA = b"a published file"
OTHER = b"another published file"


@dataclass(frozen=True)
class Scene:
    """A log with one provenance of `DATA` at index 0 and one of `OTHER` at index 1."""

    host: LogHost
    folder: Path

    def check(self, data: bytes = DATA, *indexes: str, trust: Path | None = None) -> list[str]:
        """What the check says."""
        answer = {
            "signed": {"indexes": list(indexes or ("0",))},
            "outputs": [{"package": str(LIB)}],
        }
        log = f"{self.host.url}/log"
        return offline_mistakes(answer, data, self.folder, log=log, trust=trust or self.host.reader)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with log_host(tmp_path / "host") as host:
        signer = load_signer(host.key.read_bytes())
        for data in (DATA, OTHER):
            envelope = sign(make_provenance(data, LIB, operator=OPERATOR), signer).envelope
            with urllib.request.urlopen(f"{host.url}/log/add", data=envelope) as reply:
                assert reply.status == 200
        yield Scene(host, tmp_path / "auditors")


def test_a_logged_rebuild_verifies_offline(scene: Scene) -> None:
    assert scene.check() == []


def test_the_report_names_the_entry_that_counts(scene: Scene) -> None:
    report = check_offline(
        DATA, str(LIB), ["0"], scene.folder / "one", log=f"{scene.host.url}/log", trust=scene.host.reader
    )
    assert [(one["operator"], one["index"]) for one in report["operators"]] == [(OPERATOR, "0")]


def test_entries_about_another_file_are_not_enough(scene: Scene) -> None:
    (mistake,) = scene.check(DATA, "1")
    assert "does not verify offline" in mistake


def test_an_entry_that_the_log_does_not_have_is_not_enough(scene: Scene) -> None:
    (mistake,) = scene.check(DATA, "2")
    assert "no proof bundle" in mistake


def test_a_reader_who_wants_two_operators_is_not_satisfied_by_one(scene: Scene) -> None:
    (mistake,) = scene.check(trust=scene.host.trust)
    assert "not-reproduced" in mistake


@pytest.mark.parametrize(
    ("code", "printed", "refused"),
    [
        (1, {"verdict": "refused", "step": 2, "reason": "wrong-digest", "error": "..."}, True),
        (0, {"verdict": "refused", "step": 2, "reason": "wrong-digest"}, False),
        (1, {"verdict": "refused", "step": 7, "reason": "not-reproduced"}, False),
        (1, {"verdict": "refused", "step": 2, "reason": "wrong-size"}, False),
        (0, {"verdict": "verified"}, False),
        (1, None, False),
    ],
)
def test_only_a_refusal_because_of_the_bytes_is_one(
    code: int, printed: dict[str, object] | None, *, refused: bool
) -> None:
    assert is_refused(code, json.dumps(printed).encode() if printed else b"Traceback") is refused
