"""Which ecosystem a package belongs to, by the type of its URL. Modules are imported on use."""

from importlib import import_module

from touchplate.builder.ecosystem import Ecosystem
from touchplate.builder.errors import DefinitionError

_MODULES = {
    "conan": "touchplate.builder.ecosystems.conan.ecosystem",
    "maven": "touchplate.builder.ecosystems.maven.ecosystem",
    "oci": "touchplate.builder.ecosystems.oci.ecosystem",
}
"""Type → the module that makes it, by a function `make_ecosystem()`."""


def find_ecosystem(name: str) -> Ecosystem:
    """The ecosystem of package URLs of the type `name`. Raises DefinitionError for one that nobody builds."""
    if name not in _MODULES:
        raise DefinitionError(f"packages of type {name!r} are not rebuilt here; known: {', '.join(_MODULES)}")
    made: Ecosystem = import_module(_MODULES[name]).make_ecosystem()
    return made
