"""Lays recipes and packages into an empty Conan cache, as a client lays down what it has downloaded.

Not imported outside: shown inside the sandbox beside the programs that use it. What is laid down was checked
by the supervisor; recipes among it are code of strangers, and run here and nowhere else.
"""

import shutil
from pathlib import Path
from typing import Any

ARCHIVES = (("conan_export", "export"), ("conan_sources", "export_sources"))
"""Archives of a recipe, and the folder of the cache into which each is unpacked."""


def place_recipe(home: Path, reference: str, epoch: int, served: Path) -> None:
    """Lay down a recipe revision, sources too. `reference`: with its revision; `served`: its files."""
    from conan.api.model import RecipeReference
    from conan.internal.model.manifest import FileTreeManifest
    from conan.internal.rest.remote_manager import uncompress_file

    recipe = RecipeReference.loads(reference)
    recipe.timestamp = epoch
    layout = _cache(home).create_ref_layout(recipe)
    for stem, name in ARCHIVES:
        folder = Path(getattr(layout, name)())
        folder.mkdir(parents=True)
        for archive in sorted(served.glob(f"{stem}.t*")):
            uncompress_file(str(archive), str(folder))
    export = Path(layout.export())
    shutil.copy2(served / "conanfile.py", export / "conanfile.py")
    manifest = FileTreeManifest.create(str(export), layout.export_sources())
    manifest.time = epoch
    manifest.save(str(export))


def place_package(home: Path, reference: str, epoch: int, served: Path) -> None:
    """Lay down a package revision. `reference`: with recipe revision, package id and its own revision."""
    from conan.api.model import PkgReference
    from conan.internal.model.manifest import FileTreeManifest
    from conan.internal.rest.remote_manager import uncompress_file

    package = PkgReference.loads(reference)
    package.timestamp = epoch
    layout = _cache(home).create_pkg_layout(package)
    Path(layout.metadata()).mkdir(parents=True)
    folder = Path(layout.package())
    folder.mkdir(parents=True)
    uncompress_file(str(served / "conan_package.tgz"), str(folder))
    shutil.copy2(served / "conaninfo.txt", folder / "conaninfo.txt")
    manifest = FileTreeManifest.create(str(folder))
    manifest.time = epoch
    manifest.save(str(folder))


def place_requirements(job: dict[str, Any], home: Path) -> None:
    """Lay down everything that the definition pins: recipes, and the packages of those that are used."""
    for one in job.get("requirements", ()):
        place_recipe(home, one["recipe"], job["epoch"], Path(one["recipe_files"]))
        if "package" in one:
            place_package(home, one["package"], job["epoch"], Path(one["package_files"]))


def reference_of(home: Path, reference: str) -> str:
    """The name and version that the recipe with this reference (and revision) gives itself.

    Clients that download a recipe do not look: an old recipe, whole and unchanged, could be served as that of
    a new version.
    """
    from conan.api.conan_api import ConanAPI
    from conan.api.model import RecipeReference

    api = ConanAPI(str(home))
    said = RecipeReference.loads(reference)
    layout = api._api_helpers.cache.recipe_layout(said)
    recipe = api._api_helpers.loader.load_basic(layout.conanfile())
    for part in ("name", "version", "user", "channel"):
        # Where it says nothing, whoever exported it has said it.
        if (own := getattr(recipe, part, None)) is not None:
            setattr(said, part, str(own))
    return str(said)


def _cache(home: Path) -> Any:
    from conan.internal.cache.cache import PkgCache
    from conan.internal.model.conf import ConfDefinition

    return PkgCache(str(home), ConfDefinition())
