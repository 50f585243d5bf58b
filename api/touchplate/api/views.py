"""What pages and JSON show: read from the index and the links, judged by the trust file, fetched from
nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from touchplate.api.alarms import Alarm, Alarms
from touchplate.api.errors import BadNameError, NotFoundError, NotReadyError
from touchplate.api.index.facts import FactIndex
from touchplate.api.index.store import EvidenceRow
from touchplate.api.links import Link, Links
from touchplate.api.proofs import Prover
from touchplate.verify.check import EntryWarning
from touchplate.verify.checkpoints import Checkpoint
from touchplate.verify.errors import MalformedError
from touchplate.verify.files import FileDigests
from touchplate.verify.levels import Levels, ReproducedRule, judge_levels
from touchplate.verify.purl import PackageURL, normalise_purl, parse_purl

LISTED_PACKAGES = 50
"""Package versions on the start page."""

LISTED_FILES = 200
"""Package files in one view: each costs a few queries. Of more, the first are shown, and a note."""

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class FileView:
    """One package file with one content: what the log says, and what the trust file makes of it."""

    package: PackageURL
    sha256: str
    levels: Levels
    rows: tuple[EvidenceRow, ...]
    warnings: tuple[EntryWarning, ...]

    @property
    def name(self) -> str:
        """The file's name."""
        return self.package.file_name

    @property
    def result(self) -> str:
        """The best that any rebuild came to, in one word; empty when nobody tried."""
        results = {str(row.detail.get("result")) for row in self.rows if row.kind == "comparison"}
        if self.levels.operators:
            results.add(self.levels.operators[0].how)
        order = ("identical", "equivalent", "different", "not-built")
        return next((result for result in order if result in results), "")


@dataclass(frozen=True)
class ArtifactView:
    """Some bytes: every package file that they stand for, and where this node serves them."""

    sha256: str
    files: tuple[FileView, ...]
    links: tuple[Link, ...]
    more: bool = False  # whether files were left out


@dataclass(frozen=True)
class PackageView:
    """One package version and its files."""

    package: PackageURL
    files: tuple[FileView, ...]
    more: bool = False  # whether files were left out

    @property
    def is_reproduced(self) -> bool:
        """Whether any of its files is reproduced."""
        return any(file.levels.reproduced for file in self.files)


@dataclass(frozen=True)
class Overview:
    """The start page."""

    checkpoint: Checkpoint | None
    problem: str
    followed: int
    counts: dict[str, int]
    packages: tuple[PackageView, ...]
    alarms: Sequence[Alarm] = field(default=())


class Views:
    """Answers for pages and JSON. All methods block; any thread may call them."""

    def __init__(
        self, index: FactIndex, links: Links, prover: Prover, rule: ReproducedRule, alarms: Alarms
    ) -> None:
        self._index = index
        self._links = links
        self._prover = prover
        self._rule = rule
        self._alarms = alarms

    def overview(self) -> Overview:
        """The checkpoint, the counts, and the package versions that somebody rebuilt."""
        checkpoint, problem = None, ""
        self._index.catch_up()
        try:
            checkpoint = self._prover.checkpoint()
        except NotReadyError as error:
            problem = str(error)
        names = self._index.store.rebuilt_packages(LISTED_PACKAGES)
        return Overview(
            checkpoint,
            problem,
            self._index.followed,
            self._index.store.counts(),
            tuple(self._package(name) for name in names),
            self._alarms.list(),
        )

    def artifact(self, sha256: str) -> ArtifactView:
        """Everything about these bytes. Raises BadNameError, NotFoundError."""
        names, links = self._names(sha256), self._links.of_blob(sha256)
        if not names and not links:
            raise NotFoundError(f"nothing is known about {sha256} here")
        files = tuple(self.file(sha256, name) for name in sorted(names)[:LISTED_FILES])
        return ArtifactView(sha256, files, tuple(links), more=len(names) > LISTED_FILES)

    def package(self, text: str) -> PackageView:
        """The files of a package version, given as a person types it. Raises BadNameError, NotFoundError."""
        try:
            package = normalise_purl(text).package
        except MalformedError as error:
            raise BadNameError(str(error)) from error
        self._index.catch_up()
        view = self._package(str(package))
        if not view.files:
            raise NotFoundError(f"nothing is known about {package} here")
        return view

    def file(self, sha256: str, file: str) -> FileView:
        """One package file with one content."""
        package = parse_purl(file)
        facts = self._index.facts(self._digests(sha256), package)
        rows = tuple(self._index.store.evidence_of(sha256, file))
        return FileView(package, sha256, judge_levels(facts.evidence, self._rule), rows, _own(facts.warnings))

    def bundle(self, sha256: str, text: str | None) -> bytes:
        """The proof bundle of these bytes as the package file `text`; the only one there is when that is
        None."""
        names, links = self._names(sha256), self._links.of_blob(sha256, 1)
        wanted = text if text in names else None
        if text is None and len(names) == 1:
            (wanted,) = names
        if wanted is None:
            listed = ", ".join(sorted(names)[:3]) or "none"
            raise NotFoundError(f"say which file is meant with ?package=…; known for {sha256}: {listed}")
        if not links:
            raise NotFoundError(
                f"the file {sha256} is not held here, so its size is unknown", reason="blob-missing"
            )
        return self._prover.bundle(links[0], parse_purl(wanted))

    def find(self, query: str) -> str:
        """The path of the page that a person means by a digest, a package URL, group:artifact:version, or
        name/version."""
        text = query.strip()
        if _SHA256.match(text.removeprefix("sha256:").lower()):
            return f"/artifacts/{text.removeprefix('sha256:').lower()}"
        parts = text.split(":")
        if not text.startswith("pkg:") and len(parts) == 3 and all(parts):
            text = f"pkg:maven/{parts[0]}/{parts[1]}@{parts[2]}"
        elif "://" not in text and len(text.split("/")) == 2 and ":" not in text:
            text = "pkg:conan/" + text.replace("/", "@")
        try:
            package = normalise_purl(text).package
        except MalformedError as error:
            raise BadNameError(str(error)) from error
        self._index.catch_up()
        if not self._index.store.files_of_package(str(package)):
            raise NotFoundError(f"nothing is known about {package} here")
        return f"/packages/{package}"

    def _names(self, sha256: str) -> set[str]:
        """The package files that entries give these bytes out for. Raises BadNameError."""
        check_sha256(sha256)
        self._index.catch_up()
        names = {row.file for row in self._index.store.evidence_of_digest(sha256)}
        return names | {row.file for row in self._index.store.lost_of_digest(sha256)}

    def _digests(self, sha256: str) -> FileDigests:
        links = self._links.of_blob(sha256, 1)
        return links[0].file if links else self._index.attested(sha256)

    def _package(self, name: str) -> PackageView:
        pairs = self._index.store.files_of_package(name)
        files = tuple(self.file(sha256, file) for file, sha256 in pairs[:LISTED_FILES])
        return PackageView(normalise_purl(name).package, files, more=len(pairs) > LISTED_FILES)


def check_sha256(text: str) -> None:
    """Raises BadNameError for anything but 64 lower-case hex digits."""
    if not _SHA256.match(text):
        raise BadNameError(f"{text[:80]!r} is no sha256; write 64 lower-case hex digits")


def _own(warnings: Iterable[EntryWarning]) -> tuple[EntryWarning, ...]:
    """The entries that do not count for this very file; those about other packages are shown with these."""
    return tuple(warning for warning in warnings if warning.reason != "wrong-package")
