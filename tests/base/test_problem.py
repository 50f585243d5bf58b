"""Problems have the members of RFC 9457, whatever is said in them."""

import json

from touchplate.base.problem import format_problem


def test_a_problem_names_its_type_and_says_the_rest() -> None:
    assert json.loads(format_problem(404, "not-found", "there is no such entry")) == {
        "type": "https://touchplate.dev/problems/not-found",
        "title": "not found",
        "status": 404,
        "reason": "not-found",
        "detail": "there is no such entry",
    }


def test_an_explanation_is_there_when_there_is_one() -> None:
    found = json.loads(format_problem(403, "refused", "no", explanation="https://node.example.org/why/x"))
    assert found["explanation"] == "https://node.example.org/why/x"


def test_any_text_has_a_form() -> None:
    assert "ü".encode() in format_problem(400, "malformed", "ü")
    assert json.loads(format_problem(400, "malformed", 'a"\n\0\udc80'))["detail"].startswith('a"\n\0')
