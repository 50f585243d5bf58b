"""An auditor who shares no code with us reads our logs, and finds whatever is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conformance.go_programs import program
from tests.conformance.made_logs import LogCopy, make_log, make_raw_log
from tests.conformance.readers import read_log
from tests.log.support import sign
from tests.simkeys import ORIGIN, log_signer, verifier_key

from touchplate.verify.checkpoints import parse_checkpoint_body
from touchplate.verify.cli import main
from touchplate.verify.notes import sign_note

SIZE = 257
Damage = Callable[[LogCopy], None]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> LogCopy:
    """A log of one full tile, one more entry, and a bundle of three of them."""
    return make_log(tmp_path_factory.mktemp("log"), SIZE)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "tiles"), [(0, 0), (1, 1), (255, 1), (256, 2), (257, 3)])
def test_reads_logs_of_signed_entries(size: int, tiles: int, tmp_path: Path) -> None:
    reading = read_log(program("reader"), make_log(tmp_path, size))
    assert reading.problems == ()
    entries = len({0, size // 2, size - 1}) if size else 0
    assert reading.checked == {
        "size": size,
        "tiles": tiles,
        "inclusion": size,
        "consistency": size,
        "envelopes": size,
        "bundles": min(1, size),
        "proofs": entries,
        "problems": 0,
    }


@pytest.mark.slow
def test_reads_a_log_with_three_levels_of_tiles(tmp_path: Path) -> None:
    reading = read_log(program("reader"), make_raw_log(tmp_path, 70_000))
    assert reading.problems == ()
    # 273 full tiles and a partial of leaf hashes, 1 and a partial above them, 1 at the top.
    assert (reading.checked["tiles"], reading.checked["inclusion"]) == (277, 70_000)


@pytest.mark.slow
def test_reads_full_tiles_where_partials_were_removed(tmp_path: Path) -> None:
    """tlog-tiles lets a log remove a partial once the full tile exists, also for readers of older heads."""
    older = parse_checkpoint_body(text_of(make_raw_log(tmp_path / "older", 200)))
    log = make_raw_log(tmp_path / "newer", 256)
    log.write("checkpoint", sign(older.size, older.root))
    assert read_log(program("reader"), log).problems == ()


def text_of(log: LogCopy) -> str:
    """The checkpoint without its signatures."""
    return (log.folder / "checkpoint").read_text().partition("\n\n")[0] + "\n"


def signature_bit(log: LogCopy) -> None:
    note = (log.folder / "checkpoint").read_text()
    other = "A" if note[-10] != "A" else "B"
    log.write("checkpoint", (note[:-10] + other + note[-9:]).encode())


def root_unsigned(log: LogCopy) -> None:
    note = (log.folder / "checkpoint").read_text().splitlines(keepends=True)
    note[2] = "A" + note[2][1:] if note[2][0] != "A" else "B" + note[2][1:]
    log.write("checkpoint", "".join(note).encode())


def root_signed(log: LogCopy) -> None:
    log.write("checkpoint", sign(SIZE, bytes(32)))


def size_signed(log: LogCopy) -> None:
    root = parse_checkpoint_body(text_of(log)).root
    log.write("checkpoint", sign(SIZE - 1, root))


def size_too_large(log: LogCopy) -> None:
    log.write("checkpoint", sign(SIZE + 1, parse_checkpoint_body(text_of(log)).root))


def extension_line(log: LogCopy) -> None:
    log.write("checkpoint", sign_note(text_of(log) + "more\n", [log_signer()]))


def other_origin(log: LogCopy) -> None:
    text = text_of(log).replace(ORIGIN, "other.example.org")
    log.write("checkpoint", sign_note(text, [log_signer()]))


def bundle_changed(change: Callable[[dict[str, list[dict[str, object]]]], None]) -> Damage:
    def damage(log: LogCopy) -> None:
        bundle = json.loads(log.bundles[0].read_text())
        change(bundle)
        log.bundles[0].write_text(json.dumps(bundle))

    return damage


def proof_hash(bundle: dict[str, list[dict[str, object]]]) -> None:
    proof = bundle["entries"][1]["proof"]
    assert isinstance(proof, list)
    proof[0], proof[1] = proof[1], proof[0]


def proof_index(bundle: dict[str, list[dict[str, object]]]) -> None:
    bundle["entries"][1]["index"] = "129"


def entry_swapped(bundle: dict[str, list[dict[str, object]]]) -> None:
    for name in ("envelope", "key"):
        bundle["entries"][1][name] = bundle["entries"][0][name]


def cut(path: str) -> Damage:
    return lambda log: log.write(path, (log.folder / path).read_bytes()[:-1])


def lengthened(path: str) -> Damage:
    return lambda log: log.write(path, (log.folder / path).read_bytes() + b"\0")


def gone(path: str) -> Damage:
    return lambda log: (log.folder / path).unlink()


def flipped(path: str, at: int) -> Damage:
    return lambda log: log.flip(path, at)


NO_FILE = "no such file"
DAMAGES: dict[str, tuple[Damage, list[tuple[str, str, str]]]] = {
    "signature of the checkpoint": (signature_bit, [("checkpoint", "checkpoint", "invalid signature")]),
    "root of the checkpoint": (root_unsigned, [("checkpoint", "checkpoint", "invalid signature")]),
    "another root, signed": (
        root_signed,
        [
            ("root", "checkpoint", f"says {'00' * 32}"),
            ("inclusion", "index 0", f"instead of {'00' * 32}"),
            ("consistency", "from size 1", f"instead of {'00' * 32}"),
        ],
    ),
    "another size, signed": (size_signed, [("root", "checkpoint", "the entries give the root")]),
    "a size beyond the entries": (size_too_large, [("entries", "tile/entries/001.p/2", NO_FILE)]),
    "an extension line": (extension_line, [("checkpoint", "checkpoint", "4 lines")]),
    "another origin": (other_origin, [("checkpoint", "checkpoint", 'origin "other.example.org"')]),
    "no checkpoint": (gone("checkpoint"), [("checkpoint", "checkpoint", NO_FILE)]),
    "byte of a tile of leaf hashes": (
        flipped("tile/0/000", 32 * 7),
        [("tile", "tile/0/000", "hash 7 is"), ("inclusion", "index 0", "leads to")],
    ),
    "byte of the last tile": (flipped("tile/0/001.p/1", 31), [("tile", "tile/0/001.p/1", "hash 0 is")]),
    "byte of an upper tile": (
        flipped("tile/1/000.p/1", 0),
        [("tile", "tile/1/000.p/1", "hash 0 is"), ("inclusion", "index 256", "leads to")],
    ),
    "no tile": (gone("tile/0/000"), [("tile", "tile/0/000", NO_FILE), ("inclusion", "index 0", "no tile")]),
    "no upper tile": (gone("tile/1/000.p/1"), [("tile", "tile/1/000.p/1", NO_FILE)]),
    "tile cut": (cut("tile/0/000"), [("tile", "tile/0/000", "8191 bytes instead of 8192")]),
    "tile too long": (lengthened("tile/0/001.p/1"), [("tile", "tile/0/001.p/1", "33 bytes instead of 32")]),
    "byte of an entry": (
        flipped("tile/entries/000", 100),
        [
            ("root", "checkpoint", "the entries give the root"),
            ("tile", "tile/0/000", "hash 0 is"),
            ("inclusion", "index 0", "leads to"),
            ("envelopes", "tile/envelopes/000", "envelope 0: it does not yield the entry at index 0"),
        ],
    ),
    "length of an entry": (flipped("tile/entries/000", 0), [("entries", "tile/entries/000", "ends inside")]),
    "entries cut": (cut("tile/entries/001.p/1"), [("entries", "tile/entries/001.p/1", "ends inside")]),
    "entries too long": (
        lengthened("tile/entries/001.p/1"),
        [("entries", "tile/entries/001.p/1", "1 bytes after its 1 elements")],
    ),
    "no entries": (gone("tile/entries/000"), [("entries", "tile/entries/000", NO_FILE)]),
    "byte of an envelope": (
        flipped("tile/envelopes/000", 40),
        [("envelopes", "tile/envelopes/000", "envelope 0: ")],
    ),
    "no envelopes": (gone("tile/envelopes/001.p/1"), [("envelopes", "tile/envelopes/001.p/1", NO_FILE)]),
    "hash of a proof": (
        bundle_changed(proof_hash),
        [("bundle", "bundle.json entry 1", "inclusion at index 128: leads to")],
    ),
    "index of a proof": (
        bundle_changed(proof_index),
        [
            ("bundle", "bundle.json entry 1", "inclusion at index 129: leads to"),
            ("bundle", "bundle.json entry 1", "is not the entry at index 129"),
        ],
    ),
    "entry of a bundle": (
        bundle_changed(entry_swapped),
        [("bundle", "bundle.json entry 1", "is not the entry at index 128")],
    ),
    "head of a bundle": (
        bundle_changed(lambda bundle: bundle.update(checkpoint=sign(SIZE, bytes(32)).decode())),  # type: ignore[call-overload]
        [("bundle", "bundle.json", "is not one of this log")],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGES)
def test_names_what_is_damaged(name: str, log: LogCopy, tmp_path: Path) -> None:
    damage, wanted = DAMAGES[name]
    damaged = log.copy(tmp_path)
    damage(damaged)
    reading = read_log(program("reader"), damaged)
    missing = [each for each in wanted if not reading.names(*each)]
    assert missing == [], reading.problems


@pytest.mark.slow
def test_a_head_by_another_key_is_refused(log: LogCopy) -> None:
    stranger = LogCopy(log.folder, verifier_key(log_signer("stranger")), log.bundles)
    assert read_log(program("reader"), stranger).names("checkpoint", "checkpoint", "note has no verifiable")


# --- tlog-proofs ---

INDEXES = (0, 128, 256)


@pytest.fixture(scope="module")
def proven(log: LogCopy, tmp_path_factory: pytest.TempPathFactory) -> LogCopy:
    """The log, with tlog-proofs as `touchplate prove` makes them, one of them without its entry."""
    folder = tmp_path_factory.mktemp("proofs")
    policy = folder / "policy.txt"
    policy.write_text(f"log {log.key}\nquorum none\n")
    made = []
    for index in INDEXES:
        for bare in ((), ("--bare",)) if index == 128 else ((),):
            made.append(folder / f"{index}{''.join(bare)}.tlog-proof")
            command = ["prove", "--log", log.folder, "--policy", policy, "--state", folder / "state"]
            command += ["--index", index, *bare, "--out", made[-1]]
            assert main([str(each) for each in command]) == 0
    return LogCopy(log.folder, log.key, tuple(made))


@pytest.mark.slow
def test_reads_our_tlog_proofs(proven: LogCopy) -> None:
    reading = read_log(program("reader"), proven)
    assert reading.problems == ()
    assert reading.checked["tlogProofs"] == len(INDEXES) + 1


def _line(number: int, text: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        lines = data.split(b"\n")
        lines[number] = text
        return b"\n".join(lines)

    return change


PROOF_DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another version": (_line(0, b"c2sp.org/tlog-proof@v2"), "missing expected header"),
    "another index": (_line(2, b"index 129"), "does not carry the entry at index 129"),
    "an index beyond the tree": (_line(2, b"index 257"), "index 257 is not in its tree"),
    "another hash": (_line(3, b"A" * 43 + b"="), "inclusion at index 128"),
    "no extra data that is an entry": (_line(1, b"extra AAAA"), "its extra data"),
    "another spelling": (lambda data: data.replace(b"index 128", b"index 0128"), "other bytes"),
    "a changed head": (
        lambda data: data.replace(b"\n257\n", b"\n258\n"),
        "its checkpoint: invalid signature",
    ),
    "a cut end": (lambda data: data[:-30], "its checkpoint"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROOF_DAMAGES)
def test_names_what_is_wrong_with_a_tlog_proof(name: str, proven: LogCopy, tmp_path: Path) -> None:
    change, detail = PROOF_DAMAGES[name]
    path = tmp_path / "128.tlog-proof"
    good = proven.bundles[1].read_bytes()
    path.write_bytes(change(good))
    assert path.read_bytes() != good
    reading = read_log(program("reader"), LogCopy(proven.folder, proven.key, (path,)))
    assert reading.names("tlog-proof", path.name, detail), reading.problems


@pytest.mark.slow
def test_the_entry_of_another_proof_is_not_taken(proven: LogCopy, tmp_path: Path) -> None:
    path = tmp_path / "128.tlog-proof"
    extra = proven.bundles[0].read_bytes().split(b"\n")[1]
    path.write_bytes(_line(1, extra)(proven.bundles[1].read_bytes()))
    reading = read_log(program("reader"), LogCopy(proven.folder, proven.key, (path,)))
    assert reading.names("tlog-proof", path.name, "does not carry the entry at index 128")
