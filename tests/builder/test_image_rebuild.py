"""Images rebuilt for real: what the stock buildah published comes out again, or it is explained why not."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from tests.builder.imageparts import BUSYBOX, ImageScene, Published, tar_bytes

from touchplate.builder.attestation.attest import Operator
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.builder.sandbox import idrange
from touchplate.builder.sandbox.ranged import FIRST_ID, IDS, RANGES
from touchplate.builder.submit import sign_rebuild

HELLO = {"Containerfile": b"FROM scratch\nCOPY hello.txt docs /\n", "hello.txt": b"hello\n", "docs/a": b"a\n"}


def with_run(images: ImageScene, *more: str) -> dict[str, bytes]:
    lines = [
        f"FROM {images.base_name}",
        "COPY hello.txt docs /data/",
        "RUN mkdir /x && echo made > /x/made && chown 5:6 /x/made && chmod 4755 /x/made && ln -s m /x/l",
        *more,
        'CMD ["/bin/sh"]',
    ]
    return {"Containerfile": "\n".join(lines).encode(), "hello.txt": b"hello\n", "docs/a": b"a\n"}


def result_of(done: Rebuild) -> str:
    """The result, with what a person would look at when it is another than expected."""
    if done.built is None:
        return f"not-built: {done.failure} {done.log.decode(errors='replace')[-1500:]}"
    found = done.built.verdicts[0].comparison
    return "identical" if found.result == "identical" else f"{found.result}: {found.summary}"


@pytest.fixture(scope="module")
def app(images: ImageScene) -> Published:
    """An image with a RUN."""
    return images.publisher.publish("team/app", with_run(images))


def test_image_on_scratch_comes_out_again(images: ImageScene) -> None:
    published = images.publisher.publish("team/hello", HELLO)
    done = images.rebuild(images.define(published))
    assert result_of(done) == "identical"
    assert done.backend == "runc"
    assert done.built is not None
    assert done.built.lock.inputs == ()
    assert done.built.verdicts[0].rebuilt.sha256 == published.hex


def test_image_with_a_run_comes_out_again_under_another_path_home_clock_and_umask(
    images: ImageScene,
) -> None:
    elsewhere = {"HOME": "/nonexistent", "TZ": "Asia/Tokyo", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1"}
    one_core = ("taskset", "-c", "0")
    published = images.publisher.publish(
        "team/varied", with_run(images), umask=0o077, env=elsewhere, under=one_core
    )
    done = images.rebuild(images.define(published))
    assert result_of(done) == "identical"
    assert done.built is not None
    names = [one.path.partition("/sha256:")[0] for one in done.built.lock.inputs]
    assert sorted(set(names)) == ["team/base/blobs", "team/base/manifests"]
    assert {one.upstream for one in done.built.lock.inputs} == {"registry.example.org"}


def test_two_rebuilds_are_the_same_whatever_the_supervisors_umask(images: ImageScene, app: Published) -> None:
    digests = set()
    for mask in (0o022, 0o077):
        before = os.umask(mask)
        try:
            done = images.rebuild(images.define(app))
        finally:
            os.umask(before)
        assert result_of(done) == "identical"
        assert done.built is not None
        digests.add(done.built.verdicts[0].rebuilt.sha256)
    assert digests == {app.hex}


@pytest.mark.parametrize(
    ("options", "image"),
    [
        (["--network", "none"], {"network": "none"}),
        (["--squash"], {"squash": True}),
        (["--omit-history"], {"omit_history": True}),
        (
            ["--label", "a=b", "--annotation", "c=d", "--build-arg", "WHO=you"],
            {"labels": {"a": "b"}, "annotations": {"c": "d"}, "args": {"WHO": "you"}},
        ),
        (["--target", "first"], {"target": "first"}),
    ],
)
def test_what_the_publisher_asked_of_buildah_can_be_asked_again(
    images: ImageScene, options: list[str], image: dict[str, Any]
) -> None:
    context = with_run(images, "ARG WHO=me", "RUN echo $WHO > /who")
    context["Containerfile"] = context["Containerfile"].replace(b":1\n", b":1 AS first\n", 1)
    published = images.publisher.publish("team/options", context, *options)
    plain = images.rebuild(images.define(published))
    assert options[0] == "--target" or result_of(plain) != "identical"  # the control
    assert result_of(images.rebuild(images.define(published, **image))) == "identical"


SYSTEM = ("etc/passwd", "etc/hosts", "run/keep", "tmp/keep", "dev/keep", "usr/share/a", "var/lib/b")


@pytest.fixture(scope="module")
def system(images: ImageScene) -> Published:
    """A base image with the folders of a distribution: what a RUN changes there is copied up and noted."""
    files = {f"root/{name}": b"x\n" for name in SYSTEM} | {"busybox": BUSYBOX.read_bytes()}
    lines = b"FROM scratch\nCOPY root /\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n"
    return images.publisher.publish("team/system", {"Containerfile": lines, **files})


CHANGES = [
    "RUN echo u >> /etc/passwd && chmod 700 /usr/share && chown 5 /var/lib/b && echo u > /run/new",
    "RUN rm -r /var/lib && mkdir -p /var/lib && echo z > /var/lib/c && rm /usr/share/a",
]


def test_changed_and_removed_files_of_a_base_come_out_again(images: ImageScene, system: Published) -> None:
    name = f"{images.registry.host}/{system.name}:1"
    lines = "\n".join([f"FROM {name}", *CHANGES])
    published = images.publisher.publish("team/changes", {"Containerfile": lines.encode()})
    bases = [(name, system)]
    assert result_of(images.rebuild(images.define(published, bases=bases))) == "identical"
    # Controls: storage that works in another way leaves other layers.
    for storage, cause in (("overlay-rootless", "attributes"), ("vfs", "extra-entries")):
        other = images.rebuild(images.define(published, bases=bases, storage=storage))
        assert other.built is not None
        assert cause in other.built.verdicts[0].comparison.causes


def test_layers_of_several_runs_differ_by_names_in_the_history_alone(
    images: ImageScene, system: Published
) -> None:
    """The name of an intermediate image covers the overlay's notes, which are gone from layers only."""
    name = f"{images.registry.host}/{system.name}:1"
    lines = "\n".join([f"FROM {name}", *CHANGES])
    published = images.publisher.publish("team/several", {"Containerfile": lines.encode()}, "--layers")
    done = images.rebuild(images.define(published, bases=[(name, system)], layers=True))
    assert done.built is not None
    found = done.built.verdicts[0].comparison
    assert set(found.causes) == {"history", "annotations"}
    assert found.matched == ("layers unpacked", "layers")


