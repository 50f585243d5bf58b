"""Several frontends of one log that publishes what witnesses have cosigned: one asks, all show the same."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.log.cosigning.support import WitnessServer, policy_text, read_policy, witnesses
from tests.log.frontends.support import POLICY, append, findings, frontends, until
from tests.log.frontends.test_failover import check, crowd, has_more, under_load
from tests.log.support import sign, signed_entries
from tests.postgres import Server
from tests.simkeys import ORIGIN

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.log.errors import CheckpointError, SupersededError
from touchplate.log.frontends.service import FrontendService
from touchplate.log.storage.shared import open_shared
from touchplate.verify.checkpoints import open_checkpoint

KILLS = 3


@contextmanager
def asked(folder: Path, needed: int = 2) -> Iterator[list[WitnessServer]]:
    """Three witnesses whom all frontends below `folder` ask."""
    with witnesses(folder / "witnesses") as servers:
        (folder / POLICY).write_text(policy_text(servers, needed))
        yield servers


def published(service: FrontendService, folder: Path) -> int:
    """The size of what a frontend serves, as a reader with the policy opens it; -1 before the first."""
    note = service.tree.head().checkpoint
    if note is None:
        return -1
    return open_checkpoint(note, read_policy((folder / POLICY).read_text())).size


def shows(services: Sequence[FrontendService], folder: Path, size: int) -> bool:
    return all(published(one, folder) == size for one in services)


def remembered(folder: Path) -> list[int]:
    """The sizes in `newest.checkpoint` of each frontend."""
    paths = sorted(folder.glob("frontend-*/data/newest.checkpoint"))
    return [int(path.read_text().splitlines()[1]) for path in paths]


def leaders(services: Sequence[FrontendService]) -> list[FrontendService]:
    return [one for one in services if one.cosigning is not None and one.cosigning.status().leads]


def test_one_asks_and_all_show_what_was_cosigned(tmp_path: Path, database: str) -> None:
    with asked(tmp_path) as servers, frontends(tmp_path, database, 3) as services:
        until(lambda: shows(services, tmp_path, 0))
        for number, one in enumerate(services):
            append(one, signed_entries(10, 10 * number))
            until(lambda size=10 * number + 10: shows(services, tmp_path, size))  # type: ignore[misc]
        assert len(leaders(services)) == 1
        # The third witness's line comes after the quorum, and to the others a moment later.
        until(lambda: len({one.checkpoint() for one in services}) == 1)
        until(lambda: remembered(tmp_path) == [30, 30, 30])
        # The others have signed nothing, and a witness was asked by one process only.
        assert len(list(tmp_path.glob("frontend-*/data/signed.head"))) == 1
        assert servers[0].requests == sorted(servers[0].requests)
        for one in services:
            assert one.cosigning is not None
            assert one.cosigning.status().is_ready
    assert findings(database) == []


def test_without_a_quorum_no_frontend_shows_more_and_then_all_do(tmp_path: Path, database: str) -> None:
    with asked(tmp_path, 3) as servers, frontends(tmp_path, database) as services:
        until(lambda: shows(services, tmp_path, 0))
        servers[2].mode = "failing"
        append(services[1], signed_entries(5))
        (leader,) = leaders(services)
        assert leader.cosigning is not None
        until(lambda: any(each.error for each in leader.cosigning.status().witnesses))  # type: ignore[union-attr]
        assert shows(services, tmp_path, 0)
        servers[2].mode = "good"
        until(lambda: shows(services, tmp_path, 5))


def test_when_the_leader_ends_the_next_one_asks(tmp_path: Path, database: str) -> None:
    with asked(tmp_path) as servers, frontends(tmp_path, database) as services:
        append(services[0], signed_entries(5))
        until(lambda: shows(services, tmp_path, 5))
        (leader,) = leaders(services)
        (other,) = [one for one in services if one is not leader]
        leader.stop()
        append(other, signed_entries(5, 5))
        until(lambda: published(other, tmp_path) == 10)
        assert leaders([other]) == [other]
        assert servers[0].requests == sorted(servers[0].requests)


def test_a_leader_that_lost_its_session_goes_on_when_it_is_elected_again(
    tmp_path: Path, database: str, postgres: Server
) -> None:
    with asked(tmp_path), frontends(tmp_path, database, 1) as (service,):
        until(lambda: shows([service], tmp_path, 0))
        for number in range(3):
            postgres.sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'",
                postgres.name_of(database),
            )
            until(lambda: leaders([service]))
            append(service, signed_entries(3, 3 * number))
            until(lambda size=3 * number + 3: shows([service], tmp_path, size))  # type: ignore[misc]
        assert service.cosigning is not None
        assert service.cosigning.failure is None


def test_heads_only_grow_while_leaders_are_killed_under_load(tmp_path: Path, database: str) -> None:
    """With -9. A witness's memory is the judge: a contradiction would be a 409 that never ends, or a 422."""
    with asked(tmp_path, 3) as servers:
        seen: list[int] = []
        policy = read_policy((tmp_path / POLICY).read_text())
        engine = postgresql_engine(parse_address(database))
        open_shared(engine, ORIGIN).close()
        done = threading.Event()

        def watch() -> None:
            tree = open_shared(postgresql_engine(parse_address(database)), ORIGIN)
            while not done.wait(0.02):
                if (note := tree.follow().checkpoint) is not None:
                    seen.append(open_checkpoint(note, policy).size)
            tree.close()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            with crowd(tmp_path, database, 2) as group:
                places = list(group.all)
                for _ in range(KILLS):
                    under_load(places)
                    holder, count, shown = group.elections[-1], len(group.elections), len(set(seen))
                    until(lambda shown=shown: len(set(seen)) > shown)  # type: ignore[misc]
                    holder.process.send_signal(signal.SIGKILL)
                    holder.process.wait()
                    until(partial(has_more, group.elections, count))
                    number = places.index(holder)
                    places[number] = group.start(number)
                size = max(seen)
                until(lambda: max(seen) > size)
        finally:
            done.set()
            watcher.join()
        assert check(database, group) > 0
        assert seen == sorted(seen)
        assert all(asked.requests == sorted(asked.requests) for asked in servers)
        assert not any("contradict" in line for child in group.all for line in child.errors)


