"""Which files somebody may run, as far as their names, modes and first bytes tell. Pure.

In a text that people read, a letter in another encoding or a line that ends in CR means the same. In a script
it is another argument, a pattern, or a command that is not found.
"""

import re

START_BYTES = 8
"""Of a file, to see whether it is a program."""

_STARTS = (b"#!", b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"PK\x03\x04", b"!<arch>", b"\0asm")

_SCRIPT = re.compile(
    r".*\.(?:sh|bash|zsh|ksh|csh|tcsh|fish|bat|cmd|command|pl|pm|tcl|exp|awk|sed|mk)"
    r"|(?:gnu)?makefile|configure|(?:docker|container)file|gradlew|mvnw"
    r"|\.?(?:bash|zsh|ksh|csh|tcsh)?_?(?:rc|profile|login|logout|env)|bash\.bashrc|crontab|sudoers",
    re.IGNORECASE,
)
"""Names of files that are run, or read by what is run, whatever their modes are, and whose interpreter takes
CR for a character as any other. (Java, JavaScript, Python and others take it for a line's end.)"""


_SETTINGS = re.compile(r"layer [0-9]+/[./]*etc/.+")
"""Settings in an image: what reads them knows no CR either, and may take a line that it does not know for
none."""


def is_program(mode: int, start: bytes) -> bool:
    """Whether somebody may run a file as it is.

    `mode`: its permissions, 0 when nothing says them; `start`: its first START_BYTES, or more.
    """
    return bool(mode & 0o111) or start.startswith(_STARTS)


def is_script(path: str) -> bool:
    """Whether a file is called as an interpreter wants it that knows no CR, or is a setting of an image."""
    return bool(_SCRIPT.fullmatch(path.rpartition("/")[2]) or _SETTINGS.fullmatch(path))
