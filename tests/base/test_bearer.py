"""Whose a bearer token is."""

import pytest

from touchplate.base.bearer import BearerTokens, parse_bearer

TOKENS = BearerTokens([("shed", "a-token-of-tests"), ("boss", "another-token")])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_is_found_however_its_scheme_is_written(scheme: str) -> None:
    assert TOKENS.find(f"{scheme} a-token-of-tests") == "shed"
    assert TOKENS.find(f"{scheme}   another-token ") == "boss"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer a-token-of-test",
        "Bearer a-token-of-testsx",
        "Bearer A-token-of-tests",
        "Bearer a-token-of-tests another-token",
        "Basic a-token-of-tests",
        "a-token-of-tests",
        "Bearera-token-of-tests",
        "Bearer \xff\udc80",
    ],
)
def test_whatever_else_is_nobodys(header: str | None) -> None:
    assert TOKENS.find(header) is None


def test_an_empty_token_is_refused_and_none_at_all_lets_nobody_in() -> None:
    with pytest.raises(ValueError, match="empty"):
        BearerTokens([("nobody", "")])
    none: BearerTokens[str] = BearerTokens([])
    assert not none
    assert none.find("Bearer ") is None
    assert TOKENS


def test_two_callers_with_one_token_are_refused() -> None:
    with pytest.raises(ValueError, match="same token"):
        BearerTokens([("a", "same"), ("b", "same")])


def test_another_scheme_has_no_token() -> None:
    assert parse_bearer("Basic eDp5") is None
    assert parse_bearer("Bearer x") == "x"
