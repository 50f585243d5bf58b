"""Proof bundles: one strict form."""

import pytest
from tests.verify.bundles import make_bundle
from tests.verify.cases import good_bundle, provenance
from tests.verify.support import LIB, PUBLISHED, digests_of, edited, mangle, without

from touchplate.verify.bundle import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_ENTRIES,
    Artifact,
    Bundle,
    BundleEntry,
    format_bundle,
    parse_bundle,
)
from touchplate.verify.errors import MalformedError, VerifyError


def test_formats_and_parses() -> None:
    data = good_bundle()
    bundle = parse_bundle(data)
    assert format_bundle(bundle) == data
    assert (bundle.artifact.package, bundle.artifact.size) == (LIB, len(PUBLISHED))
    assert [entry.index for entry in bundle.entries] == [0, 1, 2]
    assert bundle.checkpoint.startswith(b"log.example.org\n3\n")


def test_white_space_and_order_of_fields_do_not_matter() -> None:
    data = good_bundle()
    assert parse_bundle(b" \n" + data.replace(b',"', b', "') + b"\n") == parse_bundle(data)


def test_all_known_digests_may_be_given() -> None:
    artifact = Artifact(LIB, "lib-1.0.jar", 5, digests_of(b"hello"))
    data = format_bundle(Bundle(artifact, b"note", ()))
    assert parse_bundle(data).artifact.digests == digests_of(b"hello")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("mediaType",), "application/vnd.touchplate.bundle.v2+json"),
        (("artifact", "package"), "pkg:maven/org.example/lib@1.0"),
        (("artifact", "name"), "a/b.jar"),
        (("artifact", "name"), ""),
        (("artifact", "size"), -1),
        (("artifact", "size"), "5"),
        (("artifact", "size"), True),
        (("artifact", "digest"), {}),
        (("artifact", "digest"), {"md5": "0" * 32}),
        (("artifact", "digest", "sha256"), "A" * 64),
        (("artifact", "digest", "blake2"), "00"),
        (("artifact", "more"), 1),
        (("checkpoint",), None),
        (("checkpoint",), ""),
        (("entries",), {}),
        (("entries", 0, "index"), 0),
        (("entries", 0, "index"), "-1"),
        (("entries", 0, "index"), "1"),
        (("entries", 0, "index"), "9223372036854775808"),
        (("entries", 0, "envelope"), "e30"),
        (("entries", 0, "envelope"), "e-0="),
        (("entries", 0, "key"), None),
        (("entries", 0, "proof"), [""]),
        (("entries", 0, "proof"), ["AAAA"]),
        (("entries", 0, "proof"), ["A" * 43 + "="] * 64),
        (("entries", 0, "more"), "x"),
    ],
)
def test_refuses_other_forms(path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(MalformedError):
        parse_bundle(edited(good_bundle(), *path, value=value))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path",
    [("artifact",), ("entries",), ("mediaType",), ("entries", 1, "proof"), ("artifact", "digest", "sha256")],
)
def test_refuses_missing_fields(path: tuple[str | int, ...]) -> None:
    with pytest.raises(MalformedError):
        parse_bundle(without(good_bundle(), *path))


def test_limits_are_part_of_the_form() -> None:
    artifact = Artifact(LIB, "lib-1.0.jar", 5, digests_of(b"hello"))
    one = BundleEntry(0, b"x", b"y", ())
    many = tuple(BundleEntry(index, b"x", b"y", ()) for index in range(MAX_BUNDLE_ENTRIES + 1))
    assert (
        len(parse_bundle(format_bundle(Bundle(artifact, b"note", many[:-1]))).entries) == MAX_BUNDLE_ENTRIES
    )
    for bad in (many, (one, one), (many[1], many[0])):
        with pytest.raises(MalformedError):
            format_bundle(Bundle(artifact, b"note", bad))
    with pytest.raises(MalformedError):
        parse_bundle(good_bundle() + b" " * MAX_BUNDLE_BYTES)


def test_every_damage_is_refused_with_our_errors_only() -> None:
    for data in mangle(make_bundle([provenance()])):
        try:
            parse_bundle(data)
        except VerifyError:
            continue
