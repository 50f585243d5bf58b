"""The way of one Maven request: find or fetch the file, record its first sight, judge it.

    path ─► held? ─ no ─► fetch whole, hash ─► same as recorded first? ─► record in the log ─► link ─► gate
                 └ yes ───────────────────────────────────────────────────────────────────────────┘

The order is the promise: nothing is linked, so nothing can be served, before the log has its record.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from touchplate.api.blobs import DIGESTS, Blob
from touchplate.api.errors import (
    BadNameError,
    ChangedError,
    NotFoundError,
    RefusedError,
    UnknownUpstreamError,
    UpstreamError,
)
from touchplate.api.gate import Decision, Gate, Question
from touchplate.api.index.store import EvidenceRow
from touchplate.api.links import Link
from touchplate.api.maven.layout import FileRequest, MavenFile, MetadataRequest, main_file, parse_path
from touchplate.api.maven.metadata import format_metadata
from touchplate.api.maven.repository import Repository
from touchplate.api.pull import SingleFlight
from touchplate.api.rebuilds import contradiction, wanted_rebuild
from touchplate.api.records import FirstSight
from touchplate.api.stores import FirstSights, Stores
from touchplate.verify.purl import PackageURL

ECOSYSTEM = "maven"


@dataclass(frozen=True)
class Judged:
    """A file with the decision about it. `why`: the path of the page that explains the decision."""

    file: MavenFile
    package: PackageURL
    link: Link
    decision: Decision
    why: str


class MavenJudge:
    """Serves the files of several upstreams, each by its name. All methods block; any thread may call
    them."""

    def __init__(
        self,
        repositories: Sequence[Repository],
        stores: Stores,
        gate: Gate,
        sights: FirstSights,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.repositories: Mapping[str, Repository] = {one.name: one for one in repositories}
        self._stores = stores
        self._gate = gate
        self._sights = sights
        self._now = now
        self._flights: SingleFlight[Link] = SingleFlight()

    def repository(self, name: str) -> Repository:
        """The upstream of this name. Raises UnknownUpstreamError, which lists those that exist."""
        try:
            return self.repositories[name]
        except KeyError:
            known = ", ".join(sorted(self.repositories)) or "none"
            raise UnknownUpstreamError(
                f"no maven upstream is named {name[:80]!r}; there is: {known}"
            ) from None

    def obtain(self, repository: Repository, file: MavenFile, held: Link | None = None) -> Judged:
        """Fetch the file if need be, record it, and judge it. The caller looks at the decision.

        `held`: what `held` said a moment ago, so that it is not found out again.

        Raises NotFoundError, UpstreamError, BusyError, NotReadyError, and ChangedError whatever the rules
        say.
        """
        link = held or self.held(repository, file)
        if link is None:
            link = self._flights.run((repository.name, file.path), lambda: self._admit(repository, file))
        judged = self.judge(repository, file, link)
        if judged.decision.passes:
            return judged
        # An operator who was just told that his entry is in the log must not be told here that it is not.
        self._stores.index.catch_up()
        return self.judge(repository, file, link)

    def held(self, repository: Repository, file: MavenFile) -> Link | None:
        """The row of a file about which `obtain` need ask neither the upstream nor the log; None
        otherwise."""
        link = self._held(repository, file)
        return link if link is not None and self._is_recorded(repository, file) else None

    def serve(self, repository: Repository, file: MavenFile, held: Link | None = None) -> Judged:
        """As `obtain`, and raises RefusedError when the gate says no."""
        judged = self.obtain(repository, file, held)
        if judged.decision.verdict == "refuse":
            raise refusal(judged)
        return judged

    def known(self, repository: Repository, file: MavenFile) -> Judged | None:
        """The decision about a file that is held already; None otherwise. Fetches and writes nothing."""
        link = self._stores.links.find(repository.name, file.path)
        self._stores.index.catch_up()
        return None if link is None else self.judge(repository, file, link)

    def package_of(self, link: Link) -> PackageURL | None:
        """The package file as which a link serves its bytes; None when it is of no upstream that there is
        (any more)."""
        repository = self.repositories.get(link.repository)
        with contextlib.suppress(BadNameError, NotFoundError):
            asked = parse_path(link.path)
            if repository is not None and isinstance(asked, FileRequest):
                return asked.file.package_url(repository.repository_url)
        return None

    def judge(self, repository: Repository, file: MavenFile, link: Link) -> Judged:
        """The decision about the bytes of `link`. Raises ChangedError when others were recorded first."""
        package = file.package_url(repository.repository_url)
        facts, first = self._stores.index.facts_and_first(link.file, package)
        self._refuse_changed(repository, file, link.sha256, first)
        question = Question(
            package,
            repository.name,
            link.sha256,
            is_supporting=file.is_supporting,
            is_snapshot=file.is_snapshot,
        )
        decision = self._gate.decide(question, facts, int(self._now()))
        return Judged(file, package, link, decision, why_path(repository, file))

    def metadata(self, repository: Repository, request: MetadataRequest) -> bytes:
        """The `maven-metadata.xml` that we make: without the versions that an enforced rule would refuse."""
        metadata = repository.metadata.read(request.directory)
        group, artifact = request.group_and_artifact
        mains = [main_file(group, artifact, version) for version in metadata.versions]
        if mains:
            self._stores.index.catch_up()
            about = self._stores.index.versions_of(mains[0].package_url(repository.repository_url))
            listed = {main.version for main in mains if self._lists(repository, main, about)}
            metadata = metadata.only(listed.__contains__)
        return format_metadata(metadata)

    def _lists(self, repository: Repository, main: MavenFile, about: Collection[str]) -> bool:
        """Whether any file of this version that a build would use passes. Nothing is fetched to find out.

        `about`: the package versions that the log says anything about; an upstream may list very many others.
        """
        package = main.package_url(repository.repository_url)
        question = Question(package, repository.name, "", is_snapshot=main.is_snapshot)
        rule = self._gate.rule_for(question)
        unseen_passes = "reproduced" not in rule.need and not rule.minimum_age
        if rule.enforce != "enforce" or (unseen_passes and (repository.record or not rule.need)):
            return True
        if str(package.package) not in about:
            return False
        for sha256, file in self._stores.index.files_of(package.package):
            question = Question(file, repository.name, sha256, is_snapshot=main.is_snapshot)
            facts = self._stores.index.facts(self._stores.index.attested(sha256), file)
            if not _supports(file) and self._gate.decide(question, facts, int(self._now())).passes:
                return True
        return False

    def _held(self, repository: Repository, file: MavenFile) -> Link | None:
        link = self._stores.links.find(repository.name, file.path)
        if link is None or not self._stores.blobs.has(link.sha256):
            return None
        if self._stores.blobs.is_sound(link.sha256):
            return link
        # Fetched again, it must be the same bytes, and takes the damaged file's place.
        self._stores.alarms.raise_alarm(
            f"{repository.name}/{file.path}: the stored file {link.sha256} is damaged; fetching it again"
        )
        return None

    def _is_recorded(self, repository: Repository, file: MavenFile) -> bool:
        if not repository.record or file.is_mutable:
            return True
        # Another digest counts as recorded here: `judge` refuses it.
        return self._sights.is_recorded(file.package_url(repository.repository_url))

    def _admit(self, repository: Repository, file: MavenFile) -> Link:
        held = self._held(repository, file)
        blob = _blob(held) if held else self._fetch(repository, file)
        self._check_unchanged(repository, file, blob.sha256)
        if not self._is_recorded(repository, file):
            self._record(repository, file, blob)
            # Somebody else's record may have come first while ours was on its way.
            self._check_unchanged(repository, file, blob.sha256)
        # The log has the record, durably, from here on.
        digests = {name: getattr(blob, name) for name in DIGESTS}
        link = Link(
            repository.name, file.path, size=blob.size, by="upstream", seen=int(self._now()), **digests
        )
        return link if file.is_mutable else self._link(repository, file, link)

    def _fetch(self, repository: Repository, file: MavenFile) -> Blob:
        try:
            return repository.puller.fetch(file.path)
        except (NotFoundError, UpstreamError):
            blob = None if file.is_mutable else self._of_peers(repository, file)
            if blob is None:
                raise
            return blob

    def _of_peers(self, repository: Repository, file: MavenFile) -> Blob | None:
        """What the log says that the file is, from another peer. Without a record of first sight none is made
        up: then only what was reproduced will do, where nothing is recorded."""
        package = file.package_url(repository.repository_url)
        blob = self._stores.recorded_of_peers(package)
        if blob is not None or self._stores.peers is None or repository.record:
            return blob
        passing = []
        for sha256, name in self._stores.index.files_of(package.package):
            facts = self._stores.index.facts(self._stores.index.attested(sha256), package)
            decision = self._gate.decide(Question(package, repository.name, sha256), facts, int(self._now()))
            if name == package and decision.passes and "reproduced" in decision.need:
                passing.append(sha256)
        return self._stores.of_peers(passing[0]) if len(passing) == 1 else None

    def _record(self, repository: Repository, file: MavenFile, blob: Blob) -> None:
        package = file.package_url(repository.repository_url)
        self._sights.record(repository.name, FirstSight(package, repository.identity, file.path, blob))

    def _link(self, repository: Repository, file: MavenFile, link: Link) -> Link:
        known = self._stores.links.find(repository.name, file.path) or self._stores.links.add(link)
        if known.sha256 != link.sha256:
            raise self._changed(repository, file, link.sha256, f"this node served {known.sha256} before")
        return known

    def _check_unchanged(self, repository: Repository, file: MavenFile, sha256: str) -> None:
        first = self._stores.index.first_record(file.package_url(repository.repository_url))
        self._refuse_changed(repository, file, sha256, first)

    def _refuse_changed(
        self, repository: Repository, file: MavenFile, sha256: str, first: EvidenceRow | None
    ) -> None:
        """Raise ChangedError, loudly, when other bytes were recorded first."""
        if first is not None and first.sha256 != sha256 and not file.is_mutable:
            because = f"{first.operator} recorded {first.sha256} at index {first.entry}"
            raise self._changed(repository, file, sha256, because)

    def _changed(self, repository: Repository, file: MavenFile, sha256: str, because: str) -> ChangedError:
        message = f"{repository.name}/{file.path} changed: it has sha256 {sha256} now, but {because}"
        why = why_path(repository, file)
        self._stores.alarms.raise_alarm(message, explain=why)
        return ChangedError(message, explain=why)


def refusal(judged: Judged) -> RefusedError:
    """The error that tells a client why, in one short line."""
    file, decision = judged.file, judged.decision
    classifier = f":{file.classifier}" if file.classifier else ""
    name = f"{file.group}:{file.artifact}:{file.type}{classifier}:{file.version}"
    return RefusedError(
        f"{name} {decision.line}",
        reason=decision.reasons[0].word,
        explain=judged.why,
        rebuild=wanted_rebuild(decision, lambda: (judged.package,)),
        note=contradiction(decision),
    )


def why_path(repository: Repository, file: MavenFile) -> str:
    """The path of the page that explains the decision about a file."""
    return f"/why/{ECOSYSTEM}/{repository.name}/{file.path}"


def _supports(file: PackageURL) -> bool:
    described = MavenFile(
        "", file.namespace or "", file.name, file.version, file.version,
        file.qualifier("classifier"), file.qualifier("type") or "",
    )  # fmt: skip
    return described.is_supporting


def _blob(link: Link) -> Blob:
    return Blob(link.size, **link.digests)
