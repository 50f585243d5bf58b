"""Links as rebuilderd makes them for a GOOD, and its blocks in a trust file.

Without the `in-toto` package, which the auditors' half does not need: tests/conformance uses that.
"""

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.verify.cases import default_blocks, no_files, trust_text
from tests.verify.support import PUBLISHED, digests_of

from touchplate.verify.encoding import encode_base64
from touchplate.verify.keys import ED25519_NULL_PREFIX
from touchplate.verify.trust import TrustFile, parse_trust

DEBIAN = "https://reproduce.example.org"
OTHERS = "https://rebuilds.example.net"
NAME = "lib_1.0-1_amd64.deb"
WORKER, DAEMON, SECOND, STRANGER = (
    Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2, 3, 4)
)


def two(data: bytes) -> dict[str, str]:
    """The two digests that rebuilderd asks in-toto for."""
    return {name: digest for name, digest in digests_of(data).items() if name in ("sha256", "sha512")}


def fields(data: bytes = PUBLISHED) -> dict[str, Any]:
    """What a worker says of a file with these bytes. in-toto-rs has no environment, in-toto an empty one."""
    return {
        "name": f"rebuild {NAME}",
        "materials": {"lib_1.0-1_amd64.buildinfo": two(b"Format: 1.0")},
        "products": {NAME: two(data)},
        "environment": None,
        "byproducts": {},
        "command": [],
    }


def metablock(*keys: Ed25519PrivateKey, data: bytes = PUBLISHED, **changes: object) -> dict[str, Any]:
    """A link with a signature by each key, over in-toto's canonical JSON (of names that need no escapes)."""
    signed = {"_type": "link", **fields(data), **changes}
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    signatures = [
        {"keyid": f"{number:064x}", "sig": key.sign(text.encode()).hex()} for number, key in enumerate(keys)
    ]
    return {"signatures": signatures, "signed": signed}


def link(*keys: Ed25519PrivateKey, data: bytes = PUBLISHED, **changes: object) -> bytes:
    """The file of a link, by worker and daemon unless `keys` are given."""
    return json.dumps(metablock(*(keys or (WORKER, DAEMON)), data=data, **changes)).encode()


def pem(key: Ed25519PrivateKey, prefix: bytes = ED25519_NULL_PREFIX) -> str:
    """The public key as rebuilderd writes it: NULL parameters, CRLF."""
    text = encode_base64(prefix + key.public_key().public_bytes_raw())
    return f"-----BEGIN PUBLIC KEY-----\r\n{text}\r\n-----END PUBLIC KEY-----\r\n"


def block(operator: str, key: Ed25519PrivateKey, *lines: str, prefix: bytes = ED25519_NULL_PREFIX) -> str:
    fields = [f'operator = "{operator}"', f'key = """{pem(key, prefix)}"""', *lines]
    return "\n".join(["[[rebuilderd]]", *fields, ""])


def trusting(*blocks: str) -> TrustFile:
    listed = blocks or (block(DEBIAN, WORKER), block(DEBIAN, DAEMON), block(OTHERS, SECOND))
    return parse_trust(trust_text(blocks=[*default_blocks(), *listed]), no_files)
