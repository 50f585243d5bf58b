"""What counts for a revision: provenance that names the very recipe that is served with it.

A recipe is code: it runs where the package is installed. So a rebuild counts for a package revision only when
its provenance names every file of the recipe revision, by the same sha256; and a recipe revision passes
`reproduced` by the rebuilds of one of its packages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from touchplate.api.conan.layout import Revision
from touchplate.api.gate import Decision, Facts
from touchplate.api.index.facts import FactIndex
from touchplate.verify.check import EntryWarning
from touchplate.verify.levels import Compared, Evidence, FirstSight, Rebuild
from touchplate.verify.purl import PackageURL, parse_purl

MAX_CONTENTS = 50
"""Different bytes of one package's file that are tried for a recipe: each costs a few queries."""


class RecipeEvidence:
    """The rebuilds from one recipe revision; `files`: package URL and sha256 of every file of it."""

    def __init__(self, index: FactIndex, files: Sequence[tuple[PackageURL, str]]) -> None:
        self._index = index
        self._package = files[0][0].package if files else None
        naming = [index.store.entries_with_input(sha256, str(file)) for file, sha256 in files]
        self.entries = set.intersection(*naming) if naming else set()

    def facts(self, facts: Facts) -> Facts:
        """The facts about a file of a package, without the rebuilds from another recipe."""
        kept, warnings = [], {warning.index: warning for warning in facts.warnings}
        for piece in facts.evidence:
            rebuild = _rebuild(piece)
            if rebuild is None or rebuild.index in self.entries:
                kept.append(piece)
            else:
                message = "its provenance does not name the recipe of this revision, file by file"
                warnings[rebuild.index] = EntryWarning(rebuild.index, 5, "wrong-recipe", message)
        ordered = tuple(warnings[index] for index in sorted(warnings))
        return replace(facts, evidence=tuple(kept), warnings=ordered)

    def best(self, recipe: Revision, decide: Callable[[Facts], Decision], own: Facts) -> Facts:
        """The facts about a file of the recipe: its own first sight, and the rebuilds of the package that
        has most."""
        sights = tuple(piece for piece in own.evidence if isinstance(piece, FirstSight))
        found = [replace(own, evidence=sights)]
        for package in self._packages(recipe):
            rows = self._index.store.evidence_of_file(str(package))
            for sha256 in sorted({row.sha256 for row in rows})[:MAX_CONTENTS]:
                facts = self.facts(self._index.facts(self._index.attested(sha256), package))
                pieces = tuple(piece for piece in facts.evidence if not isinstance(piece, FirstSight))
                found.append(replace(own, evidence=(*sights, *pieces)))
                if decide(found[-1]).levels.reproduced:
                    return found[-1]
        return max(found, key=lambda facts: len(decide(facts).levels.operators))

    def _packages(self, recipe: Revision) -> Iterable[PackageURL]:
        """The main files of the packages of this recipe revision that were built from it."""
        for text in sorted(self._index.store.files_of_entries(self.entries)):
            file = parse_purl(text)
            is_main = (file.qualifier("file") or "").startswith("conan_package.")
            if is_main and file.qualifier("rrev") == recipe.rrev and file.package == self._package:
                yield file


def _rebuild(piece: Evidence) -> Rebuild | None:
    """The rebuild through which a piece of evidence could count; None when it could not."""
    if isinstance(piece, Compared):
        return piece.rebuild if piece.result == "equivalent" else None
    return piece if isinstance(piece, Rebuild) else None
