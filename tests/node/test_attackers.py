"""What somebody who controls one part can do at most: the claims of SECURITY.md's table, tried out.

Each test takes one part over and shows both halves: what then goes wrong, and what still holds.
"""

import contextlib
import hashlib
import io
import json
import re
import sqlite3
from pathlib import Path

import pytest
from tests.api.support import JAR, World, running_node, running_upstream, world, write_node
from tests.simkeys import log_signer, verifier_key, witness_signer
from tests.simlog import SimLog
from tests.verify.bundles import make_bundle
from tests.verify.cases import (
    comparison,
    default_blocks,
    make_trust,
    provenance,
    rebuilder_block,
    record,
    second,
)
from tests.verify.support import LIB, OPERATOR_A, OPERATOR_B, OTHER, PUBLISHED

from touchplate.log.remembered import FILE_NAME
from touchplate.log.service import database_path, log_folder
from touchplate.node.config import load_config
from touchplate.verify.check import check_bundle, digest_file
from touchplate.verify.client import LogClient
from touchplate.verify.errors import ForkError, PolicyError, RefusedError
from touchplate.verify.jcs import format_json
from touchplate.verify.policy import parse_policy

ROOT = Path(__file__).resolve().parents[2]
TOOL = "org/example/tool/2.0/tool-2.0.jar"
GOOD, EVIL = b"what the publisher released\n", b"what the attacker wants you to run\n"
NOW = 1_800_000_000
DIGESTS = digest_file(io.BytesIO(PUBLISHED))
OTHER_DIGESTS = digest_file(io.BytesIO(OTHER))


