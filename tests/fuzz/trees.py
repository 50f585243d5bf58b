"""Targets: tiles, bundles and the two kinds of proof. The literal definition says which proofs are right."""

from collections.abc import Callable
from functools import cache, partial

from tests import reference
from tests.fuzz.target import Bytes, Target, attempt, expect, text_of
from tests.simkeys import head
from tests.verify.cases import provenance, record

from touchplate.log.errors import RequestError
from touchplate.log.http.batches import parse_batch
from touchplate.verify.checkpoints import Checkpoint
from touchplate.verify.entry import Entry, make_entry, pack_entry, parse_packed
from touchplate.verify.jcs import format_json, parse_json
from touchplate.verify.proofs import check_consistency, check_inclusion, is_prefix
from touchplate.verify.rfc6962 import HASH_SIZE, leaf_hash
from touchplate.verify.tiles import (
    BundleCoord,
    entries_path,
    envelopes_path,
    format_entry_bundle,
    format_envelope_bundle,
    parse_entry_bundle,
    parse_envelope_bundle,
    parse_tile,
    parse_tile_path,
    tile_path,
)

LEAVES = 19
"""Leaves of the tree that proofs are about: every shape of proof up to five hashes."""


def tile(data: bytes) -> bool:
    """Coordinates have one path. A tile is its hashes and an entry bundle its leaves, to the byte."""
    text = text_of(data)
    coord = attempt(lambda: parse_tile_path(text))
    if isinstance(coord, BundleCoord):
        make = entries_path if coord.kind == "entries" else envelopes_path
        expect(make(coord.index, coord.width) == text, "another spelling")
    elif coord is not None:
        expect(tile_path(coord) == text, "another spelling")
    width, body = data[0] if data else 0, data[1:]
    hashes = attempt(lambda: parse_tile(body, width))
    expect(hashes is None or b"".join(hashes) == body, "other bytes")
    leaves = attempt(lambda: parse_entry_bundle(body, width))
    expect(leaves is None or format_entry_bundle(leaves) == body, "other bytes")
    return bool(coord or hashes or leaves)


def _tiles() -> list[bytes]:
    paths = [
        b"tile/0/000",
        b"tile/63/x123/x456/789.p/255",
        b"tile/entries/x001/067",
        b"tile/envelopes/001.p/3",
    ]
    bundle = format_entry_bundle([b"", b"leaf", b"x" * 300])
    return [*paths, b"\x02" + bytes(64), b"\x03" + bundle, b"\x03" + bundle[:-1], b"tile/0/x000/001"]


def envelope_bundle(data: bytes) -> bool:
    """A bundle of packed entries is its entries to the byte, and so is each entry its envelope and key."""
    width, body = data[0] if data else 0, data[1:]
    packed = attempt(lambda: parse_envelope_bundle(body, width))
    if packed is not None:
        expect(format_envelope_bundle(packed) == body, "other bytes")
        expect(len(packed) == width, "another number of entries")
    entries = [attempt(partial(parse_packed, one)) for one in (*(packed or ()), body)]
    for one, entry in zip((*(packed or ()), body), entries, strict=True):
        if entry is not None:
            _check_entry(one, entry)
    try:
        envelopes = parse_batch(body)
    except RequestError:
        envelopes = None
    if envelopes is not None:
        expect(b"".join(len(one).to_bytes(4, "big") + one for one in envelopes) == body, "another batch")
    return any(entries)


def _check_entry(packed: bytes, entry: Entry) -> None:
    expect(pack_entry(entry) == packed, "an entry of other bytes")
    expect(make_entry(entry.envelope, entry.spki).identity == entry.identity, "another identity")
    leaf = parse_json(entry.leaf_data, max_bytes=1 << 16)
    expect(format_json(leaf) == entry.leaf_data, "leaf data that is not RFC 8785")


def _entries() -> tuple[Entry, ...]:
    return (record(), provenance())


def _envelope_bundles() -> list[bytes]:
    packed = [pack_entry(entry) for entry in _entries()]
    return [
        b"\x01" + packed[0],
        b"\x02" + b"".join(packed),
        b"\x02" + packed[0] + bytes(6),
        b"\x01" + packed[0][:-1],
        b"\x01\x00\x00\x00\x02{}\x00\x01x",
    ]


@cache
def _leaves() -> tuple[bytes, ...]:
    return tuple(b"leaf %d" % number for number in range(LEAVES))


