"""What a published `conaninfo.txt` says about the versions that a package was built with.

Each line of its `[requires]` is a reference as far as Conan took it into the package id: `zlib/1.3.Z` (any
1.3), `zlib/1.3.1`, or `zlib/1.3.1#RREV:PACKAGE_ID` where machine code of the other may be in the package.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from touchplate.builder.ecosystems.conan.reference import Revision
from touchplate.builder.errors import DefinitionError

ANY = "*"
"""In place of a version: all that there are."""

_OPEN = ("Y", "Z")  # Conan's letters for a part of a version that it left out
_REFERENCE = re.compile(r"([^/@#:]+)/([^/@#:]+)(?:@([^/@#:]+)(?:/([^/@#:]+))?)?(?:#([^#:]+))?(?::([^#:]+))?")


@dataclass(frozen=True)
class Reference:
    """One reference as Conan writes it, to a recipe or a package of it; parts that it lacks are None."""

    name: str
    version: str
    user: str | None = None
    channel: str | None = None
    rrev: str | None = None
    package_id: str | None = None

    def at(self, identity: str, rrev: str) -> Revision:
        """The recipe revision of it at an upstream. Raises DefinitionError for none of Conan's names."""
        return Revision(
            self.name, self.version, rrev, user=self.user, channel=self.channel, identity=identity
        )

    def fits(self, version: str) -> bool:
        """Whether this version is one of those that are meant."""
        if version == self.version:
            return True
        parts = [*re.split(r"[-+]", version)[0].split("."), "0", "0", "0"]
        for wanted, part in zip(self.version.split("."), parts, strict=False):
            if wanted in _OPEN:
                return True
            if wanted != part:
                return False
        return True


def parse_reference(text: str) -> Reference:
    """Read `name/version[@user[/channel]][#rrev][:package_id]`. Raises DefinitionError."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise DefinitionError(f"{text[:200]!r} is no reference of Conan; it is as zlib/1.3.1")
    reference = Reference(*found.groups())
    replace(reference, version="any").at("", "0")  # the other parts have to be names
    return reference


def find_required(required: Sequence[str], name: str) -> Reference | None:
    """What `[requires]` says about the recipe called `name`; None when nothing."""
    found = [one for one in map(parse_reference, required) if one.name == name]
    return found[0] if len(found) == 1 else None
