"""The shared table of cases for the end-to-end check: what `verify` and the gate must both answer.

`CASES` are about steps 4 to 7: entries with the indexes at which they stand, a trust file, and the answer.
`BUNDLE_CASES` are about steps 0 to 3: damage to a good bundle or trust file, which only `verify` reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.simkeys import log_signer, verifier_key, witness_signer
from tests.verify.bundles import make_bundle
from tests.verify.support import (
    LIB,
    LIB_OTHER_VERSION,
    OPERATOR_A,
    OPERATOR_B,
    OTHER,
    PUBLISHED,
    RECORDER,
    digests_of,
    edited,
    make_comparison,
    make_provenance,
    make_record,
    sign,
    statement_signer,
)

from touchplate.verify.entry import Entry, make_entry
from touchplate.verify.jcs import parse_json
from touchplate.verify.keys import format_public_pem
from touchplate.verify.purl import PackageURL
from touchplate.verify.statements import make_statement, make_subject
from touchplate.verify.trust import TrustFile, parse_trust

OPERATOR_C = "https://rebuild-c.example.org"
REPRODUCED = ("reproduced",)
STABILIZER = "zip-entry-times@1"
ANY_SOURCE = 'sources = ["vcs", "source-release", "sources-jar"]'


def rebuilder_block(operator: str, key: str, *lines: str, ecosystems: Sequence[str] = ("maven",)) -> str:
    """A `[[rebuilder]]` block; `key` names a statement_signer."""
    return _block(
        "rebuilder",
        operator,
        key,
        f'builder = "{operator}/touchplate/bubblewrap/v1"',
        *lines,
        ecosystems=ecosystems,
    )


def recorder_block(operator: str, key: str, *lines: str, ecosystems: Sequence[str] = ("maven",)) -> str:
    """A `[[recorder]]` block; `key` names a statement_signer."""
    return _block("recorder", operator, key, *lines, ecosystems=ecosystems)


def _block(kind: str, operator: str, key: str, *lines: str, ecosystems: Sequence[str]) -> str:
    pem = format_public_pem(statement_signer(key).key)
    listed = ", ".join(f'"{name}"' for name in ecosystems)
    fields = [f'operator = "{operator}"', f'key = """\n{pem}"""', f"ecosystems = [{listed}]", *lines]
    return "\n".join([f"[[{kind}]]", *fields, ""])


def default_blocks() -> list[str]:
    """Three rebuilders, a second key of the first operator, and a recorder."""
    return [
        rebuilder_block(OPERATOR_A, "rebuilder-a"),
        rebuilder_block(OPERATOR_A, "rebuilder-a2"),
        rebuilder_block(OPERATOR_B, "rebuilder-b"),
        rebuilder_block(OPERATOR_C, "rebuilder-c"),
        recorder_block(RECORDER, "recorder"),
    ]


def trust_text(
    *rules: str, blocks: Sequence[str] | None = None, policy: str | None = None, log: str = ""
) -> str:
    """A trust file. `rules`: lines of `[levels.reproduced]`; `log`: further lines of `[log]`."""
    text = policy or f"log {verifier_key(log_signer())}\nquorum none\n"
    head = f'[log]\npolicy = """\n{text}"""\n{log}\n'
    levels = "\n".join(["[levels.reproduced]", *rules, ""])
    return "\n".join([head, levels, *(default_blocks() if blocks is None else blocks)])


def no_files(name: str) -> str:
    """For trust files that name no other file."""
    raise FileNotFoundError(2, "No such file or directory", name)


def make_trust(*rules: str, blocks: Sequence[str] | None = None) -> TrustFile:
    """The parsed trust file of `trust_text`."""
    return parse_trust(trust_text(*rules, blocks=blocks), no_files)


def provenance(operator: str = OPERATOR_A, key: str = "rebuilder-a", **options: object) -> Entry:
    """A provenance of `operator` about the published file, unless `options` of make_provenance say else."""
    return sign(make_provenance(operator=operator, **options), statement_signer(key))  # type: ignore[arg-type]


def second(**options: object) -> Entry:
    """A provenance by the second operator."""
    return provenance(OPERATOR_B, "rebuilder-b", **options)


def comparison(key: str, *arguments: object, **options: object) -> Entry:
    """A comparison signed by `key`."""
    return sign(make_comparison(*arguments, **options), statement_signer(key))  # type: ignore[arg-type]


def record(data: bytes = PUBLISHED, uri: PackageURL = LIB, key: str = "recorder") -> Entry:
    """A record of first sight."""
    return sign(make_record(data, uri), statement_signer(key))


def equivalent_by_b(**options: object) -> list[Entry]:
    """The second operator's rebuild of other bytes, and its comparison that calls them equivalent."""
    rebuilt = second(data=OTHER, **options)
    return [rebuilt, comparison("rebuilder-b", "equivalent", provenance=rebuilt.identity.hex())]


