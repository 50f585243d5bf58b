"""The key that a builder or verifier signs with: read from a file that is only its owner's, and that no build
can see."""

import os
from pathlib import Path

from touchplate.base.values import Secret
from touchplate.builder.errors import HostLack
from touchplate.builder.sandbox.bubblewrap import SHOWN
from touchplate.verify.errors import MalformedError
from touchplate.verify.keys import StatementSigner, load_signer


def read_signer(key: Path, password_file: Path | None = None) -> StatementSigner:
    """The signer of the PEM file `key`; `password_file` holds the password of an encrypted one.

    Raises ConfigError for a file that is missing, is none, or that others can read, MalformedError for one
    that is no such key, HostLack for one that lies where builds look. All name the file, and never its bytes.
    """
    for path in filter(None, (key, password_file)):
        # Not Path.resolve: it raises RuntimeError for a link that leads to itself.
        if not SHOWN.isdisjoint(Path(os.path.realpath(path)).parents):
            raise HostLack(
                f"every build can look into the folder of {str(path)!r}; keep keys outside /usr",
                reason="bad-key",
            )
    pem = Secret.of_file(key).resolve().encode()
    password = None
    if password_file is not None:
        password = Secret.of_file(password_file).resolve().encode()
    try:
        return load_signer(pem, password)
    except MalformedError as error:
        raise MalformedError(f"{key}: {error}", reason=error.reason) from None
