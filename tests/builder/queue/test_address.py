"""`--server`: a token goes to no address that anybody on the way can read."""

import argparse

import pytest

from touchplate.builder.queue.address import server_url
from touchplate.verify.usage import UsageError


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://packages.example.org/", "https://packages.example.org"),
        ("https://packages.example.org:8443/a/", "https://packages.example.org:8443/a"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://localhost:8000", "http://localhost:8000"),
    ],
)
def test_takes_an_address_without_the_slash_at_its_end(given: str, url: str) -> None:
    assert server_url(argparse.Namespace(server=given)) == url


@pytest.mark.parametrize(
    "given",
    [
        "packages.example.org",
        "ftp://packages.example.org",
        "https://",
        "https://[packages.example.org",
        "https://packages.example.org:70000",
        "https://packages.example.org/?x=1",
        "https://packages.example.org/#x",
        "https://packages.example.org/ü",
        "http://packages.example.org",
        "http://127.0.0.1.example.org",
    ],
)
def test_refuses_what_is_none_or_would_show_the_token(given: str) -> None:
    with pytest.raises(UsageError, match="--server"):
        server_url(argparse.Namespace(server=given))


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        server_url(argparse.Namespace(server="https://me:word@packages.example.org"))
    assert "word@" not in str(caught.value)
