"""`--upstream`: where packages, sources and inputs are fetched from, as a person writes it.

A bare address stands for Maven's `central`; every other upstream has a name:
`NAME=URL[,identity=NAME][,ecosystem=maven|conan|oci|apt]`.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from touchplate.base.upstreams import AUTO, Upstream
from touchplate.verify.purl import DEFAULT_UPSTREAMS, ECOSYSTEMS, Ecosystem
from touchplate.verify.usage import UsageError

CENTRAL = Upstream(name="central", ecosystem="maven", identity=DEFAULT_UPSTREAMS["maven"], url=AUTO)
"""The default upstream: wherever the installed Maven's own configuration says `central` is."""

_NAMED = re.compile(r"(?P<name>[^=:/,]*)=(?P<rest>.*)", re.DOTALL)
_SETTING = re.compile(r"(?P<rest>.*),(?P<key>identity|ecosystem)=(?P<value>[^,]*)", re.DOTALL)


def parse_upstream(text: str) -> Upstream:
    """One `--upstream`. Raises UsageError with what is wrong with it."""
    named = _NAMED.fullmatch(text)
    upstream = replace(CENTRAL, url=text) if named is None else _parse_named(named["name"], named["rest"])
    if mistakes := upstream.check():
        raise UsageError(f"--upstream {text[:200]!r}: {'; '.join(mistakes)}")
    return upstream


def parse_upstreams(texts: Sequence[str]) -> tuple[Upstream, ...]:
    """All of them; a later one replaces an earlier one of its name.

    Raises UsageError when two, or one and `central`, stand for one identity in one ecosystem.
    """
    upstreams = tuple({one.name: one for one in map(parse_upstream, texts)}.values())
    meant: dict[tuple[str, str], str] = {}
    if all(one.name != CENTRAL.name for one in upstreams):
        meant[CENTRAL.ecosystem, CENTRAL.identity] = CENTRAL.name
    for one in upstreams:
        other = meant.setdefault((one.ecosystem, one.identity), one.name)
        if other != one.name:
            raise UsageError(
                f"--upstream: {other} and {one.name} are both {one.identity!r} of {one.ecosystem}; keep one"
            )
    return upstreams


def _parse_named(name: str, rest: str) -> Upstream:
    settings: dict[str, str] = {}
    while found := _SETTING.fullmatch(rest):  # from the end: an address may hold commas
        if found["key"] in settings:
            raise UsageError(f"--upstream {name}: {found['key']} stands twice")
        settings[found["key"]] = found["value"]
        rest = found["rest"]
    return Upstream(
        name=name,
        ecosystem=_ecosystem(name, settings.get("ecosystem")),
        identity=settings.get("identity", name),
        url=rest,
    )


def _ecosystem(name: str, given: str | None) -> Ecosystem | Literal["apt"]:
    """As given, else that of which `name` is the default upstream."""
    if given == "apt":  # no ecosystem of packages that are rebuilt here
        return "apt"
    for ecosystem in ECOSYSTEMS:
        if given == ecosystem or (given is None and DEFAULT_UPSTREAMS.get(ecosystem) == name):
            return ecosystem
    known = "|".join((*ECOSYSTEMS, "apt"))
    said = f"{given!r} is no ecosystem" if given is not None else "which ecosystem is it of?"
    raise UsageError(f"--upstream {name}: {said}; write {name}=URL,ecosystem={known}")
