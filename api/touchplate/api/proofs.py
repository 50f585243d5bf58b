"""Proof bundles: what an auditor needs to check a file offline, gathered from the index and the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from touchplate.api.errors import NotFoundError, NotReadyError
from touchplate.api.index.store import EvidenceRow, IndexStore
from touchplate.api.links import Link
from touchplate.api.ports import ProofSource, ProvenEntry
from touchplate.verify.bundle import MAX_BUNDLE_ENTRIES, Artifact, Bundle, BundleEntry, format_bundle
from touchplate.verify.checkpoints import Checkpoint, open_checkpoint
from touchplate.verify.entry import make_entry, parse_packed
from touchplate.verify.errors import VerifyError
from touchplate.verify.policy import Policy
from touchplate.verify.purl import PackageURL, format_purl
from touchplate.verify.sigstore import sigstore_bundle

_KINDS = ("record", "provenance", "comparison")


class Prover:
    """Makes bundles for files, all against the newest checkpoint that satisfies the policy of our own
    gate."""

    def __init__(self, index: IndexStore, source: ProofSource, policy: Policy) -> None:
        self._index = index
        self._source = source
        self._policy = policy

    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint, opened. Raises NotReadyError when the log has none that the policy
        accepts."""
        try:
            return open_checkpoint(self._source.checkpoint(), self._policy)
        except VerifyError as error:
            raise NotReadyError(
                f"the log has no checkpoint that the gate's policy accepts: {error}"
            ) from error

    def bundle(self, link: Link, package: PackageURL) -> bytes:
        """The proof bundle of one file. Raises NotFoundError when nothing about it is in the log."""
        checkpoint = self.checkpoint()
        indexes = self.entries_about(link.sha256, package, checkpoint.size)
        if not indexes:
            raise NotFoundError(f"no entry of the log is about {link.sha256}", reason="no-evidence")
        artifact = Artifact(
            package,
            package.file_name,
            link.size,
            link.digests,
        )
        entries = [
            BundleEntry(entry.index, entry.envelope, entry.key, entry.proof)
            for entry in self._proven(checkpoint, indexes)
        ]
        return format_bundle(Bundle(artifact, checkpoint.note.encode(), tuple(entries)))

    def envelopes(self, sha256: str, package: PackageURL) -> list[bytes]:
        """The DSSE envelopes about one file, by index."""
        found = []
        for index in self.entries_about(sha256, package, self._index.followed()):
            row = self._index.entry(index)
            if row is not None:
                found.append(parse_packed(row.packed).envelope)
        return found

    def sigstore(self, index: int, sha256: str) -> bytes:
        """One entry about `sha256` in Sigstore's form. Raises NotFoundError when it is not about these
        bytes."""
        checkpoint = self.checkpoint()
        if index >= checkpoint.size or not self._index.is_about(index, sha256):
            raise NotFoundError(f"entry {index} is not about {sha256}", reason="no-evidence")
        (proven,) = self._proven(checkpoint, [index])
        entry = make_entry(proven.envelope, proven.key)
        return sigstore_bundle(entry, index, list(proven.proof), checkpoint, self._policy)

    def entries_about(self, sha256: str, package: PackageURL, size: int) -> list[int]:
        """Indexes below `size` of the entries for a bundle about this file, at most as many as fit,
        ascending.

        Good evidence first; then entries by keys that our own trust file does not know, since the reader of
        the bundle believes his own.
        """
        file = format_purl(package)
        rows = self._index.evidence_of(sha256, file)
        rows.sort(key=lambda row: (_KINDS.index(row.kind), row.entry))
        good = [row.entry for row in _one_voice_first(rows)]
        named = {str(row.detail["provenance"]) for row in rows if row.detail.get("provenance")}
        good += [row.entry for row in self._index.evidence_of_identities(named) if row.kind == "provenance"]
        strangers = [
            row.entry for row in self._index.lost_of_digest(sha256) if row.file == file and row.step == 4
        ]
        wanted = dict.fromkeys(index for index in [*good, *strangers] if index < size)
        return sorted(list(wanted)[:MAX_BUNDLE_ENTRIES])

    def _proven(self, checkpoint: Checkpoint, indexes: Sequence[int]) -> list[ProvenEntry]:
        return self._source.proven_entries(checkpoint, indexes)


def _one_voice_first(rows: Iterable[EvidenceRow]) -> list[EvidenceRow]:
    """The first row of each (kind, operator) before the others: repetition must not crowd anybody out."""
    heard: set[tuple[str, str]] = set()
    first: list[EvidenceRow] = []
    later: list[EvidenceRow] = []
    for row in rows:
        (later if (row.kind, row.operator) in heard else first).append(row)
        heard.add((row.kind, row.operator))
    return first + later
