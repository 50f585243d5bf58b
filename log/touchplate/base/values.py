"""Value types of a configuration: durations, sizes, and references to secrets."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from touchplate.base.environment import Environment, read_environment
from touchplate.base.errors import ConfigError, quote

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
# Digits of a number in front of a unit: 2^63 has 19, and nothing that is configured here comes near it.
MAX_DIGITS = 15
# Bytes of a secret: an encrypted PEM key has under 1 KiB; a larger file is a mistake in the path.
MAX_SECRET_BYTES = 64 * 1024

_DURATION = re.compile(rf"([0-9]{{1,{MAX_DIGITS}}})([smhd])", re.ASCII)
_SIZE = re.compile(rf"([0-9]{{1,{MAX_DIGITS}}})(B|KiB|MiB|GiB|TiB)", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Duration(int):
    """A time span in whole seconds, written as an integer with s, m, h or d: "30s", "24h", "7d"."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read the written form; ValueError with the remedy otherwise."""
        match = _DURATION.fullmatch(text)
        if match is None:
            raise ValueError(
                f'{quote(text)} is not a duration; write an integer with s, m, h or d, such as "24h"'
            )
        return cls(int(match[1]) * SECONDS[match[2]])


class ByteSize(int):
    """A number of bytes, written as an integer with a binary unit: "512B", "64KiB", "4MiB", "10GiB"."""

    @classmethod
    def parse(cls, text: str) -> ByteSize:
        """Read the written form; ValueError with the remedy otherwise."""
        match = _SIZE.fullmatch(text)
        if match is None:
            raise ValueError(
                f'{quote(text)} is not a size; write an integer with B, KiB, MiB, GiB or TiB, such as "4MiB"'
            )
        return cls(int(match[1]) * BYTES[match[2]])


@dataclass(frozen=True)
class Secret:
    """A reference to a secret, never the secret itself: "file:PATH" or "env:VARIABLE".

    The value is read by `resolve` when it is needed and is not kept; `repr` and `str` show the reference
    only. A relative path counts from `folder`, the folder of the configuration file.
    """

    reference: str
    folder: Path = field(default=Path(), repr=False)

    @classmethod
    def parse(cls, text: str, folder: Path) -> Secret:
        """Check the form of a reference (the secret itself is not read); ValueError with the remedy
        otherwise.
        """
        kind, _, rest = text.partition(":")
        if kind == "file" and rest and "\0" not in rest:
            return cls(text, folder)
        if kind == "env" and _VARIABLE.fullmatch(rest):
            return cls(text, folder)
        # The text may be the secret itself, put here by mistake: so it is not repeated.
        raise ValueError('a secret is given by reference; write "file:PATH" or "env:VARIABLE"')

    @classmethod
    def of_file(cls, path: Path) -> Secret:
        """The secret in a file that a person names on a command line."""
        return cls(f"file:{path}")

    @property
    def path(self) -> Path | None:
        """The file of a "file:" reference; None for "env:"."""
        kind, _, rest = self.reference.partition(":")
        return self.folder / rest if kind == "file" else None

    def resolve(self, environment: Environment | None = None) -> str:
        """Read the secret as UTF-8 text without its final line end.

        Raises ConfigError when it is missing, empty, too large, or in a file that others can read.
        """
        path = self.path
        if path is not None:
            return self._checked(_read_private(path, self.reference))
        name = self.reference.removeprefix("env:")
        value = (environment or read_environment()).value(name)
        if value is None:
            raise ConfigError(self.reference, (f"the variable {name} is not set; set it or use file:PATH",))
        return self._checked(value.encode(errors="surrogateescape"))

    def _checked(self, data: bytes) -> str:
        try:
            text = data.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise ConfigError(self.reference, ("the secret is not UTF-8 text",)) from None
        if not text:
            raise ConfigError(self.reference, ("the secret is empty",))
        return text

    def __str__(self) -> str:
        return self.reference


def _read_private(path: Path, reference: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) else "not a path"
        if isinstance(error, PermissionError):
            detail = f"{detail}; this runs as uid {os.geteuid()}: chown the file to it"
        raise ConfigError(reference, (f"cannot read the secret: {detail}",)) from None
    try:
        # Checked on the open file, so that it cannot be exchanged between check and reading.
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(reference, ("the secret is not a regular file",))
        if status.st_mode & 0o077:
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            raise ConfigError(reference, (f"mode {mode} lets others read it; run chmod 600 on the file",))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_SECRET_BYTES:
        raise ConfigError(reference, (f"the secret has more than {MAX_SECRET_BYTES} bytes; wrong file?",))
    return data