def test_image_of_a_publisher_with_plain_folders_comes_out_again(
    images: ImageScene, system: Published
) -> None:
    name = f"{images.registry.host}/{system.name}:1"
    context = {"Containerfile": "\n".join([f"FROM {name}", *CHANGES]).encode()}
    published = images.publisher.publish("team/folders", context, storage="vfs")
    bases = [(name, system)]
    assert result_of(images.rebuild(images.define(published, bases=bases, storage="vfs"))) == "identical"
    assert images.rebuild(images.define(published, bases=bases)).result == "different"  # the control


def test_image_of_a_publisher_who_is_not_root_comes_out_again(images: ImageScene, system: Published) -> None:
    """In a user namespace of ids that are nobody's, as rootless buildah works."""
    name = f"{images.registry.host}/{system.name}:1"
    context = {"Containerfile": "\n".join([f"FROM {name}", *CHANGES]).encode()}
    first = FIRST_ID + (RANGES + 1) * IDS
    mapped = (sys.executable, "-I", "-S", idrange.__file__, str(os.getpid()), str(first), str(IDS))
    # Root's own files of buildah, which are closed to others, are out of sight.
    hidden = 'mkdir -p /var/lib/containers; mount -t tmpfs none /var/lib/containers && exec "$@"'
    rootless = (*mapped, "/usr/bin/unshare", "-m", "/bin/sh", "-c", hidden, "sh")
    images.publisher.folder.chmod(0o711)
    home = images.publisher.folder / "home"
    home.mkdir()
    os.chown(home, first, first)
    published = images.publisher.publish(
        "team/rootless",
        context,
        "--network",
        "host",
        owner=(first, first),
        under=rootless,
        env={"HOME": str(home)},
    )
    bases = [(name, system)]
    done = images.rebuild(images.define(published, bases=bases, storage="overlay-rootless"))
    assert result_of(done) == "identical"
    assert images.rebuild(images.define(published, bases=bases)).result == "different"  # the control


