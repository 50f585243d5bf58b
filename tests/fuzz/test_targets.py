"""What fuzzing found worth keeping is checked again in every test run, and every target is able to fail."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.fuzz import builds, bundles, corpus, notes, packages, statements, trees, unlogged
from tests.fuzz.jsonmutator import mutate_json
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS
from tests.verify.support import mangle

from touchplate.api.conan import answers, archive
from touchplate.api.docker import manifests
from touchplate.builder.definitions.normalise import normalise_definition
from touchplate.builder.ecosystems.maven import pom
from touchplate.builder.ecosystems.oci import containerfile
from touchplate.builder.inputs import lock
from touchplate.builder.stabilize.zipparts import ZipEntry
from touchplate.log.witness import requests
from touchplate.verify import forks, links, steps, tlog_proof
from touchplate.verify import judge as judge_module
from touchplate.verify.checkpoints import parse_checkpoint_body
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.entry import parse_packed
from touchplate.verify.errors import MalformedError
from touchplate.verify.jcs import format_json
from touchplate.verify.keys import StatementKey
from touchplate.verify.levels import ReproducedRule, judge_levels
from touchplate.verify.notes import open_note, parse_verifier_key
from touchplate.verify.policy import format_policy
from touchplate.verify.predicates.provenance import SOURCE_KINDS, format_provenance
from touchplate.verify.predicates.summary import format_summary
from touchplate.verify.purl import normalise_purl
from touchplate.verify.tiles import parse_entry_bundle
from touchplate.verify.trust import TrustFile
from touchplate.verify.values import replace

MANGLED_BYTES = 200
"""Of a seed, its beginning: mangling is quadratic in its length, and this has to stay within seconds."""

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)


@each_target
def test_seeds_are_accepted_and_refused(target: Target) -> None:
    # With nothing accepted, or nothing refused, the properties would be about nothing.
    assert {target.check(seed) for seed in target.seeds()} == {True, False}
    assert all(len(seed) <= target.max_bytes for seed in target.seeds())


@each_target
def test_what_fuzzing_found_still_holds(target: Target) -> None:
    kept = corpus.kept(target.name)
    assert kept, f"no corpus for {target.name}: python -m tests.fuzz keep {target.name}"
    for data in kept:
        target.check(data)


@each_target
def test_damaged_seeds_keep_the_properties(target: Target) -> None:
    for data in damaged(target, 1, MANGLED_BYTES // 4):
        target.check(data)


def test_the_kept_corpus_is_of_targets_that_exist() -> None:
    assert {path.stem for path in corpus.KEPT.iterdir()} == set(TARGETS)


def damaged(target: Target, seeds: int, mangled: int) -> Iterator[bytes]:
    """Every seed with an end too many, and the first `seeds` mangled, as bytes and as JSON."""
    for seed in target.seeds():
        yield from (seed, seed + b"\n", seed + b" ", b" " + seed)
    for seed in target.seeds()[:seeds]:
        yield from mangle(seed[:mangled])
        if target.is_json:
            yield from filter(None, (mutate_json(seed, Random(number)) for number in range(100)))


# --- planted bugs -----------------------------------------------------------------------------------------


def _accept(*_: object) -> bool:
    return True


def _lenient_bundle(data: bytes, width: int) -> list[bytes]:
    """An entry bundle whose last byte may be anything."""
    try:
        return parse_entry_bundle(data, width)
    except MalformedError:
        return parse_entry_bundle(data[:-1], width)


def _lenient_packed(data: bytes) -> Any:
    """A packed entry that may be followed by something."""
    try:
        return parse_packed(data)
    except MalformedError:
        return parse_packed(data[:-1])


def _any_spelling_of_a_key(data: bytes) -> StatementKey:
    """What `cryptography` takes: compressed points too."""
    try:
        return StatementKey(load_der_public_key(data))  # type: ignore[arg-type]
    except Exception as error:
        raise MalformedError("no key") from error


def _forgets_versions(provenance: Any) -> Any:
    return format_provenance(replace(provenance, builder_version={}))


def _counts_all_sources(evidence: Any, rule: ReproducedRule) -> Any:
    return judge_levels(evidence, replace(rule, sources=SOURCE_KINDS))


PLANTED: tuple[tuple[str, object, str, Callable[..., Any]], ...] = (
    ("note", notes, "open_note", lambda data, keys: open_note(data.rstrip(b"\n") + b"\n", keys)),
    ("checkpoint", notes, "parse_checkpoint_body", lambda text: parse_checkpoint_body(text.replace(" ", ""))),
    ("note-key", notes, "parse_verifier_key", lambda text: parse_verifier_key(text.strip())),
    ("policy", notes, "format_policy", lambda policy: format_policy(replace(policy, groups=()))),
    ("add-checkpoint", requests, "parse_decimal", lambda text, *_: int(text)),
    ("tile", trees, "parse_entry_bundle", _lenient_bundle),
    ("envelope-bundle", trees, "parse_packed", _lenient_packed),
    ("inclusion-proof", trees, "check_inclusion", _accept),
    ("consistency-proof", trees, "is_prefix", _accept),
    ("tlog-proof", tlog_proof, "check_inclusion", _accept),
    ("log-report", forks, "is_prefix", _accept),
    ("json", statements, "parse_json", lambda data, max_bytes: json.loads(data)),
    ("envelope", statements, "parse_envelope", lambda data: parse_envelope(data.strip())),
    ("statement", statements, "format_provenance", _forgets_versions),
    ("name", statements, "parse_purl", normalise_purl),
    ("statement-key", statements, "parse_spki", _any_spelling_of_a_key),
    ("bundle", steps, "check_inclusion", _accept),
    ("sigstore-bundle", steps, "check_inclusion", _accept),
    ("trust-file", TrustFile, "find", lambda self, spki: self.keys),
    ("report", bundles, "printable", str),
    ("image-manifest", manifests, "_object", lambda value, what: value),
    ("conan-manifest", packages, "check_manifest", _accept),
    ("conan-answer", answers, "check_revision", str),
    ("conan-archive", archive, "_checked", lambda name: name.removeprefix("./").rstrip("/")),
    ("definition", builds, "normalise_definition", lambda one: normalise_definition(one) | {"umask": "000"}),
    ("input-lock", lock, "_check", _accept),
    ("pom", pom, "parse_xml", ElementTree.fromstring),
    ("containerfile", containerfile._Reader, "_check_add", _accept),
    ("jar-stabilizer", ZipEntry, "content", lambda self: bytes(self.size)),
    ("link", links, "format_json", lambda signed: format_json({**signed, "command": ["make"]})),
    ("summary", unlogged, "format_summary", lambda summary: format_summary(replace(summary, time=None))),
    ("signed-statement", judge_module, "judge_levels", _counts_all_sources),
)
"""For each target a part of ours that breaks: (target, where it is used, its name, the broken one)."""


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted[0])
def test_finds_a_planted_bug(
    planted: tuple[str, object, str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, where, part, broken = planted
    inputs = list(damaged(TARGETS[name], 20, MANGLED_BYTES))
    monkeypatch.setattr(where, part, broken)
    assert any(is_finding(TARGETS[name], data) for data in inputs)


def is_finding(target: Target, data: bytes) -> bool:
    try:
        target.check(data)
    except Exception:
        return True
    return False


def test_every_target_has_a_planted_bug() -> None:
    assert {planted[0] for planted in PLANTED} == set(TARGETS)
