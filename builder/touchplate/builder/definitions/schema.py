"""Reading a parsed document against a schema, collecting every mistake with its line and remedy."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from touchplate.builder.definitions.yamlcore import MAX_MISTAKES, Document, Value
from touchplate.builder.errors import UNKNOWN_FIELD, DefinitionError, Mistake
from touchplate.builder.plan import check_relative
from touchplate.verify.errors import VerifyError
from touchplate.verify.names import parse_upstream_uri
from touchplate.verify.purl import PackageURL, parse_purl
from touchplate.verify.usage import read_version

MAX_SHOWN_PATH = 200
"""Characters of a place that a message names: a key may be as long as the file."""

MAX_TEXT = 4096
"""Characters of one text value: arguments and paths are far below."""

MAX_TEXTS = 256
"""Items of one list of texts: a command has twenty."""

TEXT = r"[^\0]+"
SHA256 = r"[0-9a-f]{64}"
UMASK = r"0?[0-7]{3}"

NO_PURLS: Mapping[str, PackageURL] = {
    "maven": PackageURL("maven", "invalid", "invalid", "0", (("type", "jar"),)),
    "conan": PackageURL("conan", None, "invalid", "0"),
    "oci": PackageURL("oci", None, "invalid", f"sha256:{'0' * 64}", (("repository_url", "invalid/invalid"),)),
}
"""What stands in for a package URL that is none."""


def is_stand_in(package: PackageURL) -> bool:
    """Whether `package` stands in for one that could not be read. A package of the same name is none."""
    return any(package is one for one in NO_PURLS.values())


@dataclass(frozen=True)
class TextMap:
    """A mapping of names to text: a pattern for each (matched whole), and in words what it maps."""

    names: str
    values: str
    form: str


VARIABLES = TextMap(r"[A-Za-z_][A-Za-z0-9_]{0,63}", r"[^\0]*", "names to text; quote numbers")
"""Of environments and arguments."""


class Reader:
    """Typed access by path (`source.files.0.uri`). Mistakes are collected; `finish` raises them together.

    After a mistake the methods return a harmless stand-in, so that reading goes on to the next.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._mistakes = list(document.mistakes)
        self._absent: dict[str, str] = {}
        """Path of what is missing, or has no parts where it should → what is said of it, and is enough."""
        self._later = 0
        """Mistakes that may be none for a later version."""

    def mistake(self, path: str, text: str) -> None:
        """Note a mistake at `path`. The text is given up when there are too many."""
        place = self._document.place(path)
        shown = path if len(path) <= MAX_SHOWN_PATH else f"{path[: MAX_SHOWN_PATH - 1]}…"
        self._mistakes.append(Mistake(*place, shown or "definition", text))
        if len(self._mistakes) >= MAX_MISTAKES:
            self.finish()

    def finish(self) -> None:
        """Raise one DefinitionError with all mistakes, if there are any."""
        if self._mistakes:
            heard = [one for one in self._mistakes if not self._is_said(one)]
            reason = UNKNOWN_FIELD if self._later == len(self._mistakes) else None
            raise DefinitionError.listing(heard or self._mistakes, reason=reason)

    def _is_said(self, mistake: Mistake) -> bool:
        """Whether a mistake only follows from what is missing around it."""
        return any(
            mistake.path.startswith(f"{path}.") or (mistake.path == path and mistake.text != text)
            for path, text in self._absent.items()
        )

    def get(self, path: str) -> Value:
        """The value at `path`, None when absent."""
        value = self._document.value
        for part in path.split(".") if path else []:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                return None
        return value

    def has(self, path: str) -> bool:
        """Whether there is a value at `path`; a null, which `known` refuses, is none."""
        return self.get(path) is not None

    def known(self, path: str, *, required: Sequence[str] = (), optional: Sequence[str] = ()) -> None:
        """Check that a mapping stands at `path`, with all of `required` and nothing beyond `optional`."""
        value = self.get(path)
        if not isinstance(value, dict):
            self._missing(path, f"is not a mapping; it takes {', '.join((*required, *optional))}")
            return
        for name, item in value.items():
            where = f"{path}.{name}" if path else name
            if name not in required and name not in optional:
                self._unknown(where, ", ".join((*required, *optional)))
            elif item is None:
                self._missing(where, "has no value; give it one, or leave the line out")
        for name in required:
            if name not in value:
                self.mistake(path, f"lacks {name}; add it")
                self._absent.setdefault(f"{path}.{name}" if path else name, "")

    def _unknown(self, path: str, known: str) -> None:
        text = f"is unknown; known here: {known}"
        if "." not in path:
            # Fields are added at the top, and whoever wrote this may have a later version.
            text += f"; this is touchplate {read_version()}, and a later one may know it"
            self._later += 1
        self.mistake(path, text)

    def _missing(self, path: str, text: str) -> None:
        self._absent.setdefault(path, text)
        self.mistake(path, text)

    def items(self, path: str, *, low: int, high: int) -> list[str]:
        """Paths of the items of the list at `path`, which has `low` to `high` of them."""
        value = self.get(path)
        if not isinstance(value, list) or not low <= len(value) <= high:
            self.mistake(path, f"is not a list of {low} to {high} items")
            return []
        return [f"{path}.{number}" for number in range(len(value))]

    def text(self, path: str, pattern: str = TEXT, form: str = "text") -> str:
        """Text that matches `pattern` whole; `form` says it in words."""
        value = self.get(path)
        if not isinstance(value, str) or len(value) > MAX_TEXT or re.fullmatch(pattern, value) is None:
            self.mistake(path, f"{_shown(value)} is not {form}")
            return ""
        return value

    def texts(self, path: str, default: Sequence[str] | None = None) -> list[str]:
        """A list of 1 to MAX_TEXTS texts."""
        if default is not None and not self.has(path):
            return list(default)
        return [
            self.text(item, form="text; quote numbers") for item in self.items(path, low=1, high=MAX_TEXTS)
        ]

    def text_map(self, path: str, form: TextMap = VARIABLES) -> dict[str, str]:
        """A mapping of names to text; empty when absent."""
        value = self.get(path)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.mistake(path, f"is not a mapping of {form.form}")
            return {}
        pairs = {}
        for name, item in value.items():
            if re.fullmatch(form.names, name) is None:
                self.mistake(path, f"the name {_shown(name)} does not fit: it is a mapping of {form.form}")
            elif not isinstance(item, str) or re.fullmatch(form.values, item) is None:
                self.mistake(f"{path}.{name}", f"{_shown(item)} does not fit: a mapping of {form.form}")
            else:
                pairs[name] = item
        return pairs

    def choice(self, path: str, choices: Sequence[str]) -> str:
        """One of `choices`."""
        value = self.get(path)
        if not isinstance(value, str) or value not in choices:
            self.mistake(path, f"{_shown(value)} is unknown; use {' or '.join(choices)}")
            return choices[0]
        return value

    def cases(self, found: str, choices: Sequence[str]) -> Sequence[str]:
        """Of `choices`, those whose fields are read: the one that was found. (A drawing has them all.)"""
        return (found,)

    def number(self, path: str, *, low: int, high: int) -> int | None:
        """An integer from `low` to `high`."""
        value = self.get(path)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.mistake(path, f"{_shown(value)} is not a number from {low} to {high}")
            return None
        return value

    def flag(self, path: str) -> bool:
        """true or false; absent is false."""
        value = self.get(path)
        if value is not None and not isinstance(value, bool):
            self.mistake(path, f"{_shown(value)} is not true or false")
        return value is True

    def sha256(self, path: str) -> str:
        """A SHA-256 in lower-case hex."""
        return self.text(path, SHA256, "a sha256 in lower-case hex")

    def purl(self, path: str) -> PackageURL:
        """A package URL in its one spelling."""
        value = self.get(path)
        try:
            if isinstance(value, str):
                return parse_purl(value)
            self.mistake(path, f"{_shown(value)} is not a package URL")
        except VerifyError as error:
            self.mistake(path, str(error))
        return NO_PURLS["maven"]

    def upstream_uri(self, path: str) -> str:
        """`upstream:<identity>/<path>` in its one spelling."""
        value = self.text(path, form="upstream:<identity>/<path>")
        try:
            if value:
                parse_upstream_uri(value)
        except VerifyError as error:
            self.mistake(path, str(error))
        return value

    def relative(self, path: str) -> str:
        """A plain relative path."""
        value = self.text(path, form="a relative path")
        try:
            check_relative(value or "stand-in")
        except DefinitionError as error:
            self.mistake(path, str(error))
        return value

    def umask(self, path: str, default: int) -> int:
        """Three octal digits as text; YAML 1.1 and 1.2 disagree about a bare 022."""
        if not self.has(path):
            return default
        value = self.get(path)
        if not isinstance(value, str) or re.fullmatch(UMASK, value) is None:
            self.mistake(path, f'{_shown(value)} is not three octal digits in quotes; write "022"')
            return default
        return int(value, 8)


def _shown(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