def badly_signed() -> Entry:
    """A provenance under the second operator's key, with a signature that is well formed and wrong."""
    good, other = second(), second(note="2")
    return make_entry(good.envelope.replace(_signature(good), _signature(other)), good.spki)


def _signature(entry: Entry) -> bytes:
    envelope = parse_json(entry.envelope, max_bytes=1 << 16)
    assert isinstance(envelope, dict)
    signatures = envelope["signatures"]
    assert isinstance(signatures, list)
    first = signatures[0]
    assert isinstance(first, dict)
    return str(first["sig"]).encode()


def _foreign_type() -> Entry:
    payload = edited(make_provenance(operator=OPERATOR_B), "_type", value="https://in-toto.io/Statement/v0.1")
    return sign(payload, statement_signer("rebuilder-b"))


def _unknown_predicate() -> Entry:
    subject = make_subject(LIB, digests_of(PUBLISHED))
    payload = make_statement([subject], "https://example.org/predicate/v1", {"anything": "goes"})
    return sign(payload, statement_signer("rebuilder-b"))


def _equivalent_with_sha512(rebuilt: Entry, sha512: str) -> Entry:
    payload = make_comparison("equivalent", provenance=rebuilt.identity.hex())
    payload = edited(payload, "predicate", "rebuilt", "digest", "sha512", value=sha512)
    return sign(payload, statement_signer("rebuilder-b"))


def _wrong_sha512() -> Entry:
    digests = {**digests_of(PUBLISHED), "sha512": digests_of(OTHER)["sha512"]}
    return second(digests=digests)


@dataclass(frozen=True)
class Case:
    """One question and its answer. Entry number n of `entries()` stands at index n.

    `refused`: (step, reason), None when accepted. `lost`: (index, step, reason) of the entries that count for
    nothing. `says`: a part of the explanation of `reproduced`.
    """

    name: str
    entries: Callable[[], list[Entry]]
    refused: tuple[int, str] | None = None
    lost: tuple[tuple[int, int, str], ...] = ()
    says: str = ""
    need: tuple[str, ...] = REPRODUCED
    package: PackageURL = LIB
    data: bytes = PUBLISHED
    rules: tuple[str, ...] = ()
    blocks: Callable[[], list[str]] = field(default=default_blocks)

    def trust(self) -> TrustFile:
        """The trust file of the case."""
        return make_trust(*self.rules, blocks=self.blocks())

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def _limited(*lines: str, ecosystems: Sequence[str] = ("maven",)) -> Callable[[], list[str]]:
    """Both operators' blocks, the second one's with further lines."""
    return lambda: [
        rebuilder_block(OPERATOR_A, "rebuilder-a"),
        rebuilder_block(OPERATOR_B, "rebuilder-b", *lines, ecosystems=ecosystems),
    ]


_NOT_REPRODUCED = (7, "not-reproduced")
_ONE_OF_TWO = "1 of 2 operators"

_LEVEL_CASES = (
    Case("nothing is known", list, _NOT_REPRODUCED, says="0 of 2 operators"),
    Case("one operator is not enough", lambda: [provenance()], _NOT_REPRODUCED, says=_ONE_OF_TWO),
    Case("two operators are enough", lambda: [provenance(), second()], says="2 of 2 operators"),
    Case(
        "one operator is enough when the reader says so",
        lambda: [provenance()],
        rules=("operators = 1",),
        says="1 of 1 operator",
    ),
    Case(
        "another key of one operator is no second operator",
        lambda: [provenance(), provenance(key="rebuilder-a2")],
        _NOT_REPRODUCED,
        says=_ONE_OF_TWO,
    ),
    Case(
        "another statement by one key is no second operator",
        lambda: [provenance(), provenance(note="2")],
        _NOT_REPRODUCED,
        says=_ONE_OF_TWO,
    ),
    Case(
        "identical comparisons alone never count",
        lambda: [comparison("rebuilder-a", "identical"), comparison("rebuilder-b", "identical")],
        _NOT_REPRODUCED,
        says="0 of 2 operators",
    ),
    Case(
        "a third operator's different takes nothing away",
        lambda: [provenance(), second(), comparison("rebuilder-c", "different")],
    ),
    Case(
        "an operator's own different takes nothing away",
        lambda: [provenance(), second(), comparison("rebuilder-b", "different")],
    ),
    Case(
        "not built is information", lambda: [provenance(), second(), comparison("rebuilder-c", "not-built")]
    ),
    Case("a record is enough for recorded", lambda: [record()], need=("recorded",)),
    Case(
        "reproduced is not recorded",
        lambda: [provenance(), second()],
        (7, "not-recorded"),
        need=("recorded",),
    ),
    Case("nothing is needed", list, need=()),
    Case(
        "both levels",
        lambda: [record(), provenance(), second()],
        need=("recorded", "reproduced"),
    ),
    Case(
        "recorded does not stand for reproduced",
        lambda: [record(), provenance()],
        _NOT_REPRODUCED,
        need=("recorded", "reproduced"),
        says=_ONE_OF_TWO,
    ),
)