@cache
def _nodes() -> tuple[bytes, ...]:
    """The hash of every range of leaves that any proof needs: what a forger would put into others."""
    leaves, sizes = _leaves(), range(1, LEAVES + 1)
    nodes = [reference.mth(leaves[:size]) for size in sizes]
    for size in sizes:
        nodes += [one for index in range(size) for one in reference.path(index, leaves[:size])]
        nodes += [one for old in range(1, size) for one in reference.proof(old, leaves[:size])]
    return tuple(dict.fromkeys(nodes))


@cache
def _head(size: int, root: bytes) -> Checkpoint:
    return head(size, root)


def _proof(source: Bytes) -> list[bytes]:
    """One byte names a hash of the tree; 255 is followed by a hash of the input's own."""
    proof: list[bytes] = []
    while source and len(proof) < 70:
        number = source.number()
        proof.append(source.take(HASH_SIZE) if number == 255 else _nodes()[number % len(_nodes())])
    return proof


def inclusion(data: bytes) -> bool:
    """What is accepted is the literal audit path of that leaf, and a true root has no other proof."""
    source = Bytes(data)
    size, index, leaf = source.number() % (LEAVES + 1), source.number(), source.number()
    wanted = _leaves()[leaf % LEAVES]
    proof = _proof(source)
    tree = _leaves()[:size]
    if accepted := _holds(
        partial(check_inclusion, _head(size, reference.mth(tree)), index, leaf_hash(wanted), proof)
    ):
        right = index < size and wanted == tree[index]
        expect(right and proof == reference.path(index, tree), "a false proof was accepted")
    # The same for a tree that nobody could hold: its root is a leaf's hash, which no path leads to.
    huge = _head(2**63 - 1 - size, leaf_hash(b""))
    expect(
        not _holds(partial(check_inclusion, huge, index << 53, leaf_hash(wanted), proof)), "a path to nowhere"
    )
    return accepted


def consistency(data: bytes) -> bool:
    """What is accepted is the literal proof, between the literal roots."""
    source = Bytes(data)
    old, new, shown = (source.number() % (LEAVES + 1) for _ in range(3))
    claimed = reference.mth(_leaves()[:shown])
    proof = _proof(source)
    newest = _head(new, reference.mth(_leaves()[:new]))
    literal = reference.proof(old, _leaves()[:new]) if 0 < old <= new else []
    prefix = attempt(lambda: is_prefix(newest, old, claimed, proof))
    expect(not prefix or (shown == old <= new and proof == literal), "a false prefix was accepted")
    if _holds(partial(check_consistency, _head(shown, claimed), newest, proof)):
        expect(shown <= new, "a tree that shrank")
        literal = reference.proof(shown, _leaves()[:new]) if shown else []
        expect(proof == literal, "a second proof was accepted")
    return bool(prefix)


def _holds(check: Callable[[], None]) -> bool:
    """Whether a check that raises did not."""

    def run() -> bool:
        check()
        return True

    return attempt(run) is True


def _spell(hashes: list[bytes]) -> bytes:
    return bytes(_nodes().index(one) for one in hashes)


def _inclusions() -> list[bytes]:
    cases = [(size, index) for size in (1, 2, 7, 8, 19) for index in (0, size - 1)]
    return [
        bytes((size, index, index)) + _spell(reference.path(index, _leaves()[:size])) for size, index in cases
    ] + [
        bytes((7, 7, 6)),
        bytes((3, 0, 0, 255)) + b"x",
        bytes((3, 1, 2)) + _spell(reference.path(2, _leaves()[:3])),
    ]


def _consistencies() -> list[bytes]:
    cases = [(1, 2), (3, 7), (4, 8), (6, 8), (16, 19), (18, 19), (5, 5)]
    return [bytes((old, new, old)) + _spell(reference.proof(old, _leaves()[:new])) for old, new in cases] + [
        bytes((0, 5, 0)),
        bytes((0, 5, 0, 1)),
        bytes((8, 5, 8)),
    ]


TARGETS = (
    Target("tile", tile, _tiles, 2048, ("tile/", "entries/", "envelopes/", ".p/", "/x001")),
    Target("envelope-bundle", envelope_bundle, _envelope_bundles, 8192),
    Target("inclusion-proof", inclusion, _inclusions, 256),
    Target("consistency-proof", consistency, _consistencies, 256),
)
