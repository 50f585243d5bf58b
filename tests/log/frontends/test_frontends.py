"""Several frontends, one log: one order, exact answers, one writer."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import sleep

import pytest
from tests.log.frontends.support import (
    SECONDS,
    append,
    findings,
    frontends,
    is_elected,
    open_frontend,
    until,
)
from tests.log.support import sign, signed_entries, signed_entry
from tests.postgres import Server
from tests.simkeys import ORIGIN

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.log.errors import (
    BusyError,
    CheckpointError,
    FrozenError,
    LogError,
    StorageFailedError,
    SupersededError,
)
from touchplate.log.frontends.service import FrontendService
from touchplate.log.ports import Sequenced
from touchplate.log.storage.election import Seat
from touchplate.log.storage.shared import Share, open_shared
from touchplate.log.storage.states import freeze, unfreeze


def test_all_frontends_append_to_one_log_and_show_the_same(tmp_path: Path, database: str) -> None:
    with frontends(tmp_path, database, 3) as services:
        entries = signed_entries(30)
        answers = []
        for number, entry in enumerate(entries):
            answers += append(services[number % 3], [entry])
            # What was answered is served, by the frontend that answered.
            assert services[number % 3].reader.size() > answers[-1].index
        assert answers == [Sequenced(index, False) for index in range(30)]
        # The elected one may show the last entry a moment after the one that answered.
        until(lambda: all(one.tree.head().size == 30 for one in services))
        head = services[0].tree.head()
        assert all(one.tree.head() == head for one in services)
        for one in services:
            assert one.reader.entry(17).envelope == services[0].reader.entry(17).envelope
            assert one.checkpoint() == head.checkpoint
    assert findings(database) == []


def test_many_can_be_the_first_to_open_a_database(database: str) -> None:
    barrier = threading.Barrier(5)

    def work(_: int) -> int:
        engine = postgresql_engine(parse_address(database))
        barrier.wait(SECONDS)
        tree = open_shared(engine, ORIGIN)
        tree.close()
        return tree.tree_id

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(work, range(5))) == [1] * 5


def test_who_waits_for_growth_is_woken_at_every_frontend(tmp_path: Path, database: str) -> None:
    with frontends(tmp_path, database) as services, ThreadPoolExecutor() as pool:
        waiting = [pool.submit(one.wait_for_growth, 0, SECONDS) for one in services]
        append(services[0], signed_entries(2))
        assert [future.result() for future in waiting] == [2, 2]
        waiting = [pool.submit(one.wait_for_growth, 2, SECONDS) for one in services]
        append(services[1], [signed_entry(2)])
        assert [future.result() for future in waiting] == [3, 3]


def test_an_entry_that_many_submit_at_once_is_new_for_exactly_one(tmp_path: Path, database: str) -> None:
    entries = signed_entries(120)
    with frontends(tmp_path, database, 3) as services, ThreadPoolExecutor(6) as pool:
        barrier = threading.Barrier(6)

        def work(number: int) -> list[Sequenced]:
            barrier.wait(SECONDS)
            # Each in another order and other pieces.
            step = (7, 11, 13, 17, 19, 23)[number]
            order = [index * step % 120 for index in range(120)]
            answers: dict[int, Sequenced] = {}
            for start in range(0, 120, number + 1):
                part = order[start : start + number + 1]
                answered = append(services[number % 3], [entries[index] for index in part])
                answers |= dict(zip(part, answered, strict=True))
            return [answers[index] for index in range(120)]

        answers = list(pool.map(work, range(6)))
        for index in range(120):
            assert len({each[index].index for each in answers}) == 1
            assert sum(not each[index].duplicate for each in answers) == 1
        until(lambda: all(one.tree.head().size == 120 for one in services))
    assert findings(database) == []


def test_repeats_in_one_submission_get_one_index(tmp_path: Path, database: str) -> None:
    a, b = signed_entries(2)
    with frontends(tmp_path, database) as services:
        assert append(services[1], [a, b, a, a]) == [
            Sequenced(0, False),
            Sequenced(1, False),
            Sequenced(0, True),
            Sequenced(0, True),
        ]
        assert append(services[1], [b]) == [Sequenced(1, True)]


def test_another_frontend_goes_on_when_the_elected_one_ends(tmp_path: Path, database: str) -> None:
    with frontends(tmp_path, database) as (one, other):
        append(one, signed_entries(5))
        one.stop()
        assert append(other, signed_entries(7))[4:] == [
            Sequenced(4, True),
            Sequenced(5, False),
            Sequenced(6, False),
        ]
        assert is_elected(other)
        back = open_frontend(tmp_path / "frontend-0", database)
        back.start()
        assert append(back, [signed_entry(7)]) == [Sequenced(7, False)]
        assert not is_elected(back)
        back.stop()
    assert findings(database) == []


def test_what_was_submitted_while_nobody_was_elected_is_sequenced_later(
    tmp_path: Path, database: str
) -> None:
    engine = postgresql_engine(parse_address(database))
    tree = open_shared(engine, ORIGIN)
    seat = Seat(engine, tree.tree_id)
    assert seat.take()  # and does nothing with it
    service = open_frontend(tmp_path, database)
    service.sequencer.start()
    futures = service.sequencer.submit(signed_entries(300))
    ids = tree.submit(signed_entries(2, start=300))  # of a frontend that has died since
    until(lambda: len(tree.ask(range(1000)).waiting) == 302)
    assert not any(future.done() for future in futures)
    seat.close()
    answers = [future.result(SECONDS) for future in futures]
    assert not any(answer.duplicate for answer in answers)
    assert len({answer.index for answer in answers}) == 300
    until(lambda: not tree.ask(ids.values()).waiting)
    assert tree.follow().size == 302
    service.stop()
    assert tree.ask(range(1000)).waiting == set()
    tree.close()
    assert findings(database) == []


def test_a_sequencer_that_was_replaced_cannot_write(tmp_path: Path, database: str) -> None:
    old = open_shared(postgresql_engine(parse_address(database)), ORIGIN)
    new = open_shared(postgresql_engine(parse_address(database)), ORIGIN)
    old.begin_term()
    old.apply(signed_entries(3), sign)
    left = new.submit(signed_entries(1, start=50))
    new.begin_term()
    # It does not know, its memory is as it should be, and nobody has written since: the term alone stops it.
    with pytest.raises(SupersededError):
        old.apply(signed_entries(5), sign)
    with pytest.raises(SupersededError):
        old.store_checkpoint(3, b"of the old one")
    old.invite(Share(10, 1_000_000))
    with pytest.raises(SupersededError):
        old.apply([], sign)
    assert new.ask(left.values()).waiting == set(left.values())
    new.invite(Share(10, 1_000_000))
    assert new.apply(signed_entries(4), sign) == [Sequenced(n, n < 3) for n in range(4)]
    assert (new.taken, new.head().size) == (1, 5)
    assert old.follow() == new.head()
    with pytest.raises(SupersededError):
        old.apply(signed_entries(9), sign)
    old.close()
    new.close()
    assert findings(database) == []


def test_the_sequencer_takes_no_more_than_its_share(tmp_path: Path, database: str) -> None:
    tree = open_shared(postgresql_engine(parse_address(database)), ORIGIN)
    tree.begin_term()
    tree.submit(signed_entries(600))
    sizes = []
    for share in (Share(500, 10**9), Share(500, 1), Share(500, 10**9), Share(500, 10**9)):
        tree.invite(share)
        tree.apply([], sign)
        sizes.append((tree.taken, tree.is_more, tree.head().size))
    assert sizes == [(500, True, 500), (1, True, 501), (99, False, 600), (0, False, 600)]
    tree.close()


def test_what_was_taken_long_ago_is_passed_over_and_nothing_else(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchplate.log.storage.shared.SETTLED_SECONDS", 0.0)
    tree = open_shared(postgresql_engine(parse_address(database)), ORIGIN)
    tree.begin_term()
    for number in range(4):
        tree.submit(signed_entries(3, start=3 * number))
        tree.invite(Share(2, 10**9))
        tree.apply([], sign)
        tree.invite(Share(2, 10**9))
        tree.apply([], sign)
        assert tree.head().size == 3 * (number + 1)
    assert tree._settled > 0
    tree.close()


def test_submissions_of_duplicates_are_answered_and_those_of_the_dead_are_swept(
    tmp_path: Path, database: str, postgres: Server
) -> None:
    tree = open_shared(postgresql_engine(parse_address(database)), ORIGIN)
    tree.begin_term()
    tree.apply(signed_entries(3), sign)
    ids = tree.submit(signed_entries(2, start=2))
    tree.invite(Share(10, 10**9))
    tree.apply([], sign)
    duplicate, new = ids.values()
    assert tree.ask(ids.values()).duplicates == {duplicate: 2}
    assert tree.ask([new]).waiting == set()
    name = postgres.name_of(database)
    tree.begin_term()
    assert postgres.sql("SELECT count(*) FROM submissions", name) == "1"
    postgres.sql("UPDATE submissions SET submitted = now() - interval '1 hour'", name)
    tree.begin_term()
    assert postgres.sql("SELECT count(*) FROM submissions", name) == "0"
    tree.close()


def test_refuses_to_go_on_from_a_database_that_went_back(
    tmp_path: Path, database: str, postgres: Server
) -> None:
    writer = open_shared(postgresql_engine(parse_address(database)), ORIGIN)
    reader = open_shared(postgresql_engine(parse_address(database)), ORIGIN)
    writer.begin_term()
    name = postgres.name_of(database)
    writer.apply(signed_entries(10), sign)
    backup = postgres.sql("SELECT encode(root, 'hex') FROM heads", name)
    partial = postgres.sql("SELECT encode(hashes, 'hex') FROM tiles", name)
    writer.apply(signed_entries(12), sign)
    reader.follow()
    for statement in (
        "DELETE FROM leaves WHERE leaf_index >= 10",
        "DELETE FROM identities WHERE leaf_index >= 10",
        f"UPDATE tiles SET hashes = '\\x{partial}'",
        f"UPDATE heads SET tree_size = 10, checkpoint_size = 10, root = '\\x{backup}'",
    ):
        postgres.sql(statement, name)
    with pytest.raises(CheckpointError, match="exchanged"):
        reader.follow()
    assert reader.head().size == 12
    # The writer's memory is ahead: its head is not there to be moved, and then it looks.
    with pytest.raises(SupersededError):
        writer.apply(signed_entries(20), sign)
    writer.begin_term()
    with pytest.raises(CheckpointError, match="does not contain the tree of 12"):
        writer.apply(signed_entries(20), sign)
    reader.begin_term()
    with pytest.raises(CheckpointError, match="does not contain the tree of 12"):
        reader.apply(signed_entries(20), sign)
    writer.close()
    reader.close()


def test_outlives_a_database_that_is_gone_for_a_while(tmp_path: Path) -> None:
    server = Server()
    try:
        server.start()
        url = server.make_database()
        with frontends(tmp_path, url) as services:
            append(services[0], signed_entries(3))
            append(services[1], signed_entries(2, start=3))
            for number, crash in enumerate(("SIGINT", "SIGQUIT")):
                server.stop(signal.Signals[crash])
                for one in services:
                    for _ in range(3):  # the first one after the loss may find out itself
                        with pytest.raises(BusyError):
                            append(one, [signed_entry(100 + number)])
                    assert one.checkpoint()  # what is in memory is served on
                server.start()
                until(lambda: any(is_elected(one) for one in services))
                for one in services:
                    until(partial(succeeds, one, 100 + number))
            until(lambda: all(one.tree.head().size == 7 for one in services))
        assert findings(url) == []
    finally:
        server.close()


def succeeds(service: FrontendService, number: int) -> bool:
    try:
        append(service, [signed_entry(number)])
    except BusyError:
        return False
    return True


def test_a_frontend_without_any_sequencer_says_so_in_the_end(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchplate.log.frontends.decider.UNDECIDED_SECONDS", 0.5)
    engine = postgresql_engine(parse_address(database))
    tree = open_shared(engine, ORIGIN)
    seat = Seat(engine, tree.tree_id)
    assert seat.take()
    service = open_frontend(tmp_path, database)
    service.sequencer.start()
    with pytest.raises(BusyError) as caught:
        append(service, signed_entries(2))
    assert caught.value.reason == "undecided"
    until(lambda: not tree.ask(range(100)).waiting)
    assert not isinstance(caught.value, StorageFailedError)
    service.stop()
    seat.close()
    tree.close()


def test_those_who_wait_are_told_when_the_database_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchplate.log.frontends.decider.UNDECIDED_SECONDS", 1.0)
    server = Server()
    try:
        server.start()
        url = server.make_database()
        engine = postgresql_engine(parse_address(url))
        tree = open_shared(engine, ORIGIN)
        seat = Seat(engine, tree.tree_id)
        assert seat.take()
        service = open_frontend(tmp_path, url)
        service.sequencer.start()
        futures = service.sequencer.submit(signed_entries(3))
        until(lambda: tree.ask(range(100)).waiting)
        server.stop(signal.SIGQUIT)
        for future in futures:
            with pytest.raises(BusyError):
                future.result(SECONDS)
        seat.close()
        service.stop()
        tree.close()
    finally:
        server.close()


def test_everybody_is_answered_while_no_term_can_begin(
    tmp_path: Path, database: str, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchplate.log.frontends.decider.UNDECIDED_SECONDS", 1.0)
    name = postgres.name_of(database)
    with frontends(tmp_path, database, 1) as (service,):
        append(service, signed_entries(3))
        # The next batch looks at the head, does not find what it knows, and so does every term after it.
        postgres.sql("UPDATE heads SET root = '\\x00', tree_size = 2", name)
        futures = []
        for number in range(400):
            futures += service.sequencer.submit([signed_entry(10 + number)])
            sleep(0.01)
        for future in futures:
            with pytest.raises(LogError):
                future.result(SECONDS)
        assert service.sequencer._outstanding == 0
        assert service.tree.head().size == 3


def test_a_log_that_is_frozen_while_it_is_served_is_so_at_every_frontend(
    tmp_path: Path, database: str
) -> None:
    with frontends(tmp_path, database, 3) as services:
        append(services[0], signed_entries(5))
        engine = postgresql_engine(parse_address(database))
        assert freeze(engine, ORIGIN) == 5
        # The others first: their entries lie in the database when the elected one finds out.
        for number, one in enumerate([*services[1:], services[0]], 5):
            for attempt in (number, number + 10):
                (future,) = one.sequencer.submit([signed_entry(attempt)])
                with pytest.raises(FrozenError):
                    future.result(SECONDS)
            (known,) = one.sequencer.submit([signed_entry(2)])
            assert known.result(SECONDS) == Sequenced(2, duplicate=True)
            assert one.tree.head().size == 5
        assert unfreeze(engine, ORIGIN) == 5
        engine.dispose()
    with frontends(tmp_path, database, 2) as services:
        assert append(services[1], [signed_entry(5)]) == [Sequenced(5, duplicate=False)]
    assert findings(database) == []