_SOURCE_CASES = (
    Case(
        "a sources jar does not count unless the reader says so",
        lambda: [provenance(), second(sources=("sources-jar",))],
        _NOT_REPRODUCED,
        says="1 of 2 operators (1 more from sources-jar only)",
    ),
    Case(
        "every source must be accepted",
        lambda: [provenance(), second(sources=("source-release", "sources-jar"))],
        _NOT_REPRODUCED,
        says="1 of 2 operators (1 more from sources-jar in part)",
    ),
    Case(
        "a sources jar counts for a reader who accepts it",
        lambda: [provenance(), second(sources=("sources-jar",))],
        rules=(ANY_SOURCE,),
        says="2 of 2 operators",
    ),
    Case(
        "an operator counts by its best entry",
        lambda: [provenance(), second(sources=("sources-jar",)), second(sources=("vcs",))],
        says="2 of 2 operators",
    ),
)


def _unprovenanced(name: str, entries: Callable[[], list[Entry]]) -> Case:
    """A case in which the entry at 1 is not the provenance that a comparison `equivalent` needs."""
    return Case(
        name,
        entries,
        (5, "wrong-artifact"),
        ((1, 5, "wrong-artifact"),),
        rules=(f'stabilizers = ["{STABILIZER}"]',),
        says="1 of 2 operators (1 more equivalent without its provenance)",
    )


_EQUIVALENT_CASES = (
    Case(
        "equivalent does not count by default",
        lambda: [provenance(), *equivalent_by_b()],
        _NOT_REPRODUCED,
        says=f"1 of 2 operators (1 more equivalent by {STABILIZER} only)",
    ),
    Case(
        "equivalent counts when its stabilizers are listed",
        lambda: [provenance(), *equivalent_by_b()],
        rules=(f'stabilizers = ["{STABILIZER}"]',),
        says="2 of 2 operators",
    ),
    Case(
        "equivalent counts only when each of its stabilizers is listed",
        lambda: [
            provenance(),
            (theirs := second(data=OTHER)),
            comparison(
                "rebuilder-b",
                "equivalent",
                provenance=theirs.identity.hex(),
                stabilizers=(STABILIZER, "other@2"),
            ),
        ],
        _NOT_REPRODUCED,
        rules=(f'stabilizers = ["{STABILIZER}"]',),
        says="1 of 2 operators (1 more equivalent by other@2 only)",
    ),
    Case(
        "equivalent needs the provenance that it names",
        lambda: [provenance(), equivalent_by_b()[1]],
        _NOT_REPRODUCED,
        rules=(f'stabilizers = ["{STABILIZER}"]',),
        says="1 of 2 operators (1 more equivalent without its provenance)",
    ),
    _unprovenanced(
        "equivalent needs a provenance of its own operator",
        lambda: [
            provenance(),
            (theirs := provenance(OPERATOR_C, "rebuilder-c", data=OTHER)),
            comparison("rebuilder-b", "equivalent", provenance=theirs.identity.hex()),
        ],
    ),
    _unprovenanced(
        "equivalent needs the very provenance that it names",
        lambda: [provenance(), second(data=OTHER), comparison("rebuilder-b", "equivalent")],
    ),
    _unprovenanced(
        "equivalent needs a provenance of the same package",
        lambda: [provenance(), *equivalent_by_b(uri=LIB_OTHER_VERSION)],
    ),
    _unprovenanced(
        "equivalent needs a provenance of the bytes that it compared",
        lambda: [
            provenance(),
            (theirs := second(data=b"yet other bytes\n")),
            comparison("rebuilder-b", "equivalent", provenance=theirs.identity.hex()),
        ],
    ),
    _unprovenanced(
        "equivalent needs a provenance that agrees in every digest",
        lambda: [
            provenance(),
            (theirs := second(data=OTHER, digests=digests_of(OTHER))),
            _equivalent_with_sha512(theirs, digests_of(PUBLISHED)["sha512"]),
        ],
    ),
    Case(
        "equivalent counts only from accepted sources",
        lambda: [provenance(), *equivalent_by_b(sources=("sources-jar",))],
        _NOT_REPRODUCED,
        rules=(f'stabilizers = ["{STABILIZER}"]',),
        says="1 of 2 operators (1 more from sources-jar only)",
    ),
    Case(
        "a rebuild of other bytes counts for nothing by itself",
        lambda: [provenance(), second(data=OTHER)],
        (5, "wrong-artifact"),
        ((1, 5, "wrong-artifact"),),
        says=_ONE_OF_TWO,
    ),
    Case(
        "the rebuild that a different names is no loss",
        lambda: [
            provenance(),
            (theirs := second(data=OTHER)),
            comparison("rebuilder-b", "different", provenance=theirs.identity.hex()),
        ],
        _NOT_REPRODUCED,
        says=_ONE_OF_TWO,
    ),
)

