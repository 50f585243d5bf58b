"""The commit that a POM says it was released from: `<scm>` with a tag, in a repository that was named to us.

Nothing is asked that nobody has named: the host of an address has to be the identity of an upstream of kind
`git`. What a tag names is looked up once, here; the definition then says the commit and its tree digest.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from touchplate.builder.definitions.definition import VCS
from touchplate.builder.ecosystems.maven.coordinates import Coordinates
from touchplate.builder.ecosystems.maven.modules import module_folder
from touchplate.builder.ecosystems.maven.pom import Pom, interpolate
from touchplate.builder.ecosystems.maven.sources import FoundSource
from touchplate.builder.errors import DefinitionError, PhaseFailed
from touchplate.builder.git.commits import GIT, open_remote, read_commit
from touchplate.builder.inputs.repository import Repositories
from touchplate.builder.workshop import Workshop
from touchplate.verify.errors import VerifyError
from touchplate.verify.names import format_upstream_uri, parse_upstream_uri

_NO_TAG = "HEAD"  # what a POM under development has

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]{0,199}")
"""Of git's names those that need no care (git-check-ref-format(1)); releases have no others."""

_PLACE = re.compile(
    r"(?:scm:)?(?:git:)?(?:(?:https?|git|ssh)://(?:[^/@]*@)?(?P<host>[a-z0-9.-]+)(?::[0-9]+)?/"
    r"|[A-Za-z0-9._-]+@(?P<scp>[a-z0-9.-]+):)(?P<path>[A-Za-z0-9._~/-]+)"
)
"""Addresses of git repositories, as POMs have them; the last one is git's own `user@host:path`."""


@dataclass(frozen=True)
class ScmFinder:
    """Finds the commit of a release; see `find`."""

    workshop: Workshop

    def find(self, coordinates: Coordinates, chain: Sequence[Pom]) -> tuple[FoundSource | None, str]:
        """The tree of the tag that the POM, or a parent of the same version, names; else None. With the
        reason, which is empty where no upstream was named that could have it.

        `chain`: the POM, then its parents. Raises HostLack when a named upstream cannot be read.
        """
        uri, tag = _place(self.workshop.repositories, coordinates, chain)
        if not uri:
            return None, ""
        if not tag:
            return None, f"no commit: the POM names {uri}, and no tag"
        try:
            remote = open_remote(self.workshop, uri)
            commit = remote.find_tag(tag)
            if commit is None:
                return None, f"no commit: {uri} has no tag {tag!r}"
            found = FoundSource(VCS, (read_commit(self.workshop, remote, commit),))
            if module_folder(found, coordinates.group, coordinates.artifact) is None:
                return None, f"no commit: tag {tag!r} of {uri} has no POM of {coordinates.artifact}"
        except (DefinitionError, PhaseFailed) as error:
            return None, f"no commit: {error}"
        return found, f"commit {commit}, tag {tag!r} of {uri} today, as <scm> of the POM says"


def _place(repositories: Repositories, coordinates: Coordinates, chain: Sequence[Pom]) -> tuple[str, str]:
    """URI of the repository in a named upstream, and the tag; each empty where there is none."""
    named = {one.identity for one in repositories.upstreams if one.ecosystem == GIT}
    for pom in chain:
        version = pom.version or (pom.parent.version if pom.parent else "")
        if version != coordinates.version:  # another release
            break
        if pom.scm is None:
            continue
        values = {**pom.properties, "project.version": version, "project.artifactId": pom.artifact}
        places = [_uri(_resolved(place, values), named) for place in pom.scm.places]
        tag = _resolved(pom.scm.tag or "", values)
        usable = tag != _NO_TAG and _TAG.fullmatch(tag) is not None and ".." not in tag
        return next(filter(None, places), ""), tag if usable else ""
    return "", ""


def _uri(place: str, named: set[str]) -> str:
    found = _PLACE.fullmatch(place)
    if found is None or (identity := found["host"] or found["scp"]) not in named:
        return ""
    try:
        uri = format_upstream_uri(identity, found["path"].strip("/"))
        parse_upstream_uri(uri)
    except VerifyError:  # not a plain path
        return ""
    return uri


def _resolved(text: str, values: dict[str, str]) -> str:
    try:
        return interpolate(text, values)
    except DefinitionError:
        return ""
