"""Which package a rebuilder would have to build, so that a refused revision passes.

A package revision is rebuilt itself. A recipe passes with the rebuild of any of its packages, and no client
says which one it wants before it has the recipe: so that is chosen which is the likeliest to be built.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from touchplate.api.conan.layout import PackagesRequest, Revision, RevisionsRequest
from touchplate.api.conan.repository import Remote
from touchplate.api.errors import NotFoundError
from touchplate.verify.purl import PackageURL

ARCHIVE = "conan_package.tgz"
"""The file after which rebuilds of a package are called."""

MAX_TRIED = 3
"""Packages of a recipe whose newest revision is asked for."""

_SECTION = re.compile(r"^\[(settings|requires)\]\n((?:[ \t]+.*\n?)+)", re.M)
_ORDINARY = {"os": "Linux", "arch": "x86_64", "compiler": "gcc", "build_type": "Release"}


def rebuild_candidates(remote: Remote, revision: Revision) -> list[PackageURL]:
    """Archives, one of which is to be rebuilt, the best first; empty when the upstream lists no package.

    Raises UpstreamError.
    """
    if revision.is_package:
        return [remote.package(revision, ARCHIVE)]
    return list(itertools.islice(_of_recipe(remote, revision), MAX_TRIED))


def _of_recipe(remote: Remote, recipe: Revision) -> Iterator[PackageURL]:
    try:
        listed = remote.answers.packages(
            PackagesRequest(recipe.reference, recipe.rrev).path, "list_only=False"
        )
    except NotFoundError:
        return
    ranked = sorted((_strangeness(one.get("content", "")), package_id) for package_id, one in listed.items())
    for _, package_id in ranked[:MAX_TRIED]:
        asked = RevisionsRequest(recipe.reference, True, recipe.rrev, package_id)
        try:
            prev = str(remote.answers.revisions(asked)["revision"])
        except NotFoundError:
            continue
        yield remote.package(Revision(recipe.reference, recipe.rrev, package_id, prev), ARCHIVE)


def _strangeness(conaninfo: str) -> int:
    """How much speaks against this package: requirements, and settings of another kind of machine."""
    sections = dict(_SECTION.findall(conaninfo))
    pairs = (line.strip().partition("=") for line in sections.get("settings", "").splitlines())
    settings = {name: value for name, _, value in pairs}
    others = [name for name, value in _ORDINARY.items() if settings.get(name, value) != value]
    return len(others) + 10 * ("requires" in sections)
