"""Logs, mirrors and looks at both, for the tests of `touchplate log follow`."""

from pathlib import Path

from tests.simlog import SimLog

from touchplate.log.follow import Follower, Update
from touchplate.log.fsck import check_log
from touchplate.log.mirror import Mirror, MirrorFirst
from touchplate.log.served import ServedLog
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.client import LogClient
from touchplate.verify.entry import Entry
from touchplate.verify.policy import Policy
from touchplate.verify.sources import open_source


def publish(log: SimLog, count: int = 0, flavour: str = "") -> SimLog:
    """Let a log grow and show it."""
    log.grow(count, flavour)
    log.publish()
    return log


def follow(
    source: str | Path, folder: Path, policy: Policy, *, recheck: bool = False, state: Path | None = None
) -> Update:
    """One update of the mirror in `folder`, by a follower that was just started."""
    with Mirror(folder, policy) as mirror:
        first = MirrorFirst(open_source(source), folder)
        client = LogClient(first, policy, state, reports=folder)
        return Follower(mirror, first, client).update(recheck=recheck)


def wrong_with(folder: Path, policy: Policy) -> list[str]:
    """What fsck finds in a mirror."""

    def read_head(note: bytes) -> tuple[int, bytes]:
        head = open_checkpoint(note, policy)
        return head.size, head.root

    return [
        str(each) for each in check_log(ServedLog(open_source(folder), read_head), policy=policy).findings
    ]


def entries_in(folder: Path, policy: Policy) -> list[Entry]:
    """All entries of a mirror, as a client reads them."""
    client = LogClient(folder, policy)
    client.checkpoint()
    return [entry for _, entry in client.entries()]


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file of a mirror by its path, but for the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def reports_in(folder: Path) -> list[str]:
    """The names of the reports beside a mirror, without the part that names the root."""
    return sorted(path.name.rpartition("-")[0] for path in folder.glob("*.json"))
