"""The series of kills finds what is lost and what forked: else a thousand kills prove nothing."""

import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.log.support import open_sqlite, raw_entry, sign, signed_entries
from tests.simkeys import ORIGIN, solo_policy
from tests.torture.hooks import KILL
from tests.torture.kills.lives import RANDOM, SQLITE, Lives
from tests.torture.kills.plan import ALL, SQLITE_AIMS, choose, once, split
from tests.torture.kills.promises import Acknowledged, check
from tests.torture.kills.tally import ENOUGH, Aim, Tally
from tests.torture.kills.watching import Witness
from tests.torture.points import KILLED, POINTS
from tests.torture.process import Kill, Launcher, Run, launching

from touchplate.base.sql import sqlite_engine
from touchplate.log.ports import PackedEntry
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.checkpoints import UnverifiedCheckpoint

ENTRIES = signed_entries(20)
MOMENT = Aim(SQLITE, RANDOM)


def found(folder: Path, entries: list[PackedEntry], told: Acknowledged) -> list[str]:
    """What is found in a log of these entries."""
    tree = open_sqlite(folder)
    tree.apply(entries, sign)
    tree.close()
    engine = sqlite_engine(folder / "log.sqlite")
    with closing(TreeRows(engine)) as rows:
        findings = [str(each) for each in check(rows, solo_policy(), told)]
    engine.dispose()
    return findings


def told(entries: list[PackedEntry] = ENTRIES) -> Acknowledged:
    """The answers of a log that took these entries."""
    answers = Acknowledged()
    for index, entry in enumerate(entries):
        answers.told(entry.packed, index)
    return answers


def test_a_log_that_kept_its_promises_has_no_findings(tmp_path: Path) -> None:
    assert found(tmp_path, ENTRIES, told()) == []


@pytest.mark.parametrize("dropped", [0, 7, 19])
def test_a_log_that_dropped_one_acknowledged_entry_is_found(tmp_path: Path, dropped: int) -> None:
    findings = found(tmp_path, ENTRIES[:dropped] + ENTRIES[dropped + 1 :], told())
    assert f"lost: the entry that was acknowledged at index {dropped} is nowhere" in findings
    assert len(findings) == 20 - dropped  # and those behind it have moved


def test_entries_that_changed_places_are_found(tmp_path: Path) -> None:
    swapped = [ENTRIES[1], ENTRIES[0], *ENTRIES[2:]]
    assert found(tmp_path, swapped, told()) == [
        "lost: the entry that was acknowledged at index 0 is at 1",
        "lost: the entry that was acknowledged at index 1 is at 0",
    ]


def head_of(folder: Path, entries: list[PackedEntry]) -> UnverifiedCheckpoint:
    """The head of a log of these entries."""
    tree = open_sqlite(folder)
    tree.apply(entries, sign)
    head = tree.head()
    tree.close()
    return UnverifiedCheckpoint(ORIGIN, head.size, head.root)


def test_a_log_that_forked_is_found_by_the_heads_that_it_showed(tmp_path: Path) -> None:
    answers = Acknowledged()
    answers.saw(head_of(tmp_path / "shown", [*ENTRIES[:5], ENTRIES[6]]))
    answers.saw(head_of(tmp_path / "ahead", ENTRIES))
    ahead, other = found(tmp_path / "kept", ENTRIES[:10], answers)
    assert ahead == "inconsistent: the log has 10 entries, and showed a head of 20"
    assert other.startswith("inconsistent: fsck: an older checkpoint says root")


def test_another_answer_for_the_same_entry_is_found(tmp_path: Path) -> None:
    answers = told()
    answers.told(ENTRIES[3].packed, 4)
    assert found(tmp_path, ENTRIES, answers) == ["inconsistent: an entry was at index 3, now at 4"]


def test_an_entry_that_is_there_twice_is_found(tmp_path: Path) -> None:
    entry = raw_entry("leaf")
    tree = open_sqlite(tmp_path, "raw")
    tree.apply([entry])
    tree.apply([PackedEntry(entry.leaf_data, entry.leaf_hash, b"\0" * 32, entry.packed)])
    tree.close()
    engine = sqlite_engine(tmp_path / "log.sqlite")
    with closing(TreeRows(engine)) as rows:
        findings = [str(each) for each in check(rows, None, Acknowledged())]
    engine.dispose()
    assert "inconsistent: the entry at index 1 is also at 0" in findings


