"""Pull-through pieces: one call per key, and 404 answers that are believed for a while."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from touchplate.api.pull import NegativeCache, SingleFlight


def test_callers_with_one_key_share_one_call() -> None:
    flights: SingleFlight[int] = SingleFlight()
    running, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def slow() -> int:
        calls.append(1)
        running.set()
        go_on.wait(30)
        return 7

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(flights.run, "key", slow)
        running.wait(30)
        others = [pool.submit(flights.run, "key", slow) for _ in range(3)]
        go_on.set()
        assert [first.result(30), *(one.result(30) for one in others)] == [7] * 4
    # Callers that came after the end made a call of their own; those that came before shared it.
    assert 1 <= len(calls) <= 4


def test_an_error_is_shared_and_then_forgotten() -> None:
    flights: SingleFlight[int] = SingleFlight()

    def fail() -> int:
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        flights.run("key", fail)
    assert flights.run("key", lambda: 1) == 1


def test_different_keys_do_not_wait_for_each_other() -> None:
    flights: SingleFlight[str] = SingleFlight()
    assert flights.run("outer", lambda: flights.run("inner", lambda: "done")) == "done"


def test_a_404_is_believed_for_a_while() -> None:
    now = [0.0]
    cache = NegativeCache(seconds=10, clock=lambda: now[0])
    cache.add("path")
    assert "path" in cache
    now[0] = 9.9
    assert "path" in cache
    now[0] = 10
    assert "path" not in cache


def test_the_oldest_404_goes_first() -> None:
    cache = NegativeCache(entries=2)
    for path in ("a", "b", "a", "c"):
        cache.add(path)
    assert [path in cache for path in "abc"] == [True, False, True]
