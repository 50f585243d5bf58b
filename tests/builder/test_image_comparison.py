"""Two images side by side: how far they are the same, and why they are not."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import pytest
from tests import images
from tests.builder.tarparts import Item, block, tar_bytes
from tests.images import make_image

from touchplate.builder.comparison.compare import Comparison
from touchplate.builder.ecosystems.oci import layers
from touchplate.builder.ecosystems.oci.comparison import Image, compare_images


def repack(manifest: bytes, blobs: Mapping[str, bytes], level: int = 9) -> tuple[bytes, dict[str, bytes]]:
    """The same image with its layers packed anew: manifest and blobs."""
    value = json.loads(manifest)
    made = {}
    for layer in value["layers"]:
        plain = gzip.decompress(blobs[layer["digest"].removeprefix("sha256:")])
        packed = io.BytesIO()
        with gzip.GzipFile("", "wb", level, packed, 7) as stream:
            stream.write(plain)
        data = packed.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        made[digest] = data
        layer.update(digest=f"sha256:{digest}", size=len(data))
    config = value["config"]["digest"].removeprefix("sha256:")
    made[config] = blobs[config]
    return json.dumps(value, separators=(",", ":")).encode(), made


def side(image: images.Image | tuple[bytes, Mapping[str, bytes]]) -> Image:
    manifest, blobs = (image.manifest, image.blobs) if isinstance(image, images.Image) else image

    def opened(sha256: str) -> BinaryIO:
        return io.BytesIO(blobs[sha256])

    return Image(manifest, opened)


def with_status(*packages: str) -> bytes:
    """dpkg's list of these packages, as `name version`."""
    stanzas = (
        f"Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n e: f\n"
        for name, version in (one.split() for one in packages)
    )
    return "\n".join(stanzas).encode()


def compared(
    published: images.Image | tuple[bytes, Mapping[str, bytes]],
    rebuilt: images.Image | tuple[bytes, Mapping[str, bytes]],
) -> Comparison:
    return compare_images("app", side(published), side(rebuilt))


