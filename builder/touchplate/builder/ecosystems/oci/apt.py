"""apt inside an image's RUN: what it is given in both phases, and which of its requests may go unanswered.

apt speaks to a proxy that answers for the archives which the definition names (`image.apt`), and for nothing
else. In Fetch that is the recording mirror, in Build the locked files (`inputs/replay.py`). Archives are
asked by http: a proxy sees nothing of https, and apt checks signatures by itself.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from touchplate.builder.inputs.lock import InputLock, LockedInput
from touchplate.builder.plan import MIRROR_PORT, MIRROR_URL, REPOSITORY_FOLDER, RESERVED_FOLDER

OPTIONAL = (
    r"(?:.*/)?(?:InRelease|Release|Release\.gpg"
    r"|(?:Packages|Sources|Index|(?:Contents|Commands)-[a-z0-9-]+|Translation-[A-Za-z_@-]+"
    r"|Components-[a-z0-9-]+\.yml|icons-[0-9]+x[0-9]+(?:@[0-9]+)?\.tar)"
    r"(?:\.(?:xz|gz|bz2|lzma|lz4|zst))?"
    r"|by-hash/[A-Za-z0-9]+/[0-9a-f]+)"
)
"""Paths that apt asks for to see whether they are there, and goes on without: forms and compressions of its
indexes. Where it cannot go on, apt itself fails. Packages are never optional, also not
one that is called like an index: so each kind is spelled out to its end."""

LOCKED_FOLDER = f"{REPOSITORY_FOLDER}/apt"
"""Where Build finds the locked files, as `<upstream>/<path>`; no base image has this name there."""

REPLAY, REPLAY_SETTINGS = f"{RESERVED_FOLDER}/replay.py", f"{RESERVED_FOLDER}/replay.json"
RUNTIME, RUNTIME_SETTINGS = f"{RESERVED_FOLDER}/runtime.py", f"{RESERVED_FOLDER}/runtime.json"

_CONFIG, _CONFIG_IN_RUN = f"{RESERVED_FOLDER}/apt.conf", "/dev/touchplate-apt.conf"

_CONFIG_TEXT = """\
// A lock is as old as it is: what was valid when it was recorded is replayed on any later day.
Acquire::Check-Valid-Until "false";
// The clock may be wrong on purpose, to see whether the image depends on it.
Acquire::Check-Date "false";
"""
"""Read before the image's own settings, which win (apt.conf(5)). Signatures are checked as ever."""

_VARIABLES = {"http_proxy": MIRROR_URL, "https_proxy": MIRROR_URL, "APT_CONFIG": _CONFIG_IN_RUN}


def files_for_runs(runc: str) -> Mapping[str, bytes]:
    """What stands in the sandbox in both phases: the runtime that gives each RUN its variables."""
    settings = {"runc": runc, "environment": _VARIABLES, "files": {_CONFIG_IN_RUN: _CONFIG}}
    return {
        RUNTIME: Path(__file__).with_name("runtime.py").read_bytes(),
        RUNTIME_SETTINGS: json.dumps(settings).encode(),
        _CONFIG: _CONFIG_TEXT.encode(),
    }


def files_for_replay(places: Mapping[str, str]) -> Mapping[str, bytes]:
    """What stands in the sandbox in Build beside the locked files. `places`: `image.apt`."""
    settings = {"port": MIRROR_PORT, "places": dict(places), "folder": LOCKED_FOLDER, "optional": OPTIONAL}
    return {
        REPLAY: Path(__file__).parents[2].joinpath("inputs", "replay.py").read_bytes(),
        REPLAY_SETTINGS: json.dumps(settings).encode(),
    }


def split_lock(lock: InputLock, places: Mapping[str, str]) -> tuple[InputLock, InputLock]:
    """(base images' part, apt's part) of a lock. `places`: `image.apt`, whose names no registry has."""
    names = set(places.values())
    parts: tuple[list[LockedInput], list[LockedInput]] = ([], [])
    for one in lock.inputs:
        parts[one.upstream in names].append(one)
    bases, apt = (replace(lock, inputs=tuple(part)) for part in parts)
    return bases, apt
