"""The settings.xml that a phase shows to Maven: every repository id leads to us or to a refusal."""

import re
from collections.abc import Iterable
from xml.sax.saxutils import escape

from touchplate.builder.plan import MIRROR_URL, REPOSITORY_FOLDER, Phase

SETTINGS_INSIDE = "/settings.xml"

_PLAIN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")  # others share the one refusing path

REFUSED = "not-configured"
"""First path segment for repositories that no upstream stands for; the mirror refuses and names it."""


def format_settings(phase: Phase, upstreams: Iterable[str], others: Iterable[str] = ()) -> bytes:
    """settings.xml with one mirror per upstream name (Maven: a repository's id).

    `others`: repository ids known from the POM, which get a refusing path of their own, so that the refusal
    names them; every id that nobody knows beforehand shares one.
    """
    names = list(dict.fromkeys(upstreams))
    base = MIRROR_URL if phase == "fetch" else f"file://{REPOSITORY_FOLDER}"
    mirrors = [(name, name, f"{base}/{name}/") for name in names]
    unknown = [name for name in dict.fromkeys(others) if name not in names and _PLAIN_ID.fullmatch(name)]
    mirrors += [(f"{REFUSED}-{name}", name, f"{base}/{REFUSED}/{name}/") for name in unknown]
    # Not `mirrorOf *` alone: what one id means to another upstream must never be answered by `central`.
    rest = ",".join(["*", *(f"!{name}" for name in [*names, *unknown])])
    mirrors.append((REFUSED, rest, f"{base}/{REFUSED}/"))
    body = "".join(
        f"    <mirror><id>{escape(identifier)}</id><mirrorOf>{escape(covered)}</mirrorOf>"
        f"<url>{escape(url)}</url></mirror>\n"
        for identifier, covered, url in mirrors
    )
    return f"<settings>\n  <mirrors>\n{body}  </mirrors>\n</settings>\n".encode()
