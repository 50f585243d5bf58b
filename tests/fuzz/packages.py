"""Targets: what upstreams of images and Conan packages send, where its form decides what is served."""

import gzip
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.conan_packages import make_package, make_recipe, manifest_of, md5, tar_of
from tests.fuzz.target import Target, attempt, expect
from tests.images import OCI_INDEX, OCI_MANIFEST, make_attestation, make_image, make_index

from touchplate.api.conan.answers import CHECKS
from touchplate.api.conan.archive import digest_members
from touchplate.api.conan.manifest import check_manifest
from touchplate.api.docker.manifests import (
    EVIDENCE_LAYERS,
    INDEX_TYPES,
    MANIFEST_TYPES,
    Manifest,
    parse_manifest,
)
from touchplate.api.errors import APIError
from touchplate.verify.jcs import parse_json

LIMIT = 1 << 20


def image_manifest(data: bytes) -> bool:
    """Whatever type its registry gives it, a document is one thing only, and names what a reader that ignores
    case (Go's) finds in it."""
    kinds = [*INDEX_TYPES, *MANIFEST_TYPES, "application/json", ""]
    found = [one for kind in kinds if (one := _manifest(data, kind)) is not None]
    expect(len({one.kind for one in found}) <= 1, "a list for some and an image for others")
    for one in found:
        value = json.loads(data, object_pairs_hook=_folded)
        expect(value["schemaversion"] == 2, "another schema")
        expect(value.get("mediatype", one.media_type) == one.media_type, "another type than it says")
        expect(one.media_type in (*INDEX_TYPES, *MANIFEST_TYPES), "a type that is not served")
        if one.kind == "index":
            expect("layers" not in value, "a list with layers")
            _expect_named([child.sha256 for child in one.children], value["manifests"])
        else:
            expect("manifests" not in value, "an image with images")
            _expect_named([blob.sha256 for blob in one.blobs], [value["config"], *value["layers"]])
        types = {layer["mediatype"] for layer in value.get("layers", ())}
        expect(one.kind != "evidence" or (bool(types) and types <= EVIDENCE_LAYERS), "no evidence")
        texts = [child.platform for child in one.children]
        expect(all(text.isprintable() and text.isascii() for text in texts), "a platform that writes")
    return bool(found)


def _manifest(data: bytes, media_type: str) -> Manifest | None:
    return attempt(lambda: parse_manifest(data, media_type), APIError)


def _folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key.casefold(): value for key, value in pairs}


def _expect_named(found: list[str], descriptors: list[dict[str, Any]]) -> None:
    expect(len(found) == len(descriptors), "not all that it names")
    for sha256, descriptor in zip(found, descriptors, strict=True):
        is_known = re.fullmatch("sha256:[0-9a-f]{64}", descriptor["digest"]) is not None
        expect(descriptor["digest"] == f"sha256:{sha256}" if is_known else sha256 == "", "another digest")


def _manifests() -> list[bytes]:
    amd, arm = make_image("amd"), make_image("arm", architecture="arm64")
    index = make_index({"amd64": amd, "arm64": arm}, [make_attestation(amd, b"{}")])
    both = json.loads(amd.manifest) | {"manifests": json.loads(index.manifest)["manifests"]}
    untyped = {key: value for key, value in json.loads(amd.manifest).items() if key != "mediaType"}
    layers = json.loads(amd.manifest)["layers"]
    shouting = amd.manifest.replace(b'"layers"', b'"Layers": %s, "layers"' % json.dumps(layers * 2).encode())
    return [
        amd.manifest, index.manifest, make_attestation(amd, b"{}").manifest,
        make_image(docker=True).manifest, make_index({"amd64": amd}, docker=True).manifest,
        json.dumps(untyped).encode(), json.dumps(both).encode(), shouting,
        amd.manifest.replace(OCI_MANIFEST.encode(), OCI_INDEX.encode()), b"{}",
    ]  # fmt: skip


@cache
def _sums() -> Mapping[str, str]:
    return {"conaninfo.txt": md5(b"a"), "lib/a: b": md5(b"b"), "lib/liba.a": md5(b"c")}


def conan_manifest(data: bytes) -> bool:
    """An accepted manifest says to a client, line by line, what the files give, and nothing else."""

    def read() -> bool:
        check_manifest(data, _sums())
        return True

    if not attempt(read, APIError):
        return False
    first, *lines = data.decode("utf-8").split("\n")
    expect(first.strip().isdecimal() and first.isascii(), "it does not begin with a time")
    pairs = [line.removesuffix("\r").rsplit(": ", 1) for line in lines if line.strip("\r")]
    expect(sorted(pairs) == sorted(map(list, _sums().items())), "it lists something else")
    return True


