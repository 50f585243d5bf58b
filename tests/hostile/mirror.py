"""Attacks on the recording mirror, the one way out of Fetch, and on what Build is given."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from tests.builder.sandboxes import GET, Site
from tests.hostile.attack import Attack
from tests.hostile.world import MIB, SECRET, World

from touchplate.base.upstreams import Upstream
from touchplate.builder.cache import Cache
from touchplate.builder.errors import PhaseFailed
from touchplate.builder.inputs.lock import InputLock, LockedInput
from touchplate.builder.phases import run_build, run_fetch
from touchplate.builder.plan import BuildPlan, Forbidden, Quiet

_FILE = "org/example/a.jar"


class _Site:
    """An upstream on loopback for one attempt."""

    def __init__(self) -> None:
        self.site = Site()

    def __enter__(self) -> Site:
        self.site.pages[_FILE] = SECRET.encode()
        return self.site

    def __exit__(self, *_: object) -> None:
        self.site.close()


def _plan(world: World, site: Site, script: str, **changes: Any) -> BuildPlan:
    plan = BuildPlan(
        source=world.source,
        command=(
            "/bin/sh",
            "-c",
            f"get() {{ /usr/bin/python3 -I -S -c '{GET}' http://127.0.0.1:3128/$1; echo; }}\n{script}",
        ),
        upstreams=(Upstream("central", "maven", "central", site.url),),
        limits=world.limits(),
    )
    return replace(plan, **changes)


class _Lines(Quiet):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def _fetch(world: World, plan: BuildPlan) -> tuple[InputLock | None, str]:
    """The lock (None when Fetch fails), and what the command said."""
    heard = _Lines()
    try:
        lock = run_fetch(plan, world.sandbox, Cache(world.folder / "cache"), heard)
    except PhaseFailed as failed:
        world.said.append(failed.detail)
        return None, "\n".join(heard.lines)
    world.said.append(" ".join(heard.lines)[-200:])
    return lock, "\n".join(heard.lines)


def unnamed_upstream(world: World) -> bool:
    """Ask for an upstream that the definition does not name."""
    with _Site() as site:
        plan = _plan(world, site, f"get private/{_FILE}; true")
        if not world.has("named upstreams only"):
            plan = replace(
                plan, upstreams=(*plan.upstreams, Upstream("private", "maven", "private", site.url))
            )
        return SECRET in _fetch(world, plan)[1]


def unnamed_host(world: World) -> bool:
    """Ask the mirror, where it is the build's proxy, for another service of the host."""
    with _Site() as site, _Site() as private:
        site.pages.clear()
        named = {site.url.removeprefix("http://"): "central"}
        upstreams: tuple[Upstream, ...] = (Upstream("central", "apt", "central", site.url),)
        if not world.has("named archives only"):
            named[private.url.removeprefix("http://")] = "private"
            upstreams += (Upstream("private", "apt", "private", private.url),)
        script = (
            f"http_proxy=http://127.0.0.1:3128 /usr/bin/python3 -I -S -c '{GET}' {private.url}/{_FILE}; echo"
        )
        plan = _plan(world, site, script, upstreams=upstreams, proxied=named)
        return SECRET in _fetch(world, plan)[1]


def the_answer(world: World) -> bool:
    """Fetch the published file instead of building it."""
    paths = frozenset({("central", _FILE)}) if world.has("the answer is no input") else frozenset()
    with _Site() as site:
        lock, said = _fetch(
            world, _plan(world, site, f"get central/{_FILE}", forbidden=Forbidden(paths=paths))
        )
        return lock is not None and SECRET in said


def the_answer_under_another_name(world: World) -> bool:
    """The same bytes at another path."""
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    digests = frozenset({digest}) if world.has("the answer is no input") else frozenset()
    with _Site() as site:
        plan = _plan(world, site, f"get central/{_FILE}", forbidden=Forbidden(digests))
        return _fetch(world, plan)[0] is not None


def huge_input(world: World) -> bool:
    limits = world.limits(fetch_bytes=MIB if world.has("limit of inputs") else 64 * MIB)
    with _Site() as site:
        site.pages["huge.jar"] = bytes(3 * MIB)
        return _fetch(world, _plan(world, site, "get central/huge.jar > x", limits=limits))[0] is not None


def many_inputs(world: World) -> bool:
    limits = world.limits(fetch_files=3 if world.has("limit of inputs") else 100)
    with _Site() as site:
        site.pages.update({f"{number}.jar": b"x" for number in range(6)})
        script = "for n in 0 1 2 3 4 5; do get central/$n.jar; done"
        return _fetch(world, _plan(world, site, script, limits=limits))[0] is not None


def slow_request(world: World) -> bool:
    """Keep the mirror, and Fetch, with requests that never end."""
    limits = world.limits(wall_seconds=2 if world.has("limit of time") else 20)
    slow = (
        "import socket, time\n"
        'kept = [socket.create_connection(("127.0.0.1", 3128)) for _ in range(100)]\n'
        'for one in kept: one.sendall(b"GET /central/a HTTP/1.1\\r\\nX: ")\n'
        "time.sleep(4)"
    )
    with _Site() as site:
        return (
            _fetch(world, _plan(world, site, f"/usr/bin/python3 -I -S -c '{slow}'", limits=limits))[0]
            is not None
        )


def not_in_the_lock(world: World) -> bool:
    """Ask in Build for a file that Fetch did not record, though it lies in the cache of all builds."""
    cache = Cache(world.folder / "cache")
    stored = cache.inputs.put(SECRET.encode())
    locked = LockedInput("central", _FILE, stored.sha256, stored.size)
    lock = InputLock(() if world.has("locked inputs only") else (locked,))
    with _Site() as site:
        script = f"cat /repo/central/{_FILE} {cache.inputs.path(locked.sha256)}; get central/{_FILE}; true"
        result = run_build(_plan(world, site, script), lock, world.sandbox, cache, Quiet())
        return SECRET.encode() in result.log


def _both(*walls: str) -> dict[str, tuple[str, ...]]:
    return {"bubblewrap": walls, "gvisor": walls}


ATTACKS = (
    Attack("ask the mirror for an unnamed upstream", _both("named upstreams only"), unnamed_upstream),
    Attack("ask the proxy for an unnamed host", _both("named archives only"), unnamed_host),
    Attack("fetch the answer", _both("the answer is no input"), the_answer),
    Attack(
        "fetch the answer under another name",
        {"bubblewrap": ("the answer is no input",)},
        the_answer_under_another_name,
    ),
    Attack("fetch a huge input", {"bubblewrap": ("limit of inputs",)}, huge_input),
    Attack("fetch too many inputs", {"bubblewrap": ("limit of inputs",)}, many_inputs),
    Attack("hold the mirror with slow requests", {"bubblewrap": ("limit of time",)}, slow_request),
    Attack("ask in Build for what is not in the lock", _both("locked inputs only"), not_in_the_lock),
)
