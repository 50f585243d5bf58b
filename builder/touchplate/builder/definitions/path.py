"""Where a package's definition stands in an operator's folder: package URL → path. Pure.

One package version has one place, so that a folder or git repository of definitions can be searched without
an index, and no two people write the same one twice:

- `maven/GROUP/ARTIFACT/VERSION.yaml`
- `conan/NAME/VERSION[@USER[@CHANNEL]]/RREV/PACKAGE_ID@PREV.yaml`
- `oci/IDENTITY/FULL/PATH/sha256-DIGEST.yaml`

Of another upstream than the default one the first part is `maven@IDENTITY`. Bytes that package URLs encode
are encoded here too, and so is `:`, which some file systems refuse.
"""

from pathlib import PurePosixPath

from touchplate.verify.names import encode_name
from touchplate.verify.purl import PackageURL

SUFFIXES = (".yaml", ".json")
"""Of a definition's file: written by a person, or inferred and kept as RFC 8785 JSON."""


def definition_path(package: PackageURL) -> PurePosixPath:
    """Path of the definition of `package`, with the suffix `.yaml`."""
    parts = _oci(package) if package.type == "oci" else [_first(package), *_MIDDLE[package.type](package)]
    # Not with_suffix: versions hold dots.
    return PurePosixPath(*parts[:-1], f"{parts[-1]}{SUFFIXES[0]}")


def _first(package: PackageURL) -> str:
    identity = package.qualifier("repository_url")
    return package.type if identity is None else f"{package.type}@{_encoded(identity)}"


def _maven(package: PackageURL) -> list[str]:
    return [_encoded(package.namespace or ""), _encoded(package.name), _encoded(package.version)]


def _conan(package: PackageURL) -> list[str]:
    owner = [package.qualifier(key) for key in ("user", "channel")]
    version = "@".join(_encoded(text) for text in (package.version, *owner) if text is not None)
    rrev, package_id, prev = (package.qualifier(key) or "-" for key in ("rrev", "package_id", "prev"))
    return [_encoded(package.name), version, _encoded(rrev), f"{_encoded(package_id)}@{_encoded(prev)}"]


def _oci(package: PackageURL) -> list[str]:
    repository = (package.qualifier("repository_url") or package.name).split("/")
    return ["oci", *map(_encoded, repository), package.version.replace(":", "-")]


def _encoded(text: str) -> str:
    return encode_name(text).replace(":", "%3A")


_MIDDLE = {"maven": _maven, "conan": _conan}
