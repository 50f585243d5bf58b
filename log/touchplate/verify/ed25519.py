"""Ed25519 public keys that nobody should list: under them, everybody signs.

The library, as RFC 8032 lets it, takes points of small order as keys, and more than one spelling of them.
"""

from touchplate.verify.errors import MalformedError, shown

FIELD = 2**255 - 19
"""p of Curve25519 (RFC 8032 5.1): coordinates are below it."""

_ORDER_8_Y = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
SMALL_ORDER_Y = frozenset({0, 1, FIELD - 1, _ORDER_8_Y, FIELD - _ORDER_8_Y})
"""y of the eight points whose order divides 8. With R = identity and s = 0 a signature holds under one of
them for every message, under the others for one of eight messages or more."""


def check_public(public: bytes) -> None:
    """Refuse a raw key (32 bytes) of small order, or whose y is not below p.

    Raises MalformedError (`bad-key`).
    """
    y = int.from_bytes(public, "little") & ~(1 << 255)  # the highest bit is the sign of x
    if y >= FIELD or y in SMALL_ORDER_Y:
        raise MalformedError(
            "key is a point of small order, under which anybody can sign, or none in its one form: "
            f"{shown(public.hex())}",
            reason="bad-key",
        )
