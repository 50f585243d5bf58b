"""Run by `make test-wheel` only: what the tests beside it test must be the installed wheel."""

import importlib.util

import pytest

import touchplate.verify

pytestmark = pytest.mark.wheel


def test_verify_is_the_installed_one() -> None:
    assert "site-packages" in touchplate.verify.__file__


def test_the_base_install_has_cryptography_and_nothing_heavy() -> None:
    assert importlib.util.find_spec("cryptography") is not None
    for name in ("sqlalchemy", "fastapi", "granian", "rich", "yaml", "httpx"):
        assert importlib.util.find_spec(name) is None, name
