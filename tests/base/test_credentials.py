"""Credentials as they stand in a file, and where they may be sent."""

import pytest

from touchplate.base.credentials import Credentials, may_carry_credentials


def test_a_pair_is_basic_and_a_word_is_a_bearer_token() -> None:
    assert Credentials.parse("me:pa:ss").authorization == "Basic bWU6cGE6c3M="
    assert Credentials.parse("me:pa:ss").pair == "me:pa:ss"
    assert Credentials.parse("me:pässe") == Credentials("Basic bWU6cMOkc3Nl", "me:pässe")
    assert Credentials.parse("ey.J_-~+/9==") == Credentials("Bearer ey.J_-~+/9==", None)


@pytest.mark.parametrize(
    "text", ["", ":hunter2", "me:hun\nter2", "me:hunter2\r", "hunter2 x", "hünter2", "hunter2\0", "me:\x7fx"]
)
def test_what_is_neither_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="these credentials") as caught:
        Credentials.parse(text)
    assert "ter2" not in str(caught.value)


def test_no_text_of_it_shows_it() -> None:
    shown = f"{Credentials.parse('me:hunter2')!r} {Credentials.parse('hunter2')}"
    assert "hunter2" not in shown
    assert "aHVudGVyMg" not in shown
    assert "bWU6" not in shown


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://packages.example.org/x", True),
        ("http://127.0.0.1:8081/", True),
        ("http://[::1]/", True),
        ("http://localhost/", True),
        ("http://packages.example.org/", False),
        ("http://localhost.example.org/", False),
        ("http://127.0.0.1.example.org/", False),
        ("http://10.0.0.1/", False),
        ("ftp://127.0.0.1/", False),
        ("//127.0.0.1/", False),
        ("http://[::", False),
        ("", False),
    ],
)
def test_credentials_go_by_tls_or_to_this_machine(url: str, may: bool) -> None:
    assert may_carry_credentials(url) is may
