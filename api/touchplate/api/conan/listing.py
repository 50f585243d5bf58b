"""What clients choose from, without what an enforced rule would refuse: versions in a search, by which they
resolve ranges, and the latest revision. So they get the newest that passes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from touchplate.api.conan.layout import Reference, RevisionsRequest, parse_reference, repository_url
from touchplate.api.conan.repository import Remote
from touchplate.api.errors import APIError, BadNameError
from touchplate.api.gate import Gate, Question
from touchplate.api.index.facts import FactIndex
from touchplate.verify.purl import PackageURL

MAX_RESULTS = 20_000
"""References of one search."""

MAX_TRIED = 100
"""Revisions of which it is tried whether they pass, the newest first; popular recipes have a few dozen."""


class Listing:
    """Filters by what the log says. Nothing is fetched to find out."""

    def __init__(self, gate: Gate, index: FactIndex, now: Callable[[], float] = time.time) -> None:
        self._gate = gate
        self._index = index
        self._now = now

    def latest(self, remote: Remote, asked: RevisionsRequest) -> dict[str, Any]:
        """The newest revision that passes, or the newest that there is when none does: asking for that one
        tells the reason. Raises NotFoundError, UpstreamError."""
        newest = remote.answers.revisions(asked)
        package = asked.reference.purl({"repository_url": repository_url(remote.identity)})
        if self._unseen_passes(remote, package):
            return newest
        try:
            listed = remote.answers.revisions(replace(asked, latest=False))["revisions"]
        except APIError:
            return newest  # a remote that knows no history
        self._index.catch_up()
        about = self._files_about(package, asked)
        for one in [newest, *listed[:MAX_TRIED]]:
            if any(self._is_passing(remote, *file) for file in about.get(one["revision"], ())):
                found: dict[str, Any] = one
                return found
        return newest

    def only_passing(self, remote: Remote, results: Sequence[str]) -> list[str]:
        """Those references of which a package passes, or could; in the given order."""
        self._index.catch_up()
        about: dict[str, set[str]] = {}
        found = []
        for text in results[:MAX_RESULTS]:
            try:
                reference = parse_reference(text.partition("#")[0])
            except BadNameError:
                continue  # what is listed and cannot be asked for here
            package = reference.purl({"repository_url": repository_url(remote.identity)})
            if reference.name not in about:
                about[reference.name] = self._index.versions_of(package)
            if self._passes(remote, reference, about[reference.name]):
                found.append(str(reference))
        return found

    def _passes(self, remote: Remote, reference: Reference, about: Collection[str]) -> bool:
        package = reference.purl({"repository_url": repository_url(remote.identity)})
        if self._unseen_passes(remote, package):
            return True
        if str(package) not in about:
            return False
        files = self._files_about(package, RevisionsRequest(reference, True)).values()
        return any(self._is_passing(remote, *file) for file in itertools.chain.from_iterable(files))

    def _unseen_passes(self, remote: Remote, package: PackageURL) -> bool:
        """Whether the rule lets files through that nobody has seen yet."""
        rule = self._gate.rule_for(Question(package, remote.name, ""))
        is_plain = "reproduced" not in rule.need and not rule.minimum_age
        return rule.enforce != "enforce" or (is_plain and (remote.record or not rule.need))

    def _files_about(
        self, package: PackageURL, asked: RevisionsRequest
    ) -> dict[str, list[tuple[str, PackageURL]]]:
        """(sha256, package URL) of the packages that the log speaks of, by the revision that is asked for."""
        found: dict[str, list[tuple[str, PackageURL]]] = {}
        for sha256, file in self._index.files_of(package):
            revision = file.qualifier("prev" if asked.package_id else "rrev")
            is_asked = asked.package_id is None or (
                (file.qualifier("rrev"), file.qualifier("package_id")) == (asked.rrev, asked.package_id)
            )
            is_main = (file.qualifier("file") or "").startswith("conan_package.")
            if is_main and is_asked and revision is not None:
                found.setdefault(revision, []).append((sha256, file))
        return found

    def _is_passing(self, remote: Remote, sha256: str, file: PackageURL) -> bool:
        facts = self._index.facts(self._index.attested(sha256), file)
        return self._gate.decide(Question(file, remote.name, sha256), facts, int(self._now())).passes
