"""Package URLs: the name of one file of a package, in one spelling, compared byte for byte."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.names import decode_name, encode_name, is_path
from touchplate.verify.values import value

Ecosystem: TypeAlias = Literal["maven", "conan", "oci"]

ECOSYSTEMS: tuple[Ecosystem, ...] = ("maven", "conan", "oci")

DEFAULT_UPSTREAMS: Mapping[Ecosystem, str] = {"maven": "central", "conan": "conancenter"}
"""Identity of the upstream that a purl without `repository_url` speaks of."""

RECENT_PURLS = 256
"""Parsed package URLs that are remembered: one statement names the same one two or three times. Hostile ones
fill 16 MiB at most, being shorter than an envelope."""

_QUALIFIERS: Mapping[Ecosystem, frozenset[str]] = {
    "maven": frozenset({"classifier", "repository_url", "type"}),
    "conan": frozenset({"channel", "file", "package_id", "prev", "repository_url", "rrev", "user"}),
    "oci": frozenset({"repository_url"}),
}
_BY_NAME: Mapping[str, Ecosystem] = {ecosystem: ecosystem for ecosystem in ECOSYSTEMS}
# Those that belong to the package version; the others name one file of it.
_PACKAGE_QUALIFIERS = frozenset({"channel", "repository_url", "user"})

_DIGEST_VERSION = "sha256:[0-9a-f]{64}"


@value(order=True)
class PackageURL:
    """One file of a package, or a package version when the qualifiers that name a file are left out.

    Parts are decoded. `namespace` is the Maven group, None elsewhere; qualifiers are sorted by key.
    `str()` gives the one spelling.
    """

    type: Ecosystem
    namespace: str | None
    name: str
    version: str
    qualifiers: tuple[tuple[str, str], ...] = ()

    @property
    def ecosystem(self) -> Ecosystem:
        """`maven`, `conan` or `oci`."""
        return self.type

    def qualifier(self, key: str) -> str | None:
        """The value of a qualifier, None when it is absent."""
        for name, text in self.qualifiers:
            if name == key:
                return text
        return None

    @property
    def package(self) -> "PackageURL":
        """The package version of this file: only repository_url (and Conan's user, channel) stay.

        Two files are of one package version exactly when these are equal. For Maven it is an identity, not a
        spelling that `parse_purl` would take: that names a file, and always has a type.
        """
        kept = tuple(pair for pair in self.qualifiers if pair[0] in _PACKAGE_QUALIFIERS)
        return PackageURL(self.type, self.namespace, self.name, self.version, kept)

    @property
    def file_name(self) -> str:
        """Last path segment: `a-v[-classifier].type` for Maven, that of `file` for Conan, the name for OCI.

        Raises MalformedError when the purl names no file.
        """
        if self.type == "oci":
            return self.name
        if self.type == "conan":
            file = self.qualifier("file")
            if file is None:
                raise MalformedError(f"purl {shown(str(self))} names no file; add file=…")
            return file.rpartition("/")[2]
        extension, classifier = self.qualifier("type"), self.qualifier("classifier")
        if extension is None:
            raise MalformedError(f"purl {shown(str(self))} names no file; add type=…")
        tail = f"-{classifier}" if classifier else ""
        return f"{self.name}-{self.version}{tail}.{extension}"

    def __str__(self) -> str:
        return format_purl(self)


def maven_purl(
    group: str,
    artifact: str,
    version: str,
    extension: str = "jar",
    *,
    classifier: str | None = None,
    repository_url: str | None = None,
) -> PackageURL:
    """The purl of one file of a Maven repository. `repository_url`: None for the default upstream.

    Raises MalformedError for parts that no file there has.
    """
    given = {"classifier": classifier, "repository_url": repository_url, "type": extension}
    qualifiers = tuple((key, value) for key, value in given.items() if value is not None)
    purl = PackageURL("maven", group, artifact, version, qualifiers)
    _check(purl, str(purl))
    return purl


@lru_cache(RECENT_PURLS)
def parse_purl(text: str) -> PackageURL:
    """The package URL in `text`, which must be its one spelling. Raises MalformedError otherwise."""
    purl = _split(text)
    _check(purl, text)
    if format_purl(purl) != text:
        raise MalformedError(f"purl {shown(text)} is not in its one spelling: {shown(format_purl(purl))}")
    return purl


def format_purl(purl: PackageURL) -> str:
    """The one spelling of `purl`. Raises MalformedError for text that has no UTF-8 form."""
    path = [purl.type, *([purl.namespace] if purl.namespace is not None else []), purl.name]
    text = "pkg:" + "/".join(encode_name(part) for part in path) + "@" + encode_name(purl.version)
    pairs = [f"{key}={encode_name(value, slash=True)}" for key, value in sorted(purl.qualifiers)]
    return text + ("?" + "&".join(pairs) if pairs else "")


def normalise_purl(text: str) -> PackageURL:
    """What a person typed, brought into the one spelling: Maven's `type=jar` added, Conan names lower case.

    Accepts any order of qualifiers, empty ones, other percent-encodings and `pkg:/` or `pkg://`. Raises
    MalformedError for what is no package URL of a known ecosystem.
    """
    typed = text.strip()
    if typed[:4].lower() == "pkg:":
        ecosystem, slash, rest = typed[4:].lstrip("/").partition("/")
        typed = f"pkg:{ecosystem.lower()}{slash}{rest}"
    purl = _split(typed)
    default = ("repository_url", DEFAULT_UPSTREAMS.get(purl.type))
    qualifiers = [(key.lower(), value) for key, value in purl.qualifiers if value]
    qualifiers = [pair for pair in qualifiers if pair != default]
    name = purl.name
    if purl.type == "maven" and not any(key == "type" for key, _ in qualifiers):
        qualifiers.append(("type", "jar"))
    elif purl.type == "conan":
        name = name.lower()
        qualifiers = [
            (key, value.lower() if key in ("channel", "user") else value) for key, value in qualifiers
        ]
    made = PackageURL(purl.type, purl.namespace, name, purl.version, tuple(sorted(qualifiers)))
    _check(made, typed)
    return made


def _split(text: str) -> PackageURL:
    if not text.startswith("pkg:"):
        raise MalformedError(f"purl {shown(text)} does not start with pkg:")
    if "#" in text:
        raise MalformedError(f"purl {shown(text)} has a subpath; leave it out")
    path, mark, query = text.removeprefix("pkg:").partition("?")
    first, *parts = path.split("/")
    ecosystem = _BY_NAME.get(first)
    if ecosystem is None:
        raise MalformedError(f"purl type {shown(first)} is not one of {', '.join(ECOSYSTEMS)}")
    last, at, version = parts[-1].partition("@") if parts else ("", "", "")
    if not at:
        raise MalformedError(f"purl {shown(text)} has no version")
    names = [decode_name(part) for part in (*parts[:-1], last)]
    expected = 2 if ecosystem == "maven" else 1
    if len(names) != expected:
        wanted = "group and artifact" if ecosystem == "maven" else "a name and no namespace"
        raise MalformedError(f"purl {shown(text)} needs {wanted} before the version")
    namespace = names[0] if ecosystem == "maven" else None
    return PackageURL(
        ecosystem, namespace, names[-1], decode_name(version), _split_query(query, text) if mark else ()
    )


def _split_query(query: str, text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in query.split("&"):
        key, equals, value = part.partition("=")
        if not equals:
            raise MalformedError(f"purl {shown(text)} has a qualifier without value: {shown(part)}")
        pairs.append((key, decode_name(value)))
    return tuple(pairs)


def _check(purl: PackageURL, text: str) -> None:
    keys = {key for key, _ in purl.qualifiers}
    unknown = keys - _QUALIFIERS[purl.type]
    if unknown or len(keys) != len(purl.qualifiers):
        what = f"unknown qualifiers {shown(sorted(unknown))}" if unknown else "a qualifier twice"
        raise MalformedError(f"purl {shown(text)} has {what}")
    for name in (purl.name, purl.version, purl.namespace):
        # Names become path segments of repositories and of our own folders.
        if name is not None and (not is_path(name) or "/" in name):
            raise MalformedError(f"purl {shown(text)} has a name that is empty, relative or holds a slash")
    for _, given in purl.qualifiers:
        if not is_path(given):
            raise MalformedError(f"purl {shown(text)} has a qualifier that is empty or relative")
    for key, given in purl.qualifiers:
        if "/" in given and key not in ("file", "repository_url"):
            raise MalformedError(f"purl {shown(text)} has a qualifier with a slash")
    _CHECKS[purl.type](purl, text)


def _check_maven(purl: PackageURL, text: str) -> None:
    if purl.qualifier("type") is None:
        raise MalformedError(f"purl {shown(text)} has no type; write the file extension, such as type=jar")
    _check_not_default(purl, text)


def _check_conan(purl: PackageURL, text: str) -> None:
    names = (purl.name, purl.qualifier("user") or "", purl.qualifier("channel") or "")
    # ASCII first: what is upper case beyond it depends on the Unicode tables of a Python version, and peers
    # that hold a log together would part over one entry.
    if any(not name.isascii() or name != name.lower() for name in names):
        raise MalformedError(
            f"purl {shown(text)} has upper case or other than ascii in a name, which conan does not know"
        )
    _check_not_default(purl, text)


def _check_not_default(purl: PackageURL, text: str) -> None:
    default = DEFAULT_UPSTREAMS[purl.type]
    if purl.qualifier("repository_url") == default:
        raise MalformedError(f"purl {shown(text)} names the default upstream; leave repository_url out")


def _check_oci(purl: PackageURL, text: str) -> None:
    if re.fullmatch(_DIGEST_VERSION, purl.version) is None:
        raise MalformedError(f"purl {shown(text)} has no sha256: digest of a manifest as version")
    identity, slash, path = (purl.qualifier("repository_url") or "").partition("/")
    if not identity or not slash or path.rpartition("/")[2] != purl.name:
        raise MalformedError(
            f"purl {shown(text)} needs repository_url=<registry>/<full path> that ends with its name"
        )


_CHECKS = {"maven": _check_maven, "conan": _check_conan, "oci": _check_oci}
