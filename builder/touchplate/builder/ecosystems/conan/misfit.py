"""Requirements whose pinned package is not the one that Conan wants, in words that help whoever reads them.

The profile says of a requirement what its conaninfo.txt says, and Conan makes the package id out of that. It
comes to another one where the id has more in it (a `[conf]`, what the requirement requires itself), and to an
error where code of the recipe has written what its settings or options cannot say.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from touchplate.builder.comparison.contents import printable
from touchplate.builder.ecosystems.conan.conaninfo import PackageInfo, parse_conaninfo
from touchplate.builder.ecosystems.conan.reference import CONANINFO
from touchplate.builder.errors import DefinitionError

LINES = 6
"""Lines of two conaninfo.txt that differ which a message shows."""

PAIRS = 12
"""Settings and options that a message shows: most packages have fewer."""

_NO_OPTION = re.compile(r"option '([^']{1,100})' doesn't exist")
_NO_SETTING = re.compile(r"'settings\.([^']{1,100})' doesn't exist")
_NO_VALUE = re.compile(r"'([^']{0,100})' is not a valid '(?:settings|options)\.([^']{1,100})' value")


def differences(published: bytes, here: str) -> str:
    """What two conaninfo.txt say otherwise, line by line."""
    theirs, ours = published.decode("utf-8", "replace").splitlines(), here.splitlines()
    # Sets: either may be a stranger's, of very many lines.
    known, made = set(theirs), set(ours)
    lines = [f"published {line[:80]!r}" for line in theirs if line not in made]
    lines += [f"here {line[:80]!r}" for line in ours if line not in known]
    return "; ".join(lines[:LINES]) or "the same lines in another order"


def describe(conaninfo: str) -> str:
    """The settings and options of a package on one line; empty when they cannot be read."""
    try:
        info = parse_conaninfo(conaninfo.encode())
    except DefinitionError:
        return ""
    pairs = [f"{key}={value}" for key, value in (*info.settings.items(), *info.options.items())]
    return printable(", ".join(pairs[:PAIRS]))


def find_culprits(said: str, requirements: Iterable[tuple[str, PackageInfo]]) -> str:
    """Of whom Conan speaks that refuses a line of the profile, in a sentence to be added to its own; empty
    when of nobody here. `requirements`: names, and what each was built for."""
    found = [name for name, info in requirements if _is_refused(said, info)]
    if not found:
        return ""
    return (
        f"; so says {CONANINFO} of {', '.join(found)}, whose recipe does not take it: code of its own wrote "
        "it there, and such a requirement cannot be used yet"
    )


def is_of_requirement(said: str, own: Mapping[str, str]) -> bool:
    """Whether Conan refuses a line of the profile that is not about the package itself. `own`: its settings
    and options."""
    if missing := _NO_OPTION.search(said) or _NO_SETTING.search(said):
        return missing[1] not in own
    value = _NO_VALUE.search(said)
    return value is not None and own.get(value[2]) != value[1]


def _is_refused(said: str, info: PackageInfo) -> bool:
    if option := _NO_OPTION.search(said):
        return option[1] in info.options
    if setting := _NO_SETTING.search(said):
        return setting[1] in info.settings
    value = _NO_VALUE.search(said)
    return value is not None and value[1] in (info.settings.get(value[2]), info.options.get(value[2]))


def explain_other_id(wanted: str, pinned: Sequence[str]) -> str | None:
    """What it means that a build lacks the package `wanted` (`zlib/1.3:PACKAGE_ID`), in words that follow
    `its recipe requires …`; None when the definition pins none of it. `pinned`: packages, in that form."""
    reference, _, package_id = wanted.partition(":")
    others = [one.partition(":")[2] for one in pinned if one.partition(":")[0] == reference]
    if not package_id or not others:
        return None
    return (
        f"{reference} with the package id {package_id}, and its definition pins the package {others[0]}, to "
        f"which the settings and options in its {CONANINFO} do not lead here; pin the files of the package "
        f"{package_id} instead, or infer it again"
    )
