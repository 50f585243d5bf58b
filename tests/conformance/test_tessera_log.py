"""The log that Tessera publishes with its sources, made again by our tree and our notes, byte for byte."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.conformance.go_programs import built, module_folder
from tests.log.support import open_sqlite

from touchplate.log.ports import PackedEntry
from touchplate.log.reading import LogReader
from touchplate.verify.checkpoints import parse_checkpoint_body
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import MalformedError, SignatureError
from touchplate.verify.notes import NoteSigner, open_note, parse_signer_key, parse_verifier_key, sign_note
from touchplate.verify.rfc6962 import leaf_hash
from touchplate.verify.tiles import BundleCoord, entries_path, parse_entry_bundle, tile_path, tiles_of

SIZE = 15
"""Entries in the published log; it was published after each of them."""

ORIGIN = "example.com/log/testdata"


@pytest.fixture(scope="module")
def sources() -> Path:
    """The folder `testdata` of the Tessera module."""
    return (
        built(
            lambda environment: module_folder(environment, "github.com/transparency-dev/tessera"),
            "tessera's log",
        )
        / "testdata"
    )


@pytest.fixture(scope="module")
def log(sources: Path) -> Path:
    return sources / "log"


@pytest.fixture(scope="module")
def leaves(log: Path) -> list[bytes]:
    """The leaf data, out of the largest entry bundle."""
    return parse_entry_bundle((log / entries_path(0, SIZE)).read_bytes(), SIZE)


@pytest.fixture(scope="module")
def signer(sources: Path) -> NoteSigner:
    """The published private key, out of the script that made the log."""
    found = re.search(r'"(PRIVATE\+KEY\+[^"]+)"', (sources / "build_log.sh").read_text())
    assert found is not None
    return parse_signer_key(found[1])


def body(size: int, root: bytes) -> str:
    """The text of a checkpoint. Ours is not asked: it writes bare host names as origins only."""
    return f"{ORIGIN}\n{size}\n{encode_base64(root)}\n"


class Grown:
    """The same leaves taken in by our storage, one batch each; `notes[n]` was signed at size n."""

    def __init__(self, folder: Path, leaves: Sequence[bytes], signer: NoteSigner) -> None:
        tree = open_sqlite(folder, ORIGIN)

        def sign(size: int, root: bytes) -> bytes:
            return sign_note(body(size, root), [signer])

        tree.store_checkpoint(0, sign(0, tree.head().root))
        self.notes = [tree.head().checkpoint]
        for leaf in leaves:
            tree.apply([PackedEntry(leaf, leaf_hash(leaf), hashlib.sha256(leaf).digest(), b"")], sign)
            self.notes.append(tree.head().checkpoint)
        self.reader = LogReader(tree)
        self.close = tree.close


@pytest.fixture(scope="module")
def grown(
    leaves: list[bytes], signer: NoteSigner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Grown]:
    made = Grown(tmp_path_factory.mktemp("grown"), leaves, signer)
    yield made
    made.close()


@pytest.mark.slow
def test_its_keys_are_read_as_they_were_written(sources: Path, signer: NoteSigner) -> None:
    found = re.search(r'LOG_PUBLIC_KEY="([^"]+)"', (sources / "build_log.sh").read_text())
    assert found is not None
    assert parse_verifier_key(found[1]) == signer.key
    assert signer.key.role == "log"


@pytest.mark.slow
@pytest.mark.parametrize("size", range(SIZE + 1))
def test_each_checkpoint_is_verified_and_made_again(
    size: int, log: Path, grown: Grown, signer: NoteSigner
) -> None:
    published = (log / f"checkpoint.{size}").read_bytes()
    assert open_note(published, [signer.key]).text.startswith(f"{ORIGIN}\n{size}\n")
    assert grown.notes[size] == published


@pytest.mark.slow
def test_the_newest_checkpoint_is_the_last_of_them(log: Path) -> None:
    assert (log / "checkpoint").read_bytes() == (log / f"checkpoint.{SIZE}").read_bytes()
    assert not (log / f"checkpoint.{SIZE + 1}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("size", range(1, SIZE + 1))
def test_tiles_and_entry_bundles_of_each_size_are_the_same_bytes(size: int, log: Path, grown: Grown) -> None:
    for tile in tiles_of(size):
        assert grown.reader.resource(tile) == (log / tile_path(tile)).read_bytes()
    bundle = grown.reader.resource(BundleCoord("entries", 0, size))
    assert bundle == (log / entries_path(0, size)).read_bytes()


@pytest.mark.slow
def test_it_has_no_other_files(log: Path) -> None:
    """But what Tessera keeps for itself, in .state."""
    files = {str(path.relative_to(log)) for path in log.rglob("*") if path.is_file()}
    files = {name for name in files if not name.startswith(".state/")}
    tiles = {path for size in range(1, SIZE + 1) for path in (f"tile/0/000.p/{size}", entries_path(0, size))}
    assert files == tiles | {"checkpoint"} | {f"checkpoint.{size}" for size in range(SIZE + 1)}


@pytest.mark.slow
def test_a_changed_checkpoint_is_refused(log: Path, signer: NoteSigner) -> None:
    published = (log / "checkpoint.7").read_bytes()
    with pytest.raises(SignatureError):
        open_note(published.replace(b"\n7\n", b"\n8\n"), [signer.key])


@pytest.mark.slow
def test_its_origin_is_none_that_our_checkpoints_have(log: Path, signer: NoteSigner) -> None:
    """Stock verifiers compare the origin with a host name, so ours is one; this log's has a path."""
    text = open_note((log / "checkpoint").read_bytes(), [signer.key]).text
    with pytest.raises(MalformedError, match="no bare lower-case host name"):
        parse_checkpoint_body(text)
