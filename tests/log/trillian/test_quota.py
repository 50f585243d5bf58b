"""Token buckets, with a clock in the test's hand."""

import pytest

from touchplate.log.trillian.config import QuotaConfig
from touchplate.log.trillian.errors import QuotaError
from touchplate.log.trillian.quota import BURST_SECONDS, MAX_BUCKETS, Quota


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_full_bucket_lasts_for_a_burst_and_fills_again_with_time() -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(user_write=2), clock)
    for _ in range(2 * BURST_SECONDS):
        quota.take(1, ["a"], 1, writes=True)
    with pytest.raises(QuotaError, match="user 'a' is used up: 2 writes a second"):
        quota.take(1, ["a"], 1, writes=True)
    quota.take(1, ["b"], 1, writes=True)
    quota.take(1, ["a"], 1, writes=False)
    clock.seconds += 0.5
    quota.take(1, ["a"], 1, writes=True)
    with pytest.raises(QuotaError):
        quota.take(1, ["a"], 1, writes=True)


def test_a_refused_call_is_charged_to_nobody() -> None:
    quota = Quota(QuotaConfig(user_write=1, all_write=1), Clock())
    quota.take(None, ["poor"], BURST_SECONDS - 1, writes=True)
    quota.take(None, ["rich"], 1, writes=True)
    with pytest.raises(QuotaError, match="this server"):
        quota.take(None, ["poor"], 1, writes=True)
    other = Quota(QuotaConfig(user_write=1), Clock())
    other.take(None, ["poor"], BURST_SECONDS, writes=True)
    with pytest.raises(QuotaError):
        other.take(None, ["rich", "poor"], 1, writes=True)
    other.take(None, ["rich"], BURST_SECONDS, writes=True)  # still full


def test_a_call_dearer_than_a_full_bucket_is_paid_off_afterwards() -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(tree_read=1), clock)
    quota.take(7, [], 3 * BURST_SECONDS, writes=False)
    clock.seconds += 2 * BURST_SECONDS
    with pytest.raises(QuotaError, match="tree 7"):
        quota.take(7, [], 1, writes=False)
    clock.seconds += 1
    quota.take(7, [], 1, writes=False)
    quota.take(8, [], 1, writes=False)


def test_invented_users_do_not_fill_the_memory() -> None:
    quota = Quota(QuotaConfig(user_read=1), Clock())
    for number in range(MAX_BUCKETS + 10):
        quota.take(None, [str(number)], 1, writes=False)
    assert len(quota._buckets) == MAX_BUCKETS


def test_one_user_named_twice_is_charged_once() -> None:
    quota = Quota(QuotaConfig(user_read=1), Clock())
    for _ in range(BURST_SECONDS):
        quota.take(None, ["a", "a"], 1, writes=False)
    with pytest.raises(QuotaError):
        quota.take(None, ["a"], 1, writes=False)
