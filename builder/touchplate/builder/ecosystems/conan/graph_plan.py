"""Asks Conan in a sandbox what a recipe requires: a plan that builds nothing; its output is the graph."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from touchplate.builder.backend import Backend, open_sandboxed
from touchplate.builder.cache import Cache
from touchplate.builder.ecosystems.conan.choice import Target
from touchplate.builder.ecosystems.conan.deadline import BY_HAND, Deadline
from touchplate.builder.ecosystems.conan.failure import explain_errors
from touchplate.builder.ecosystems.conan.graph import MAX_ANSWER_BYTES, Graph, Question, parse_graph
from touchplate.builder.ecosystems.conan.plan import (
    CONAN_HOME,
    HOME_INSIDE,
    INSIDE,
    home_files,
    place_files,
    program_files,
    shown_tools,
)
from touchplate.builder.ecosystems.conan.profile import format_profile
from touchplate.builder.ecosystems.conan.reference import Revision
from touchplate.builder.ecosystems.conan.requirements import Requirement, required_lines
from touchplate.builder.ecosystems.conan.resolve import Resolver
from touchplate.builder.ecosystems.conan.tools import CONAN_INSIDE, Conan, default_conan, need_conan
from touchplate.builder.errors import DefinitionError, PhaseFailed, needing_disk
from touchplate.builder.inputs.lock import make_lock, pinned_inputs
from touchplate.builder.inputs.repository import RemoteFile
from touchplate.builder.plan import BUILD_FOLDER, GIB, BuildPlan, Limits, Phase, Quiet
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.sandbox.workspace import locked_folder
from touchplate.builder.workshop import TREE, Workshop
from touchplate.verify.jcs import JSONValue, format_json

OUTPUT = "out/graph.json"

LIMITS = Limits(wall_seconds=300.0, workspace_bytes=GIB, memory_bytes=2 * GIB, output_bytes=MAX_ANSWER_BYTES)
"""Of one question: reading a hundred recipes takes seconds; packages of requirements are not unpacked,
recipes are. How long all of them may take together: `deadline.py`."""


@dataclass(frozen=True)
class GraphMaker:
    """Asks about one recipe. `tree`: a folder with its files as they are served."""

    recipe: Revision
    settings: Mapping[str, str]
    options: Mapping[str, str]
    epoch: int
    tree: Path
    conan: Conan
    backend: Backend
    cache: Cache

    def ask(self, question: Question, deadline: Deadline) -> Graph:
        """Run Conan, offline. Raises DefinitionError for a recipe that fails or takes too long, HostLack."""
        seconds = min(LIMITS.wall_seconds, math.ceil(deadline.left(question.known)))
        plan = replace(self._plan(question), limits=replace(LIMITS, wall_seconds=seconds))
        try:
            result = self.backend.build(plan, make_lock(pinned_inputs(plan.pinned)), self.cache, Quiet())
        except PhaseFailed as failed:
            said = explain_errors(failed.log) or failed.detail
            if failed.failure == "timeout":
                deadline.left(question.known)  # raises when it was not this question that took too long
                said = f"{failed.detail}; {BY_HAND}"
            raise DefinitionError(f"its requirements cannot be told: {said}") from failed
        return parse_graph(result.outputs[OUTPUT].path.read_bytes())

    def _plan(self, question: Question) -> BuildPlan:
        lines = required_lines(self.recipe, question.requirements, self.settings)
        # Tools that are required run where the package is built, whatever that is for.
        tools = {**self.settings, "build_type": "Release"}
        profiles = {
            name: format_profile(self.recipe.name, settings, self.options, {}, lines)
            for name, settings in (("default", self.settings), ("tools", tools))
        }
        job = format_json(self._job(question))

        def files(phase: Phase) -> Mapping[str, bytes]:
            return {
                **program_files("resolve_graph.py"),
                f"{INSIDE}/job.json": job,
                **home_files(profiles),
            }

        return BuildPlan(
            source=self.tree,
            command=(PYTHON, "-S", "-P", f"{INSIDE}/resolve_graph.py", f"{INSIDE}/job.json"),
            binds=shown_tools(self.conan, None),
            environment={"CONAN_HOME": CONAN_HOME},
            files=files,
            outputs=(OUTPUT,),
            pinned=tuple(file for one in question.requirements for file in one.inputs),
        )

    def _job(self, question: Question) -> dict[str, JSONValue]:
        return {
            "conan": CONAN_INSIDE,
            "epoch": self.epoch,
            "home": HOME_INSIDE,
            "output": f"{BUILD_FOLDER}/{OUTPUT}",
            "recipe": str(self.recipe),
            "reference": self.recipe.reference,
            "requirements": [one.job() for one in question.requirements],
            "versions": {name: list(found) for name, found in question.versions.items()},
        }


def find_requirements(
    workshop: Workshop, target: Target, recipe: Sequence[RemoteFile], settings: Mapping[str, str]
) -> tuple[Requirement, ...]:
    """See `Resolver.resolve`. `recipe`: files of the recipe; `settings`: of the profile."""
    with locked_folder(workshop.data, TREE) as tree:
        with needing_disk("cannot write the recipe", workshop.data):
            place_files(recipe, tree)
        maker = GraphMaker(
            recipe=target.revision.recipe,
            settings=settings,
            options=target.info.options,
            epoch=target.time,
            tree=tree,
            conan=need_conan(default_conan(), workshop.tools),
            backend=open_sandboxed(workshop, ""),
            cache=workshop.cache,
        )

        def ask(question: Question, deadline: Deadline) -> Graph:
            known = len(question.requirements)
            workshop.display.step(f"infer: what it requires ({known} recipes so far)")
            return maker.ask(question, deadline)

        return Resolver(target, workshop.repositories, workshop.cache, ask).resolve()
