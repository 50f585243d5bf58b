"""Proof bundles over a small tree, proved by the literal definition of RFC 6962."""

from collections.abc import Sequence

from tests import reference
from tests.simkeys import ORIGIN, log_signer
from tests.verify.support import LIB, PUBLISHED, digests_of

from touchplate.verify.bundle import Artifact, Bundle, BundleEntry, format_bundle
from touchplate.verify.checkpoints import format_checkpoint_body
from touchplate.verify.entry import Entry
from touchplate.verify.notes import NoteSigner, sign_note
from touchplate.verify.purl import PackageURL


def make_checkpoint(
    entries: Sequence[Entry], signers: Sequence[NoteSigner] = (), time: int | None = None
) -> bytes:
    """The signed note of the tree of `entries`, by the log key unless `signers` are given."""
    root = reference.mth([entry.leaf_data for entry in entries])
    return sign_note(format_checkpoint_body(ORIGIN, len(entries), root), signers or (log_signer(),), time)


def make_proof(entries: Sequence[Entry], index: int) -> tuple[bytes, ...]:
    """The inclusion proof of entry `index` in the tree of `entries`."""
    return tuple(reference.path(index, [entry.leaf_data for entry in entries]))


def make_bundle(
    entries: Sequence[Entry],
    data: bytes = PUBLISHED,
    package: PackageURL = LIB,
    *,
    signers: Sequence[NoteSigner] = (),
    time: int | None = None,
    swap: bool = False,
) -> bytes:
    """The bundle of a log that holds just `entries`. `swap`: the last two exchange their places."""
    listed = [
        BundleEntry(index, entry.envelope, entry.spki, make_proof(entries, index))
        for index, entry in enumerate(entries)
    ]
    if swap:
        last, other = listed[-1], listed[-2]
        listed[-2:] = [
            BundleEntry(other.index, last.envelope, last.spki, other.proof),
            BundleEntry(last.index, other.envelope, other.spki, last.proof),
        ]
    artifact = Artifact(package, package.file_name, len(data), {"sha256": digests_of(data)["sha256"]})
    return format_bundle(Bundle(artifact, make_checkpoint(entries, signers, time), tuple(listed)))
