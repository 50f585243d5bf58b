"""Links made and judged by the `in-toto` package: a stranger to rebuilderd's in-toto-rs, and to us."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from in_toto.models.link import Link as ForeignLink
from in_toto.models.metadata import Metablock
from in_toto.runlib import in_toto_run
from securesystemslib.exceptions import Error as ForeignError
from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import SSlibKey
from tests.verify.links import DAEMON, DEBIAN, NAME, OTHERS, SECOND, WORKER, fields, metablock, trusting
from tests.verify.support import PUBLISHED, digests_of

from touchplate.verify.errors import RefusedError
from touchplate.verify.files import FileDigests
from touchplate.verify.links import check_link, parse_link

FILE = FileDigests(len(PUBLISHED), digests_of(PUBLISHED))


def made(*keys: Ed25519PrivateKey) -> Metablock:
    block = Metablock(signed=ForeignLink(**{**fields(), "environment": {}}))
    for key in keys:
        block.create_signature(CryptoSigner(key))
    return block


def as_foreign_key(key: Ed25519PrivateKey) -> dict[str, Any]:
    foreign = SSlibKey.from_crypto(key.public_key())
    return {**foreign.to_dict(), "keyid": foreign.keyid}


def test_links_of_in_toto_with_two_signatures_are_taken() -> None:
    block = made(WORKER, DAEMON)
    checked = check_link(json.dumps(block.to_dict()).encode(), FILE, trusting())
    assert checked.operators == (DEBIAN,)
    assert len(checked.signers) == 2
    assert checked.link.signed == block.signed.signable_bytes
    assert check_link(repr(made(SECOND)).encode(), FILE, trusting()).operators == (
        OTHERS,
    )  # its own file form


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # in-toto's own
def test_what_in_toto_records_of_real_files_is_the_form_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "inputs" / "lib.buildinfo").write_bytes(b"Format: 1.0")
    (tmp_path / "out" / NAME).write_bytes(PUBLISHED)
    block = in_toto_run(
        f"rebuild {NAME}",
        [str(tmp_path / "inputs" / "lib.buildinfo")],
        [str(tmp_path / "out" / NAME)],
        [],
        lstrip_paths=[f"{tmp_path}/inputs/", f"{tmp_path}/out/"],
        signer=CryptoSigner(WORKER),
        metadata_directory=str(tmp_path),
    )
    value = block.to_dict()
    # The Python package records sha256 alone; rebuilderd asks in-toto-rs for sha512 beside it.
    assert value["signed"]["products"] == {NAME: {"sha256": FILE.sha256}}
    with pytest.raises(RefusedError, match="not sha256 and sha512"):
        check_link(json.dumps(value).encode(), FILE, trusting())
    value["signed"] |= {name: fields()[name] for name in ("materials", "products")}
    both = Metablock.from_dict(value)
    both.signatures.clear()
    both.create_signature(CryptoSigner(WORKER))
    assert check_link(json.dumps(both.to_dict()).encode(), FILE, trusting()).operators == (DEBIAN,)


def test_in_toto_and_we_agree_about_signatures() -> None:
    for key, other in ((WORKER, DAEMON), (DAEMON, SECOND)):
        ours = metablock(key, environment={})
        ours["signatures"][0]["keyid"] = as_foreign_key(key)["keyid"]  # in-toto looks keys up by it
        foreign = Metablock.from_dict(ours)
        foreign.verify_signature(as_foreign_key(key))
        assert parse_link(json.dumps(ours).encode()).signed == foreign.signed.signable_bytes
        ours["signatures"][0]["keyid"] = as_foreign_key(other)["keyid"]
        with pytest.raises(ForeignError):
            Metablock.from_dict(ours).verify_signature(as_foreign_key(other))
