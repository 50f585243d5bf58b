"""A Containerfile read before anything is run: which images it begins with, and whether all of it can be
built from pinned inputs without a network. Pure.

The builder reads the file again by itself, and has no network and no other images: what this reader let
through by mistake fails there. It is here to say so early, with the line and what to do.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from touchplate.builder.errors import ContainerfileError

MAX_BYTES = 256 * 1024
"""Of a Containerfile: real ones have 1 to 20 kB."""

MAX_FLAGS = 16
"""Of one instruction: those that are understood are three."""

MAX_STAGES = 200
"""Of one Containerfile: each name is looked for among all of them. Large real ones have 20."""

SCRATCH = "scratch"
"""The name of the empty image."""

_KNOWN = frozenset(
    {
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
        *("MAINTAINER", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    }
)
_DIRECTIVE = re.compile(r"#\s*(escape|syntax|check|platform)\s*=", re.IGNORECASE)
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?(?:\s+|\Z)")
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/", re.IGNORECASE)
_ODD = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]|\r(?!\n)"
)
"""What one reader takes for the end of a line or for space, and another one does not."""

_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*", re.ASCII)
_STAGE = re.compile(r"[A-Za-z][A-Za-z0-9._-]*", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}", re.ASCII)
_SHELL = re.compile(r"[\"'\\]")
"""What the builder takes out of words before it uses them: `h"tt"p://` is an address."""

_HEREDOC = re.compile(r"<<-?[\"']?[A-Za-z_]")

_FLAGS = {"ADD": ("chown", "chmod"), "COPY": ("chown", "chmod", "from"), "FROM": (), "RUN": ()}
"""Flags that are understood, by instruction; every other one is refused. Those of RUN would bring in the
host's network, secrets or folders."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: the line it begins at (from 1), its name in upper case, flags, and the rest."""

    line: int
    name: str
    flags: tuple[tuple[str, str], ...]
    rest: str


@dataclass(frozen=True)
class Containerfile:
    """What a Containerfile begins with. `images`: name as written → line of its first use; without `scratch`
    and the stages of the file itself."""

    images: dict[str, int]