def test_label_of_the_builder_may_be_left_out(images: ImageScene) -> None:
    published = images.publisher.publish("team/unlabelled", HELLO, "--identity-label=false")
    assert images.rebuild(images.define(published)).result == "different"  # the control
    done = images.rebuild(images.define(published, no_identity_label=True))
    assert result_of(done) == "identical"


def test_another_isolation_at_the_publisher_changes_nothing(images: ImageScene) -> None:
    options = ("--isolation", "chroot", "--network", "host")
    published = images.publisher.publish("team/chroot", with_run(images), *options)
    assert result_of(images.rebuild(images.define(published))) == "identical"


def test_stages_and_copies_between_them_come_out_again(images: ImageScene) -> None:
    lines = [
        f"FROM {images.base_name} AS tools",
        "RUN echo compiled > /made",
        "FROM scratch",
        "COPY --from=tools --chown=7:8 /made /made",
        f"COPY --from={images.base_name} /bin/busybox /busybox",
        "ADD more.tar.gz /more/",
    ]
    context = {"Containerfile": "\n".join(lines).encode(), "more.tar.gz": tar_bytes({"inner": b"inner\n"})}
    published = images.publisher.publish("team/stages", context)
    assert result_of(images.rebuild(images.define(published))) == "identical"


def test_base_named_by_its_digest_comes_out_again(images: ImageScene) -> None:
    name = f"{images.registry.host}/team/base@sha256:{images.base.hex}"
    context = with_run(images)
    context["Containerfile"] = context["Containerfile"].replace(images.base_name.encode(), name.encode())
    published = images.publisher.publish("team/digest", context)
    done = images.rebuild(images.define(published, bases=[(name, images.base)]))
    assert result_of(done) == "identical"


def test_one_flipped_byte_of_the_context_is_a_difference_with_its_cause(
    images: ImageScene, app: Published
) -> None:
    changed = {**app.context, "hello.txt": b"hellO\n"}
    done = images.rebuild(images.define(app, archive=tar_bytes(changed)))
    assert done.result == "different"
    assert done.built is not None
    found = done.built.verdicts[0].comparison
    assert found.causes == ("content", "history")
    assert "layer 2/data/hello.txt: hello != hellO" in found.summary
    assert found.matched == ()


def test_another_mode_of_a_file_is_named_as_such(images: ImageScene, app: Published) -> None:
    archive = tar_bytes({**app.context, "docs/a": b"\x7fELF"})
    control = images.rebuild(images.define(app, archive=tar_bytes({**app.context, "docs/a": b"a\n"})))
    assert result_of(control) == "identical"
    done = images.rebuild(images.define(app, archive=archive))
    assert done.built is not None
    assert set(done.built.verdicts[0].comparison.causes) == {"content", "modes", "history"}


def test_image_that_was_published_without_a_timestamp_differs_by_times_alone(images: ImageScene) -> None:
    published = images.publisher.publish("team/now", HELLO, timestamp=None)
    done = images.rebuild(images.define(published))
    assert done.built is not None
    assert set(done.built.verdicts[0].comparison.causes) <= {"timestamps", "history"}
    assert "timestamps" in done.built.verdicts[0].comparison.causes


