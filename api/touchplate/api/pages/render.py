"""Fills the templates. They get views only, escape everything, and fail on a name that does not exist.

Names and texts in entries are whatever their signers wrote. Beside what HTML needs, every text is made
visible (no control characters, nothing that turns the direction of writing) and cut before it is put into
a page.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from shlex import quote as quote_for_shell
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from touchplate.api.answers import ArtifactView, FamilyView, Overview, PackageView
from touchplate.api.docker.repository import Registry
from touchplate.api.explain import Explanation
from touchplate.api.gate import Rule
from touchplate.api.maven.repository import Repository
from touchplate.api.pages.words import CAUSES, MARKS
from touchplate.api.rule_text import format_rule
from touchplate.verify.encoding import format_moment, parse_time
from touchplate.verify.purl import PackageURL, parse_purl

SHOWN_CHARACTERS = 4_096
"""Characters of one text in a page: longer than any path that can be asked for, short enough for a page of
hundreds."""

_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})
# Unicode's categories of characters that show nothing, or change how others are shown.

_TEMPLATES = Path(__file__).parent / "templates"


class Pages:
    """The pages of one node."""

    def __init__(self, name: str) -> None:
        """`name`: what the node is called at the top of each page, its log's origin."""
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=visible,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(node=name, marks=MARKS, causes=CAUSES)
        self._environment.filters.update(
            time=readable_time,
            host=lambda operator: str(operator).removeprefix("https://"),
            short=lambda digest: f"{digest[:12]}…",
            package_path=lambda package: f"/packages/{quote(str(package), safe='/:@?=&%')}",
            family_path=family_path,
            path=lambda text: quote(str(text), safe="/"),
            file_name=lambda purl: parse_purl(purl).file_name,
            claimed=claimed_time,
            quote=lambda text: quote(str(text), safe=""),
            shell=shell_word,
            coordinates=coordinates,
            prose=prose,
            size=readable_size,
            rule=format_rule,
        )
        self.style = (_TEMPLATES / "style.css").read_text()
        self.icon = (_TEMPLATES / "icon.svg").read_text()

    def start(
        self,
        overview: Overview,
        rules: Sequence[Rule],
        repositories: Sequence[Repository],
        base: str,
        *,
        registries: Sequence[Registry] = (),
        remotes: Sequence[str] = (),
    ) -> str:
        """The start page; `base` is the node's own address, `remotes` the names of its Conan upstreams."""
        return self._render(
            "start.html",
            overview=overview,
            rules=rules,
            repositories=repositories,
            registries=registries,
            remotes=remotes,
            base=base,
        )

    def package(self, view: PackageView | FamilyView, base: str) -> str:
        """The page of a package version, or of all versions of a package."""
        if isinstance(view, FamilyView):
            return self._render("family.html", view=view)
        return self._render("package.html", view=view, base=base)

    def artifact(self, view: ArtifactView, base: str) -> str:
        """The page of an artifact."""
        return self._render("artifact.html", view=view, base=base)

    def why(self, explanation: Explanation, base: str) -> str:
        """The page that explains a decision."""
        return self._render("why.html", why=explanation, base=base)

    def problem(self, status: int, title: str, detail: str) -> str:
        """The page for an error, for people with a browser."""
        return self._render("problem.html", status=status, title=title, detail=detail)

    def _render(self, template: str, **values: object) -> str:
        return self._environment.get_template(template).render(**values)


def readable_time(seconds: int) -> str:
    """Unix seconds as people write a time."""
    # Also of a cosigner, whose clock may be beyond the calendar.
    return format_moment(seconds).replace("T", " ").removesuffix("Z") + " UTC"


def claimed_time(text: str) -> str:
    """A time that a statement claims, as people write it; a dash when it claims none."""
    return readable_time(parse_time(text)) if text else "–"


def family_path(package: PackageURL) -> str:
    """The path of the page with all versions of a package."""
    path, _, query = str(package.package).partition("?")
    named = path.rpartition("@")[0] + (f"?{query}" if query else "")
    return f"/packages/{quote(named, safe='/:@?=&%')}"


def readable_size(size: int) -> str:
    """Bytes as people write them: exact, in groups of three digits."""
    return f"{size:,} {'byte' if size == 1 else 'bytes'}"


def visible(value: object) -> object:
    """What a template puts out: hidden characters are spelt out, long texts cut. Markup is ours already."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = value if len(value) <= SHOWN_CHARACTERS else f"{value[: SHOWN_CHARACTERS - 1]}…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelt(letter) for letter in text)


def _spelt(letter: str) -> str:
    if letter == "\n" or unicodedata.category(letter) not in _HIDDEN:
        return letter
    return f"\\u{{{ord(letter):04x}}}"


def shell_word(text: object) -> str:
    """A word for a command line that people copy: names in statements are whatever their signers wrote."""
    word = str(visible(str(text))).replace("\n", "\\n")
    return quote_for_shell(f"./{word}" if word.startswith("-") else word)


def prose(text: str) -> Markup:
    """A line with `code` in back quotes as HTML, everything escaped."""
    parts = str(visible(text)).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def coordinates(package: PackageURL) -> str:
    """How people of the ecosystem write a package version: group:artifact:version for Maven, the repository
    with the beginning of the digest for images, name/version for Conan."""
    if package.type == "oci":
        return f"{package.qualifier('repository_url')}@{package.version[:19]}…"
    if package.type == "conan":
        owner = "/".join(package.qualifier(key) or "" for key in ("user", "channel")).strip("/")
        return f"{package.name}/{package.version}{f'@{owner}' if owner else ''}"
    parts = (package.namespace, package.name, package.version)
    return ":".join(part for part in parts if part)
