"""The way of one revision: find or fetch its files, record their first sight, judge all of them together.

    path ─► files ─► held? ─ no ─► fetch whole, hash ─► record in the log ─► link ─► gate, each file
                                                                          └► conanmanifest.txt: computed

The revision is the unit: none of its files is served unless all pass. Nothing is linked, so nothing can be
served, before the log has its record.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from touchplate.api.blobs import DIGESTS, Blob
from touchplate.api.conan.candidates import rebuild_candidates
from touchplate.api.conan.evidence import RecipeEvidence
from touchplate.api.conan.layout import MANIFEST, FileRequest, Revision, parse_conan_path
from touchplate.api.conan.manifests import Manifests
from touchplate.api.conan.repository import Remote
from touchplate.api.errors import (
    APIError,
    ChangedError,
    NotFoundError,
    RefusedError,
    UnknownUpstreamError,
    UpstreamError,
)
from touchplate.api.gate import Decision, Facts, Gate, Question, Reason
from touchplate.api.links import Link
from touchplate.api.pull import SingleFlight
from touchplate.api.rebuilds import contradiction, wanted_rebuild
from touchplate.api.records import FirstSight
from touchplate.api.stores import FirstSights, Stores
from touchplate.verify.purl import PackageURL

Links = dict[str, Link]


@dataclass(frozen=True)
class JudgedFile:
    """One file with the decision about it. The manifest has that of the others, and perhaps a reason more."""

    name: str
    package: PackageURL
    link: Link
    decision: Decision


@dataclass(frozen=True)
class JudgedRevision:
    """A revision: all its files, in the order in which they are looked at. `worst`: the one that decides."""

    remote: Remote
    revision: Revision
    files: tuple[JudgedFile, ...]

    @property
    def worst(self) -> JudgedFile:
        """The first file that is refused, else the first that only passes because its rule is lenient."""
        order = {"refuse": 0, "warn": 1, "allow": 2}
        return min(self.files, key=lambda file: (order[file.decision.verdict], file.decision.passes))

    @property
    def decision(self) -> Decision:
        """The decision about the revision."""
        return self.worst.decision

    def file(self, name: str) -> JudgedFile:
        """One of its files. Raises NotFoundError."""
        for file in self.files:
            if file.name == name:
                return file
        raise NotFoundError(f"{self.revision} has no {name}")


class ConanJudge:
    """Serves the revisions of several upstreams. All methods block; any thread may call them."""

    def __init__(
        self,
        remotes: Sequence[Remote],
        stores: Stores,
        gate: Gate,
        sights: FirstSights,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.remotes: Mapping[str, Remote] = {one.name: one for one in remotes}
        self._stores = stores
        self._gate = gate
        self._sights = sights
        self._now = now
        self._manifests = Manifests(stores.blobs)
        self._flights: SingleFlight[Links] = SingleFlight()

    def remote(self, name: str) -> Remote:
        """The upstream of this name. Raises UnknownUpstreamError, which lists those that exist."""
        try:
            return self.remotes[name]
        except KeyError:
            known = ", ".join(sorted(self.remotes)) or "none"
            raise UnknownUpstreamError(
                f"no conan upstream is named {name[:80]!r}; there is: {known}"
            ) from None

    def package_of(self, link: Link) -> PackageURL | None:
        """The package file as which a link serves its bytes; None when it is of no remote that there is (any
        more)."""
        for remote in self.remotes.values():
            if remote.link_repository == link.repository:
                asked = parse_conan_path(link.path)
                return remote.package(asked.revision, asked.name) if isinstance(asked, FileRequest) else None
        return None

    def serve(self, remote: Remote, revision: Revision) -> JudgedRevision:
        """As `obtain`, and raises RefusedError when the gate says no."""
        judged = self.obtain(remote, revision)
        if judged.decision.verdict == "refuse":
            raise refusal(judged)
        return judged

    def obtain(self, remote: Remote, revision: Revision) -> JudgedRevision:
        """Fetch the files if need be, record them, and judge them. The caller looks at the decision.

        Raises NotFoundError, UpstreamError, BusyError, NotReadyError, and ChangedError whatever the rules
        say.
        """
        judged = self._obtain(remote, revision)
        if judged.decision.passes:
            return judged
        if any(reason.word == "wrong-manifest" for reason in judged.decision.reasons):
            # Its upstream may have listed too few files, while somebody was still uploading. Whatever it says
            # now, this is a refusal: after a 404 clients would go on to their next remote.
            with contextlib.suppress(APIError):
                remote.answers.files(revision, again=True)
        # An operator who was just told that his entry is in the log must not be told here that it is not.
        self._stores.index.catch_up()
        return self._obtain(remote, revision)

    def _obtain(self, remote: Remote, revision: Revision) -> JudgedRevision:
        recipe = self._files(remote, revision.recipe)
        links = self._files(remote, revision) if revision.is_package else recipe
        return self._judge(remote, revision, links, recipe)

    def is_held(self, remote: Remote, revision: Revision) -> bool:
        """Whether `obtain` can answer without asking the upstream or the log."""
        units = {revision, revision.recipe}
        return all(self._held_files(remote, unit, is_for_serving=True) is not None for unit in units)

    def known(self, remote: Remote, revision: Revision) -> JudgedRevision | None:
        """The decision about a revision that is held already; None otherwise. Fetches and writes nothing."""
        recipe = self._held_files(remote, revision.recipe)
        links = self._held_files(remote, revision) if revision.is_package else recipe
        self._stores.index.catch_up()
        return None if links is None or recipe is None else self._judge(remote, revision, links, recipe)

    def question(self, remote: Remote, revision: Revision, name: str, sha256: str) -> Question:
        """What the gate is asked about a file."""
        return Question(remote.package(revision, name), remote.name, sha256)

    def _judge(self, remote: Remote, revision: Revision, links: Links, recipe: Links) -> JudgedRevision:
        for name, link in links.items():
            self._check_unchanged(remote, revision, name, link.sha256)
        named = [(remote.package(revision.recipe, name), link.sha256)
                 for name, link in recipe.items() if name != MANIFEST]  # fmt: skip
        evidence = RecipeEvidence(self._stores.index, revision.recipe, named)
        files = [
            JudgedFile(name, remote.package(revision, name), link,
                       self._decide(remote, revision, evidence, name, link))
            for name, link in links.items() if name != MANIFEST
        ]  # fmt: skip
        manifest = self._judge_manifest(remote, revision, links, files)
        return JudgedRevision(remote, revision, (*files, manifest))

    def _decide(
        self, remote: Remote, revision: Revision, evidence: RecipeEvidence, name: str, link: Link
    ) -> Decision:
        question = self.question(remote, revision, name, link.sha256)
        own = self._stores.index.facts(link.file, question.package)

        def decide(facts: Facts) -> Decision:
            return self._gate.decide(question, facts, int(self._now()))

        if "reproduced" not in self._gate.rule_for(question).need:
            return decide(own)
        return decide(evidence.facts(own) if revision.is_package else evidence.best(decide, own))

    def _judge_manifest(
        self, remote: Remote, revision: Revision, links: Links, files: Sequence[JudgedFile]
    ) -> JudgedFile:
        """The manifest passes with the other files, when it lists just them."""
        link = links[MANIFEST]
        decision = JudgedRevision(remote, revision, tuple(files)).decision
        made = JudgedFile(MANIFEST, remote.package(revision, MANIFEST), link, decision)
        if not decision.passes or not decision.need:
            return made
        others = {file.name: file.link for file in files}
        if (mistake := self._manifests.mistake(link, others)) is None:
            return made
        verdict = {"enforce": "refuse", "warn": "warn", "observe": "allow"}[decision.rule.enforce]
        reasons = (Reason(mistake.reason, str(mistake)),)
        return replace(made, decision=replace(decision, verdict=verdict, reasons=reasons))  # type: ignore[arg-type]

    def _files(self, remote: Remote, revision: Revision) -> Links:
        """All files of a revision, held and recorded."""
        held = self._held_files(remote, revision, is_for_serving=True)
        if held is not None:
            return held
        return self._flights.run((remote.name, revision), lambda: self._admit_all(remote, revision))

    def _admit_all(self, remote: Remote, revision: Revision) -> Links:
        return {name: self._admit(remote, revision, name) for name in remote.answers.files(revision)}

    def _held_files(
        self, remote: Remote, revision: Revision, *, is_for_serving: bool = False
    ) -> Links | None:
        """All files, when each is held; `is_for_serving`: and whole, and recorded where that is asked for."""
        found: Links = {}
        for name in remote.answers.known_files(revision) or ():
            link = self._stores.links.find(remote.link_repository, revision.file_path(name))
            if link is None:
                return None
            if is_for_serving and not (self._is_sound(link) and self._is_recorded(remote, revision, name)):
                return None
            found[name] = link
        return found or None

    def _is_sound(self, link: Link) -> bool:
        return self._stores.blobs.has(link.sha256) and self._stores.blobs.is_sound(link.sha256)

    def _is_recorded(self, remote: Remote, revision: Revision, name: str) -> bool:
        # A manifest differs from node to node in its time, and proves nothing; the others are recorded.
        if not remote.record or name == MANIFEST:
            return True
        # Another digest counts as recorded here: `_judge` refuses it.
        return self._sights.is_recorded(remote.package(revision, name))

    def _admit(self, remote: Remote, revision: Revision, name: str) -> Link:
        path = revision.file_path(name)
        held = self._stores.links.find(remote.link_repository, path)
        if held is not None and self._is_sound(held):
            blob = Blob(held.size, **held.digests)
        else:
            if held is not None and self._stores.blobs.has(held.sha256):
                # Fetched again, it must be the same bytes, and takes the damaged file's place.
                self._stores.alarms.raise_alarm(
                    f"{remote.name}/{path}: the stored file {held.sha256} is damaged; fetching it again"
                )
            blob = self._fetch(remote, revision, name, held)
        self._check_unchanged(remote, revision, name, blob.sha256)
        if not self._is_recorded(remote, revision, name):
            sight = FirstSight(remote.package(revision, name), remote.identity, path, blob)
            self._sights.record(remote.name, sight)
            # Somebody else's record may have come first while ours was on its way.
            self._check_unchanged(remote, revision, name, blob.sha256)
        # The log has the record, durably, from here on.
        digests = {name: getattr(blob, name) for name in DIGESTS}
        made = Link(
            remote.link_repository, path, size=blob.size, by="upstream", seen=int(self._now()), **digests
        )
        known = self._stores.links.add(made)
        if known.sha256 != blob.sha256:
            because = f"this node served {known.sha256} before"
            raise self._changed(remote, revision, name, blob.sha256, because)
        return known

    def _fetch(self, remote: Remote, revision: Revision, name: str, held: Link | None) -> Blob:
        """From the upstream, else from another peer: by the record of the file. The manifest has none: it can
        be had again when it was held here before."""
        try:
            return remote.puller.fetch(revision.file_path(name))
        except (NotFoundError, UpstreamError):
            blob = None
            if name != MANIFEST:
                blob = self._stores.recorded_of_peers(remote.package(revision, name))
            elif held is not None and remote.record:
                blob = self._stores.of_peers(held.sha256, held.size)
            if blob is None:
                raise
            return blob

    def _check_unchanged(self, remote: Remote, revision: Revision, name: str, sha256: str) -> None:
        if name == MANIFEST:
            return
        first = self._stores.index.first_record(remote.package(revision, name))
        if first is not None and first.sha256 != sha256:
            because = f"{first.operator} recorded {first.sha256} at index {first.entry}"
            raise self._changed(remote, revision, name, sha256, because)

    def _changed(
        self, remote: Remote, revision: Revision, name: str, sha256: str, because: str
    ) -> ChangedError:
        message = f"{revision}, {name} changed: it has sha256 {sha256} now, but {because}"
        why = remote.why(revision)
        self._stores.alarms.raise_alarm(f"{remote.name}: {message}", explain=why)
        return ChangedError(message, explain=why)


def refusal(judged: JudgedRevision) -> RefusedError:
    """The error that tells a client why, in one short line."""
    file = judged.worst
    reason = file.decision.reasons[0].word
    line = f"{judged.revision}, {file.name}: {file.decision.line}"
    return RefusedError(
        line,
        reason=reason,
        explain=judged.remote.why(judged.revision),
        rebuild=wanted_rebuild(file.decision, lambda: rebuild_candidates(judged.remote, judged.revision)),
        note=contradiction(file.decision),
    )
