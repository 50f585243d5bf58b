"""Search results without the versions that an enforced rule would refuse: Conan resolves version ranges by
them, so a range then takes the newest version that passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from touchplate.api.conan.layout import Reference, parse_reference, repository_url
from touchplate.api.conan.repository import Remote
from touchplate.api.errors import BadNameError
from touchplate.api.gate import Gate, Question
from touchplate.api.index.facts import FactIndex

MAX_RESULTS = 20_000
"""References of one search."""


class Listing:
    """Filters by what the log says. Nothing is fetched to find out."""

    def __init__(self, gate: Gate, index: FactIndex, now: Callable[[], float] = time.time) -> None:
        self._gate = gate
        self._index = index
        self._now = now

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
        rule = self._gate.rule_for(Question(package, remote.name, ""))
        unseen_passes = "reproduced" not in rule.need and not rule.minimum_age
        if rule.enforce != "enforce" or (unseen_passes and (remote.record or not rule.need)):
            return True
        if str(package) not in about:
            return False
        for sha256, file in self._index.files_of(package):
            if (file.qualifier("file") or "").startswith("conan_package."):
                question = Question(file, remote.name, sha256)
                facts = self._index.facts(self._index.attested(sha256), file)
                if self._gate.decide(question, facts, int(self._now())).passes:
                    return True
        return False
