"""The input lock: one spelling, strictly read."""

import hashlib
import json
from dataclasses import replace

import pytest

from touchplate.builder.errors import DefinitionError
from touchplate.builder.inputs.lock import LockedInput, format_lock, is_checksum, make_lock, parse_lock

ONE = LockedInput("central", "g/a/1/a-1.jar", hashlib.sha256(b"a").hexdigest(), 1)
TWO = LockedInput("central", "g/b/ü 1+2.pom", hashlib.sha256(b"b").hexdigest(), 0)


def test_lock_has_one_spelling_whatever_the_order_of_its_inputs() -> None:
    lock = make_lock([TWO, ONE])
    assert lock.inputs == (ONE, TWO)
    assert format_lock(lock) == format_lock(make_lock([ONE, TWO]))
    assert parse_lock(format_lock(lock)) == lock
    assert lock.sha256 == hashlib.sha256(format_lock(lock)).hexdigest()
    assert lock.total_bytes == 1


def test_example_of_the_format_is_read() -> None:
    text = '{"inputs":[{"path":"a.jar","sha256":"%s","size":3,"upstream":"central"}],"version":1}'
    text %= "0" * 64
    assert parse_lock(text.encode()).inputs == (LockedInput("central", "a.jar", "0" * 64, 3),)


def test_inputs_are_sorted_by_bytes_of_upstream_then_path() -> None:
    ordered = [("a-b", "z"), ("a.b", "a"), ("ab", "B"), ("ab", "a"), ("ab", "é")]
    lock = make_lock(LockedInput(upstream, path, "0" * 64, 0) for upstream, path in reversed(ordered))
    assert [(one.upstream, one.path) for one in lock.inputs] == ordered


def test_every_truncation_flip_and_extra_byte_gives_our_error_or_another_valid_lock() -> None:
    data = format_lock(make_lock([ONE, TWO]))
    changed = [data[:cut] for cut in range(len(data))]
    changed += [data + bytes([extra]) for extra in range(256)]
    changed += [
        data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        for at in range(len(data))
        for bit in range(8)
    ]
    for bad in changed:
        try:
            lock = parse_lock(bad)
        except DefinitionError:
            continue
        # A flip inside a path, digest or size is another lock; it must be the one spelling of that one.
        assert format_lock(lock) == bad
        assert len(bad) == len(data)


@pytest.mark.parametrize(
    "inputs",
    [
        [ONE, ONE],
        [replace(ONE, path="g/a"), replace(ONE, path="g/a/b")],
        [replace(ONE, path=path) for path in ("g/a", "g/a-b", "g/a.b", "g/a/b/c")],
        [replace(ONE, path="g/a.jar"), replace(ONE, path="g/a.jar.sha1/b")],
        [replace(ONE, path=path) for path in ("g/a", "g/a.sha1-x", "g/a.sha1/b/c")],
        [replace(ONE, path="../a")],
        [replace(ONE, path="/a")],
        [replace(ONE, path="a//b")],
        [replace(ONE, path="a/")],
        [replace(ONE, path="")],
        [replace(ONE, path="a\\b")],
        [replace(ONE, path="a\nb")],
        [replace(ONE, path="a" * 256)],
        [replace(ONE, path="a.jar.sha1")],
        [replace(ONE, sha256="0" * 63)],
        [replace(ONE, sha256="A" * 64)],
        [replace(ONE, size=-1)],
        [replace(ONE, upstream="Central")],
        [replace(ONE, upstream="..")],
        [replace(ONE, upstream="")],
    ],
)
def test_refuses_inputs_that_could_leave_their_place_or_mean_two_things(inputs: list[LockedInput]) -> None:
    with pytest.raises(DefinitionError):
        make_lock(inputs)


def test_files_beside_folders_that_begin_like_them_are_no_conflict() -> None:
    paths = ("g/a", "g/a-b/c", "g/a.sha1-b/c", "g/ab/c")
    assert len(make_lock(replace(ONE, path=path) for path in paths).inputs) == 4
    make_lock([replace(ONE, path="g/a"), replace(ONE, path="g/a/b", upstream="other")])


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"inputs": []},
        {"inputs": [], "version": 2},
        {"inputs": [], "version": True},
        {"inputs": {}, "version": 1},
        {"inputs": [[]], "version": 1},
        {"inputs": [{"path": "a"}], "version": 1},
        {"inputs": [{"path": 1, "sha256": "0" * 64, "size": 1, "upstream": "central"}], "version": 1},
        {"inputs": [{"path": "a", "sha256": "0" * 64, "size": True, "upstream": "central"}], "version": 1},
        {"inputs": [{"path": "a", "sha256": "0" * 64, "size": "1", "upstream": "central"}], "version": 1},
        {"inputs": [], "version": 1, "more": 1},
    ],
)
def test_refuses_other_shapes(value: object) -> None:
    with pytest.raises(DefinitionError):
        parse_lock(json.dumps(value, separators=(",", ":")).encode())


def test_checksum_files_are_known_by_their_ending() -> None:
    assert all(is_checksum(f"a.jar.{ending}") for ending in ("md5", "sha1", "sha256", "sha512"))
    assert not any(is_checksum(name) for name in ("a.jar", "sha1.jar", "a.jar.asc", "md5"))
