"""`<resources>` of a POM: which files of a source tree go into the jar, and under which name.

Only the POM's own are read: those it inherits are not in a sources jar's source.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from xml.etree.ElementTree import Element

from touchplate.builder.errors import DefinitionError

MAX_PATTERN_CHARS = 200
"""Of one pattern; real ones are names with a star or two."""

MAX_TRIES = 200_000
"""Files times patterns: each is tried on each. A jar of 20,000 files under a POM of ten patterns is large."""

MAX_STEPS = 500_000_000
"""Characters of all patterns times characters of all names, which bounds what trying them costs: two minutes
for patterns and names made for it. A jar of 20,000 files under ten patterns may reach a tenth of it."""

_BASE = ("${project.basedir}", "${basedir}", "${pom.basedir}")


@dataclass(frozen=True)
class Resource:
    """One `<resource>`. `directory`: relative to the project, empty for the project's own folder; None when
    it is outside or not known. `target`: folder in the jar, without slashes at the ends."""

    directory: str | None
    target: str = ""
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    def takes(self, name: str) -> str | None:
        """Path, relative to the directory, of the file that lands in the jar as `name`; None for others."""
        prefix = f"{self.target}/" if self.target else ""
        rest = name.removeprefix(prefix)
        if not name.startswith(prefix) or not rest:
            return None
        included = not self.includes or any(is_match(pattern, rest) for pattern in self.includes)
        return rest if included and not any(is_match(pattern, rest) for pattern in self.excludes) else None


def read_resources(build: Element | None) -> tuple[Resource, ...]:
    """The resources of a `<build>`."""
    return tuple(_read(item) for item in _items(build, "resources", "resource"))


def check_tries(resources: Sequence[Resource], names: Collection[str]) -> None:
    """Raises DefinitionError when so many patterns are too much work for files of these names."""
    patterns = [pattern for one in resources for pattern in (*one.includes, *one.excludes)]
    if any(len(pattern) > MAX_PATTERN_CHARS for pattern in patterns):
        raise DefinitionError(f"the POM has a resource pattern of more than {MAX_PATTERN_CHARS} characters")
    tries = (len(resources) + len(patterns)) * len(names)
    steps = sum(map(len, patterns)) * sum(map(len, names))
    if tries > MAX_TRIES or steps > MAX_STEPS:
        raise DefinitionError(
            f"the POM's {len(resources)} resources of {len(patterns)} patterns are too many or too long for "
            f"{len(names)} files"
        )


def is_match(pattern: str, path: str) -> bool:
    """Whether `path` matches an Ant pattern: `*` and `?` within a segment, `**` for any number of them."""
    pattern = pattern.replace("\\", "/")
    segments = path.split("/")
    reached = {0}  # how many segments the parts so far may have matched
    for part in (f"{pattern}**" if pattern.endswith("/") else pattern).split("/"):
        if part == "**":
            reached = set(range(min(reached), len(segments) + 1)) if reached else set()
        else:
            plain = part.replace("[", "[[]")  # fnmatch knows sets of characters, Ant does not
            reached = {at + 1 for at in reached if at < len(segments) and fnmatchcase(segments[at], plain)}
    return len(segments) in reached


def _items(element: Element | None, outer: str, inner: str) -> Iterator[Element]:
    for group in () if element is None else (one for one in element if one.tag == outer):
        yield from (one for one in group if one.tag == inner)


def _texts(element: Element, outer: str, inner: str) -> tuple[str, ...]:
    return tuple(item.text.strip() for item in _items(element, outer, inner) if item.text)


def _read(element: Element) -> Resource:
    texts = {child.tag: (child.text or "").strip() for child in element}
    return Resource(
        directory=_inside(texts.get("directory", "")),
        target=texts.get("targetPath", "").strip("/"),
        includes=_texts(element, "includes", "include"),
        excludes=_texts(element, "excludes", "exclude"),
    )


def _inside(directory: str) -> str | None:
    for base in _BASE:
        if directory == base or directory.startswith(f"{base}/"):
            directory = directory.removeprefix(base).removeprefix("/")
    parts = [part for part in directory.split("/") if part not in ("", ".")]
    outside = directory.startswith("/") or ".." in parts or any("${" in part for part in parts)
    return None if outside else "/".join(parts)
