"""The key blocks of trust files and admission lists: `[[rebuilder]]`, `[[recorder]]`, `[[administrator]]`; in
trust files `[[verifier]]` and `[[rebuilderd]]`, too.

A reader of these lists should fix everything in one go, so mistakes are collected, each with where it stands,
what is wrong and what to write instead; nothing is believed while there is one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from touchplate.verify.errors import MalformedError, TrustError, VerifyError, shown
from touchplate.verify.keys import StatementKey, parse_public_pem, parse_rebuilderd_pem
from touchplate.verify.names import check_operator, parse_builder
from touchplate.verify.purl import ECOSYSTEMS
from touchplate.verify.values import value

KINDS = ("rebuilder", "recorder", "administrator")
"""Kinds of key that a log's entries are signed by: the blocks of an admission list."""

UNLOGGED = ("verifier", "rebuilderd")
"""Kinds of key whose statements (verification summaries, links of rebuilderd) stand in no log: no index."""

TRUST_KINDS = (*KINDS, *UNLOGGED)
"""The blocks of a trust file. What is no entry of a log counts for no level, whoever signs it."""

INDEX_LIMIT = 2**63
"""Entries. Tree indexes are below this in checkpoints and bundles, so a range cannot ask for more."""

MAX_BLOCKS = 1_000
"""Blocks of one list: far more operators than anybody can judge, and few enough to compare each with each."""

Read = Callable[[str], str]
"""Reads a file named relative to the list. Raises OSError, UnicodeDecodeError or VerifyError."""

_PEM_MARK = "-----BEGIN"
_WITHOUT_ECOSYSTEMS = ("administrator", "rebuilderd")


@value
class Mistake:
    """One mistake in a list: where it stands, what is wrong, what to do."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


class TrustMistakesError(TrustError):
    """A list that is refused (step 0), with every mistake in it."""

    def __init__(self, what: str, mistakes: Sequence[Mistake]) -> None:
        count = f"{len(mistakes)} {'mistake' if len(mistakes) == 1 else 'mistakes'}"
        super().__init__(f"{count} in the {what}: " + " | ".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)


@value
class TrustedKey:
    """One block: a key, whose it is, and for what it counts.

    `builder` is the only `builder.id` that a rebuilder's key may sign for, None for other kinds; the range of
    tree indexes is half-open, `until_index` None means no end; blocks of `UNLOGGED` have no range, those of
    administrators and of rebuilderd no ecosystems.
    """

    kind: str
    operator: str
    builder: str | None
    key: StatementKey
    ecosystems: tuple[str, ...]
    from_index: int = 0
    until_index: int | None = None

    def covers(self, index: int) -> bool:
        """Whether the key counts for an entry at `index`."""
        return self.from_index <= index and (self.until_index is None or index < self.until_index)


class Mistakes:
    """Collects mistakes while a list is read; `check` refuses the list when there is one."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.found: list[Mistake] = []

    def add(self, where: str, what: str, remedy: str) -> None:
        """Note one mistake."""
        self.found.append(Mistake(where, what, remedy))

    def check(self) -> None:
        """Raise TrustMistakesError when anything was noted."""
        if self.found:
            raise TrustMistakesError(self.what, self.found)


