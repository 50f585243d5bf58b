"""Which logs, witnesses and quorum make a checkpoint valid (C2SP tlog-policy).

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> any|all|<k> <member>...
    quorum <name>|none

Stricter than tlog-policy in four points (entry format 7): at least one log and all of one origin, a
bare host name; no key in two roles; witnesses whose keys carry one name (one cosigner's several keys) count
as one voice, so they must stand together in one `group … any`; the last line ends in a newline, since a
cut-off name could be another name. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from touchplate.verify.encoding import parse_decimal
from touchplate.verify.errors import MalformedError, PolicyError, shown
from touchplate.verify.notes import (
    MAX_SIGNATURE_LINES,
    NoteKey,
    Role,
    format_verifier_key,
    is_origin,
    parse_verifier_key,
)
from touchplate.verify.values import value

MAX_POLICY_BYTES = 256 * 1024
"""Bytes of a policy: 64 logs, witnesses (an ML-DSA-44 key takes 1,800) and groups with long URLs fit."""

MAX_DEFINITIONS = MAX_SIGNATURE_LINES
"""Logs, witnesses or groups in one policy: tlog-policy asks for 32, a note has no more lines."""

_NONE = "none"
_SPACE = re.compile(r"[ \t]+")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@value
class PolicyLog:
    """A log key whose checkpoints are accepted; `url` is a hint where the log can be read."""

    key: NoteKey
    url: str | None = None


@value
class Witness:
    """A cosigner. `name` stands for it inside the policy only; `key.name` is the one in signature lines."""

    name: str
    key: NoteKey
    url: str | None = None


@value
class Group:
    """Satisfied when at least `threshold` of its members (witnesses, groups) are."""

    name: str
    threshold: int
    members: tuple[str, ...]


@value
class Policy:
    """What makes a checkpoint valid: signed by any of `logs`, cosigned by witnesses as `quorum` says.

    `quorum` is the name of a witness or group, or "none". Made by `parse_policy`, which checks all of it.
    """

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    @property
    def origin(self) -> str:
        """The one origin of all logs (peers of one log sign with keys of their own under its origin)."""
        return self.logs[0].key.name

    @property
    def keys(self) -> tuple[NoteKey, ...]:
        """Every key that the policy knows, logs first."""
        return tuple(log.key for log in self.logs) + tuple(witness.key for witness in self.witnesses)

    @property
    def needs_witnesses(self) -> bool:
        """Whether the quorum asks for cosignatures at all."""
        return self.quorum != _NONE

    def is_satisfied(self, names: Collection[str]) -> bool:
        """Whether cosignatures of the witnesses with these policy names satisfy the quorum."""
        if not self.needs_witnesses:
            return True
        known = {witness.name for witness in self.witnesses}
        satisfied = known & set(names)
        # Groups refer to earlier lines only, so one pass in order is enough.
        for group in self.groups:
            if len(satisfied.intersection(group.members)) >= group.threshold:
                satisfied.add(group.name)
        return self.quorum in satisfied


def format_policy(policy: Policy) -> str:
    """The text of a policy; `parse_policy` reads it back."""
    lines = [_join("log", format_verifier_key(log.key), log.url) for log in policy.logs]
    lines += [
        _join("witness", each.name, format_verifier_key(each.key), each.url) for each in policy.witnesses
    ]
    lines += [_join("group", each.name, str(each.threshold), *each.members) for each in policy.groups]
    return "".join(f"{line}\n" for line in [*lines, _join("quorum", policy.quorum)])


def _join(*items: str | None) -> str:
    return " ".join(item for item in items if item is not None)


def parse_policy(text: str) -> Policy:
    """A policy from its text, every line of it. Raises PolicyError with the line's number and the mistake.

    Reasons: `policy`; `unsupported-key-type` for another type than 0x01 (logs), 0x04 and 0x06 (witnesses).
    """
    # At most 4 bytes a character: the limit only has to keep the work small.
    if len(text) > MAX_POLICY_BYTES:
        raise PolicyError(f"the policy is longer than {MAX_POLICY_BYTES} characters")
    if not text.endswith("\n"):
        raise PolicyError("the policy does not end in a newline: is its last line complete?")
    if found := _FORBIDDEN.search(text):
        raise PolicyError(
            f"the policy has the control character {found[0]!r}; only tab and newline may stand in it"
        )
    reader = _Reader()
    for number, line in enumerate(text[:-1].split("\n"), start=1):
        items = [item for item in _SPACE.split(line) if item]
        if not items or items[0].startswith("#"):
            continue
        try:
            reader.read(items[0], items[1:])
        except (PolicyError, MalformedError) as error:
            reason = error.reason if error.reason == "unsupported-key-type" else None
            raise PolicyError(f"policy line {number}: {error}", reason=reason) from error
    return reader.finish()


class _Reader:
    """The lines read so far; every rule is checked at the line that breaks it, where it can be."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self.names = {_NONE}
        self.members: set[str] = set()

    def read(self, keyword: str, items: Sequence[str]) -> None:
        match keyword, items:
            case "log", [key]:
                self._add_log(key, None)
            case "log", [key, url]:
                self._add_log(key, url)
            case "witness", [name, key]:
                self._add_witness(name, key, None)
            case "witness", [name, key, url]:
                self._add_witness(name, key, url)
            case "group", [name, threshold, *members]:
                self._add_group(name, threshold, members)
            case "quorum", [name]:
                self._set_quorum(name)
            case (("log" | "witness" | "group" | "quorum"), _):
                raise PolicyError(f"{keyword!r} does not take {len(items)} items")
            case _:
                raise PolicyError(f"{shown(keyword)} is none of log, witness, group, quorum")

    def finish(self) -> Policy:
        if self.quorum is None:
            raise PolicyError("the policy has no quorum line; `quorum none` says that no witness is needed")
        if not self.logs:
            raise PolicyError("the policy has no log line")
        self._require_one_voice()
        return Policy(tuple(self.logs), tuple(self.witnesses), tuple(self.groups), self.quorum)

    def _add_log(self, text: str, url: str | None) -> None:
        key = self._new_key(text, "log")
        if not is_origin(key.name):
            raise PolicyError(f"the log name {shown(key.name)} is no bare lower-case host name")
        if self.logs and self.logs[0].key.name != key.name:
            raise PolicyError(
                f"logs of two origins, {shown(self.logs[0].key.name)} and {shown(key.name)}: allow one"
            )
        _require_room(self.logs)
        self.logs.append(PolicyLog(key, url))

    def _add_witness(self, name: str, text: str, url: str | None) -> None:
        key = self._new_key(text, "cosigner")
        self._define(name)
        _require_room(self.witnesses)
        self.witnesses.append(Witness(name, key, url))

    def _add_group(self, name: str, threshold: str, members: Sequence[str]) -> None:
        for member in members:
            if member not in self.names or member == _NONE:
                raise PolicyError(f"member {shown(member)} is not defined on an earlier line")
            if member in self.members:
                raise PolicyError(
                    f"{shown(member)} is already a member of a group; one name counts in one group"
                )
            self.members.add(member)
        self._define(name)
        _require_room(self.groups)
        self.groups.append(Group(name, _threshold(threshold, len(members)), tuple(members)))

    def _set_quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise PolicyError("a second quorum line")
        if name not in self.names:
            raise PolicyError(f"the quorum {shown(name)} is not defined on an earlier line")
        self.quorum = name

    def _define(self, name: str) -> None:
        if name in self.names:
            raise PolicyError(f"the name {shown(name)} is already taken")
        self.names.add(name)

    def _new_key(self, text: str, role: Role) -> NoteKey:
        key = parse_verifier_key(text)
        if key.role != role:
            raise PolicyError(
                f"the key of {shown(key.name)} is a {key.role} key, and stands where a {role} key belongs",
                reason="unsupported-key-type",
            )
        # tlog-policy: two vkeys are duplicate when they wrap one public key. tlog-cosignature: no key is
        # both.
        taken = [log.key for log in self.logs] + [witness.key for witness in self.witnesses]
        if any(other.public == key.public for other in taken):
            raise PolicyError(f"the key of {shown(key.name)} stands in the policy twice")
        return key

    def _require_one_voice(self) -> None:
        by_name: dict[str, set[str]] = {}
        for witness in self.witnesses:
            by_name.setdefault(witness.key.name, set()).add(witness.name)
        for key_name, names in by_name.items():
            together = any(group.threshold == 1 and names <= set(group.members) for group in self.groups)
            if len(names) > 1 and not together:
                raise PolicyError(
                    f"{len(names)} witnesses have keys named {shown(key_name)}: one cosigner's keys are "
                    "one voice and stand together in one `group NAME any …`"
                )


def _threshold(text: str, members: int) -> int:
    if not members:
        raise PolicyError("a group has at least one member")
    if text == "any":
        return 1
    if text == "all":
        return members
    threshold = parse_decimal(text, "the threshold of a group")
    if not 1 <= threshold <= members:
        raise PolicyError(f"{threshold} of {members} members can never decide")
    return threshold


def _require_room(defined: Sequence[object]) -> None:
    if len(defined) >= MAX_DEFINITIONS:
        raise PolicyError(f"more than {MAX_DEFINITIONS} lines of one kind")
