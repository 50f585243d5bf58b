"""The operator's guide works as it is written: its commands are run, in order, in an empty folder.

Only ports and the folder of PostgreSQL's socket are others than on the page, since those may be taken here.
"""

import re
from pathlib import Path

from tests.guides import on_free_ports, run_script
from tests.log.operated import Operated, note_in
from tests.postgres import USER, Server, programs

from touchplate.base.config import load
from touchplate.log.bucket.config import BucketConfig
from touchplate.log.metrics import LogMetrics, LogState
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.policy import parse_policy

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "log" / "OPERATING.md"
SOCKET = "host=/run/postgresql"
PORTS = ("8350", "8351", "8352", "8360", "8362")
"""They stand for themselves: no other number on the page contains them."""


def section(title: str) -> str:
    text = GUIDE.read_text(encoding="utf-8")
    return text[text.index(f"\n## {title}\n") + 1 :].split("\n## ", 1)[0]


def script(title: str) -> str:
    """The commands of a section."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL))


def run(text: str, folder: Path, postgres: Server) -> str:
    """What the commands print, on ports and a database of this test."""
    text = on_free_ports(text, PORTS).replace(SOCKET, f"host={postgres.folder}")
    about = {"PGHOST": str(postgres.folder), "PGPORT": str(postgres.port), "PGUSER": USER}
    return run_script(text, folder, about, programs())


def test_from_nothing_to_a_public_log(tmp_path: Path, postgres: Server) -> None:
    commands = script("From nothing to a public log")
    # Until the last of what it started is gone, its output is open.
    said = run(f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{commands}", tmp_path, postgres)
    lines = said.splitlines()
    assert [line for line in lines if line.startswith("entry ")] == ["entry 0", "entry 1", "entry 2"]
    assert {"touchplate_log_size 3.0", "touchplate_log_leads 1.0"} <= set(lines)
    policy = parse_policy((tmp_path / "policy.txt").read_text())
    shown = open_checkpoint((tmp_path / "public" / "checkpoint").read_bytes(), policy)
    assert [name for name, _ in shown.cosigners] == ["w1"]
    assert open_checkpoint(note_in(tmp_path / "mirror"), policy).size == 2
    # What a frontend remembers is in its own folder, and who asked the witness remembers what it signed.
    for name in ("data-a", "data-b"):
        assert (tmp_path / name / "log" / "newest.checkpoint").exists()
    assert list(tmp_path.glob("data-*/log/signed.head"))
    assert "Traceback" not in said


def test_from_sqlite_to_postgresql(tmp_path: Path, postgres: Server) -> None:
    postgres.sql(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'touchplate')"
        " THEN CREATE ROLE touchplate LOGIN; END IF; END $$"
    )
    old = Operated(tmp_path)
    note = old.append(0, 300)
    old.config.rename(tmp_path / "sqlite.toml")
    said = run(script("Move it"), tmp_path, postgres)
    assert "300 entries (+300)" in said
    new = Operated(
        tmp_path, f"postgresql+psycopg://touchplate@/moved?host={postgres.folder}&port={postgres.port}"
    )
    assert new.findings() == []
    with new.running() as service:
        assert service.checkpoint() == note
    assert new.append(300, 301).splitlines()[1] == b"301"


def test_the_table_of_the_bucket_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n\[log\.bucket\]\n(.*?)```", section("In a bucket"), re.DOTALL)
    config = load(BucketConfig, text, where=tmp_path / "node.toml")
    assert (config.bucket, config.prefix, config.conditional) == ("log-example-org", "log", True)


def test_the_metrics_of_the_guide_are_those_of_the_code() -> None:
    named = re.findall(r"`(touchplate_log_[a-z_]+)", section("Watch it"))
    state = LogState(
        size=0,
        published=-1,
        checkpoint=None,
        published_seconds=None,
        frozen=False,
        waiting=0,
        leads=True,
        witnesses=(),
        exported=(),
    )
    told = [family.name for family in LogMetrics(lambda: state).registry.collect()]
    assert sorted(named) == sorted(told)


def test_the_contents_lead_to_sections_that_are_there() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    titles = {
        re.sub(r"[^a-z0-9 -]", "", line.removeprefix("## ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("## ")
    }
    links = re.findall(r"\(#([a-z0-9-]+)\)", text)
    assert len(links) > 10
    assert set(links) <= titles