@value
class Table:
    """One TOML table under reading: takes fields by name and type, and knows which were not taken."""

    where: str
    values: Mapping[str, object]
    mistakes: Mistakes
    read: Read

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Note every field that is not in `known`."""
        allowed = tuple(known)
        for name in self.values:
            if name not in allowed:
                self.mistakes.add(
                    self.where, f"unknown field {shown(name)}", f"known here: {', '.join(allowed)}"
                )

    def text(self, name: str) -> str | None:
        """A required text."""
        value = self.values.get(name)
        if isinstance(value, str) and value:
            return value
        what = f"{name} is missing" if value is None else f"{name} is {shown(value)}"
        self.mistakes.add(self.where, what, f'write {name} = "…"')
        return None

    def integer(self, name: str, default: int | None, minimum: int) -> int | None:
        """An optional whole number of at least `minimum`, below `INDEX_LIMIT`."""
        value = self.values.get(name, default)
        if value is default:
            return default
        # A TOML boolean is a Python int.
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value < INDEX_LIMIT:
            return value
        self.mistakes.add(
            self.where, f"{name} is {shown(value)}", f"write a whole number of at least {minimum}"
        )
        return default

    def names(self, name: str, default: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """A list of different texts; required when `default` is None."""
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            what = f"{name} is missing" if value is None else f"{name} is {shown(value)}"
            self.mistakes.add(self.where, what, f'write a list of texts: {name} = ["…"]')
            return None
        if len(set(value)) != len(value):
            self.mistakes.add(self.where, f"{name} names one thing twice: {shown(value)}", "name each once")
        return tuple(value)

    def content(self, name: str, is_content: Callable[[str], bool]) -> str | None:
        """A required text, or the text of the file that it names relative to the list."""
        value = self.text(name)
        if value is None or is_content(value):
            return value
        if value.startswith("/") or ".." in value.split("/") or not value.isprintable():
            self.mistakes.add(
                self.where,
                f"{name} names the file {shown(value)}",
                "write a path relative to this file, without '..', so that the list can be moved as a folder",
            )
            return None
        try:
            return self.read(value)
        except (OSError, UnicodeDecodeError, VerifyError) as error:
            why = _why_unreadable(error)
            self.mistakes.add(
                self.where,
                f"{name} names the file {shown(value)}, which cannot be read: {why}",
                "put the file there, or write its text here",
            )
            return None


def _why_unreadable(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or "it cannot be opened").lower()
    return str(error) if isinstance(error, VerifyError) else "it is not utf-8 text"


def read_blocks(document: Table, kinds: Sequence[str] = KINDS) -> tuple[TrustedKey, ...]:
    """The keys of all blocks of a list that are of these `kinds`; mistakes go to `document.mistakes`."""
    keys: list[TrustedKey] = []
    places: list[str] = []
    for kind in kinds:
        blocks = document.values.get(kind, [])
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            document.mistakes.add(kind, "is not an array of tables", f"write [[{kind}]] above each block")
            continue
        if len(blocks) > MAX_BLOCKS:
            document.mistakes.add(kind, f"{len(blocks)} blocks", f"at most {MAX_BLOCKS} are read")
            continue
        for number, block in enumerate(blocks, start=1):
            table = Table(f"[[{kind}]] {number}", block, document.mistakes, document.read)
            key = _read_block(kind, table)
            if key is not None:
                keys.append(key)
                places.append(table.where)
    _check_together(keys, places, document.mistakes)
    return tuple(keys)


def _read_block(kind: str, table: Table) -> TrustedKey | None:
    known = ["operator", "key"]
    if kind not in UNLOGGED:
        known += ["from_index", "until_index"]
    if kind == "rebuilder":
        known.append("builder")
    if kind not in _WITHOUT_ECOSYSTEMS:
        known.append("ecosystems")
    table.refuse_unknown(known)
    operator = _read_operator(table)
    builder = _read_builder(table, operator) if kind == "rebuilder" else None
    key = _read_key(kind, table)
    ecosystems = _read_ecosystems(table) if kind not in _WITHOUT_ECOSYSTEMS else ()
    start = table.integer("from_index", 0, 0) or 0
    end = table.integer("until_index", None, 0)
    if end is not None and end <= start:
        table.mistakes.add(
            table.where,
            f"until_index {end} is not above from_index {start}",
            "the range is half-open; remove the block if the key never counts",
        )
    if operator is None or key is None or ecosystems is None or (kind == "rebuilder" and builder is None):
        return None
    return TrustedKey(kind, operator, builder, key, ecosystems, start, end)


def _read_operator(table: Table) -> str | None:
    operator = table.text("operator")
    if operator is None:
        return None
    try:
        check_operator(operator)
    except MalformedError as error:
        table.mistakes.add(
            table.where, str(error), "write the operator's name as it stands in its statements"
        )
        return None
    return operator


def _read_builder(table: Table, operator: str | None) -> str | None:
    builder = table.text("builder")
    if builder is None or operator is None:
        return None
    try:
        owner, _ = parse_builder(builder)
    except MalformedError as error:
        table.mistakes.add(table.where, str(error), "write the builder as it stands in its provenance")
        return None
    if owner != operator:
        remedy = f"write {operator}/touchplate/<backend>/v1"
        table.mistakes.add(table.where, f"builder {shown(builder)} is one of another operator", remedy)
        return None
    return builder


def _read_key(kind: str, table: Table) -> StatementKey | None:
    pem = table.content("key", lambda text: _PEM_MARK in text)
    if pem is None:
        return None
    if "PRIVATE KEY" in pem:
        table.mistakes.add(
            table.where, "key is a private key", "give the public key; consider the private one as leaked"
        )
        return None
    try:
        return parse_rebuilderd_pem(pem) if kind == "rebuilderd" else parse_public_pem(pem)
    except VerifyError as error:
        source = "as the instance publishes it" if kind == "rebuilderd" else "made by `touchplate keygen`"
        table.mistakes.add(table.where, f"key: {error}", f"use a key {source}")
        return None


def _read_ecosystems(table: Table) -> tuple[str, ...] | None:
    ecosystems = table.names("ecosystems", None)
    if ecosystems is None:
        return None
    unknown = [name for name in ecosystems if name not in ECOSYSTEMS]
    if unknown or not ecosystems:
        what = f"ecosystems {shown(unknown)} are unknown" if unknown else "ecosystems is empty"
        table.mistakes.add(table.where, what, f"known: {', '.join(ECOSYSTEMS)}")
        return None
    return ecosystems


def _check_together(keys: Sequence[TrustedKey], places: Sequence[str], mistakes: Mistakes) -> None:
    """What no block shows alone: one key, one operator, one kind, and no index at which it counts twice."""
    by_key: dict[bytes, list[int]] = {}
    for number, key in enumerate(keys):
        for earlier in by_key.setdefault(key.key.spki, []):
            _check_pair(keys[earlier], places[earlier], key, places[number], mistakes)
        by_key[key.key.spki].append(number)


def _check_pair(
    first: TrustedKey, first_place: str, second: TrustedKey, place: str, mistakes: Mistakes
) -> None:
    if first.operator != second.operator:
        mistakes.add(
            place,
            f"its key stands under the operator {shown(first.operator)} too, in {first_place}",
            "one key speaks for one operator; remove the wrong block",
        )
    if first.kind != second.kind:
        mistakes.add(
            place, f"its key is a {first.kind}'s too, in {first_place}", "make one key for each role"
        )
    elif first.kind in UNLOGGED:
        mistakes.add(
            place,
            f"its key stands in {first_place} already",
            "list it once; a verifier's ecosystems may be several",
        )
    elif first.builder == second.builder and _overlap(first, second):
        mistakes.add(
            place,
            f"its range of indexes overlaps that of the same key in {first_place}",
            "let one range end where the next begins (ranges are half-open)",
        )


def _overlap(first: TrustedKey, second: TrustedKey) -> bool:
    if second.until_index is not None and second.until_index <= first.from_index:
        return False
    return first.until_index is None or second.from_index < first.until_index