# --- the whole chain: processes, the witness, the lives ----------------------------------------------------


class Forgetful(Lives):
    """A log whose disk goes back to what it was two lives ago, its own memory of what it said included."""

    starts = 0

    def _start(self, kill: Kill | None, armed: Path | None) -> Run:
        self.starts += 1
        data, kept = self.folder / "data", self.folder / "kept"
        if self.starts == 2:
            shutil.copytree(data, kept)
            (kept / "log" / "newest.checkpoint").unlink(missing_ok=True)
        if self.starts == 3:
            shutil.rmtree(data)
            kept.rename(data)
        return super()._start(kill, armed)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    with launching(tmp_path / "runs") as one:
        yield one


def lived(made: type[Lives], folder: Path, launcher: Launcher, lives: int) -> Tally:
    """What came of so many lives that each end at a random moment."""
    witness = Witness(folder / "witness", launcher, 1)
    tally = Tally([MOMENT])
    made(folder / "log-0", 0, SQLITE, launcher, witness, tally).run([MOMENT] * lives, random.Random(1))
    assert witness.close() == []
    return tally


def test_a_log_that_goes_back_is_found_by_the_checker_and_by_the_witness(
    tmp_path: Path, launcher: Launcher
) -> None:
    tally = lived(Forgetful, tmp_path, launcher, 3)
    findings = [str(finding) for _, finding in tally.findings]
    assert len([one for one in findings if "is nowhere" in one]) >= ENOUGH
    assert any("and showed a head of" in one for one in findings)
    assert any("the witness does not cosign the head" in one for one in findings)
    assert not tally.is_good


def test_an_honest_log_survives_its_kills(tmp_path: Path, launcher: Launcher) -> None:
    tally = lived(Lives, tmp_path, launcher, 2)
    assert tally.findings == []
    assert tally.is_good
    assert tally.hits[MOMENT] == 2
    assert tally.least[SQLITE] >= ENOUGH
    assert tally.heads


# --- the count ---------------------------------------------------------------------------------------------


def test_a_point_that_was_never_hit_or_hit_too_early_fails_the_series() -> None:
    at = Aim(SQLITE, "log: batch committed", "before")
    tally = Tally([at, MOMENT])
    tally.hit(MOMENT, ENOUGH)
    assert tally.missed() == ["SQLite: before log: batch committed"]
    assert not tally.is_good
    tally.hit(at, ENOUGH)
    assert tally.is_good
    assert (tally.kills(SQLITE), tally.acknowledged[SQLITE]) == (2, 2 * ENOUGH)
    tally.hit(at, ENOUGH - 1)
    assert tally.starved() == ["SQLite: a kill came after 99 acknowledged entries, not 100"]
    assert not tally.is_good


def test_every_plan_aims_at_every_point() -> None:
    chooser = random.Random(1)
    for count in (1, 1000):
        aims = choose(SQLITE_AIMS, count, chooser)
        assert set(aims) == set(SQLITE_AIMS)
        assert len(aims) >= count
        assert sorted(map(str, aims)) == sorted(str(aim) for log in split(aims) for aim in log)
    assert choose(SQLITE_AIMS, 0, chooser) == []
    short = once(ALL, chooser)
    assert {(aim.kind, aim.point) for aim in short} == {(aim.kind, aim.point) for aim in ALL}
    assert len(short) == len({(aim.kind, aim.point) for aim in ALL}) < len(ALL)


def test_every_aim_is_a_point_of_the_table() -> None:
    names = {point.name for point in (*POINTS, *KILLED)}
    assert [aim for aim in ALL if aim.side and aim.point not in names] == []


def test_a_plan_does_not_begin_before_it_is_armed(tmp_path: Path, launcher: Launcher) -> None:
    armed, lock = tmp_path / "armed", "reader's head: lock file made"
    codes = []
    for name in (".head-a.lock", ".head-b.lock"):
        argv = ["keygen", "--for", "log", "--name", "log.example.org", "--out", str(tmp_path / name)]
        run = launcher.start(argv, {"state": tmp_path}, Kill(lock, "after", 1, KILL), armed)
        codes.append(run.wait())
        armed.touch()
    assert codes == [0, -9]