def test_context_of_another_owner_shows_in_the_history_until_the_definition_says_so(
    images: ImageScene,
) -> None:
    published = images.publisher.publish("team/owned", HELLO, owner=(1000, 1001))
    plain = images.rebuild(images.define(published))
    assert plain.built is not None
    assert plain.built.verdicts[0].comparison.causes == ("history",)
    assert plain.built.verdicts[0].comparison.matched == ("layers unpacked", "layers")
    assert result_of(images.rebuild(images.define(published, owner="1000:1001"))) == "identical"


def test_layers_packed_by_another_program_are_equivalent(images: ImageScene, app: Published) -> None:
    from tests.builder.test_image_comparison import repack

    manifest, blobs = repack(app.manifest, images.registry.blobs)
    images.registry.push(app.name, "repacked", manifest, blobs)
    repacked = replace(app, manifest=manifest)
    done = images.rebuild(images.define(repacked))
    assert done.result == "equivalent"
    assert done.built is not None
    found = done.built.verdicts[0].comparison
    assert found.stabilizers == ("layer-packing@1",)
    assert found.matched == ("config", "layers unpacked")


def test_layers_of_the_base_may_be_kept_as_they_were_packed(images: ImageScene) -> None:
    """As a push to the registry of the base leaves them."""
    from tests.builder.test_image_comparison import repack

    manifest, blobs = repack(images.base.manifest, images.registry.blobs)
    base = replace(images.base, name="team/base2", manifest=manifest)
    images.registry.push(base.name, "1", manifest, blobs)
    name = f"{images.registry.host}/team/base2:1"
    context = {
        "Containerfile": f"FROM {name}\nCOPY hello.txt /\n".encode(),
        "hello.txt": b"hello\n",
    }
    published = images.publisher.publish("team/kept", context)
    done = images.rebuild(images.define(published, bases=[(name, base)], base_layers="kept"))
    assert done.result == "equivalent"
    assert result_of(images.rebuild(images.define(published, bases=[(name, base)]))) == "identical"
    kept = json.loads(published.manifest)
    kept["layers"][0] = json.loads(manifest)["layers"][0]
    text = json.dumps(kept, separators=(",", ":")).encode()
    images.registry.push("team/kept", "2", text)
    published = replace(published, manifest=text)
    done = images.rebuild(images.define(published, bases=[(name, base)], base_layers="kept"))
    assert result_of(done) == "identical"


def test_broken_run_is_not_built_with_what_it_said(images: ImageScene) -> None:
    done = images.runs("echo broken on purpose; exit 3")
    assert done.result == "not-built"
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("build", "exit-status")
    assert "exit status 3" in done.failure.detail
    assert b"broken on purpose" in done.log


def test_result_is_signed_under_runc_and_names_its_tools_as_not_pinned(
    images: ImageScene, app: Published
) -> None:
    from tests.verify.support import OPERATOR_A, statement_signer

    from touchplate.verify.dsse import parse_envelope
    from touchplate.verify.statements import Provenance, parse_predicate, parse_statement

    done = images.rebuild(images.define(app))
    submission = sign_rebuild(images.workshop, done, Operator(OPERATOR_A, statement_signer("rebuilder-a")))
    statements = [parse_statement(parse_envelope(one).payload) for one in submission.parcel.envelopes]
    provenance = parse_predicate(statements[0])
    assert isinstance(provenance, Provenance)
    assert provenance.builder == f"{OPERATOR_A}/touchplate/runc/v1"
    assert provenance.build_type == "https://touchplate.dev/buildtypes/oci/v1"
    assert provenance.source_kinds == {"source-release"}
    assert provenance.has_host_tools
    assert [one.name for one in provenance.dependencies if one.kind == "tool"] == [
        "buildah",
        "runc",
        "skopeo",
    ]
    assert statements[0].subjects[0].sha256 == app.hex


def test_index_of_several_platforms_is_refused_with_its_children(images: ImageScene) -> None:
    child = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{images.base.hex}",
        "size": len(images.base.manifest),
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [child]}).encode()
    images.registry.push("team/multi", "1", index)
    published = Published("team/multi", index, HELLO)
    with pytest.raises(DefinitionError, match=rf"one image is rebuilt.*linux/amd64 sha256:{images.base.hex}"):
        fetch_published(images.workshop, images.define(published))


