"""fsck finds every kind of damage, names it, and is silent about a good log."""

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.log.support import open_sqlite, raw_entries, sign, signed_entries
from tests.simkeys import ORIGIN, log_signer, solo_policy, verifier_key
from tests.simlog import SimLog

from touchplate.base.errors import TouchplateError
from touchplate.base.sql import sqlite_engine
from touchplate.log.errors import RequestError
from touchplate.log.fsck import Result, check_log, unverified_body
from touchplate.log.reading import LogReader
from touchplate.log.served import ServedLog
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.checkpoints import UnverifiedCheckpoint, open_checkpoint, sign_checkpoint
from touchplate.verify.cli import main
from touchplate.verify.sources import open_source
from touchplate.verify.tiles import (
    TILE_WIDTH,
    BundleCoord,
    entries_path,
    envelopes_path,
    tile_path,
    tile_width,
    tiles_of,
)

SIZE = 300
ENTRIES = signed_entries(SIZE)


def database(folder: Path) -> Path:
    return folder / "log.sqlite"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A folder with a good log of 300 entries, written in uneven batches."""
    tree = open_sqlite(tmp_path)
    for start in (0, 1, 100, 280):
        tree.apply(ENTRIES[start : {0: 1, 1: 100, 100: 280, 280: SIZE}[start]], sign)
    tree.close()
    return tmp_path


def fsck(folder: Path, **keywords: object) -> Result:
    with opened(folder) as rows:
        return check_log(rows, policy=solo_policy(), **keywords)  # type: ignore[arg-type]


@contextmanager
def opened(folder: Path, name: str | None = None) -> Iterator[TreeRows]:
    engine = sqlite_engine(database(folder))
    try:
        with closing(TreeRows(engine, name)) as rows:
            yield rows
    finally:
        engine.dispose()


def damage(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(database(folder), isolation_level=None)
    for statement in statements:
        assert connection.execute(statement).rowcount != 0, f"nothing damaged by {statement}"
    connection.close()


def export(tree_folder: Path, target: Path) -> Path:
    """The log as files, as a mirror would hold it."""
    tree = open_sqlite(tree_folder)
    reader, size = LogReader(tree), tree.head().size
    files = {"checkpoint": reader.checkpoint()}
    files |= {tile_path(tile): reader.resource(tile) for tile in tiles_of(size)}
    for number in range(-(-size // TILE_WIDTH)):
        width = tile_width(0, number, size)
        files[entries_path(number, width)] = reader.resource(BundleCoord("entries", number, width))
        files[envelopes_path(number, width)] = reader.resource(BundleCoord("envelopes", number, width))
    tree.close()
    for name, data in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return target


def fsck_folder(folder: Path) -> Result:
    def read_head(note: bytes) -> tuple[int, bytes]:
        opened = open_checkpoint(note, solo_policy())
        return opened.size, opened.root

    return check_log(ServedLog(open_source(str(folder)), read_head), policy=solo_policy())


def findings(result: Result) -> list[str]:
    return [str(finding) for finding in result.findings]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257])
def test_is_silent_about_a_good_log(tmp_path: Path, size: int) -> None:
    tree = open_sqlite(tmp_path)
    if size:
        tree.apply(ENTRIES[:size], sign)
    root = tree.head().root
    tree.close()
    result = fsck(tmp_path)
    assert findings(result) == []
    assert (result.size, result.root) == (size, root)
    if size:
        assert findings(fsck_folder(export(tmp_path, tmp_path / "mirror"))) == []


FLIP = "substr({0}, 1, 20) || CAST(iif(substr({0}, 21, 1) = x'5a', x'59', x'5a') AS BLOB) || substr({0}, 22)"
"""SQL for a column with its 21st byte changed, whatever it was."""


def flip(column: str) -> str:
    return f"{column} = CAST({FLIP.format(column)} AS BLOB)"


DAMAGE = [
    (f"UPDATE leaves SET {flip('leaf_data')} WHERE leaf_index = 70", ["leaf 70 is not the leaf data"]),
    (f"UPDATE leaves SET {flip('packed')} WHERE leaf_index = 299", ["envelope 299 is not an entry"]),
    ("UPDATE leaves SET packed = x'' WHERE leaf_index = 1", ["envelope 1 is not an entry"]),
    ("UPDATE leaves SET packed = x'000000000000' WHERE leaf_index = 1", ["envelope 1 is not an entry"]),
    (
        "UPDATE leaves SET packed = (SELECT packed FROM leaves WHERE leaf_index = 5) WHERE leaf_index = 4",
        ["leaf 4 is not the leaf data", "identity of 4 stands at index 5"],
    ),
    (
        "UPDATE leaves SET packed = (SELECT packed FROM leaves WHERE leaf_index = 5), "
        "leaf_data = (SELECT leaf_data FROM leaves WHERE leaf_index = 5) WHERE leaf_index = 4",
        [
            "tile 0/0 has another hash than leaf 4",
            "identity of 4 stands at index 5",
            "head says",
            "checkpoint says",
        ],
    ),
    ("DELETE FROM leaves WHERE leaf_index = 299", ["envelope 299 is missing", "leaf 299 is missing"]),
    ("DELETE FROM leaves WHERE leaf_index = 0", ["envelope 0 is missing", "leaf 0 is missing"]),
    (
        "INSERT INTO leaves SELECT tree_id, 300, leaf_data, packed FROM leaves WHERE leaf_index = 3",
        ["leaf 300 is outside the tree", "leaves has 301 rows"],
    ),
    (
        "DELETE FROM identities WHERE leaf_index = 33",
        ["identity of 33 is missing", "identities has 299 rows"],
    ),
    ("UPDATE identities SET leaf_index = 34 WHERE leaf_index = 33", ["identity of 33 stands at index 34"]),
    (
        "INSERT INTO identities VALUES (1, CAST(randomblob(32) AS BLOB), 12)",
        ["identities has 301 rows"],
    ),
    (
        f"UPDATE tiles SET {flip('hashes')} WHERE level = 0 AND tile_index = 0",
        ["tile 0/0 has another hash than leaf 0"],
    ),
    (
        f"UPDATE tiles SET {flip('hashes')} WHERE level = 0 AND tile_index = 1",
        ["tile 0/1 has another hash than leaf 256"],
    ),
    (f"UPDATE tiles SET {flip('hashes')} WHERE level = 1", ["tile/1/000.p/1 has a wrong hash at 0"]),
    ("DELETE FROM tiles WHERE level = 0 AND tile_index = 0", ["tile/0/000 is missing"]),
    ("DELETE FROM tiles WHERE level = 1", ["tile/1/000.p/1 is missing"]),
    (
        "UPDATE tiles SET hashes = substr(hashes, 1, 32) WHERE tile_index = 1",
        ["tile/0/001.p/44 has 32 bytes", "tile 0/1 has 32 bytes"],
    ),
    ("INSERT INTO tiles VALUES (1, 0, 2, x'00')", ["tile 0/2 is outside the tree"]),
    ("INSERT INTO tiles VALUES (1, 2, 0, x'00')", ["tile 2/0 is outside the tree"]),
    (f"UPDATE heads SET {flip('root')}", ["head says root"]),
    (
        "UPDATE heads SET tree_size = 299",
        [
            "tile/0/001.p/43 has 1408 bytes",
            "head says",
            "checkpoint speaks of 300",
            "leaf 299 is outside",
            "leaves has 300 rows",
        ],
    ),
    ("UPDATE heads SET checkpoint = NULL", ["checkpoint is missing"]),
    (f"UPDATE heads SET {flip('checkpoint')}", ["checkpoint cannot be opened"]),
    ("UPDATE heads SET checkpoint_size = 299", ["head says that its checkpoint has size 299"]),
    ("UPDATE trees SET kind = 'raw'", ["tree is of kind 'raw'"]),
    ("UPDATE trees SET name = 'other.example.org'", ["checkpoint is of origin 'log.example.org'"]),
    ("INSERT INTO leaves VALUES (1, -1, x'00', x'00')", ["leaf -1 is outside", "leaves has 301 rows"]),
    ("INSERT INTO leaves VALUES (7, 0, x'00', x'00')", ["leaves has a row"]),
    ("INSERT INTO identities VALUES (7, x'00', 0)", ["identities has a row"]),
    ("INSERT INTO tiles VALUES (7, 0, 0, x'00')", ["tiles has a row"]),
    ("INSERT INTO heads VALUES (7, 0, x'00', 0, NULL, 0, 'active')", ["heads has a row"]),
    ("INSERT INTO tiles VALUES (1, 0, -1, zeroblob(8192))", ["tile 0/-1 is outside"]),
    ("INSERT INTO tiles VALUES (1, -1, 0, x'00')", ["tile -1/0 is outside"]),
    ("INSERT INTO tiles VALUES (1, 'x', 0, x'00')", ["tile x/0 is outside"]),
    # SQLite keeps any type in any column.
    (
        "UPDATE leaves SET leaf_data = 'abc' WHERE leaf_index = 5",
        ["leaf 5 is missing", "leaf 5 has no bytes in leaf_data but str"],
    ),
    (
        "UPDATE leaves SET packed = 5 WHERE leaf_index = 5",
        ["envelope 5 is missing", "envelope 5 has no bytes in packed but int"],
    ),
    (
        "UPDATE leaves SET leaf_index = 5.5 WHERE leaf_index = 5",
        ["envelope 5 is missing", "leaf 5 is missing"],
    ),
    ("UPDATE identities SET identity = 'abc' WHERE leaf_index = 5", ["identity of 5 is missing"]),
    ("UPDATE tiles SET hashes = 7 WHERE level = 1", ["tile/1/000.p/1 is missing", "tile 1/0 has no bytes"]),
    ("UPDATE heads SET root = 'abc'", ["head says root", "head has no bytes in root"]),
    ("UPDATE heads SET checkpoint = 4", ["checkpoint is missing", "checkpoint has no bytes"]),
    (
        "CREATE TRIGGER x AFTER INSERT ON leaves BEGIN DELETE FROM leaves; END",
        ["database file has a trigger 'x'"],
    ),
]


@pytest.mark.parametrize(("statement", "expected"), DAMAGE)
def test_names_damage_in_the_database(stored: Path, statement: str, expected: list[str]) -> None:
    damage(stored, statement)
    found = findings(fsck(stored))
    for text in expected:
        assert any(each.startswith(text) for each in found), found
    assert len(found) <= len(expected) + 2, found


@pytest.mark.parametrize("size", ["300 + (1 << 40)", "4611686018427387904"])
def test_does_not_look_for_ever_for_what_a_made_up_size_promises(stored: Path, size: str) -> None:
    damage(stored, f"UPDATE heads SET tree_size = {size}")
    result = fsck(stored)
    found = findings(result)
    assert result.dropped
    assert "envelope 300 is missing" in found
    assert any("too much is missing" in each for each in found)
    assert any(each.startswith("head says root") for each in found)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE heads SET tree_size = -1", "says size -1"),
        ("UPDATE heads SET tree_size = 'abc'", "says size 'abc'"),
        ("UPDATE heads SET tree_size = 300.5", "says size 300.5"),
        ("DELETE FROM heads", "head row of 'log.example.org' is missing"),
    ],
)
def test_command_refuses_a_head_without_a_size(
    stored: Path, statement: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(stored, statement)
    assert main(["log", "fsck", "--db", str(database(stored))]) == 1
    assert message in capsys.readouterr().out


def test_a_mirror_that_promises_more_than_it_has_is_not_read_for_ever(stored: Path) -> None:
    mirror = export(stored, stored / "mirror")
    with opened(stored) as rows:
        root = rows.head()[1]
    (mirror / "checkpoint").write_bytes(sign_checkpoint(ORIGIN, 1 << 60, root, log_signer()))
    assert any("too much is missing" in each for each in findings(fsck_folder(mirror)))


def test_any_changed_bit_of_the_file_is_found_or_changes_no_row(stored: Path) -> None:
    original = database(stored).read_bytes()
    rows = dump(stored)
    chooser = random.Random(4)
    for _ in range(20):
        position = chooser.randrange(len(original))
        changed = bytearray(original)
        changed[position] ^= 1 << chooser.randrange(8)
        database(stored).write_bytes(changed)
        try:
            clean = fsck(stored).clean
        except TouchplateError:
            clean = False
        assert not clean or dump(stored) == rows, f"bit at byte {position} went unnoticed"


def dump(folder: Path) -> list[str]:
    """The whole database as SQL."""
    with closing(sqlite3.connect(database(folder))) as connection:
        return list(connection.iterdump())


def test_reads_a_tree_of_entries_that_are_no_envelopes(tmp_path: Path) -> None:
    tree = open_sqlite(tmp_path)
    tree.apply(raw_entries(2), sign)
    tree.close()
    assert [finding.where for finding in fsck(tmp_path).findings[:2]] == ["envelope 0", "envelope 1"]


def test_names_a_byte_changed_in_any_file_of_a_mirror(stored: Path) -> None:
    mirror = export(stored, stored / "mirror")
    names = {
        "tile/0/000": "tile 0/0 has another hash than leaf",
        "tile/0/001.p/44": "tile 0/1 has another hash than leaf",
        "tile/1/000.p/1": "tile/1/000.p/1 has a wrong hash",
        "tile/entries/001.p/44": "leaf",
        "tile/envelopes/000": "envelope",
        "checkpoint": "",
    }
    assert findings(fsck_folder(mirror)) == []
    for name, expected in names.items():
        path = mirror / name
        good = path.read_bytes()
        for position in {5, len(good) // 2, len(good) - 3}:
            path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
            if name == "checkpoint":
                assert main(["log", "fsck", "--url", str(mirror), "--policy", str(policy_file(stored))]) != 0
            else:
                assert any(each.startswith(expected) for each in findings(fsck_folder(mirror))), name
        path.write_bytes(good)
    (mirror / "tile/entries/000").unlink()
    assert findings(fsck_folder(mirror))[0] == "leaf 0 is missing"


def policy_file(folder: Path) -> Path:
    path = folder / "policy.txt"
    path.write_text(f"log {verifier_key(log_signer())}\nquorum none\n")
    return path


def test_finds_an_entry_that_was_logged_twice(tmp_path: Path) -> None:
    """A rewritten log that is consistent in itself, down to the signature, but holds one identity twice."""
    tree = open_sqlite(tmp_path)
    other = ENTRIES[1]
    tree.apply([ENTRIES[0], other, ENTRIES[2]], sign)
    tree.close()
    mirror = export(tmp_path, tmp_path / "mirror")
    # The same statement again, as if it were new: a log that does not look for duplicates.
    twice = open_sqlite(tmp_path / "twice")
    changed = type(other)(other.leaf_data, other.leaf_hash, b"\1" * 32, other.packed)
    twice.apply([ENTRIES[0], other, changed], sign)
    twice.close()
    assert findings(fsck_folder(mirror)) == []
    assert findings(fsck_folder(export(tmp_path / "twice", tmp_path / "twice" / "mirror"))) == [
        "identity of 2 stands at index 1"
    ]


@pytest.mark.parametrize("size", [70, 256 + 70])
def test_reads_the_full_tiles_of_a_log_that_grew_on_and_has_removed_its_partials(
    tmp_path: Path, size: int
) -> None:
    log = SimLog(tmp_path / "log")
    for count in (size, 600 - size):
        log.grow(count)
        log.publish()
    log.remove_partials()
    log.write("checkpoint", log.note(size))
    result = fsck_folder(log.folder)
    assert (result.size, result.root, findings(result)) == (size, log.root(size), [])
    last = f"{size // TILE_WIDTH:03d}"
    log.damage(f"tile/0/{last}", at=69 * 32)
    assert findings(fsck_folder(log.folder)) == [
        f"tile 0/{size // TILE_WIDTH} has another hash than leaf {size - 1}"
    ]
    (log.folder / f"tile/entries/{last}").unlink()
    assert f"leaf {size - 1} is missing" in findings(fsck_folder(log.folder))


def rewritten(folder: Path, keep: Callable[[int], bool]) -> Path:
    """A log that is good in itself, made of only some of the entries."""
    tree = open_sqlite(folder)
    tree.apply([entry for index, entry in enumerate(ENTRIES) if keep(index)], sign)
    tree.close()
    return folder


def test_a_log_that_dropped_an_entry_is_found_out_by_an_older_checkpoint(
    stored: Path, tmp_path: Path
) -> None:
    with opened(stored) as rows:
        _, _, note = rows.head()
    assert note is not None
    kept = unverified_body(note)
    assert findings(fsck(stored, against=[kept])) == []
    dropping = rewritten(tmp_path / "dropping", lambda index: index != 150)
    assert findings(fsck(dropping)) == []  # nothing to see without a memory
    assert findings(fsck(dropping, against=[kept])) == [
        "an older checkpoint speaks of 300 entries; the log has 299"
    ]
    forked = rewritten(tmp_path / "forked", lambda index: index != 150)
    tree = open_sqlite(forked)
    tree.apply(signed_entries(20, start=1000), sign)
    tree.close()
    assert findings(fsck(forked)) == []
    assert findings(fsck(forked, against=[kept]))[0].startswith("an older checkpoint says root")
    early = unverified_body(sign_checkpoint(ORIGIN, 100, open_early(tmp_path), log_signer()))
    assert findings(fsck(forked, against=[early])) == []


def test_a_checkpoint_of_another_log_is_told_from_a_fork(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fsck(stored).root
    for size in (SIZE, SIZE + 1):
        other = UnverifiedCheckpoint("other.example.org", size, root)
        assert findings(fsck(stored, against=[other])) == [
            f"an older checkpoint is of the log 'other.example.org'; this one is '{ORIGIN}'"
        ]
    text = policy_file(stored)
    assert main(["log", "fsck", "--db", str(database(stored)), "--against", str(text)]) == 2
    assert f"--against: {text} is no checkpoint: " in capsys.readouterr().err


def test_an_origin_for_a_served_log_is_not_passed_over(stored: Path) -> None:
    mirror = export(stored, stored / "mirror")
    assert main(["log", "fsck", "--url", str(mirror)]) == 0
    assert main(["log", "fsck", "--url", str(mirror), "--origin", ORIGIN]) == 64


def open_early(folder: Path) -> bytes:
    """The root of the first hundred entries."""
    tree = open_sqlite(folder / "early")
    tree.apply(ENTRIES[:100])
    root = tree.head().root
    tree.close()
    return root


def test_command_prints_findings_and_exit_codes(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["log", "fsck", "--db", str(database(stored)), "--policy", str(policy_file(stored))]
    assert main(arguments) == 0
    assert capsys.readouterr().out.endswith(": clean\n")
    damage(stored, "DELETE FROM identities WHERE leaf_index = 33")
    assert main(arguments) == 1
    assert "identity of 33 is missing\n" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["clean"] is False
    assert report["checkpointVerified"] is True
    assert {"where": "identity of 33", "what": "is missing"} in report["findings"]
    assert main(["log", "fsck", "--db", str(stored / "absent.sqlite")]) == 2
    assert main(["log", "fsck"]) == 64


def test_command_reads_a_node_configuration(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stored / "data" / "log").mkdir(parents=True)
    database(stored).rename(stored / "data" / "log" / "log.sqlite")
    key = stored / "log.key"
    key.write_text(log_signer().format() + "\n")
    key.chmod(0o600)
    config = stored / "node.toml"
    config.write_text(f'data = "data"\n[log]\norigin = "{ORIGIN}"\nkey = "file:log.key"\n')
    assert main(["log", "fsck", "--config", str(config)]) == 0
    key.write_text(log_signer("another").format() + "\n")
    assert main(["log", "fsck", "--config", str(config)]) == 1
    assert "checkpoint cannot be opened" in capsys.readouterr().out
    config.write_text("data = 1\n")
    assert main(["log", "fsck", "--config", str(config)]) == 2


def test_command_prints_a_checkpoint(stored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = export(stored, stored / "mirror")
    arguments = ["log", "checkpoint", "--url", str(mirror)]
    note = (mirror / "checkpoint").read_text()
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert shown.out == note
    assert "not verified" in shown.err
    assert main([*arguments, "--policy", str(policy_file(stored)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True
    wrong = stored / "wrong.txt"
    wrong.write_text(f"log {verifier_key(log_signer('another'))}\nquorum none\n")
    assert main([*arguments, "--policy", str(wrong)]) == 2


def test_sees_one_state_of_a_log_that_goes_on_growing(stored: Path) -> None:
    tree = open_sqlite(stored)
    with opened(stored) as rows:
        assert rows.head()[0] == SIZE
        tree.apply(signed_entries(10, start=5000), sign)
        assert findings(check_log(rows, policy=solo_policy())) == []
    tree.close()
    assert fsck(stored).size == SIZE + 10


def test_refuses_what_is_not_a_logs_database(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "other.sqlite")
    with pytest.raises(RequestError, match="not a log's database"):
        TreeRows(engine)
    engine.dispose()


def test_asks_which_of_several_trees(tmp_path: Path) -> None:
    for name in ("one.example.org", "two.example.org"):
        tree = open_sqlite(tmp_path, name)
        tree.apply([ENTRIES[0]])
        tree.close()
    with pytest.raises(RequestError, match="holds 2 trees"), opened(tmp_path):
        pass
    with pytest.raises(RequestError, match="no tree"), opened(tmp_path, "three.example.org"):
        pass
    with opened(tmp_path, "two.example.org") as rows:
        assert rows.head()[0] == 1
