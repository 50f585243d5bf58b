"""Options with which commands open a workshop and infer a definition, the same for each of them."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from touchplate.base.progress import open_progress
from touchplate.builder.ecosystem import Inference
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.builder.errors import DefinitionError
from touchplate.builder.inputs.upstream_option import parse_upstreams
from touchplate.builder.purl_form import purl_form
from touchplate.builder.workshop import Workshop, default_data, open_workshop
from touchplate.verify.errors import VerifyError
from touchplate.verify.purl import PackageURL, normalise_purl


def add_workshop_options(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Where packages are read from, and what is kept."""
    parser.add_argument("--jdk", type=int, metavar="N", help="infer for this JDK, not the manifest's")
    add_upstreams(parser)
    parser.add_argument("--data", type=Path, metavar="DIR", help="what is kept: inputs, tools, evidence")


def add_upstreams(parser: argparse._ActionsContainer) -> None:
    """Where packages are read from, one option for each place."""
    parser.add_argument(
        "--upstream",
        action="append",
        default=[],
        metavar="[NAME=]URL[,…]",
        help="Maven's central (default: the address that mvn uses), or another place by name: "
        "NAME=URL and, after commas, identity=NAME, ecosystem=maven|conan|oci|apt|git, "
        "credentials=file:PATH (or env:VARIABLE), realm=HOST; may be repeated",
    )


@contextmanager
def opened_workshop(
    args: argparse.Namespace,
    *,
    work: Path | None = None,
    verbose: bool = False,
    backend: str = "",
    detailed: bool = False,
) -> Iterator[Workshop]:
    """The workshop of these options."""
    with (
        open_progress(quiet=args.quiet) as display,
        open_workshop(
            (args.data or default_data()).absolute(),
            display,
            work=work.absolute() if work else None,
            upstreams=parse_upstreams(args.upstream),
            verbose=verbose,
            backend=backend,
            detailed=detailed,
        ) as workshop,
    ):
        yield workshop


def typed_package(text: str) -> PackageURL:
    """What a person typed as a package URL. Raises DefinitionError."""
    try:
        return normalise_purl(text)
    except VerifyError as error:
        raise DefinitionError(f"{error}; write {purl_form(text)}") from error


def infer_typed(args: argparse.Namespace, workshop: Workshop, text: str) -> Inference:
    """Infer the definition of the package that a person typed. Raises DefinitionError, HostLack."""
    package = typed_package(text)
    ecosystem = find_ecosystem(package.ecosystem)
    workshop.display.step(f"infer: {package}")
    inference = ecosystem.infer(workshop, package, {} if args.jdk is None else {"jdk": str(args.jdk)})
    for note in inference.notes:
        workshop.display.line(f"    {note}")
    return inference
