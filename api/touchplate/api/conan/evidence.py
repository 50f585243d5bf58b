"""What counts for a revision: provenance that names the very recipe that is served with it.

A recipe is code: it runs where the package is installed. So a rebuild counts for a package revision only when
its provenance names every file of the recipe revision, by the same sha256; and a recipe revision passes
`reproduced` by the rebuilds of one of its packages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property

from touchplate.api.conan.layout import Revision
from touchplate.api.gate import Decision, Facts
from touchplate.api.index.facts import FactIndex
from touchplate.verify.check import EntryWarning
from touchplate.verify.levels import Compared, Evidence, FirstSight, Levels, Rebuild
from touchplate.verify.purl import PackageURL, parse_purl

MAX_CONTENTS = 20
"""Packages that are tried for a recipe, those of most operators first: each costs a few queries."""


class RecipeEvidence:
    """The rebuilds from one recipe revision. Made for one decision, by one thread."""

    def __init__(self, index: FactIndex, recipe: Revision, files: Sequence[tuple[PackageURL, str]]) -> None:
        """`files`: package URL and sha256 of every file of the recipe but its manifest."""
        self._index = index
        self._recipe = recipe
        self._files = [(sha256, str(file)) for file, sha256 in files]
        self._package = files[0][0].package
        self._entries = set.intersection(*(index.store.entries_with_input(*file) for file in self._files))

    def facts(self, facts: Facts) -> Facts:
        """The facts about a file of a package, without the rebuilds from another recipe."""
        kept, warnings = [], {warning.index: warning for warning in facts.warnings}
        for piece in facts.evidence:
            rebuild = _rebuild(piece)
            if rebuild is None or rebuild.index in self._entries:
                kept.append(piece)
            else:
                message = "its provenance does not name the recipe of this revision, file by file"
                warnings[rebuild.index] = EntryWarning(rebuild.index, 5, "wrong-recipe", message)
        ordered = tuple(warnings[index] for index in sorted(warnings))
        return replace(facts, evidence=tuple(kept), warnings=ordered)

    def best(self, decide: Callable[[Facts], Decision], own: Facts) -> Facts:
        """The facts about a file of the recipe: its own first sight, and the rebuilds of the package that
        has most."""
        sights = tuple(piece for piece in own.evidence if isinstance(piece, FirstSight))
        found = [replace(own, evidence=(*sights, *pieces)) for pieces in ((), *self._rebuilds)]
        return max(found, key=lambda facts: _rank(decide(facts).levels))

    @cached_property
    def _rebuilds(self) -> list[tuple[Evidence, ...]]:
        """The evidence about the packages that most operators speak of."""
        voices: dict[tuple[str, str], set[str]] = {}
        for file in self._packages():
            for row in self._index.store.evidence_of_file(file):
                if row.kind == "comparison" or row.entry in self._entries:
                    voices.setdefault((file, row.sha256), set()).add(row.operator)
        loudest = sorted(voices, key=lambda one: (-len(voices[one]), one))[:MAX_CONTENTS]
        found: list[tuple[Evidence, ...]] = []
        for file, sha256 in loudest:
            facts = self.facts(self._index.facts(self._index.attested(sha256), parse_purl(file)))
            found.append(tuple(piece for piece in facts.evidence if not isinstance(piece, FirstSight)))
        return found

    def _packages(self) -> Iterable[str]:
        """The main files of the packages of this recipe revision that were built from it."""
        for text in self._index.store.files_built_from(self._files):
            file = parse_purl(text)
            is_main = (file.qualifier("file") or "").startswith("conan_package.")
            if is_main and file.qualifier("rrev") == self._recipe.rrev and file.package == self._package:
                yield text


def _rank(levels: Levels) -> tuple[bool, int]:
    return levels.reproduced, len(levels.operators)


def _rebuild(piece: Evidence) -> Rebuild | None:
    """The rebuild through which a piece of evidence could count; None when it could not."""
    if isinstance(piece, Compared):
        return piece.rebuild if piece.result == "equivalent" else None
    return piece if isinstance(piece, Rebuild) else None