_LOST_CASES = (
    Case(
        "an unknown key counts for nothing",
        lambda: [provenance(), second()],
        (4, "unknown-key"),
        ((1, 4, "unknown-key"),),
        blocks=lambda: [rebuilder_block(OPERATOR_A, "rebuilder-a")],
        says=_ONE_OF_TWO,
    ),
    Case(
        "a wrong signature counts for nothing",
        lambda: [provenance(), badly_signed()],
        (4, "bad-signature"),
        ((1, 4, "bad-signature"),),
    ),
    Case(
        "a foreign statement type counts for nothing",
        lambda: [provenance(), _foreign_type()],
        (4, "malformed"),
        ((1, 4, "malformed"),),
    ),
    Case(
        "an unknown predicate counts for nothing",
        lambda: [provenance(), _unknown_predicate()],
        (4, "unknown-predicate"),
        ((1, 4, "unknown-predicate"),),
    ),
    Case(
        "a recorder cannot rebuild",
        lambda: [provenance(), provenance(RECORDER, "recorder")],
        (4, "wrong-kind"),
        ((1, 4, "wrong-kind"),),
    ),
    Case(
        "a rebuilder cannot record",
        lambda: [record(key="rebuilder-a")],
        (4, "wrong-kind"),
        ((0, 4, "wrong-kind"),),
        need=("recorded",),
    ),
    Case(
        "a key counts only for its ecosystems",
        lambda: [provenance(), second()],
        (4, "wrong-ecosystem"),
        ((1, 4, "wrong-ecosystem"),),
        blocks=_limited(ecosystems=("conan", "oci")),
    ),
    Case(
        "a retired key counts no more",
        lambda: [provenance(), second()],
        (4, "out-of-range"),
        ((1, 4, "out-of-range"),),
        blocks=_limited("until_index = 1"),
    ),
    Case(
        "a key counts from its first index on",
        lambda: [second(), provenance()],
        (4, "out-of-range"),
        ((0, 4, "out-of-range"),),
        blocks=_limited("from_index = 1"),
    ),
    Case(
        "a retired key counts for what it signed before",
        lambda: [second(), provenance()],
        blocks=_limited("until_index = 1"),
    ),
    Case(
        "a key signs for one builder only",
        lambda: [provenance(), second(backend="gvisor")],
        (4, "wrong-builder"),
        ((1, 4, "wrong-builder"),),
    ),
    Case(
        "a key signs for no other operator's builder",
        lambda: [provenance(), provenance(OPERATOR_C, "rebuilder-b")],
        (4, "wrong-builder"),
        ((1, 4, "wrong-builder"),),
    ),
    Case(
        "a wrong digest beside the right one counts for nothing",
        lambda: [provenance(), _wrong_sha512()],
        (5, "wrong-digest"),
        ((1, 5, "wrong-digest"),),
    ),
    Case(
        "an identical that names a bad provenance does not make it good",
        lambda: [
            provenance(),
            (theirs := _wrong_sha512()),
            comparison("rebuilder-b", "identical", provenance=theirs.identity.hex()),
        ],
        (5, "wrong-digest"),
        ((1, 5, "wrong-digest"),),
        says=_ONE_OF_TWO,
    ),
    Case(
        "right bytes under a wrong version",
        lambda: [record(), provenance(), second()],
        (5, "wrong-package"),
        ((0, 5, "wrong-package"), (1, 5, "wrong-package"), (2, 5, "wrong-package")),
        package=LIB_OTHER_VERSION,
        says="0 of 2 operators",
    ),
    Case(
        "wrong bytes under the right version",
        lambda: [record(), provenance(), second()],
        (5, "wrong-artifact"),
        ((0, 5, "wrong-artifact"), (1, 5, "wrong-artifact"), (2, 5, "wrong-artifact")),
        data=OTHER,
    ),
    Case(
        "the first step that cost an entry is named",
        lambda: [second(data=OTHER), provenance(), badly_signed()],
        (4, "bad-signature"),
        ((0, 5, "wrong-artifact"), (2, 4, "bad-signature")),
    ),
    Case(
        "wrong-package is named only when nothing else cost an entry",
        lambda: [second(uri=LIB_OTHER_VERSION), provenance(), second(data=OTHER)],
        (5, "wrong-artifact"),
        ((0, 5, "wrong-package"), (2, 5, "wrong-artifact")),
    ),
    Case(
        "entries that fail refuse no others",
        lambda: [badly_signed(), provenance(), _unknown_predicate(), second(), second(data=OTHER)],
        lost=((0, 4, "bad-signature"), (2, 4, "unknown-predicate"), (4, 5, "wrong-artifact")),
        says="2 of 2 operators",
    ),
)

