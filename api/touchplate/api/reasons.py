"""Every reason for which the gate refuses a file, or an entry counts for nothing: what it means, what to do.

The words come from the gate (`snapshot`, `too-young`, `upstream-changed`), from the levels that a rule
asks for (`not-recorded`, `not-reproduced`), and from the steps 4 and 5 of the check.
tests/api/test_reasons.py compares this table with the words that those modules can say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """One reason for people: what happened, and what somebody can do about it; whole sentences."""

    what: str
    remedy: str


REFUSALS: Mapping[str, Meaning] = {
    "not-recorded": Meaning(
        "The log has no record of first sight for these bytes under this name, so nobody can tell whether "
        "everybody gets the same ones.",
        "Ask for the file through an upstream with `record = true`: its first sights go into the log before "
        "anything is served.",
    ),
    "not-reproduced": Meaning(
        "Too few operators, independent of each other, built exactly these bytes from a source that counts.",
        "Have it rebuilt by others, or wait until they have done it.",
    ),
    "snapshot": Meaning(
        "A snapshot is not a release: other bytes may stand under the same name tomorrow, so it never counts "
        "as reproduced, whoever rebuilds it.",
        "Use a release.",
    ),
    "too-young": Meaning(
        "The rule lets time pass after the first sight, in which others may notice a bad release.",
        "Wait; nothing else is needed for this.",
    ),
    "upstream-changed": Meaning(
        "A release file must be the same bytes for everybody, for ever, and these are not the ones that were "
        "recorded first. No rule is asked about that.",
        "Treat this as an incident: find out whether the upstream or something on the way was changed. "
        "Compare with another node and with the publisher's own checksums, and keep both files.",
    ),
}
"""Why a file is not served."""

UNFIT: Mapping[str, Meaning] = {
    "wrong-manifest": Meaning(
        "Its `conanmanifest.txt` lists something else than its files hold.",
        "Tell the publisher: this revision contradicts itself, and has to be made again.",
    ),
    "bad-archive": Meaning(
        "Its archive cannot be read whole, so nobody can tell what clients would unpack.",
        "Tell the publisher: the archive has to be made again, packed with gzip or xz.",
    ),
    "unsafe-archive": Meaning(
        "Its archive would write outside its folder, or holds a file twice; clients unpack it unseen.",
        "Do not unpack it anywhere, and tell the publisher.",
    ),
}
"""Why the files of a Conan revision do not belong together, whatever was rebuilt."""

_SIGNER = "Ask its signer to submit a right one; until then it is as if the entry was not there."

LOST: Mapping[str, Meaning] = {
    "unknown-key": Meaning(
        "Its key is not in this node's trust file. Anybody can make a key, so a signature by one that nobody "
        "here knows says nothing.",
        "If you know the signer, take the key from the signer in person and let the operator of this "
        "node put it into the trust file. Never take a key from an entry.",
    ),
    "wrong-kind": Meaning(
        "Its key is trusted for another kind of statement: a recorder cannot rebuild, a rebuilder cannot "
        "record.",
        "If the key was listed under the wrong kind, correct the trust file; else leave it.",
    ),
    "wrong-ecosystem": Meaning(
        "Its key is trusted, but not for packages of this ecosystem.",
        "Add the ecosystem to the key's block in the trust file if the operator really rebuilds such "
        "packages.",
    ),
    "out-of-range": Meaning(
        "Its key is trusted for another part of the log only: it was retired before this entry, or "
        "counts only from a later one on.",
        "An operator with a new key signs again; an entry by the old key stays without weight.",
    ),
    "wrong-builder": Meaning(
        "It names a builder that is not the one listed for its key, so it may come from a sandbox that this "
        "node does not trust.",
        "Let the operator correct the builder, or list that builder for the key, if its isolation suits you.",
    ),
    "wrong-package": Meaning(
        "It speaks of these very bytes, but as another package or version than the one you asked for.",
        "Check that the name you asked for is the one you meant: right bytes under a wrong name are an "
        "attack as old as repositories.",
    ),
    "wrong-artifact": Meaning(
        "It speaks of this package file, but of other bytes than the ones judged here.",
        "Open its page to see who built or saw which bytes.",
    ),
    "wrong-recipe": Meaning(
        "It speaks of these very bytes, but was built from another recipe than the one that is served with "
        "them: it does not name every file of this recipe revision with the same sha256.",
        "Let the rebuilder take the recipe revision as it is published, and name its files.",
    ),
    "wrong-digest": Meaning(
        "Its sha256 is right, yet another digest beside it is some other file's. Nobody who hashed the file "
        "writes that.",
        _SIGNER,
    ),
    "bad-signature": Meaning("Its signature is wrong: whoever made it did not have the key.", _SIGNER),
    "bad-signature-form": Meaning("Its signature has a form that is not allowed.", _SIGNER),
    "raw-signature": Meaning("Its signature has a form that is not allowed (raw r‖s, not DER).", _SIGNER),
    "high-s": Meaning(
        "Its signature has a form that is not allowed (a high s): one statement could have two leaves.",
        _SIGNER,
    ),
    "malformed": Meaning("It does not have the one form that a statement may have.", _SIGNER),
    "too-large": Meaning("It is larger than a statement may be.", _SIGNER),
    "unknown-predicate": Meaning(
        "It makes a kind of statement that this version does not know.", "A newer touchplate may know it."
    ),
    "unknown-build-type": Meaning(
        "It describes a build of a type that this version does not know.", "A newer touchplate may know it."
    ),
    "bad-key": Meaning("Its key has a form that is not allowed.", _SIGNER),
}
"""Why an entry about a file counts for nothing."""

OTHERWISE = Meaning("It fails the check that every entry must pass.", _SIGNER)
"""For a word that has no line here; the entry's own message says more."""


def meaning(word: str) -> Meaning:
    """What a reason means, for a file or for an entry."""
    return REFUSALS.get(word) or UNFIT.get(word) or LOST.get(word) or OTHERWISE
