"""What can be a bearer token (RFC 6750) here."""

MIN_TOKEN = 16
"""Characters of a bearer token at least: nobody guesses those."""


def is_token(text: str) -> bool:
    """Whether `text` can be a token: long enough, printable ASCII."""
    return len(text) >= MIN_TOKEN and text.isascii() and all(32 < ord(one) < 127 for one in text)