def _conan_manifests() -> list[bytes]:
    good = manifest_of(_sums())
    lines = good.splitlines(keepends=True)
    other = make_recipe().files["conanmanifest.txt"]
    return [
        good, good.rstrip(b"\n"), good.replace(b"\n", b"\r\n"), b"".join(lines[:-1]), lines[0] + good,
        b"".join([lines[0], *lines[:0:-1]]), good + b"x: " + b"0" * 32 + b"\n", good[1:], other, b"",
    ]  # fmt: skip


def conan_answer(data: bytes) -> bool:
    """What is passed on of a remote's answer can be asked for again, and is what clients can read."""
    value = attempt(lambda: parse_json(data, max_bytes=LIMIT))
    if not isinstance(value, dict):
        return False
    accepted = False
    for number, check in enumerate(CHECKS):
        try:
            answer = check(dict(value))
        except (APIError, KeyError, TypeError, ValueError, AttributeError):
            continue  # those that Answers takes for nonsense
        accepted = True
        expect(json.loads(json.dumps(answer)) == answer, "no JSON")
        listed: list[dict[str, str]] = [answer] if number == 0 else answer["revisions"] if number == 1 else []
        for one in listed:
            expect(one["revision"].isalnum() and one["revision"].isascii(), "no revision")
            expect(one["time"].isascii() and set(one) == {"revision", "time"}, "no time")
    return accepted


def _conan_answers() -> list[bytes]:
    one = {"revision": "abc", "time": "2026-11-28T08:00:00.000000+00:00"}
    package_id = make_package(make_recipe()).revision.package_id
    values: list[Any] = [
        one, {"revisions": [one, one]}, {package_id: {"content": "[settings]\nos=Linux\n"}},
        {"results": ["lib/1.0", "lib/1.0@user/channel#abc"]}, {"revision": "../x", "time": one["time"]}, [],
    ]  # fmt: skip
    return [json.dumps(value).encode() for value in values]


def conan_archive(data: bytes) -> bool:
    """An accepted archive has for a client the same files with the same bytes, all inside its folder."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(gzip.compress(data, 1))
        file.flush()
        found = attempt(lambda: digest_members(Path(file.name), "tgz"), APIError)
    if found is None:
        return False
    expect(all(_is_inside(name) for name in found), "a file outside the folder")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for member in tar:
            expect(_is_inside(member.name) or member.isdir(), "a member outside the folder")
            if member.isreg():
                body = tar.extractfile(member)
                assert body is not None
                name = member.name.removeprefix("./")
                expect(found.get(name) == md5(body.read()), "other bytes, or a file that is not listed")
            expect(member.isreg() or member.isdir() or member.issym() or member.islnk(), "a device")
    return True


def _is_inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/")


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def _archives() -> list[bytes]:
    folder = (_member("lib", tarfile.DIRTYPE), b"")
    file = (_member("lib/a"), b"abc")
    lists = [
        [file], [folder, file, (_member("b", tarfile.SYMTYPE, "lib/a"), b"")],
        [file, (_member("b", tarfile.LNKTYPE, "lib/a"), b"")], [(_member("./a"), b"x" * 600)],
        [(_member("é" * 80), b"")], [(_member("../x"), b"1")], [(_member("/x"), b"1")], [file, file],
        [(_member("b", tarfile.SYMTYPE, ".."), b""), (_member("b/c"), b"1")],
        [(_member("d", tarfile.CHRTYPE), b"")], [(_member("a/"), b"1")],
    ]  # fmt: skip
    return [gzip.decompress(tar_of(members)) for members in lists]


MANIFEST_WORDS = (
    "schemaVersion", "mediaType", "layers", "manifests", "config", "digest", "size", "platform", "subject",
    "Layers", "annotations", "vnd.docker.reference.type", *INDEX_TYPES, *sorted(EVIDENCE_LAYERS),
)  # fmt: skip

TARGETS = (
    Target("image-manifest", image_manifest, _manifests, 4096, MANIFEST_WORDS, is_json=True),
    Target("conan-manifest", conan_manifest, _conan_manifests, 1024, (*_sums(), *_sums().values())),
    Target(
        "conan-answer", conan_answer, _conan_answers, 1024, ("revisions", "time", "results"), is_json=True
    ),
    Target("conan-archive", conan_archive, _archives, 12_288, ("ustar", "path=", "size=", "linkpath=")),
)
