"""The few variables that are read from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from touchplate.base.environment import Environment, Setting, read_environment


def test_a_lower_case_proxy_goes_before_upper_case_and_the_general_one() -> None:
    variables = {"ALL_PROXY": "c:1", "HTTPS_PROXY": "b:1"}
    assert Environment(variables).proxy("https") == Setting("HTTPS_PROXY", "b:1")
    assert Environment({**variables, "https_proxy": "a:1"}).proxy("https") == Setting("https_proxy", "a:1")
    assert Environment(variables).proxy("http") == Setting("ALL_PROXY", "c:1")
    assert Environment({"https_proxy": ""}).proxy("https") is None


def test_a_request_header_cannot_become_the_proxy() -> None:
    assert Environment({"HTTP_PROXY": "evil:1", "REQUEST_METHOD": "GET"}).proxy("http") is None


def test_lists_what_needs_no_proxy() -> None:
    assert Environment({"NO_PROXY": " .Example.org, ,10.0.0.0/8"}).no_proxy == (".example.org", "10.0.0.0/8")


def test_takes_certificate_authorities_by_the_customary_variables() -> None:
    made = Environment({"CURL_CA_BUNDLE": "/c", "SSL_CERT_FILE": "/a", "SSL_CERT_DIR": "/d"})
    assert made.ca_file == Setting("SSL_CERT_FILE", "/a")
    assert made.ca_folder == Setting("SSL_CERT_DIR", "/d")
    assert Environment({"CURL_CA_BUNDLE": "/c"}).ca_file == Setting("CURL_CA_BUNDLE", "/c")


@pytest.mark.parametrize(("value", "answer"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_knows_continuous_integration(value: str, answer: bool) -> None:
    assert Environment({"CI": value}).is_ci is answer


def test_finds_the_folders_of_a_user() -> None:
    made = Environment({"HOME": "/home/u"})
    assert (made.home, made.cache_folder) == (Path("/home/u"), Path("/home/u/.cache"))
    assert Environment({"XDG_CACHE_HOME": "/c"}).cache_folder == Path("/c")
    assert Environment({}).cache_folder is None


def test_finds_programs_on_its_own_search_path_only(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert Environment({"PATH": str(tmp_path)}).find_program("tool") == program
    assert Environment({"PATH": str(tmp_path)}).find_program("sh") is None


def test_the_real_environment_is_copied_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHPLATE_TEST", "secret")
    made = read_environment()
    monkeypatch.delenv("TOUCHPLATE_TEST")
    assert made.value("TOUCHPLATE_TEST") == "secret"
    assert "secret" not in repr(made)
