"""Fills the templates. They get views only, escape everything, and fail on a name that does not exist."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote as quote_for_shell
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from touchplate.api.docker.repository import Registry
from touchplate.api.explain import Explanation
from touchplate.api.gate import Rule
from touchplate.api.maven.repository import Repository
from touchplate.api.views import ArtifactView, Overview, PackageView
from touchplate.verify.encoding import format_time
from touchplate.verify.purl import PackageURL

_TEMPLATES = Path(__file__).parent / "templates"


class Pages:
    """The pages of one node."""

    def __init__(self, name: str) -> None:
        """`name`: what the node is called at the top of each page, its log's origin."""
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["node"] = name
        self._environment.filters.update(
            time=readable_time,
            host=lambda operator: str(operator).removeprefix("https://"),
            short=lambda digest: f"{digest[:12]}…",
            package_path=lambda package: f"/packages/{quote(str(package), safe='/:@?=&%')}",
            quote=lambda text: quote(str(text), safe=""),
            shell=shell_word,
            coordinates=coordinates,
            prose=prose,
        )
        self.style = (_TEMPLATES / "style.css").read_text()

    def start(
        self,
        overview: Overview,
        rules: Sequence[Rule],
        repositories: Sequence[Repository],
        base: str,
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

    def package(self, view: PackageView) -> str:
        """The page of a package version."""
        return self._render("package.html", view=view)

    def artifact(self, view: ArtifactView, base: str) -> str:
        """The page of an artifact."""
        return self._render("artifact.html", view=view, base=base)

    def why(self, explanation: Explanation) -> str:
        """The page that explains a decision."""
        return self._render("why.html", why=explanation)

    def problem(self, status: int, title: str, detail: str) -> str:
        """The page for an error, for people with a browser."""
        return self._render("problem.html", status=status, title=title, detail=detail)

    def _render(self, template: str, **values: object) -> str:
        return self._environment.get_template(template).render(**values)


def readable_time(seconds: int) -> str:
    """Unix seconds as people write a time."""
    return format_time(seconds).replace("T", " ").removesuffix("Z") + " UTC"


def shell_word(text: object) -> str:
    """A word for a command line that people copy: names in statements are whatever their signers wrote."""
    word = str(text)
    return quote_for_shell(f"./{word}" if word.startswith("-") else word)


def prose(text: str) -> Markup:
    """A line with `code` in back quotes as HTML, everything escaped."""
    parts = [Markup("<code>{}</code>").format(part) if odd else escape(part) for odd, part in _parts(text)]
    return Markup("").join(parts)


def _parts(text: str) -> list[tuple[bool, str]]:
    return [(number % 2 == 1, part) for number, part in enumerate(text.split("`"))]


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
