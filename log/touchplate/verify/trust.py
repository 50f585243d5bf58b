"""Who is believed: the trust file of a reader and the admission list of a log, one grammar for both.

Two lists that are never the same file: an admission list says who may write to a log, a trust file says whose
entries count for one reader. Step 0 of the check: a list with a mistake in it is refused whole.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from touchplate.verify.blocks import (
    KINDS,
    TRUST_KINDS,
    Mistake,
    Mistakes,
    Read,
    Table,
    TrustedKey,
    TrustMistakesError,
    read_blocks,
)
from touchplate.verify.errors import TrustError, VerifyError, shown
from touchplate.verify.keys import ED25519_PREFIX
from touchplate.verify.levels import LEVELS, ReproducedRule
from touchplate.verify.policy import Policy, parse_policy
from touchplate.verify.predicates.provenance import SOURCE_KINDS
from touchplate.verify.reading import beside, file_name, read_at_most
from touchplate.verify.values import derived, value

if TYPE_CHECKING:
    from touchplate.verify.reading import StrPath

__all__ = [
    "AdmissionList",
    "Mistake",
    "TrustFile",
    "TrustMistakesError",
    "TrustedKey",
    "load_admission",
    "load_trust",
    "parse_admission",
    "parse_trust",
]

MAX_LIST_BYTES = 1 << 20
"""Bytes of a list or of a file that it names: room for a thousand keys, too little to fill a memory."""

MAX_DOTS = 1 << 20
"""Sum over all lines of the square of their dots: what `tomllib` keeps for dotted keys grows by that square,
and a line of 400 kB would fill any memory. The longest policy on one line has a tenth of it."""

# Compiled on use: compiling takes longer than the rest of the import.
_AGE = r"([1-9][0-9]{0,8})([smhd])"
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_STABILIZER = r"[a-z0-9]+(?:-[a-z0-9]+)*@[1-9][0-9]{0,8}"


@value
class AdmissionList:
    """Who may write to a log."""

    keys: tuple[TrustedKey, ...]

    def find(self, spki: bytes) -> tuple[TrustedKey, ...]:
        """The blocks of the key with this SPKI: none if unknown, several with other ranges or builders."""
        return self._by_spki.get(spki, ())

    @derived
    def _by_spki(self) -> Mapping[bytes, tuple[TrustedKey, ...]]:
        return _index(self.keys)


@value
class TrustFile:
    """What one reader believes. `max_checkpoint_age` in seconds, None when the reader does not ask."""

    policy: Policy
    max_checkpoint_age: int | None
    reproduced: ReproducedRule
    keys: tuple[TrustedKey, ...]

    def find(self, spki: bytes) -> tuple[TrustedKey, ...]:
        """The blocks of the key with this SPKI: none if unknown, several with other ranges or builders."""
        return self._by_spki.get(spki, ())

    @derived
    def _by_spki(self) -> Mapping[bytes, tuple[TrustedKey, ...]]:
        return _index(self.keys)


def parse_trust(text: str, read: Read) -> TrustFile:
    """The trust file in `text`; `read` answers for the files that it names.

    Raises TrustMistakesError with every mistake found (trust file format 7).
    """
    document, mistakes = _open(text, read, "trust file")
    document.refuse_unknown(("log", "levels", *TRUST_KINDS))
    policy, age = _read_log(document)
    rule = _read_levels(document)
    keys = read_blocks(document, TRUST_KINDS)
    if policy is not None:
        _check_roles(policy, keys, mistakes)
    mistakes.check()
    assert policy is not None  # else there was a mistake
    return TrustFile(policy, age, rule, keys)


def parse_admission(text: str, read: Read) -> AdmissionList:
    """The admission list in `text`: key blocks only. Raises TrustMistakesError with every mistake."""
    document, mistakes = _open(text, read, "admission list")
    document.refuse_unknown(KINDS)
    keys = read_blocks(document)
    mistakes.check()
    return AdmissionList(keys)


def load_trust(path: StrPath, seen: Callable[[str, bytes], None] | None = None) -> TrustFile:
    """The trust file at `path`; what it names is relative to its folder. Raises OSError, TrustError.

    `seen` is told of each file that was read, in that order: the trust file first, as "", then those that it
    names, by the names that it uses. Each is read once, so that what was seen is what is believed, also when
    a file changes between two blocks that name it.
    """
    if seen is None:
        return parse_trust(_read_bounded(path), _reader(path))
    texts: dict[str, str] = {}

    def read(name: str) -> str:
        if name not in texts:
            texts[name] = _read_bounded(beside(path, name))
            seen(name, texts[name].encode("utf-8"))
        return texts[name]

    text = _read_bounded(path)
    seen("", text.encode("utf-8"))  # the very bytes: a file that is not UTF-8 was refused
    return parse_trust(text, read)


def load_admission(path: StrPath) -> AdmissionList:
    """The admission list at `path`, as `load_trust`. Raises OSError, TrustError."""
    return parse_admission(_read_bounded(path), _reader(path))


def _open(text: str, read: Read, what: str) -> tuple[Table, Mistakes]:
    mistakes = Mistakes(what)
    values: Mapping[str, object] = {}
    if sum(line.count(".") ** 2 for line in text.split("\n")) > MAX_DOTS:
        mistakes.add(
            "toml", "lines of thousands of dots", "no field here has a dotted name of more than two parts"
        )
        mistakes.check()
    try:
        values = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and integers beyond the digits that Python converts
        mistakes.add("toml", str(error)[:1].lower() + str(error)[1:], "write TOML 1.0")
    except RecursionError:
        mistakes.add("toml", "values are nested too deep", "no field here is nested")
    mistakes.check()
    return Table("top level", values, mistakes, read), mistakes


def _section(table: Table, name: str, *, where: str) -> Table | None:
    values = table.values.get(name, {})
    if isinstance(values, dict):
        return Table(where, values, table.mistakes, table.read)
    table.mistakes.add(where, f"is {shown(values)}", f"write it as a table: {where}")
    return None


def _read_log(document: Table) -> tuple[Policy | None, int | None]:
    log = _section(document, "log", where="[log]")
    if log is None:
        return None, None
    log.refuse_unknown(("policy", "max_checkpoint_age"))
    policy = _read_policy(log)
    age = _read_age(log)
    if policy is not None and age is not None and not policy.needs_witnesses:
        log.mistakes.add(
            log.where,
            "max_checkpoint_age stands beside a policy with `quorum none`",
            "name witnesses and a quorum: only their cosignatures carry a time",
        )
    return policy, age


def _read_policy(log: Table) -> Policy | None:
    text = log.content("policy", lambda value: "\n" in value)
    if text is None:
        return None
    try:
        return parse_policy(text)
    except VerifyError as error:
        log.mistakes.add(log.where, f"policy: {error}", "correct the policy (C2SP tlog-policy)")
        return None


def _read_age(log: Table) -> int | None:
    value = log.values.get("max_checkpoint_age")
    if value is None:
        return None
    age = parse_age(value) if isinstance(value, str) else None
    if age is None:
        log.mistakes.add(
            log.where,
            f"max_checkpoint_age is {shown(value)}",
            'write a number and s, m, h or d, such as "24h"',
        )
        return None
    return age


def parse_age(text: str) -> int | None:
    """Seconds of a number with s, m, h or d, such as `24h`; None for any other text."""
    match = re.fullmatch(_AGE, text)
    return int(match[1]) * _SECONDS[match[2]] if match else None


def _read_levels(document: Table) -> ReproducedRule:
    levels = _section(document, "levels", where="[levels]")
    default = ReproducedRule()
    if levels is None:
        return default
    # `recorded` has no settings, and a level that does not exist yet must not look as if it were checked.
    for name in levels.values:
        if name != "reproduced":
            what = f"{name} has no settings" if name in LEVELS else f"there is no level {shown(name)}"
            levels.mistakes.add(levels.where, what, "only [levels.reproduced] can be set")
    rule = _section(levels, "reproduced", where="[levels.reproduced]")
    if rule is None:
        return default
    rule.refuse_unknown(("operators", "sources", "stabilizers"))
    operators = rule.integer("operators", default.operators, 1)
    return ReproducedRule(
        operators or default.operators, _read_sources(rule, default), _read_stabilizers(rule, default)
    )


def _read_sources(rule: Table, default: ReproducedRule) -> tuple[str, ...]:
    sources = rule.names("sources", default.sources) or ()
    unknown = [kind for kind in sources if kind not in SOURCE_KINDS]
    if unknown:
        rule.mistakes.add(
            rule.where, f"sources {shown(unknown)} are unknown", f"known: {', '.join(SOURCE_KINDS)}"
        )
    elif rule.values.get("sources") == []:
        rule.mistakes.add(
            rule.where, "sources is empty, so nothing could ever count", "name a kind of source"
        )
    return sources


def _read_stabilizers(rule: Table, default: ReproducedRule) -> tuple[str, ...]:
    stabilizers = rule.names("stabilizers", default.stabilizers) or ()
    for name in stabilizers:
        if not re.fullmatch(_STABILIZER, name):
            rule.mistakes.add(
                rule.where, f"stabilizer {shown(name)} has no version", "write name@version, such as x@1"
            )
    return stabilizers


def _check_roles(policy: Policy, keys: Iterable[TrustedKey], mistakes: Mistakes) -> None:
    """No key serves two roles: an Ed25519 statement key is none of the log's or a witness's."""
    note_keys = {ED25519_PREFIX + key.public: key for key in policy.keys}
    for key in keys:
        role = note_keys.get(key.key.spki)
        if role is not None:
            mistakes.add(
                f"[[{key.kind}]]",
                f"its key is the {role.role} key {shown(str(role))} of the policy too",
                "make one key for each role",
            )


def _index(keys: Iterable[TrustedKey]) -> Mapping[bytes, tuple[TrustedKey, ...]]:
    """The blocks of each key by its SPKI, in their order: made once, since each entry asks for its key."""
    blocks: dict[bytes, list[TrustedKey]] = {}
    for key in keys:
        blocks.setdefault(key.key.spki, []).append(key)
    return {spki: tuple(found) for spki, found in blocks.items()}


def _read_bounded(path: StrPath) -> str:
    name, data = file_name(path), read_at_most(path, MAX_LIST_BYTES)
    if len(data) > MAX_LIST_BYTES:
        raise TrustError(f"{name} is longer than {MAX_LIST_BYTES} bytes; no list needs as much")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TrustError(f"{name} is not utf-8 text (byte {error.start})") from error


def _reader(path: StrPath) -> Read:
    return lambda name: _read_bounded(beside(path, name))