def test_an_upstream_that_lies_from_the_start_passes_recorded_and_never_reproduced(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        for path in (TOOL, JAR):
            here.upstream.put(path, EVIL)
        assert here.get(f"/maven/central/{TOOL}").body == EVIL
        assert here.get(f"/maven/central/{JAR}").status == 403


def test_an_upstream_that_lies_later_is_refused_by_whoever_shares_the_log(tmp_path: Path) -> None:
    with world(tmp_path, record=True) as here:
        here.append(record())
        here.upstream.put(JAR, EVIL)
        assert here.get(f"/maven/central/{JAR}").json["reason"] == "upstream-changed"
        assert here.node.alarms.list()


def test_one_stolen_operator_key_makes_nothing_reproduced(tmp_path: Path) -> None:
    stolen = [
        provenance(data=OTHER),
        provenance(key="rebuilder-a2", data=OTHER),
        provenance(data=OTHER, note="2"),
    ]
    with pytest.raises(RefusedError, match="1 of 2 operators"):
        check_bundle(make_bundle(stolen, OTHER), OTHER_DIGESTS, LIB, make_trust(), now=NOW)


def test_a_reader_who_asks_for_one_operator_falls_with_one_key() -> None:
    forged = make_bundle([provenance(data=OTHER)], OTHER)
    report = check_bundle(forged, OTHER_DIGESTS, LIB, make_trust("operators = 1"), now=NOW)
    assert report.levels.reproduced


def test_a_retired_key_makes_nothing_count_any_more() -> None:
    retired = rebuilder_block(OPERATOR_A, "rebuilder-a", "until_index = 1")
    trust = make_trust(blocks=[retired, rebuilder_block(OPERATOR_B, "rebuilder-b")])
    entries = [second(), provenance()]
    with pytest.raises(RefusedError) as caught:
        check_bundle(make_bundle(entries), DIGESTS, LIB, trust, now=NOW)
    assert caught.value.reason == "out-of-range"


def test_a_retired_key_counts_again_in_a_history_that_the_log_key_rewrote() -> None:
    """The limit of `until_index`: it leans on the log. Remembered checkpoints and witnesses see the fork."""
    retired = rebuilder_block(OPERATOR_A, "rebuilder-a", "until_index = 1")
    trust = make_trust(blocks=[retired, rebuilder_block(OPERATOR_B, "rebuilder-b")])
    rewritten = make_bundle([provenance(note="signed yesterday with the stolen key"), second()])
    assert check_bundle(rewritten, DIGESTS, LIB, trust, now=NOW).levels.reproduced


def test_a_recorder_key_reaches_recorded_for_anything_and_no_more() -> None:
    forged = make_bundle([record(OTHER)], OTHER)
    trust = make_trust()
    assert check_bundle(forged, OTHER_DIGESTS, LIB, trust, now=NOW, need=("recorded",)).levels.recorded
    with pytest.raises(RefusedError, match="0 of 2 operators"):
        check_bundle(forged, OTHER_DIGESTS, LIB, trust, now=NOW)


def test_a_recorder_key_keeps_a_good_file_from_those_who_come_later(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.append(record(OTHER), provenance(), second())
        here.upstream.put(JAR, PUBLISHED)
        assert here.get(f"/maven/central/{JAR}").json["reason"] == "upstream-changed"


def test_the_log_key_makes_no_entry() -> None:
    blocks = [block for block in default_blocks() if block != rebuilder_block(OPERATOR_B, "rebuilder-b")]
    forged = make_bundle([record(), provenance(), second()])
    with pytest.raises(RefusedError) as caught:
        check_bundle(forged, DIGESTS, LIB, make_trust(blocks=blocks), now=NOW)
    assert caught.value.reason == "unknown-key"


def test_the_log_key_forks_unseen_for_a_reader_without_memory_and_seen_by_one_with(tmp_path: Path) -> None:
    log = SimLog(tmp_path / "log")
    log.grow(5)
    log.publish()
    state = tmp_path / "state"
    LogClient(log.folder, log.policy, state).checkpoint()
    fork = log.fork(tmp_path / "fork", 3)
    fork.grow(4, "other ")
    fork.publish()
    assert LogClient(fork.folder, log.policy).checkpoint().size == 7  # a newcomer has nothing to compare
    with pytest.raises(ForkError):
        LogClient(fork.folder, log.policy, state).checkpoint()


def test_the_log_key_alone_does_not_satisfy_a_policy_with_a_witness(tmp_path: Path) -> None:
    witness = verifier_key(witness_signer("witness.example.org"))
    policy = f"log {verifier_key(log_signer())}\nwitness w {witness}\nquorum w\n"
    log = SimLog(tmp_path / "log")
    log.grow(2)
    log.publish()
    with pytest.raises(PolicyError, match="quorum"):
        LogClient(log.folder, parse_policy(policy)).checkpoint()


def test_who_takes_the_database_and_its_memory_makes_the_log_sign_another_history(tmp_path: Path) -> None:
    """`newest.checkpoint` beside the database is against mishaps: who writes to the folder removes it,
    too."""
    with running_upstream() as upstream:
        config = load_config(write_node(tmp_path, upstream.url))
        with running_node(config) as (node, _):
            node.log.append([one.envelope for one in (record(), provenance(), second())])
            before = node.log.checkpoint()
        folder = log_folder(config.data)
        for path in [*folder.glob(database_path(folder).name + "*"), folder / FILE_NAME]:
            path.unlink()
        with running_node(config) as (node, _):
            node.log.append([record(OTHER).envelope])
            after = node.log.checkpoint()
    assert (before.splitlines()[1], after.splitlines()[1]) == (b"3", b"1")
    assert before.splitlines()[0] == after.splitlines()[0]


def forge_evidence(index: Path) -> None:
    """Two rebuilds that nobody signed, written past everything."""
    detail = json.dumps({"sources": ["vcs"], "digests": {"sha256": sha256(EVIL)}})
    named = (sha256(EVIL), str(LIB), str(LIB.package), "provenance")
    with contextlib.closing(sqlite3.connect(index)) as database:
        for number, operator in enumerate((OPERATOR_A, OPERATOR_B)):
            row = (1000 + number, *named, operator, "0" * 64, detail, None)
            database.execute("INSERT INTO evidence VALUES (?,?,?,?,?,?,?,?,?)", row)
        database.commit()


def test_who_writes_to_the_index_decides_for_this_node_and_for_no_auditor(tmp_path: Path) -> None:
    with running_upstream() as upstream:
        upstream.put(JAR, EVIL)
        config = load_config(write_node(tmp_path, upstream.url))
        with running_node(config) as (node, app):
            here = World(tmp_path, upstream, node, app)
            assert here.get(f"/maven/central/{JAR}").status == 403
            forge_evidence(config.data / "index.sqlite")
            assert here.get(f"/maven/central/{JAR}").status == 200  # this node is fooled
            bundle = here.get(f"/maven/central/{JAR}.touchplate.json").body
            with pytest.raises(RefusedError, match="0 of 2 operators"):
                check_bundle(bundle, digest_file(io.BytesIO(EVIL)), LIB, node.trust, now=NOW)
        (config.data / "index.sqlite").unlink()
        with running_node(config) as (node, app):
            assert World(tmp_path, upstream, node, app).get(f"/maven/central/{JAR}").status == 403


def test_who_writes_to_the_links_swaps_no_file_that_the_log_speaks_of(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        for path, content in ((TOOL, EVIL), (JAR, PUBLISHED)):
            here.upstream.put(path, content)
            here.get(f"/maven/central/{path}")
        here.append(provenance(), second())
        with contextlib.closing(sqlite3.connect(here.node.config.data / "links.sqlite")) as links:
            links.execute("UPDATE links SET sha256 = ? WHERE path = ?", (sha256(EVIL), JAR))
            links.commit()
        answer = here.get(f"/maven/central/{JAR}")
        assert (answer.status, answer.json["reason"]) == (403, "upstream-changed")


def test_who_writes_to_the_blobs_has_the_file_fetched_again(tmp_path: Path) -> None:
    with world(tmp_path) as here:
        here.upstream.put(TOOL, GOOD)
        here.get(f"/maven/central/{TOOL}")
        here.node.blobs.path(sha256(GOOD)).write_bytes(EVIL)
        assert here.get(f"/maven/central/{TOOL}").body == GOOD
        assert "damaged" in here.node.alarms.list()[0].message


def test_the_network_changes_no_byte_that_verify_lets_pass() -> None:
    bundle = make_bundle([record(), provenance(), second()])
    trust = make_trust()
    assert check_bundle(bundle, DIGESTS, LIB, trust, now=NOW).levels.reproduced
    for content in (PUBLISHED + b" ", OTHER):
        with pytest.raises(RefusedError):
            check_bundle(bundle, digest_file(io.BytesIO(content)), LIB, trust, now=NOW)


def test_the_network_can_hide_a_contradiction_and_a_bundle_does_not_show_it(tmp_path: Path) -> None:
    """A bundle shows what is in the log, never that nothing else is: that takes somebody who reads it all."""
    whole = [provenance(), second(), comparison("rebuilder-c", "different")]
    told = check_bundle(make_bundle(whole), DIGESTS, LIB, make_trust(), now=NOW)
    hidden = json.loads(make_bundle(whole))
    hidden["entries"] = hidden["entries"][:2]
    silent = check_bundle(format_json(hidden), DIGESTS, LIB, make_trust(), now=NOW)
    assert [len(one.levels.contradicted_by) for one in (told, silent)] == [1, 0]
    assert silent.levels.reproduced


def test_every_test_that_the_table_names_exists() -> None:
    table = (ROOT / "SECURITY.md").read_text()
    named = set(re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`", table))
    named |= {
        ("tests/node/test_attackers.py", name) for name in re.findall(r"(?<!::)`(test_[a-z0-9_]+)`", table)
    }
    assert len(named) > 10
    missing = [name for path, name in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert missing == []


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
