"""What pages and JSON show: read from the index and the links, judged by the trust file, fetched from
nowhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from touchplate.api.accounts import Account, read_account
from touchplate.api.alarms import Alarm, Alarms
from touchplate.api.answers import ArtifactView, FamilyView, FileView, Overview, PackageView
from touchplate.api.errors import BadNameError, NotFoundError, NotReadyError
from touchplate.api.gate import Facts
from touchplate.api.history import Said, is_published, pair
from touchplate.api.index.facts import FactIndex
from touchplate.api.index.store import EvidenceRow
from touchplate.api.links import Link, Links
from touchplate.api.naming import parse_name, version_order
from touchplate.api.ports import EvidenceStore
from touchplate.api.proofs import Prover
from touchplate.verify.check import EntryWarning
from touchplate.verify.files import FileDigests
from touchplate.verify.levels import ReproducedRule, judge_levels
from touchplate.verify.purl import PackageURL, normalise_purl, parse_purl

LISTED_PACKAGES = 50
"""Package versions on the start page."""

LISTED_CONTRADICTIONS = 10
"""Contradicted files on the start page: the newest, enough to see that something is going on."""

LISTED_FILES = 200
"""Package files in one view: each costs a few queries. Of more, the first are shown, and a note."""

LISTED_BRIEFLY = 20
"""Files of each package version where many versions are listed; its own page has them all."""

LISTED_CONTENTS = 50
"""Contents of one package file: there should be one, and a few that rebuilders got."""

LISTED_VERSIONS = 100
"""Versions of one package that are named; of very many, the highest."""

LISTED_REBUILDS = 100
"""Entries of a package version or file whose rebuilds are told in full, the newest: each is parsed again."""

LISTED_IN_FULL = 10
"""Package files of one artifact whose rebuilds are told: one entry may name these bytes under 256 names."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Views:
    """Answers for pages and JSON. All methods block; any thread may call them."""

    def __init__(
        self,
        index: FactIndex,
        links: Links,
        prover: Prover,
        rule: ReproducedRule,
        alarms: Alarms,
        *,
        evidence: EvidenceStore,
        package_of: Callable[[Link], PackageURL | None],
    ) -> None:
        """`package_of`: the package file as which a link serves its bytes; None when no upstream has it."""
        self._index = index
        self._links = links
        self._prover = prover
        self._rule = rule
        self._alarms = alarms
        self._evidence = evidence
        self._package_of = package_of

    def overview(self) -> Overview:
        """The start page: as `standing`, with the package versions that somebody rebuilt, and what is
        contradicted."""
        store = self._index.store
        return replace(
            self.standing(),
            packages=tuple(
                self._package(name, LISTED_BRIEFLY) for name in store.rebuilt_packages(LISTED_PACKAGES)
            ),
            contradicted=tuple(
                self.file(sha256, file) for sha256, file in store.contradicted(LISTED_CONTRADICTIONS)
            ),
        )

    def standing(self) -> Overview:
        """The checkpoint, the counts and the alarms, without any package: a few queries."""
        checkpoint, problem = None, ""
        self._index.catch_up()
        try:
            checkpoint = self._prover.checkpoint()
        except NotReadyError as error:
            problem = str(error)
        counts, alarms = self._index.store.counts(), self._alarms.list()
        return Overview(checkpoint, problem, self._index.followed, counts, alarms=alarms)

    def artifact(self, sha256: str) -> ArtifactView:
        """Everything about these bytes. Raises BadNameError, NotFoundError."""
        names, links = self._names(sha256), self._links.of_blob(sha256)
        if not names and not links:
            raise NotFoundError(f"nothing is known about {sha256} here")
        files = tuple(
            self._full(sha256, name) if number < LISTED_IN_FULL else self.file(sha256, name)
            for number, name in enumerate(sorted(names)[:LISTED_FILES])
        )
        sizes = [said.account.size for file in files for said in file.records]
        sizes += [one.compared.account.size for file in files for one in file.rebuilds if one.compared]
        try:
            checkpoint = self._prover.checkpoint()
        except NotReadyError:
            checkpoint = None
        return ArtifactView(
            sha256,
            files,
            tuple(links),
            more=len(names) > LISTED_FILES,
            digests=self._digests(sha256).digests,
            size=links[0].size if links else next((size for size in sizes if size is not None), None),
            checkpoint=checkpoint,
        )

    def named(self, text: str) -> PackageView | FamilyView:
        """A package version, or all versions of the package when `text` names none. Raises as `package`."""
        package, has_version = parse_name(text)
        return self.package(text) if has_version else self._family(package)

    def package(self, text: str) -> PackageView:
        """One package version with its history. Raises BadNameError, NotFoundError."""
        package, has_version = parse_name(text)
        if not has_version:
            raise BadNameError(f"{text[:200]!r} names no version")
        self._index.catch_up()
        versions = self.versions(package)
        view = self._package(str(package))
        if not view.files:
            known = ", ".join(one.version for one in versions[:5])
            hint = f"; versions known here: {known}" if known else ""
            raise NotFoundError(f"nothing is known about {package} here{hint}")
        rows = self._index.store.evidence_of_package(str(package), LISTED_REBUILDS)
        rebuilds = tuple(pair(rows, self._account))
        return PackageView(view.package, view.files, view.more, rebuilds, versions[:LISTED_VERSIONS])

    def _family(self, package: PackageURL) -> FamilyView:
        self._index.catch_up()
        versions = self.versions(package)
        if not versions:
            raise NotFoundError(f"nothing is known about any version of {package.name} here")
        shown = tuple(self._package(str(one), LISTED_BRIEFLY) for one in versions[:LISTED_PACKAGES])
        return FamilyView(package, shown, more=len(versions) > LISTED_PACKAGES)

    def versions(self, package: PackageURL) -> tuple[PackageURL, ...]:
        """All versions of the package (from the same upstream) that the log speaks of, the highest first."""
        found = (normalise_purl(name).package for name in self._index.versions_of(package))
        mine = [one for one in found if one.qualifiers == package.package.qualifiers]
        return tuple(sorted(mine, key=lambda one: version_order(one.version), reverse=True))

    def file(self, sha256: str, file: str) -> FileView:
        """One package file with one content."""
        package = parse_purl(file)
        facts = self.facts(sha256, package)
        rows = tuple(self._index.store.evidence_of(sha256, file))
        levels = judge_levels(facts.evidence, self._rule)
        # The same bytes may be held as another file, which says nothing about this one.
        is_held = any(self._package_of(link) == package for link in self._links.of_blob(sha256))
        return FileView(package, sha256, levels, rows, _own(facts.warnings), is_held)

    def facts(self, sha256: str, package: PackageURL) -> Facts:
        """What the log says about these bytes as this package file."""
        return self._index.facts(self._digests(sha256), package)

    def contents(self, package: PackageURL) -> list[FileView]:
        """Every content that the log gives for a package file, published ones first."""
        rows = self._index.store.evidence_of_file(str(package))
        digests = list(dict.fromkeys(row.sha256 for row in rows))[:LISTED_CONTENTS]
        views = [self.file(sha256, str(package)) for sha256 in digests]
        return sorted(views, key=lambda view: not view.is_published)

    def alarm_about(self, explain: str) -> Alarm | None:
        """The newest alarm about the file whose page this is."""
        return self._alarms.about(explain)

    def bundle(self, sha256: str, text: str | None) -> bytes:
        """The proof bundle of these bytes as the package file `text`; the only one there is when that is
        None."""
        wanted, links = self._wanted(sha256, text), self._links.of_blob(sha256, 1)
        if not links:
            raise NotFoundError(
                f"the file {sha256} is not held here, so its size is unknown", reason="blob-missing"
            )
        return self._prover.bundle(links[0], wanted)

    def envelopes(self, sha256: str, text: str | None) -> list[bytes]:
        """The DSSE envelopes about these bytes as the package file `text`, as `bundle` takes it."""
        return self._prover.envelopes(sha256, self._wanted(sha256, text))

    def find(self, query: str) -> str:
        """The path of the page that a person means by a digest, a package URL, group:artifact[:version], or
        name/version."""
        text = query.strip()
        if _SHA256.match(text.removeprefix("sha256:").lower()):
            return f"/artifacts/{text.removeprefix('sha256:').lower()}"
        parts = text.split(":")
        if not text.startswith("pkg:") and len(parts) in (2, 3) and all(parts):
            text = f"pkg:maven/{parts[0]}/{parts[1]}" + "".join(f"@{version}" for version in parts[2:])
        elif "://" not in text and len(text.split("/")) == 2 and ":" not in text:
            text = "pkg:conan/" + text.replace("/", "@")
        package, has_version = parse_name(text)
        self._index.catch_up()
        if not has_version:
            if not self.versions(package):
                raise NotFoundError(f"nothing is known about any version of {package.name} here")
            return f"/packages/{text}"
        if not self._index.store.files_of_package(str(package)):
            raise NotFoundError(f"nothing is known about {package} here")
        return f"/packages/{package}"

    def _wanted(self, sha256: str, text: str | None) -> PackageURL:
        names = self._names(sha256)
        wanted = text if text in names else None
        if text is None and len(names) == 1:
            (wanted,) = names
        if wanted is None:
            listed = ", ".join(sorted(names)[:3]) or "none"
            raise NotFoundError(f"say which file is meant with ?package=…; known for {sha256}: {listed}")
        return parse_purl(wanted)

    def _full(self, sha256: str, file: str) -> FileView:
        view, store = self.file(sha256, file), self._index.store
        rows = view.rows[-LISTED_REBUILDS:]
        named = [str(row.detail["provenance"]) for row in rows if row.detail.get("provenance")]
        cited = [row for row in store.evidence_of_identities(named) if row.file == file]
        rebuilds = tuple(
            pair({(row.entry, row.sha256): row for row in (*cited, *rows)}.values(), self._account)
        )
        records = tuple(Said(row, self._account(row)) for row in rows if row.kind == "record")
        digests = {one.sha256 for rebuild in rebuilds for one in rebuild.evidence}
        places = {name: self._evidence.where(name) for name in sorted(digests)}
        published: tuple[str, ...] = ()
        if not view.is_published:
            others = (row for row in store.evidence_of_file(file) if row.sha256 != sha256)
            published = tuple(dict.fromkeys(row.sha256 for row in others if is_published([row])))
        held = {name: place for name, place in places.items() if place}
        return replace(view, rebuilds=rebuilds, records=records, evidence=held, published=published)

    def _account(self, row: EvidenceRow) -> Account:
        entry = self._index.store.entry(row.entry)
        return read_account(entry.packed) if entry else Account()

    def _names(self, sha256: str) -> set[str]:
        """The package files that entries give these bytes out for. Raises BadNameError."""
        check_sha256(sha256)
        self._index.catch_up()
        names = {row.file for row in self._index.store.evidence_of_digest(sha256)}
        return names | {row.file for row in self._index.store.lost_of_digest(sha256)}

    def _digests(self, sha256: str) -> FileDigests:
        links = self._links.of_blob(sha256, 1)
        return links[0].file if links else self._index.attested(sha256)

    def _package(self, name: str, most: int = LISTED_FILES) -> PackageView:
        pairs = self._index.store.files_of_package(name)
        files = tuple(self.file(sha256, file) for file, sha256 in pairs[:most])
        return PackageView(normalise_purl(name).package, files, more=len(pairs) > most)


def check_sha256(text: str) -> None:
    """Raises BadNameError for anything but 64 lower-case hex digits."""
    if not _SHA256.match(text):
        raise BadNameError(f"{text[:80]!r} is no sha256; write 64 lower-case hex digits")


def _own(warnings: Iterable[EntryWarning]) -> tuple[EntryWarning, ...]:
    """The entries that do not count for this very file; those about other packages are shown with these."""
    return tuple(warning for warning in warnings if warning.reason != "wrong-package")
