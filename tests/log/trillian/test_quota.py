"""Token buckets, with a clock in the test's hand."""

import pytest

from touchplate.log.trillian.config import QuotaConfig
from touchplate.log.trillian.errors import QuotaError
from touchplate.log.trillian.quota import BURST_SECONDS, MAX_BUCKETS, Buckets, Charge, Quota


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_full_bucket_lasts_for_a_burst_and_fills_again_with_time() -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(user_write=2), clock)
    for _ in range(2 * BURST_SECONDS):
        quota.take(Charge(1, writes=True, tree=1, users=["a"]))
    with pytest.raises(QuotaError, match="user 'a' is used up: 2 writes a second"):
        quota.take(Charge(1, writes=True, tree=1, users=["a"]))
    quota.take(Charge(1, writes=True, tree=1, users=["b"]))
    quota.take(Charge(1, writes=False, tree=1, users=["a"]))
    clock.seconds += 0.5
    quota.take(Charge(1, writes=True, tree=1, users=["a"]))
    with pytest.raises(QuotaError):
        quota.take(Charge(1, writes=True, tree=1, users=["a"]))


def test_a_refused_call_is_charged_to_nobody() -> None:
    quota = Quota(QuotaConfig(user_write=1, all_write=1), Clock())
    quota.take(Charge(BURST_SECONDS - 1, writes=True, users=["poor"]))
    quota.take(Charge(1, writes=True, users=["rich"]))
    with pytest.raises(QuotaError, match="this server"):
        quota.take(Charge(1, writes=True, users=["poor"]))
    other = Quota(QuotaConfig(user_write=1), Clock())
    other.take(Charge(BURST_SECONDS, writes=True, users=["poor"]))
    with pytest.raises(QuotaError):
        other.take(Charge(1, writes=True, users=["rich", "poor"]))
    other.take(Charge(BURST_SECONDS, writes=True, users=["rich"]))  # still full


def test_a_call_dearer_than_a_full_bucket_is_paid_off_afterwards() -> None:
    clock = Clock()
    quota = Quota(QuotaConfig(tree_read=1), clock)
    quota.take(Charge(3 * BURST_SECONDS, writes=False, tree=7))
    clock.seconds += 2 * BURST_SECONDS
    with pytest.raises(QuotaError, match="tree 7"):
        quota.take(Charge(1, writes=False, tree=7))
    clock.seconds += 1
    quota.take(Charge(1, writes=False, tree=7))
    quota.take(Charge(1, writes=False, tree=8))


def test_invented_users_do_not_fill_the_memory() -> None:
    buckets, clock = Buckets("user {}", 1), Clock()
    for number in range(MAX_BUCKETS + 10):
        name, level = buckets.look(str(number), clock())
        buckets.put(name, level - 1, clock())
    assert len(buckets) == MAX_BUCKETS + 1  # the last ones share one
    clock.seconds += BURST_SECONDS
    for _ in range(MAX_BUCKETS):
        buckets.put("somebody", 0, clock())
    assert len(buckets) == 1


def test_whoever_used_up_his_quota_does_not_get_a_new_one_by_inventing_names() -> None:
    quota = Quota(QuotaConfig(user_write=1, tree_write=1), Clock())
    quota.take(Charge(BURST_SECONDS, writes=True, tree=7, users=["a"]))
    for number in range(MAX_BUCKETS):
        quota.take(Charge(1, writes=True, tree=100 + number, users=[f"x{number}"]))
    with pytest.raises(QuotaError, match="user 'a'"):
        quota.take(Charge(1, writes=True, users=["a"]))
    with pytest.raises(QuotaError, match="tree 7"):
        quota.take(Charge(1, writes=True, tree=7))


def test_inventing_names_does_not_keep_callers_out() -> None:
    quota = Quota(QuotaConfig(user_write=1), Clock())
    for number in range(MAX_BUCKETS + BURST_SECONDS):
        quota.take(Charge(1, writes=True, users=[f"x{number}"]))
    with pytest.raises(QuotaError, match="'one more'"):
        quota.take(Charge(1, writes=True, users=["one more"]))
    quota.take(Charge(1, writes=True, caller="alice"))


def test_naming_the_user_of_anothers_token_takes_nothing_from_him() -> None:
    quota = Quota(QuotaConfig(user_write=1), Clock())
    for _ in range(BURST_SECONDS):
        quota.take(Charge(1, writes=True, caller="mallory", users=["alice"]))
    with pytest.raises(QuotaError, match="user 'mallory'"):
        quota.take(Charge(1, writes=True, caller="mallory", users=["alice"]))
    quota.take(Charge(BURST_SECONDS, writes=True, caller="alice"))


def test_one_user_named_twice_is_charged_once() -> None:
    quota = Quota(QuotaConfig(user_read=1), Clock())
    for _ in range(BURST_SECONDS):
        quota.take(Charge(1, writes=False, users=["a", "a"]))
    with pytest.raises(QuotaError):
        quota.take(Charge(1, writes=False, users=["a"]))
