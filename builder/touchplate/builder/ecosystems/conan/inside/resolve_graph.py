"""Finds out inside the sandbox, offline, what a recipe requires. Not imported: run there by its Python.

    python3 -S -P resolve_graph.py JOB          JOB: a JSON file, see `graph_plan.py`

Conan itself makes the graph, from the recipes that the supervisor has fetched so far; what is still missing
is written down, and the supervisor fetches it and asks again. Recipes are code and run here, so what comes
out is a claim: it chooses what a definition pins, and the pins are looked at, built with and attested.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """Write what was found to the output of the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    sys.path[:0] = [job["conan"], str(Path(__file__).parent)]
    import place_in_cache as placing  # type: ignore[import-not-found]

    home = Path(os.environ["CONAN_HOME"])
    shutil.copytree(job["home"], home)
    placing.place_recipe(home, job["recipe"], job["epoch"], Path.cwd())
    placing.place_requirements(job, home, whole=False)
    lie = find_lie(job, home)
    found = {"error": lie} if lie else Graph(job, home).resolve()
    output = Path(job["output"])
    output.parent.mkdir(parents=True)
    output.write_text(json.dumps(found))
    return 0


def find_lie(job: dict[str, Any], home: Path) -> str:
    """What is wrong with a requirement that calls itself otherwise than its remote does; empty for none."""
    import place_in_cache as placing

    for one in job["requirements"]:
        try:
            said = placing.reference_of(home, one["recipe"])
        except Exception:  # noqa: S112  what it may need is missing yet, or Conan says it of the graph
            continue
        if said != one["reference"]:
            return (
                f"the recipe of {one['reference']} says that it is {said}; its remote serves another recipe "
                "under this name, have that put right"
            )
    return ""


class Graph:
    """Conan's graph of one recipe, with what it asked remotes for."""

    def __init__(self, job: dict[str, Any], home: Path) -> None:
        self._job = job
        self._home = home
        self.missing: set[str] = set()
        """References that no recipe is there for; a range stands as `name/[range]`."""
        self.used: set[str] = set()
        """Recipes that Conan has taken, with their revisions."""
        self.compatible: dict[str, list[str]] = {}
        """Package id → ids of packages that Conan would take in its place, best first."""

    def resolve(self) -> dict[str, Any]:
        """What is missing; or, when nothing is, the graph; or what is wrong with it."""
        from conan.api.conan_api import ConanAPI
        from conan.errors import ConanException

        self._watch()
        api = ConanAPI(str(self._home))
        host, build = (api.profiles.get_profile([name]) for name in ("default", "tools"))
        try:
            graph = api.graph.load_graph_requires([self._job["recipe"]], None, host, build, None, [], None)
            if graph.error and not self.missing:
                return {"error": said_by(graph.error)}
            if not self.missing:
                api.graph.analyze_binaries(graph, [self._job["reference"]], remotes=[], update=None)
        except Exception as error:
            # A graph with gaps breaks Conan in many ways.
            if not self.missing:
                if not isinstance(error, ConanException):
                    raise
                return {"error": said_by(error)}
        if self.missing:
            return {"missing": sorted(self.missing)}
        return {"nodes": [self._node(node) for node in graph.nodes if node.ref], "used": sorted(self.used)}

    def _node(self, node: Any) -> dict[str, Any]:
        return {
            "recipe": node.ref.repr_notime(),
            "package_id": node.package_id,
            "binary": node.binary,
            "context": node.context,
            "compatible": self.compatible.get(node.package_id, []),
            "conaninfo": node.conanfile.info.dumps() if node.conanfile.info is not None else "",
        }

    def _watch(self) -> None:
        """Have Conan ask us where it would ask remotes."""
        from conan.errors import ConanException
        from conan.internal.graph.graph_binaries import GraphBinariesAnalyzer
        from conan.internal.graph.graph_builder import DepsGraphBuilder
        from conan.internal.graph.graph_error import GraphMissingError
        from conan.internal.graph.proxy import ConanProxy
        from conan.internal.graph.range_resolver import RangeResolver

        get_recipe, expand = ConanProxy.get_recipe, DepsGraphBuilder._expand_require
        find_compatible = GraphBinariesAnalyzer._compatible_find_existing_binaries

        def note_recipe(proxy: Any, *others: Any) -> Any:
            found = get_recipe(proxy, *others)
            self.used.add(found[0].reference.repr_notime())
            return found

        def lack_recipe(_: Any, reference: Any, *others: Any) -> Any:
            self.missing.add(reference.repr_notime())
            raise ConanException("missing")

        def resolve_range(resolver: Any, wanted: Any, version_range: Any, *others: Any) -> Any:
            known = self._job["versions"].get(str(wanted))
            if known is None:
                self.missing.add(str(wanted))
                raise ConanException("missing")
            return resolver._resolve_version(version_range, [_reference(one) for one in known], None)

        def expand_all(builder: Any, *others: Any) -> Any:
            try:
                return expand(builder, *others)
            except GraphMissingError:
                if not self.missing:
                    raise
                return None  # the others of this level, so that all are asked for at once

        def note_compatible(analyzer: Any, node: Any, compatibles: Any, *others: Any) -> Any:
            self.compatible[node.package_id] = list(compatibles)
            return find_compatible(analyzer, node, compatibles, *others)

        ConanProxy.get_recipe = note_recipe
        ConanProxy._download_recipe = lack_recipe
        RangeResolver._resolve_remote = resolve_range
        DepsGraphBuilder._expand_require = expand_all
        GraphBinariesAnalyzer._compatible_find_existing_binaries = note_compatible


def said_by(error: Exception) -> str:
    """What Conan says is wrong. It does not look for loops of code that recipes take from each other."""
    loop = "; do python_requires go round in a circle?" if "maximum recursion depth" in str(error) else ""
    return f"{error}{loop}"


def _reference(text: str) -> Any:
    from conan.api.model import RecipeReference

    return RecipeReference.loads(text)


if __name__ == "__main__":
    sys.exit(main())
