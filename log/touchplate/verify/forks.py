"""Reports about a log that showed two histories, or serves what it did not sign (report format 9).

A *fork* is proven by its report alone: two checkpoints, both signed by the log and good under a policy, and,
unless they are of one size, the proof that the newer tree has another root at the older size. *Damage* proves
nothing against anybody, since what was served is not signed: it says what was wrong, under which head.

Each report is one file that is written once, whole, and never again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from touchplate.verify.checkpoints import Checkpoint, open_checkpoint
from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.errors import MalformedError, ProofError, ReportedError, shown
from touchplate.verify.fields import take_list, take_object, take_text
from touchplate.verify.folders import make_folder, sync_folder
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json
from touchplate.verify.notes import MAX_NOTE_BYTES
from touchplate.verify.policy import Policy
from touchplate.verify.proofs import MAX_PROOF_HASHES, is_prefix
from touchplate.verify.values import value

MEDIA_TYPE = "application/vnd.touchplate.log-report.v1+json"

MAX_REPORT_BYTES = 6 * MAX_NOTE_BYTES
"""Bytes of a report: two notes, each byte of which JSON may escape, and a proof."""

MAX_CONSISTENCY_HASHES = MAX_PROOF_HASHES + 1
"""Hashes in a consistency proof: one more than in an inclusion proof (RFC 6962 2.1.2)."""

FORK = "fork"
DAMAGE = "damage"

_MODE = 0o644
_NAME_ROOT = 8  # hex digits of the newer root in a file's name: each other history has a file of its own


@value
class Report:
    """A report that was opened under a policy. `old`: the head known before, None for damage at first sight.

    `finding`: `fork` when two histories are proven, `damage` otherwise; `what`: a line for people.
    """

    finding: str
    old: Checkpoint | None
    new: Checkpoint
    what: str


# --- making -----------------------------------------------------------------------------------------------


def fork_report(
    old: Checkpoint, new: Checkpoint, derived: bytes | None = None, proof: Sequence[bytes] = ()
) -> dict[str, JSONValue]:
    """What anyone needs to see the fork without asking the log.

    `derived`: the root that the newer tree has at the older size; `proof` shows it against the newer root.
    Both are absent for two roots of one size.
    """
    report = _report(FORK, old, new, f"a head of size {new.size} that does not contain the one of {old.size}")
    report["proof"] = [encode_base64(each) for each in proof]
    if derived is not None:
        report["derivedRoot"] = encode_base64(derived)
    return report


def damage_report(old: Checkpoint | None, new: Checkpoint, what: str) -> dict[str, JSONValue]:
    """What was served under the head `new` and does not belong to it; `old`: the last head that was whole."""
    return _report(DAMAGE, old, new, what)


def _report(finding: str, old: Checkpoint | None, new: Checkpoint, what: str) -> dict[str, JSONValue]:
    report: dict[str, JSONValue] = {
        "mediaType": MEDIA_TYPE,
        "finding": finding,
        "origin": new.origin,
        "what": what,
        "new": _head(new),
    }
    if old is not None:
        report["old"] = _head(old)
    return report


def _head(head: Checkpoint) -> dict[str, str]:
    return {"size": str(head.size), "root": encode_base64(head.root), "checkpoint": head.note}


# --- keeping ----------------------------------------------------------------------------------------------


def keep_evidence(folder: Path, error: ReportedError) -> None:
    """Keep the report of an error in `folder` and let the error name the file, or say why there is none."""
    assert error.evidence is not None
    try:
        error.kept = str(keep_report(folder, error.evidence))
    except OSError as failed:
        # What the log did is the news; that the disk is full may not hide it.
        error.not_kept = f"{failed.filename or folder}: {failed.strerror}"


def keep_report(folder: Path, report: Mapping[str, JSONValue]) -> Path:
    """Write a report to `<finding>-<origin>-<size>-<root>.json` in `folder`, unless it is there; its path.

    Raises OSError. On return it is on disk whole; a file of that name is never touched again.
    """
    new = report["new"]
    assert isinstance(new, dict)  # as `_report` made it
    root = decode_base64(new["root"], "root").hex()[:_NAME_ROOT]
    path = folder / f"{report['finding']}-{report['origin']}-{new['size']}-{root}.json"
    make_folder(folder)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(temporary, flags, _MODE), "wb") as file:
            file.write(format_json(report) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: the first report of a fork stays, whoever finds it again.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)
    return path


# --- reading ----------------------------------------------------------------------------------------------


def open_report(data: bytes, policy: Policy) -> Report:
    """A report whose heads are good under the policy and, for a fork, prove two histories.

    Raises MalformedError for another form, what `open_checkpoint` raises, and ProofError (`no-fork`) when
    the two heads can be of one history.
    """
    members = take_object(
        parse_json(data, max_bytes=MAX_REPORT_BYTES),
        "report",
        ("mediaType", "finding", "origin", "what", "new"),
        ("old", "proof", "derivedRoot"),
    )
    if members["mediaType"] != MEDIA_TYPE:
        raise MalformedError(f"report has mediaType {shown(members['mediaType'])}, not {MEDIA_TYPE!r}")
    finding = take_text(members["finding"], "finding")
    new = _open_head(members["new"], "new", policy)
    old = _open_head(members["old"], "old", policy) if "old" in members else None
    if members["origin"] != new.origin:
        raise MalformedError(f"report has origin {shown(members['origin'])}, its heads {new.origin!r}")
    if finding == FORK:
        _check_fork(old, new, members)
    elif finding != DAMAGE or members.keys() & {"proof", "derivedRoot"}:
        raise MalformedError(f"report has the finding {shown(finding)}; known: {FORK}, {DAMAGE}")
    return Report(finding, old, new, take_text(members["what"], "what"))


def _open_head(value: JSON, what: str, policy: Policy) -> Checkpoint:
    members = take_object(value, what, ("size", "root", "checkpoint"))
    head = open_checkpoint(take_text(members["checkpoint"], f"{what} checkpoint").encode(), policy)
    # The two beside the note are there for people; they may not say anything else.
    if (members["size"], members["root"]) != (str(head.size), encode_base64(head.root)):
        raise MalformedError(f"report gives another size or root for its {what} head than the signed note")
    return head


def _check_fork(old: Checkpoint | None, new: Checkpoint, members: dict[str, JSON]) -> None:
    if old is None or "proof" not in members:
        raise MalformedError("report of a fork needs two heads and a proof")
    proof = [
        decode_base64(take_text(each, "proof"), "a hash of the proof")
        for each in take_list(members["proof"], "proof", most=MAX_CONSISTENCY_HASHES)
    ]
    if old.size == new.size:
        proven = old.root != new.root and not proof and "derivedRoot" not in members
    else:
        derived = decode_base64(take_text(members.get("derivedRoot"), "derivedRoot"), "derivedRoot")
        proven = old.size < new.size and derived != old.root and is_prefix(new, old.size, derived, proof)
    if not proven:
        raise ProofError(
            f"the report does not show that the heads of size {old.size} and {new.size} are of two histories",
            reason="no-fork",
        )
