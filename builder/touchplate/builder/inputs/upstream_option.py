"""`--upstream`: where packages, sources and inputs are fetched from, as a person writes it.

A bare address stands for Maven's `central`; every other upstream has a name:
`NAME=URL[,identity=NAME][,ecosystem=maven|conan|oci|apt|git][,credentials=file:PATH|env:NAME][,realm=HOST]`;
`git` is a place of git repositories. What stands in place of a reference to credentials may be the
credentials themselves, and is never repeated.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from touchplate.base.errors import quote
from touchplate.base.upstreams import AUTO, Upstream, UpstreamKind
from touchplate.base.values import Secret
from touchplate.verify.purl import DEFAULT_UPSTREAMS
from touchplate.verify.usage import UsageError

CENTRAL = Upstream(name="central", ecosystem="maven", identity=DEFAULT_UPSTREAMS["maven"], url=AUTO)
"""The default upstream: wherever the installed Maven's own configuration says `central` is."""

_NAMED = re.compile(r"(?P<name>[^=:/,]*)=(?P<rest>.*)", re.DOTALL)
_SETTING = re.compile(r"(?P<rest>.*),(?P<key>[A-Za-z_]+)=(?P<value>[^,]*)", re.DOTALL)
_SETTINGS = ("identity", "ecosystem", "credentials", "realm")
_SECRET = re.compile(r"[?#].*|,[a-z_ ]*(cred|pass|token|secret)[a-z_ ]*=.*", re.DOTALL | re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9.-]+|[0-9a-f:]+", re.ASCII)


def parse_upstream(text: str) -> Upstream:
    """One `--upstream`. Raises UsageError with what is wrong with it."""
    named = _NAMED.fullmatch(text)
    upstream = replace(CENTRAL, url=text) if named is None else _parse_named(named["name"], named["rest"])
    if mistakes := upstream.check():
        raise UsageError(f"--upstream {_shown(text)}: {'; '.join(mistakes)}")
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
        if found["key"] not in _SETTINGS and ",credentials=" in rest[: found.end("rest")]:
            break  # a part of a password, perhaps
        if found["key"] not in _SETTINGS:
            raise UsageError(
                f"--upstream {name}: {found['key'][:40]!r} is no setting; known: {', '.join(_SETTINGS)}"
            )
        if found["key"] in settings:
            raise UsageError(f"--upstream {name}: {found['key']} stands twice")
        settings[found["key"]] = found["value"]
        rest = found["rest"]
    if ",credentials=" in rest:  # it may be the password itself, so nothing else repeats it
        raise UsageError(
            f'--upstream {name}: credentials: write "file:PATH" or "env:VARIABLE", without a comma'
        )
    ecosystem = _ecosystem(name, settings.get("ecosystem"))
    if "realm" in settings and ecosystem != "oci":
        raise UsageError(f"--upstream {name}: realm is for registries, ecosystem=oci")
    if "credentials" in settings and ecosystem == "git":
        raise UsageError(f"--upstream {name}: repositories of git are asked without credentials")
    return Upstream(
        name=name,
        ecosystem=ecosystem,
        identity=settings.get("identity", name),
        url=rest,
        credentials=_credentials(name, settings.get("credentials")),
        realms=_realms(name, settings.get("realm")),
    )


def _credentials(name: str, reference: str | None) -> Secret | None:
    if reference is None:
        return None
    try:
        return Secret.parse(reference, Path.cwd())
    except ValueError as error:
        raise UsageError(f"--upstream {name}: credentials: {error}") from None


def _realms(name: str, host: str | None) -> frozenset[str]:
    """The host that gives tokens for this registry, where that is another one."""
    if host is None:
        return frozenset()
    if not _HOST.fullmatch(host):
        shown = quote(host) if "@" not in host else "with an @"  # there may be a password before it
        raise UsageError(f"--upstream {name}: realm {shown} is no host; write it without https://")
    return frozenset({host})


def _shown(text: str) -> str:
    name, equals, rest = text.partition("=") if _NAMED.fullmatch(text) else ("", "", text)
    if "@" in rest:  # all before it may be a password, with whatever characters
        rest = "…" + rest.rpartition("@")[2]
    return quote(_SECRET.sub("…", f"{name}{equals}{rest}"), 200)


def _ecosystem(name: str, given: str | None) -> UpstreamKind:
    """As given, else that of which `name` is the default upstream."""
    kinds: tuple[UpstreamKind, ...] = get_args(UpstreamKind)
    defaults = {str(ecosystem): identity for ecosystem, identity in DEFAULT_UPSTREAMS.items()}
    for ecosystem in kinds:
        if given == ecosystem or (given is None and defaults.get(ecosystem) == name):
            return ecosystem
    known = "|".join(kinds)
    said = f"{given!r} is no ecosystem" if given is not None else "which ecosystem is it of?"
    raise UsageError(f"--upstream {name}: {said}; write {name}=URL,ecosystem={known}")
