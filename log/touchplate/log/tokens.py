"""Bearer tokens (RFC 6750): what is one, and how it is looked up."""

import hashlib

MIN_TOKEN = 16
"""Characters of a bearer token at least: nobody guesses those."""

SCHEME = "bearer "


def is_token(text: str) -> bool:
    """Whether `text` can be a token: long enough, printable ASCII."""
    return len(text) >= MIN_TOKEN and text.isascii() and all(32 < ord(one) < 127 for one in text)


def digest_token(token: str) -> bytes:
    """What tokens are compared by: how long a look-up takes then says nothing about one."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def bearer_token(authorization: str) -> str | None:
    """The token in a header or metadata `authorization`; None for any other scheme."""
    if authorization[: len(SCHEME)].lower() != SCHEME:
        return None
    return authorization[len(SCHEME) :].strip()
