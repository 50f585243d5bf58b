"""What pages and JSON show, as values: a file, an artifact, a package version, a package, the start page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from touchplate.api.alarms import Alarm
from touchplate.api.history import Rebuild, Said, is_published
from touchplate.api.ignored import Ignored, group
from touchplate.api.index.store import EvidenceRow
from touchplate.api.links import Link
from touchplate.verify.check import EntryWarning
from touchplate.verify.checkpoints import Checkpoint
from touchplate.verify.levels import Levels
from touchplate.verify.purl import PackageURL


@dataclass(frozen=True)
class FileView:
    """One package file with one content: what the log says, and what the trust file makes of it.

    `rebuilds` (newest first), `records` are filled in on the artifact's own view only, as is `evidence`: the
    path of each file of evidence that is held here, by sha256. `published`: the sha256 under which others
    know the file when nobody says that these bytes were published.
    """

    package: PackageURL
    sha256: str
    levels: Levels
    rows: tuple[EvidenceRow, ...]
    warnings: tuple[EntryWarning, ...]
    is_held: bool = False
    rebuilds: tuple[Rebuild, ...] = ()
    records: tuple[Said, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)
    published: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name."""
        return self.package.file_name

    @property
    def ignored(self) -> tuple[Ignored, ...]:
        """The entries that count for nothing, those with one reason together."""
        return group(self.warnings)

    @property
    def is_published(self) -> bool:
        """Whether an entry says that these bytes were published, or this node got them from an upstream:
        not only that somebody built them."""
        return self.is_held or is_published(self.rows)

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
    """Some bytes: every package file that they stand for, and where this node serves them.

    `digests`: as this node computed them, or else as the log gives them; `size`: None when nobody says;
    `checkpoint`: what the entries are proved against, None when there is none just now.
    """

    sha256: str
    files: tuple[FileView, ...]
    links: tuple[Link, ...]
    more: bool = False  # whether files were left out
    digests: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class PackageView:
    """One package version and its files; `rebuilds` is the history of all of them, the newest first.

    `versions`: all versions of the package that the log speaks of, the highest first.
    """

    package: PackageURL
    files: tuple[FileView, ...]
    more: bool = False  # whether files were left out
    rebuilds: tuple[Rebuild, ...] = ()
    versions: tuple[PackageURL, ...] = ()

    @property
    def published(self) -> tuple[FileView, ...]:
        """The files of which somebody says that they were published."""
        return tuple(file for file in self.files if file.is_published)

    @property
    def built(self) -> tuple[FileView, ...]:
        """Bytes that somebody only built."""
        return tuple(file for file in self.files if not file.is_published)

    @property
    def conflicts(self) -> tuple[tuple[FileView, ...], ...]:
        """Package files that were published with different bytes, as the log has it: each with all of
        them."""
        by_name: dict[PackageURL, list[FileView]] = {}
        for file in self.published:
            by_name.setdefault(file.package, []).append(file)
        return tuple(tuple(files) for files in by_name.values() if len(files) > 1)

    @property
    def is_reproduced(self) -> bool:
        """Whether any of its files is reproduced."""
        return any(file.levels.reproduced for file in self.files)


@dataclass(frozen=True)
class FamilyView:
    """A package with all versions that the log speaks of, the highest first."""

    package: PackageURL
    versions: tuple[PackageView, ...]
    more: bool = False  # whether versions were left out


@dataclass(frozen=True)
class Overview:
    """The start page."""

    checkpoint: Checkpoint | None
    problem: str
    followed: int
    counts: dict[str, int]
    packages: tuple[PackageView, ...]
    alarms: Sequence[Alarm] = field(default=())
    contradicted: Sequence[FileView] = field(default=())
