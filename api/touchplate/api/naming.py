"""Package names as people type them, with or without a version, and the order of versions."""

from __future__ import annotations

import re

from touchplate.api.errors import BadNameError
from touchplate.verify.errors import MalformedError
from touchplate.verify.purl import PackageURL, normalise_purl

_NO_VERSION = "0"  # stands where a package URL needs a version and none was given
_PART = re.compile(r"[0-9]+|[A-Za-z]+")


def parse_name(text: str) -> tuple[PackageURL, bool]:
    """The package version that `text` names, and whether it names a version at all. Raises BadNameError."""
    path, mark, query = text.strip().partition("?")
    has_version = "@" in path
    try:
        named = normalise_purl(text if has_version else f"{path}@{_NO_VERSION}{mark}{query}")
    except MalformedError as error:
        raise BadNameError(str(error)) from error
    return named.package, has_version


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key by which versions are listed as people expect: 1.10 after 1.9, and 2.0-rc1 before 2.0.

    For the eye only; nothing is decided by it.
    """
    parts = [_part(text) for text in _PART.findall(version)]
    return (*parts, (1, 0, ""))


def _part(text: str) -> tuple[int, int, str]:
    # Numbers after the end of a version, words before it.
    return (2, int(text[:18]), "") if text.isdigit() else (0, 0, text.lower())
