"""Upstreams by name, and where the installed Maven's own `central` is.

No registry's address stands in touchplate. The Maven upstream of the address "auto" is the one that `mvn` on
this machine would use for its repository `central`: a mirror from the user's settings, else from the global
settings, else the address in the super POM of the installed Maven.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element

from touchplate.base.connections import parse_origin
from touchplate.base.credentials import may_carry_credentials
from touchplate.base.environment import Environment, read_environment
from touchplate.base.errors import FetchError, TouchplateError, UpstreamError, quote
from touchplate.base.values import Secret
from touchplate.base.xml import parse_xml

AUTO = "auto"
# Where distributions put Maven when it is not on the search path.
MAVEN_FOLDERS = (Path("/usr/share/maven"), Path("/usr/local/share/maven"), Path("/opt/maven"))
SUPER_POM = "org/apache/maven/model/pom-4.0.0.xml"
# Maven 3 keeps the super POM in the first, Maven 4 in either.
_SUPER_POM_JARS = ("maven-model-builder*.jar", "maven-impl*.jar")
# Bytes of a settings file or a super POM: the real ones have under 20 kB.
MAX_XML_BYTES = 1024 * 1024
_PLAIN = "credentials go to an address that begins with https:// (or to this machine itself) only"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_VARIABLE = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)


@dataclass(frozen=True)
class Upstream:
    """A repository that is not ours, by the name under which this instance serves it.

    `identity` is what statements call it (the same for all who speak of the same upstream, whatever mirror
    they use); `url` is where it is asked, "auto" for the installed Maven's own central; `record` says whether
    the digests of its files are put into the log when they are first seen. `apt`: an archive that rebuilds of
    images read, and nobody is served from. `credentials` says where those for it stand (see
    `credentials.Credentials`); `realms` are hosts that may give tokens for it beside its own.
    """

    name: str
    ecosystem: Literal["maven", "conan", "oci", "apt"]
    identity: str
    url: str = AUTO
    record: bool = False
    credentials: Secret | None = None
    realms: frozenset[str] = frozenset()

    def check(self) -> list[str]:
        """What is wrong with it, in words; for `config.load`."""
        mistakes = []
        if not _NAME.fullmatch(self.name):
            mistakes.append(f"name {quote(self.name)}: write lower-case letters, digits and hyphens")
        if not self.identity or not self.identity.isascii() or not self.identity.isprintable():
            mistakes.append(f"identity {quote(self.identity)}: write a plain name such as {self.name!r}")
        if self.url == AUTO:
            if self.ecosystem != "maven":
                mistakes.append('url "auto" is known for Maven only; write the address')
            return mistakes
        try:
            parse_origin(self.url)
        except FetchError as error:
            mistakes.append(f"url: {error}")
        if "?" in self.url:
            mistakes.append("url: an upstream's address has no query")
        if self.credentials is not None and not mistakes and not may_carry_credentials(self.url):
            mistakes.append(f"url: {_PLAIN}")
        return mistakes


@dataclass(frozen=True)
class FoundURL:
    """The address of Maven's central (without a final slash), and the file that says so."""

    url: str
    source: Path


def resolve_upstream(upstream: Upstream, environment: Environment | None = None) -> Upstream:
    """The upstream with its real address, without a final slash. Raises UpstreamError."""
    url = maven_central(environment) if upstream.url == AUTO else upstream.url
    if upstream.credentials is not None and not may_carry_credentials(url):
        raise UpstreamError(f"{quote(url)}: {_PLAIN}")
    return replace(upstream, url=url.rstrip("/"))


def maven_central(environment: Environment | None = None) -> str:
    """The address that the installed Maven uses for `central`. Raises UpstreamError with the remedy."""
    return find_maven_central(environment).url


