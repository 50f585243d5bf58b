"""The error family: one base, stable reasons, messages of a sane length."""

import pytest

from touchplate.verify import errors
from touchplate.verify.errors import ForkError, NotFoundError, RefusedError, VerifyError, shown


def test_every_error_is_a_verify_error_with_a_kebab_case_reason() -> None:
    for name, member in vars(errors).items():
        if name.endswith("Error") and member not in (RefusedError, ForkError):
            error = member("what happened")
            assert isinstance(error, VerifyError)
            assert error.reason.replace("-", "").islower()
            assert str(error) == "what happened"
            assert member("x", reason="finer").reason == "finer"


def test_a_refusal_carries_its_step_and_a_fork_its_evidence() -> None:
    refusal = RefusedError(4, "unknown-key", "key is not in the trust file")
    assert (refusal.step, refusal.reason, str(refusal)) == (4, "unknown-key", "key is not in the trust file")
    fork = ForkError("two histories", {"old": "…", "new": "…"})
    assert (fork.reason, fork.evidence) == ("fork", {"old": "…", "new": "…"})
    assert issubclass(NotFoundError, errors.TransportError)


@pytest.mark.parametrize("value", ["x" * 10_000, b"x" * 10_000, ["x"] * 10_000, 10**200])
def test_messages_repeat_no_more_of_a_value_than_helps(value: object) -> None:
    assert len(shown(value)) < 200
    assert shown(value).endswith("…")


def test_messages_show_numbers_that_python_does_not_convert() -> None:
    assert shown(10**10_000) == "int too long to show"
    assert shown("a\n\x1b[31m\ud800") == r"'a\n\x1b[31m\ud800'"