CASES: tuple[Case, ...] = (*_LEVEL_CASES, *_SOURCE_CASES, *_EQUIVALENT_CASES, *_LOST_CASES)
"""Steps 4 to 7."""


def good_bundle() -> bytes:
    """A bundle about the published file: a record and the provenances of two operators."""
    return make_bundle([record(), provenance(), second()])


@dataclass(frozen=True)
class BundleCase:
    """A good bundle or trust file, damaged, and the (step, reason) of the refusal that follows.

    `bundle`, `trust`: the bytes and the text that are checked; `data`: the file.
    """

    name: str
    refused: tuple[int, str]
    bundle: Callable[[], bytes] = good_bundle
    trust: Callable[[], str] = trust_text
    data: bytes = PUBLISHED

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def _damaged(*path: str | int, value: object) -> Callable[[], bytes]:
    return lambda: edited(good_bundle(), *path, value=value)  # type: ignore[arg-type]


BUNDLE_CASES: tuple[BundleCase, ...] = (
    BundleCase(
        "a trust file with an unknown field", (0, "trust-file"), trust=lambda: "color = 1\n" + trust_text()
    ),
    BundleCase("bytes that are no bundle", (1, "malformed"), bundle=lambda: b"{}"),
    BundleCase("an unknown field", (1, "malformed"), bundle=_damaged("more", value="x")),
    BundleCase("null in a bundle", (1, "malformed"), bundle=_damaged("entries", 0, "proof", value=None)),
    BundleCase(
        "an index with a leading zero", (1, "malformed"), bundle=_damaged("entries", 1, "index", value="01")
    ),
    BundleCase("entries out of order", (1, "malformed"), bundle=_damaged("entries", 0, "index", value="2")),
    BundleCase(
        "a checkpoint of another log key",
        (1, "unknown-log-key"),
        bundle=lambda: make_bundle([record(), provenance(), second()], signers=(log_signer("other"),)),
    ),
    BundleCase(
        "a checkpoint without the quorum",
        (1, "quorum"),
        trust=lambda: trust_text(policy=witnessed_policy()),
    ),
    BundleCase("a flipped byte of the file", (2, "wrong-digest"), data=b"T" + PUBLISHED[1:]),
    BundleCase("a file of another size", (2, "wrong-size"), data=PUBLISHED + b"\n"),
    BundleCase(
        "an entry at another index",
        (3, "bad-proof"),
        bundle=lambda: make_bundle([record(), provenance(), second()], swap=True),
    ),
    BundleCase(
        "a proof that is too short", (3, "bad-proof"), bundle=_damaged("entries", 1, "proof", value=[])
    ),
    BundleCase(
        "an envelope that is none", (3, "malformed"), bundle=_damaged("entries", 1, "envelope", value="e30=")
    ),
    BundleCase("a key that is none", (3, "bad-key"), bundle=_damaged("entries", 1, "key", value="e30=")),
)
"""Steps 0 to 3. Those of step 3 cost one of the two operators."""


def witnessed_policy() -> str:
    """A policy that asks for one witness, who cosigned nothing here."""
    witness = verifier_key(witness_signer("witness.example.org"))
    return f"log {verifier_key(log_signer())}\nwitness w {witness}\nquorum w\n"