def find_maven_central(environment: Environment | None = None) -> FoundURL:
    """`maven_central`, with the file that the address comes from."""
    environment = environment if environment is not None else read_environment()
    home = find_maven_home(environment)
    settings = [environment.home / ".m2" / "settings.xml"] if environment.home else []
    if home is not None:
        settings.append(home / "conf" / "settings.xml")
    for path in settings:
        data = _read_limited(path)
        if data is not None:
            url = _mirror_of_central(_read_xml(path, data))
            if url is not None:
                return FoundURL(_checked_url(url, path, environment), path)
    if home is None:
        raise UpstreamError(
            "no Maven found on the search path, in $MAVEN_HOME or in its usual folders; "
            'install Maven, or write the url of the upstream instead of "auto"'
        )
    path, url = _super_pom_central(home)
    return FoundURL(_checked_url(url, path, environment), path)


def find_maven_home(environment: Environment) -> Path | None:
    """The installed Maven's folder: that of the `mvn` on the search path, $MAVEN_HOME, or a usual place."""
    candidates: list[Path] = []
    program = environment.find_program("mvn")
    if program is not None:
        # Distributions link /usr/bin/mvn to the real program, which stands in bin/ of Maven's folder.
        candidates.append(program.resolve().parent.parent)
    if named := environment.value("MAVEN_HOME"):
        candidates.append(Path(named))
    for folder in (*candidates, *MAVEN_FOLDERS):
        if any(_super_pom_jars(folder)):
            return folder
    return None


def covers_central(mirror_of: str) -> bool:
    """Whether a `mirrorOf` pattern stands for `central`, an external repository reached by https.

    Source: Maven's guide to mirrors ("Advanced Mirror Specification"); an exclusion wins over everything
    else.
    """
    patterns = [part.strip() for part in mirror_of.split(",")]
    return "!central" not in patterns and any(part in ("*", "central", "external:*") for part in patterns)


def _mirror_of_central(settings: Element) -> str | None:
    """The first mirror that names exactly `central`, else the first whose pattern covers it, as Maven
    chooses.
    """
    mirrors = []
    for mirror in settings.findall("mirrors/mirror"):
        blocked = mirror.findtext("blocked", "false").strip().lower() == "true"
        url = mirror.findtext("url", "").strip()
        if url and not blocked:
            mirrors.append((mirror.findtext("mirrorOf", "").strip(), url))
    exact = [url for mirror_of, url in mirrors if mirror_of == "central"]
    covering = [url for mirror_of, url in mirrors if covers_central(mirror_of)]
    return next(iter(exact + covering), None)


def _super_pom_jars(home: Path) -> Iterator[Path]:
    for pattern in _SUPER_POM_JARS:
        yield from sorted((home / "lib").glob(pattern))


def _super_pom_central(home: Path) -> tuple[Path, str]:
    for path in _super_pom_jars(home):
        try:
            with zipfile.ZipFile(path) as jar, jar.open(SUPER_POM) as file:
                data = file.read(MAX_XML_BYTES + 1)
        except KeyError:
            continue
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise UpstreamError(f"cannot read Maven's {path}: {error}; reinstall Maven") from None
        for repository in _read_xml(path, data).findall("repositories/repository"):
            if repository.findtext("id", "").strip() == "central":
                return path, repository.findtext("url", "").strip()
    raise UpstreamError(f"the Maven in {home} names no repository `central`; write the url of the upstream")


def _checked_url(url: str, source: Path, environment: Environment) -> str:
    """Fill in `${env.X}`, and refuse what is not a plain http(s) address."""
    filled = _VARIABLE.sub(lambda match: environment.value(match[1]) or match[0], url)
    try:
        if "${" in filled:
            raise UpstreamError(f"{quote(url)} has a variable that only Maven knows")
        parse_origin(filled)
    except TouchplateError as error:
        raise UpstreamError(f"central in {source}: {error}; write the url of the upstream") from None
    return filled.rstrip("/")


def _read_limited(path: Path) -> bytes | None:
    """The beginning of a settings file; None when there is none."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_XML_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UpstreamError(f"cannot read {path}: {error.strerror}") from None


def _read_xml(path: Path, data: bytes) -> Element:
    if len(data) > MAX_XML_BYTES:
        raise UpstreamError(f"{path}: more than {MAX_XML_BYTES} bytes of XML")
    try:
        return parse_xml(data)
    except ValueError as error:
        raise UpstreamError(f"{path}: {error}") from None
