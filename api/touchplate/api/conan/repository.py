"""One upstream remote as this node serves it: its name in paths, its identity in statements."""

from __future__ import annotations

from dataclasses import dataclass, field

from touchplate.api.conan.answers import Answers
from touchplate.api.conan.layout import Revision
from touchplate.api.conan.layout import repository_url as url_of
from touchplate.api.pull import Puller
from touchplate.verify.purl import PackageURL


@dataclass(frozen=True)
class Remote:
    """`name`: in request paths; `identity`: in statements; `record`: whether first sight goes into the
    log."""

    name: str
    identity: str
    record: bool
    puller: Puller = field(repr=False)
    answers: Answers = field(repr=False)

    @property
    def link_repository(self) -> str:
        """The upstream in the rows of `Links`; no Maven upstream can be called so."""
        return f"conan:{self.name}"

    def package(self, revision: Revision, name: str) -> PackageURL:
        """The package URL of one file."""
        return revision.package_url(name, url_of(self.identity))

    def why(self, revision: Revision) -> str:
        """The path of the page that explains the decision about a revision."""
        return f"/why/conan/{self.name}/{revision.path}/files"
