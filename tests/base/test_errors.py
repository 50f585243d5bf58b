"""The error tree: reasons are stable and texts bounded."""

from __future__ import annotations

import inspect
import re

from touchplate.base import errors


def test_every_error_has_a_kebab_case_reason_of_its_own() -> None:
    classes = [
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, errors.TouchplateError)
    ]
    reasons = [each.default_reason for each in classes]
    assert len(set(reasons)) == len(classes) > 15
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", reason) for reason in reasons)


def test_a_reason_can_be_finer_than_the_class() -> None:
    assert errors.FetchError("x").reason == "fetch-failed"
    assert errors.FetchError("x", reason="untrusted-certificate").reason == "untrusted-certificate"


def test_quotes_a_foreign_value_shortly_and_on_one_line() -> None:
    assert errors.quote("a\nb") == r"'a\nb'"
    assert len(errors.quote("x" * 10_000)) == errors.QUOTE_CHARACTERS


def test_a_configuration_error_says_how_many_mistakes_there_are() -> None:
    assert str(errors.ConfigError("a.toml", ("x: bad",))) == "a.toml: 1 mistake: x: bad"
    assert str(errors.ConfigError("a.toml", ("x: bad", "y: worse"))) == "a.toml: 2 mistakes: x: bad; y: worse"
