"""Builds one Conan package inside the sandbox. Not imported: shown inside as a file, run by its Python.

    python3 -S -P build_package.py JOB          JOB: a JSON file, see `plan.py`
    python3 -S -P build_package.py JOB conan …  Conan's command line, with what is changed for a rebuild

Nothing that is done or said here is believed outside: a recipe is code, and runs with the same rights. This
only makes things convenient: the recipe revision is laid into an empty cache as a client lays down what it
downloads, the command is run, and the package is packed by the code that `conan upload` runs.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main() -> int:
    """Exit code: that of Conan's command line, 1 when there is nothing to pack."""
    job = json.loads(Path(sys.argv[1]).read_text())
    sys.path[:0] = [job["conan"], str(Path(__file__).parent)]
    if sys.argv[2:]:
        return run_conan(job, sys.argv[3:])
    home = Path(os.environ["CONAN_HOME"])
    shutil.copytree(job["home"], home)
    place_in_cache(job, home)
    place_sources(job)
    command = [sys.executable, "-S", "-P", __file__, sys.argv[1], *job["command"]]
    done = subprocess.run(command, check=False)
    if done.returncode or job["phase"] == "fetch":
        return done.returncode
    return pack(job)


def place_in_cache(job: dict[str, Any], home: Path) -> None:
    """Lay the recipe revision and what it requires into the cache, as a client that has downloaded them."""
    import place_in_cache as placing  # type: ignore[import-not-found]

    placing.place_recipe(home, f"{job['reference']}#{job['rrev']}", job["epoch"], Path.cwd())
    placing.place_requirements(job, home)


def place_sources(job: dict[str, Any]) -> None:
    """Show Build the locked sources where Conan looks for what it has downloaded before."""
    folder = Path(job["sources"], "s")
    folder.mkdir(parents=True)
    for name in job["mirrors"]:
        for source in Path(job["repository"], name).glob("[0-9a-f]" * 64):
            if not (folder / source.name).exists():
                (folder / source.name).symlink_to(source)


def run_conan(job: dict[str, Any], arguments: list[str]) -> int:
    """Conan's command line. Its build folder is always the same one, and what a recipe downloads by its
    sha256 comes from the mirror."""
    import place_in_cache as placing
    from conan.cli.cli import main as conan
    from conan.errors import ConanException
    from conan.internal.cache import cache
    from conan.internal.rest.caching_file_downloader import SourcesCachingDownloader

    # The name of the build folder holds a random number, and ends up in debug information and messages.
    cache.uuid = SimpleNamespace(uuid4=lambda: "touchplate")
    SourcesCachingDownloader._do_download = download(job)
    for reference, recipe in recipes(job):
        try:
            said = placing.reference_of(Path(os.environ["CONAN_HOME"]), recipe)
        except ConanException as error:  # what Conan itself would say of it
            print(f"ERROR: {error}", flush=True)
            return 1
        if said != reference:
            whose = "" if reference == job["reference"] else f" of the requirement {reference}"
            say(
                f"the recipe{whose} says that it is {said}"
                + ("" if whose else f", and {reference} is asked for")
            )
            return 1
    conan(arguments)
    return 0


def recipes(job: dict[str, Any]) -> list[tuple[str, str]]:
    """All recipes that Conan may read: reference, and the same with the revision."""
    others = [(one["reference"], one["recipe"]) for one in job["requirements"]]
    return [(job["reference"], f"{job['reference']}#{job['rrev']}"), *others]


def download(job: dict[str, Any]) -> Any:
    """How a source is downloaded in Fetch: by its digest, whatever its address is. In Build all are there."""

    def ask(self: Any, _: object, urls: object, path: str, *others: Any) -> None:
        from conan.errors import ConanException
        from conan.internal.errors import NotFoundException

        sha256 = others[-1]
        if not sha256:
            raise ConanException(f"{urls} is downloaded without a sha256, so it can be no locked input")
        for name in job["mirrors"] if job["phase"] == "fetch" else ():
            try:
                self._file_downloader.download(f"{job['mirror']}/{name}/{sha256}", path, sha256=sha256)
                return
            except NotFoundException:
                pass
        raise ConanException(f"no source upstream of this build {job['mirrors']} gave {sha256}: {urls}")

    return ask


def pack(job: dict[str, Any]) -> int:
    """Put what `conan upload` would send into the output folder."""
    from conan.api.conan_api import ConanAPI
    from conan.api.model import ListPattern

    api = ConanAPI(os.environ["CONAN_HOME"])
    found = api.list.select(ListPattern(f"{job['reference']}#{job['rrev']}:*#latest", only_recipe=False))
    packages = [(ref, package) for ref, of_recipe in found.items() for package in of_recipe]
    made = sorted(package.package_id for _, package in packages)
    if made != [job["package_id"]]:
        say(f"the recipe made package {', '.join(made) or 'none'} here, and {job['package_id']} is asked for")
        return 1
    ((reference, package),) = packages
    found.recipe_dict(reference)["upload"] = False
    found.package_dict(package)["upload"] = True
    api.upload.prepare(found, [])
    output = Path(job["output"])
    output.mkdir(parents=True)
    for name, path in found.package_dict(package)["files"].items():
        if "/" not in name:  # else metadata
            shutil.copyfile(path, output / name)
            say(f"{name} {hashlib.sha256((output / name).read_bytes()).hexdigest()}")
    say(f"package revision {package.revision}")
    return 0


def say(text: str) -> None:
    """A line of the build log."""
    print(f"touchplate: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