def test_a_leader_that_was_stopped_meanwhile_raises_no_alarm(tmp_path: Path, database: str) -> None:
    """It wakes up with a question about a head that the next leader has long gone beyond."""
    with asked(tmp_path, 3) as servers, crowd(tmp_path, database, 2) as group:
        for _ in range(2):
            under_load(group.all)
            holder, count = group.elections[-1], len(group.elections)
            holder.process.send_signal(signal.SIGSTOP)
            try:
                until(partial(has_more, group.elections, count))
                before = len(servers[0].requests)
                until(lambda before=before: len(servers[0].requests) > before + 3)  # type: ignore[misc]
            finally:
                holder.process.send_signal(signal.SIGCONT)
            under_load(group.all)
    assert not [line for child in group.all for line in child.errors if "contradicts" in line]
    assert check(database, group) > 0


def test_a_witness_that_knows_more_than_the_log_raises_the_alarm(
    tmp_path: Path, postgres: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The same key in another database: the twin goes ahead, and the first one is told."""
    with asked(tmp_path):
        with frontends(tmp_path, postgres.make_database(), 1) as (twin,):
            append(twin, signed_entries(9))
            until(lambda: shows([twin], tmp_path, 9))
        for path in tmp_path.glob("frontend-*/data/*"):
            path.unlink()
        with frontends(tmp_path, postgres.make_database(), 1) as (service,):
            append(service, signed_entries(3))
            until(lambda: "contradicts this log" in caplog.text)
            assert published(service, tmp_path) == -1


def test_a_checkpoint_of_a_term_that_is_over_is_not_stored(database: str) -> None:
    old, new = (open_shared(postgresql_engine(parse_address(database)), ORIGIN) for _ in range(2))
    old.begin_term()
    old.apply(signed_entries(3))
    new.begin_term()
    head = old.head()
    with pytest.raises(SupersededError):
        old.store_checkpoint(3, sign(3, head.root))
    assert new.follow().checkpoint is None
    new.store_checkpoint(3, sign(3, head.root))
    with pytest.raises(CheckpointError):
        new.store_checkpoint(2, sign(2, head.root))
    assert old.follow().checkpoint == sign(3, head.root)
    old.close()
    new.close()
