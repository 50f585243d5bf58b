"""A rule of the gate as it stands in the configuration."""

from __future__ import annotations

import json

from touchplate.api.gate import Rule

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def format_rule(rule: Rule) -> str:
    """The `[[gate.rule]]` table of `rule`, in TOML, with the members that are not at their default."""
    lines = ["[[gate.rule]]"]
    for name in ("ecosystem", "repository", "package"):
        value = getattr(rule, name)
        if value is not None:
            lines.append(f"{name} = {_text(value)}")
    lines.append(f"need = [{', '.join(_text(level) for level in rule.need)}]")
    if rule.operators is not None:
        lines.append(f"operators = {rule.operators}")
    if rule.minimum_age:
        lines.append(f'minimum_age = "{format_span(rule.minimum_age)}"')
    if rule.enforce != "enforce":
        lines.append(f"enforce = {_text(rule.enforce)}")
    if rule.rebuild != "never":
        lines.append(f"rebuild = {_text(rule.rebuild)}")
    return "\n".join(lines)


def format_span(seconds: int) -> str:
    """A length of time as the configuration writes it, in the largest unit that fits exactly: 36h."""
    unit, length = next((unit, length) for unit, length in _UNITS if seconds % length == 0)
    return f"{seconds // length}{unit}"


def _text(value: str) -> str:
    return json.dumps(value)  # a basic string of TOML is written like one of JSON