def read_containerfile(data: bytes, name: str) -> Containerfile:
    """Read and check a Containerfile; `name` is its path, for messages.

    Raises ContainerfileError with the line, the rule and the remedy.
    """
    if len(data) > MAX_BYTES:
        raise ContainerfileError(f"{name} has {len(data)} bytes, more than {MAX_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContainerfileError(f"{name} is not utf-8 at byte {error.start}") from error
    if odd := _ODD.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise ContainerfileError(f"{name} line {line}: {odd[0]!r} is no plain text; leave it out")
    reader = _Reader(name)
    for instruction in _instructions(text, name):
        reader.take(instruction)
    if not reader.stages:
        raise ContainerfileError(f"{name} has no FROM; it begins with FROM scratch or FROM IMAGE")
    return Containerfile(reader.images)


class _Reader:
    """Checks instructions one by one, and remembers stages and images."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.images: dict[str, int] = {}
        self.stages: list[str] = []

    def take(self, one: Instruction) -> None:
        if one.name == "ONBUILD":
            self._refuse(
                one, "triggers of images that are built from this one are not supported; leave it out"
            )
        if one.name not in _KNOWN:
            self._refuse(one, "is no instruction that is known here")
        if not self.stages and one.name not in ("FROM", "ARG"):
            self._refuse(one, "stands before the first FROM")
        if _HEREDOC.search(one.rest) and one.name in ("RUN", "COPY", "ADD"):
            self._refuse(one, "here-documents are not supported; put the text into a file of the context")
        for flag, value in one.flags if one.name in _FLAGS else ():
            if flag not in _FLAGS[one.name]:
                self._refuse(one, self._about_flag(one.name, flag))
            if _SHELL.search(value):
                self._refuse(one, f"--{flag}={value[:80]}: write it without quotes and backslashes")
        if one.name in _FLAGS and one.rest.startswith("-"):
            self._refuse(one, f"{one.rest.split()[0][:80]!r} is no flag that is understood; leave it out")
        if one.name == "FROM":
            self._begin(one)
        elif one.name == "ADD":
            self._check_add(one)
        elif one.name == "COPY":
            self._check_copy(one)

    def _begin(self, one: Instruction) -> None:
        words = one.rest.split()
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            self._refuse(one, "write FROM IMAGE or FROM IMAGE AS STAGE")
        image = words[0]
        if "$" in image:
            self._refuse(one, f"{image!r} depends on an argument; write the image's name out")
        self._use(image, one)
        if len(self.stages) == MAX_STAGES:
            self._refuse(one, f"is the beginning of more than {MAX_STAGES} stages")
        stage = words[2] if len(words) == 3 else ""
        if stage and (not _STAGE.fullmatch(stage) or stage.lower() == SCRATCH):
            self._refuse(one, f"{stage[:80]!r} is no name of a stage")
        if stage and stage.lower() in self._lowered():
            self._refuse(one, f"there is a stage {stage[:80]!r} already")
        self.stages.append(stage)

    def _check_add(self, one: Instruction) -> None:
        words = _words(one.rest)
        if words is None:
            self._refuse(one, "write a list of strings, or words without quotes and backslashes")
        for source in words[:-1]:
            if _REMOTE.match(source):
                self._refuse(
                    one,
                    f"{source[:100]!r} is fetched while building; put the file into the context and COPY it",
                )
            if "$" in source:
                self._refuse(one, f"{source[:100]!r} may become an address; use COPY, or write the name out")

    def _check_copy(self, one: Instruction) -> None:
        for flag, value in one.flags:
            # Its own stage is not one that a stage can copy from.
            if flag == "from" and not (_NUMBER.fullmatch(value) and int(value) < len(self.stages) - 1):
                if "$" in value:
                    self._refuse(one, f"--from={value} depends on an argument; write the name out")
                self._use(value, one)

    def _use(self, image: str, one: Instruction) -> None:
        if not image:
            self._refuse(one, "names no image")
        if not _IMAGE.fullmatch(image):
            self._refuse(one, f"{image[:80]!r} is no name of an image")
        earlier = self.stages if one.name == "FROM" else self.stages[:-1]
        if image in (SCRATCH, *earlier):
            return
        # Some builders tell upper case from lower case in names of stages, others do not.
        if image.lower() in (SCRATCH, *self._lowered()):
            self._refuse(
                one, f"{image[:80]!r} is no earlier stage, and no image; write the name as it is there"
            )
        self.images.setdefault(image, one.line)

    def _lowered(self) -> set[str]:
        return {stage.lower() for stage in self.stages if stage}

    @staticmethod
    def _about_flag(name: str, flag: str) -> str:
        if name == "RUN":
            return (
                f"--{flag} is not supported: a RUN sees nothing but the image, and no network; leave it out"
            )
        if name == "FROM":
            return f"--{flag} is not supported: the definition says which platform is built; leave it out"
        return f"--{flag} is not supported; leave it out"

    def _refuse(self, one: Instruction, why: str) -> NoReturn:
        raise ContainerfileError(f"{self._name} line {one.line}: {one.name}: {why}")


def _instructions(text: str, name: str) -> Iterator[Instruction]:
    for line, whole in _logical_lines(text, name):
        word, _, rest = whole.partition(" ")
        flags: list[tuple[str, str]] = []
        rest = rest.strip()
        while match := _FLAG.match(rest):
            if len(flags) == MAX_FLAGS:
                raise ContainerfileError(f"{name} line {line}: {word[:80]}: has more than {MAX_FLAGS} flags")
            flags.append((match[1], match[2] or ""))
            rest = rest[match.end() :]
        yield Instruction(line, word.upper(), tuple(flags), rest)


def _logical_lines(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined, comments and empty lines left out."""
    parts: list[str] = []
    start, is_top = 0, True
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("#"):
            # Only at the very top is it more than a comment (parser directives).
            if is_top and _DIRECTIVE.match(stripped):
                raise ContainerfileError(
                    f"{name} line {number}: {stripped[:80]!r}: parser directives are not supported; "
                    "leave it out"
                )
            continue
        is_top = False
        if not stripped:
            continue
        start = start or number
        # As the builder joins them: without a space, and what stands before the backslash as it is.
        if stripped.endswith("\\"):
            parts.append(line.rstrip()[:-1])
            continue
        parts.append(line)
        yield start, _joined(parts)
        parts, start = [], 0
    if parts:
        yield start, _joined(parts)


def _joined(parts: list[str]) -> str:
    return re.sub(r"\s+", " ", "".join(parts).strip(), count=1)


def _words(rest: str) -> list[str] | None:
    """Words of an ADD as the builder takes them, plain or from a JSON list; None when that is not plain."""
    if not rest.startswith("["):
        return None if _SHELL.search(rest) else rest.split()
    try:
        words = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None