def test_image_for_another_machine_is_a_lack_of_this_host(images: ImageScene, app: Published) -> None:
    with pytest.raises(HostLack, match="this machine is linux/"):
        images.rebuild(images.define(app, platform="linux/s390x"))


def test_buildah_of_another_version_is_a_lack_of_this_host(images: ImageScene, app: Published) -> None:
    definition = images.define(app)
    other = replace(definition, details=replace(definition.details, buildah="9.9.9"))  # type: ignore[type-var]
    with pytest.raises(HostLack, match=r"names buildah 9\.9\.9, and this host has"):
        images.rebuild(other)


def test_wrong_bytes_of_a_base_image_are_a_lack_of_the_upstream(images: ImageScene) -> None:
    data = b"x" + BUSYBOX.read_bytes()
    base = images.publisher.publish("team/damaged", {"Containerfile": b"FROM scratch\nCOPY b /\n", "b": data})
    layer = json.loads(base.manifest)["layers"][0]["digest"].removeprefix("sha256:")
    good = images.registry.blobs[layer]
    images.registry.blobs[layer] = good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]
    name = f"{images.registry.host}/team/damaged:1"
    archive = tar_bytes({"Containerfile": f"FROM {name}\n".encode()})
    definition = images.define(images.other, archive=archive, bases=[(name, base)])
    with pytest.raises(HostLack, match="expected") as caught:
        images.rebuild(definition)
    assert caught.value.reason == "upstream-failed"
    images.registry.blobs[layer] = good
    assert images.rebuild(definition).result == "different"  # the control


def test_base_image_that_the_upstream_lacks_says_nothing_about_the_package(images: ImageScene) -> None:
    base = Published("team/nowhere", images.base.manifest, {})
    name = f"{images.registry.host}/team/nowhere:1"
    archive = tar_bytes({"Containerfile": f"FROM {name}\n".encode()})
    definition = images.define(images.other, archive=archive, bases=[(name, base)])
    images.workshop.cache.inputs.remove(base.hex)
    with pytest.raises(HostLack, match="has no 'team/nowhere/manifests/sha256:"):
        images.rebuild(definition)


def test_manifest_of_a_base_that_lies_about_a_size_is_refused(images: ImageScene) -> None:
    value = json.loads(images.base.manifest)
    value["layers"][0]["size"] += 1
    manifest = json.dumps(value).encode()
    images.registry.push("team/lying", "1", manifest)
    name = f"{images.registry.host}/team/lying:1"
    archive = tar_bytes({"Containerfile": f"FROM {name}\n".encode()})
    bases = [(name, Published("team/lying", manifest, {}))]
    done = images.rebuild(images.define(images.other, archive=archive, bases=bases))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")
    assert "and its manifest says" in done.failure.detail


def test_without_root_no_image_is_built() -> None:
    """The process gives its rights away before it asks."""
    script = (
        "import os; os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "from pathlib import Path\n"
        "try:\n"
        "    RuncSandbox(SandboxConfig(Path('/nonexistent')))\n"
        "except HostLack as error:\n"
        "    print(error)\n"
    )
    imports = (
        "from touchplate.builder.errors import HostLack\n"
        "from touchplate.builder.sandbox.runc import RuncSandbox, SandboxConfig\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", imports + script], capture_output=True, text=True, check=True
    )
    assert "by root only" in done.stdout


def test_rebuild_needs_no_network_beyond_digests(images: ImageScene, app: Published) -> None:
    """Nothing is asked by tag, and nothing while the image is built."""
    images.registry.asked.clear()
    definition = images.define(app)
    rebuild(images.workshop, definition, fetch_published(images.workshop, definition), refetch=True)
    assert images.registry.asked
    assert all("/sha256:" in path for path in images.registry.asked)