def with_layer(members: list[tuple[str, dict[str, Any], bytes]]) -> tuple[bytes, dict[str, bytes]]:
    """An image with one layer of these members: name, fields of the header, content."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, fields, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            for key, value in fields.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))
    return of_tar(plain.getvalue())


def of_tar(plain: bytes) -> tuple[bytes, dict[str, bytes]]:
    """An image of one layer that is this tar, packed."""
    packed, diff_id = gzip.compress(plain, mtime=0), hashlib.sha256(plain).hexdigest()
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        }
    ).encode()
    digests = [hashlib.sha256(data).hexdigest() for data in (config, packed)]
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": "c", "digest": f"sha256:{digests[0]}", "size": len(config)},
        "layers": [{"mediaType": "l", "digest": f"sha256:{digests[1]}", "size": len(packed)}],
    }
    return json.dumps(manifest).encode(), dict(zip(digests, (config, packed), strict=True))


def test_equal_manifests_are_identical_and_no_blob_is_opened() -> None:
    image = make_image()
    assert compared((image.manifest, {}), (image.manifest, {})).result == "identical"


def test_layers_packed_in_another_way_are_equivalent_after_a_named_stabilizer() -> None:
    image = make_image(layers=[{"a": b"a" * 9999}, {"b": b"b"}])
    found = compared(image, repack(image.manifest, image.blobs))
    assert found.result == "equivalent"
    assert found.stabilizers == ("layer-packing@1",)
    assert found.matched == ("config", "layers unpacked")
    assert found.causes == ("compression",)
    assert found.report == b""
    again = compared(repack(image.manifest, image.blobs), image)
    assert again.stabilized == found.stabilized


def test_gzip_header_alone_is_equivalent_too() -> None:
    image = make_image()
    value = json.loads(image.manifest)
    old = value["layers"][0]["digest"].removeprefix("sha256:")
    data = bytearray(image.blobs[old])
    data[9] ^= 0xFC  # the operating system
    new = hashlib.sha256(data).hexdigest()
    value["layers"][0]["digest"] = f"sha256:{new}"
    found = compared(image, (json.dumps(value).encode(), {**image.blobs, new: bytes(data)}))
    assert found.result == "equivalent"


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(annotations={"a": "b"}),
        lambda value: value["layers"][0].update(annotations={"a": "b"}),
        lambda value: value["layers"][0].update(urls=["https://evil.example"]),
        lambda value: value["config"].update(data="e30="),
        lambda value: value["config"].update(mediaType="another"),
        # Some readers pass over a layer of such a type, some believe it about the packing.
        lambda value: value["layers"][0].update(mediaType="application/vnd.in-toto+json"),
        lambda value: value["layers"][0].update(mediaType="application/vnd.oci.image.layer.v1.tar"),
    ],
    ids=["annotation", "layer-annotation", "urls", "data", "config-type", "no-layer", "not-as-packed"],
)
def test_packing_excuses_nothing_else_in_the_manifest(change: Any) -> None:
    image = make_image()
    manifest, blobs = repack(image.manifest, image.blobs)
    value = json.loads(manifest)
    change(value)
    found = compared(image, (json.dumps(value).encode(), blobs))
    assert found.result == "different"
    assert {"annotations", "media-types", "content"} & set(found.causes)
    assert "compression" in found.causes
    assert found.matched == ("config", "layers unpacked")


def test_a_field_that_stands_where_the_stabilizer_puts_one_is_not_hidden() -> None:
    image = make_image()
    value = json.loads(image.manifest)
    value["layers"][0]["diff_id"] = "sha256:" + "0" * 64
    assert compared((json.dumps(value).encode(), image.blobs), image).result == "different"


def test_true_and_one_are_not_the_same() -> None:
    image = make_image()
    manifests = []
    for written in (True, 1):
        value = json.loads(image.manifest)
        value["annotations"] = {"a": written}
        manifests.append((json.dumps(value).encode(), image.blobs))
    assert compared(*manifests).result == "different"


@pytest.mark.parametrize("tail", [gzip.compress(b""), bytes(512), b"more"], ids=["member", "zeros", "text"])
def test_packing_with_anything_behind_the_stream_is_never_equivalent(tail: bytes) -> None:
    """Readers disagree about it: some stop, some go on, some give up."""
    image = make_image()
    manifest, blobs = repack(image.manifest, image.blobs)
    assert compared(image, (manifest, blobs)).result == "equivalent"  # the control
    value = json.loads(manifest)
    data = blobs[value["layers"][0]["digest"].removeprefix("sha256:")] + tail
    digest = hashlib.sha256(data).hexdigest()
    value["layers"][0].update(digest=f"sha256:{digest}", size=len(data))
    assert compared(image, (json.dumps(value).encode(), {**blobs, digest: data})).result == "different"


def test_layers_that_are_not_what_the_config_says_are_never_equivalent() -> None:
    """Both claim the same; what one of them would unpack to is another file."""
    image, other = make_image(layers=[{"a": b"good"}]), make_image(layers=[{"a": b"evil"}])
    value = json.loads(image.manifest)
    value["layers"] = json.loads(other.manifest)["layers"]
    found = compared(image, (json.dumps(value).encode(), {**image.blobs, **other.blobs}))
    assert found.result == "different"
    assert "the rebuilt layers do not unpack" in " ".join(found.summary)
    assert any("good != evil" in line for line in found.summary)


@pytest.mark.parametrize(
    ("fields", "content", "cause", "said"),
    [
        ({"mtime": 7}, b"x", "timestamps", "0 != 7"),
        ({"uid": 5, "gname": "staff"}, b"x", "owners", "0:0 != 5:0 (:staff)"),
        ({"mode": 0o600}, b"x", "umask", "0644 != 0600"),
        ({"mode": 0o755}, b"x", "modes", "0644 != 0755"),
        ({"mode": 0o4644}, b"x", "set-id", "0644 != 4644"),
        ({"gid": 0}, b"y", "content", "x != y"),
        ({"pax_headers": {"SCHILY.xattr.user.a": "b"}}, b"x", "attributes", "SCHILY.xattr.user.a"),
        ({"type": tarfile.SYMTYPE, "linkname": "b"}, b"", "content", "file != link"),
    ],
)
def test_difference_of_a_layer_is_named_by_its_cause(
    fields: dict[str, Any], content: bytes, cause: str, said: str
) -> None:
    found = compared(with_layer([("a", {}, b"x")]), with_layer([("a", fields, content)]))
    assert found.result == "different"
    assert found.causes == (cause,)
    assert said in found.summary[0]


CAPABLE = {"SCHILY.xattr.security.capability": "\1\0\0\2"}


@pytest.mark.parametrize(
    ("published", "rebuilt", "cause"),
    [
        ({"mode": 0o4755}, {"mode": 0o4755, "uid": 5}, "set-id"),
        ({"mode": 0o4755}, {"mode": 0o4755, "uname": "root"}, "owners"),
        ({"mode": 0o4754}, {"mode": 0o4755}, "set-id"),
        ({"mode": 0o755}, {"mode": 0o755, "pax_headers": CAPABLE}, "set-id"),
        ({"mode": 0o2755, "type": b"5"}, {"mode": 0o755, "type": b"5"}, "modes"),
        ({"mode": 0o2755, "type": b"5"}, {"mode": 0o2755, "type": b"5", "gid": 5}, "owners"),
    ],
    ids=range(6),
)
def test_whose_rights_a_program_of_a_layer_has_is_no_umask(
    published: dict[str, Any], rebuilt: dict[str, Any], cause: str
) -> None:
    found = compared(with_layer([("a", published, b"")]), with_layer([("a", rebuilt, b"")]))
    assert found.causes == (cause,)


def test_letters_and_line_ends_of_a_program_of_a_layer_are_content() -> None:
    for one, other, cause in (("é\n", b"?\n", "locale"), ("exit\r\nx\n", b"exit\nx\n", "line-ends")):
        for name, mode, causes in (
            ("srv/README", 0o644, (cause,)),
            ("srv/README", 0o755, (cause, "content")),
            ("etc/sudoers", 0o644, (cause, "content")),
            ("etc/hosts.deny", 0o644, (cause, "content")),
        ):
            pair = (with_layer([(name, {"mode": mode}, data)]) for data in (one.encode(), other))
            assert compared(*pair).causes == causes


def test_missing_extra_and_reordered_members_are_named() -> None:
    one = with_layer([("a", {}, b"a"), ("b", {}, b"b"), ("c", {}, b"c")])
    other = with_layer([("b", {}, b"b"), ("a", {}, b"a"), ("d", {}, b"d")])
    assert compared(one, other).causes == ("missing-entries", "extra-entries", "entry-order")


def test_links_that_lead_elsewhere_are_named() -> None:
    one, other = (
        with_layer([("a", {"type": tarfile.SYMTYPE, "linkname": target}, b"")]) for target in ("b", "c")
    )
    assert compared(one, other).summary == ("layer 1/a: b != c",)


def test_config_differences_are_named_by_path() -> None:
    found = compared(make_image("one"), make_image("two"))
    assert "config" in found.causes
    assert "config: config.Labels.text: one != two" in found.summary


def test_layer_that_cannot_be_read_is_a_difference_and_no_error() -> None:
    manifest, blobs = with_layer([("a", {}, b"a")])
    value = json.loads(manifest)
    for start in (b"\x1f\x8bbroken", b"\x28\xb5\x2f\xfd zstd", b""):
        digest = hashlib.sha256(start).hexdigest()
        value["layers"][0].update(digest=f"sha256:{digest}")
        found = compared((manifest, blobs), (json.dumps(value).encode(), {**blobs, digest: start}))
        assert found.result == "different"
        assert (
            "not compared member by member" in " ".join(found.summary) or found.causes[0] == "missing-entries"
        )


def test_layer_that_a_manifest_names_many_times_is_unpacked_once() -> None:
    image = make_image(layers=[{"a": b"a"}] * 200)
    manifest, blobs = repack(image.manifest, image.blobs)
    opened: list[str] = []

    def opening(sha256: str) -> BinaryIO:
        opened.append(sha256)
        return io.BytesIO(image.blobs[sha256])

    found = compare_images("app", Image(image.manifest, opening), side((manifest, blobs)))
    assert found.result == "equivalent"
    assert len(opened) == len(set(opened)) == 2  # config and layer


def test_layers_of_an_image_together_unpack_to_no_more_than_one_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = make_image(layers=[{"a": bytes([number]) * 50_000} for number in range(9)])
    repacked = repack(image.manifest, image.blobs)
    monkeypatch.setattr(layers, "MAX_IMAGE_BYTES", 9 * 70_000)
    assert compared(image, repacked).result == "equivalent"  # the control
    monkeypatch.setattr(layers, "MAX_IMAGE_BYTES", 5 * 70_000)
    assert compared(image, repacked).result == "different"


def test_packages_of_another_day_are_named_before_the_files_that_they_changed() -> None:
    one = with_layer(
        [
            ("usr/bin/a", {}, b"\0one"),
            ("var/lib/dpkg/status", {}, with_status("libc6 2.36-9", "hello 2.10-2", "old 1")),
        ]
    )
    other = with_layer(
        [
            ("usr/bin/a", {}, b"\0other"),
            ("var/lib/dpkg/status", {}, with_status("libc6 2.36-9", "hello 2.10-3", "new 1")),
        ]
    )
    found = compared(one, other)
    assert found.causes[0] == "package-versions"
    assert "content" in found.causes
    assert found.summary[:3] == (
        "layer 1/var/lib/dpkg/status: hello:all 2.10-2 != 2.10-3",
        "layer 1/var/lib/dpkg/status: new:all (not installed) != 1",
        "layer 1/var/lib/dpkg/status: old:all 1 != (not installed)",
    )


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("var/log/apt/history.log", "logs"),
        ("var/log/alternatives.log", "logs"),
        ("var/cache/ldconfig/aux-cache", "caches"),
        ("var/cache/apt/pkgcache.bin", "caches"),
        ("var/lib/apt/lists/archive.example.org_debian_dists_stable_InRelease", "archive-indexes"),
        ("var/lib/dpkg/status-old", "backups"),
        ("etc/passwd-", "backups"),
        ("usr/share/other", "content"),
        ("srv/var/log/x", "content"),
    ],
)
def test_what_package_managers_leave_is_named_with_the_remedy(path: str, cause: str) -> None:
    one, other = with_layer([(path, {}, b"one\n")]), with_layer([(path, {}, b"other\n")])
    found = compared(one, other)
    assert found.causes == (cause, "config") or found.causes == (cause,)
    assert ("; " in found.summary[0]) == (cause != "content")


def test_mode_of_a_leftover_is_still_a_mode() -> None:
    one = with_layer([("var/log/x", {"mode": 0o644}, b"same")])
    other = with_layer([("var/log/x", {"mode": 0o755}, b"same")])
    assert "modes" in compared(one, other).causes
    assert "logs" not in compared(one, other).causes


def test_list_of_packages_that_is_none_is_compared_as_text() -> None:
    one, other = (
        with_layer([("var/lib/dpkg/status", {}, b"\xff\n: \n")]),
        with_layer([("var/lib/dpkg/status", {}, b"Package\n\n\n")]),
    )
    assert "content" in compared(one, other).causes


PYC = "usr/lib/python3/dist-packages/__pycache__/a.cpython-311.pyc"
CODE = b"\xa7\r\r\n" + bytes(4) + b"time" + b"size" + b"code"
HASHED = b"\xa7\r\r\n\1\0\0\0" + b"time" + b"size" + b"code"
SHADOW = b"root:*:19000:0:99999:7:::\nx:!:19000::::::\n"
SCRIPT = {"mode": 0o755}
ID = b"0123456789abcdef" * 2 + b"\n"


@pytest.mark.parametrize(
    ("path", "fields", "published", "rebuilt", "cause"),
    [
        (PYC, {}, CODE, CODE.replace(b"time", b"TIME"), "caches"),
        (PYC, {}, CODE, CODE.replace(b"code", b"evil"), "content"),
        (PYC, {}, HASHED, HASHED.replace(b"time", b"TIME"), "content"),
        ("etc/shadow", {}, SHADOW, SHADOW.replace(b"19000", b"19001"), "timestamps"),
        ("etc/shadow", {}, SHADOW, SHADOW.replace(b"root:*", b"root:"), "content"),
        ("etc/shadow", {}, SHADOW, SHADOW + b"evil::19000:0:99999:7:::\n", "content"),
        ("etc/gshadow", {}, b"sudo:*:a:\n", b"sudo:*:evil:\n", "content"),
        ("etc/machine-id", {}, ID, b"f" * 32 + b"\n", "machine-id"),
        ("etc/machine-id", {}, ID, b"", "machine-id"),
        ("etc/machine-id", {}, ID, b"$(evil)\n", "content"),
        ("etc/cron.daily/job-", {}, b"good\n", b"evil\n", "content"),
        ("var/cache/app/run", {}, b"good\n", b"evil\n", "content"),
        ("var/log/run", {}, b"good\n", b"evil\n", "content"),
        ("var/log/apt/term.log", SCRIPT, b"good\n", b"evil\n", "content"),
        ("var/log/apt/term.log", {}, b"good\n", b"#!/bin/sh\nevil\n", "content"),
        ("var/cache/man/index.db", {}, b"good\n", b"\x7fELF evil", "content"),
    ],
)
def test_a_leftover_is_named_only_where_nothing_else_can_hide_in_it(
    path: str, fields: dict[str, Any], published: bytes, rebuilt: bytes, cause: str
) -> None:
    found = compared(with_layer([(path, fields, published)]), with_layer([(path, fields, rebuilt)]))
    assert set(found.causes) - {"config"} == {cause}


@pytest.mark.parametrize(
    ("published", "rebuilt", "said"),
    [
        ((tarfile.CHRTYPE, 1, 1), (tarfile.CHRTYPE, 1, 3), "character device 1:1 != character device 1:3"),
        ((tarfile.BLKTYPE, 1, 8), (tarfile.CHRTYPE, 1, 8), "block device 1:8 != character device 1:8"),
        ((b"V", 0, 0), (b"7", 0, 0), "special file of type V != special file of type 7"),
    ],
)
def test_another_device_is_content(
    published: tuple[bytes, int, int], rebuilt: tuple[bytes, int, int], said: str
) -> None:
    one, other = (
        with_layer([("dev/x", {"type": kind, "devmajor": major, "devminor": minor, "mtime": time}, b"")])
        for time, (kind, major, minor) in enumerate((published, rebuilt))
    )
    found = compared(one, other)
    assert "content" in found.causes
    assert said in found.summary[0]


def test_members_behind_what_is_read_of_a_layer_do_not_hide_behind_its_times() -> None:
    plain, evil = tar_bytes((Item("a", b"a"),)), tar_bytes((Item("evil", b"evil"),))
    rebuilt = of_tar(tar_bytes((Item("a", b"a", time=5),)))
    for published in (plain + evil, plain[:1024] + b"no header".ljust(512) + evil, plain + b"\1"):
        found = compared(of_tar(published), rebuilt)
        assert {"timestamps", "content"} <= set(found.causes)
        assert any("the published layer goes on" in line for line in found.summary)
    assert compared(of_tar(plain), rebuilt).causes == ("timestamps",)
    assert compared(of_tar(plain), of_tar(plain + bytes(5120))).causes == ("container",)


def test_bytes_said_to_be_behind_a_link_are_content() -> None:
    one, other = (
        of_tar(block(b"a", b"1", size) + bytes(1024)) for size in (b"00000000000\0", b"00000000007\0")
    )
    assert compared(one, other).causes == ("content",)


def with_config(change: Mapping[str, Any]) -> tuple[bytes, dict[str, bytes]]:
    """An image whose config says this, too."""
    image = make_image("one")
    value = json.loads(image.manifest)
    members = {**json.loads(image.blobs[image.config]), **change}
    config = json.dumps(members).encode()
    digest = hashlib.sha256(config).hexdigest()
    value["config"].update(digest=f"sha256:{digest}", size=len(config))
    return json.dumps(value).encode(), {**image.blobs, digest: config}


@pytest.mark.parametrize(
    ("published", "rebuilt", "causes", "said"),
    [
        ({"rootfs.d": "evil"}, {}, ("config",), "config: rootfs.d: evil != (absent)"),
        ({"rootfsx": 1}, {}, ("config",), "config: rootfsx: 1 != (absent)"),
        ({"x": True}, {"x": 1}, ("config",), "config: x: true != 1"),
        ({"x": None}, {}, ("config",), "config: x: null != (absent)"),
        ({"historyx": 1}, {"historyx": 2}, ("config",), "config: historyx: 1 != 2"),
        ({"x": {"created": "evil"}}, {"x": {"created": "good"}}, ("config",), "x.created: evil != good"),
        ({"created": "1"}, {"created": "2"}, ("timestamps",), "config: created: 1 != 2"),
    ],
)
def test_what_a_config_says_is_told_by_its_own_name(
    published: Mapping[str, Any], rebuilt: Mapping[str, Any], causes: tuple[str, ...], said: str
) -> None:
    found = compared(with_config(published), with_config(rebuilt))
    assert found.causes == causes
    assert said in found.summary[0]


def test_a_package_of_another_version_does_not_hide_what_is_said_of_others() -> None:
    lists = (with_status("a 1", "b 1"), with_status("a 2", "b 1").replace(b"e: f\n", b"e: evil\n"))
    one, other = (with_layer([("var/lib/dpkg/status", {}, data)]) for data in lists)
    found = compared(one, other)
    assert found.causes[:2] == ("package-versions", "content")
    assert "b:all is said to be another in the same version 1" in found.summary[1]
