"""`touchplate builder probe`: what this host's sandboxes really give, seen from inside and outside."""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from touchplate.builder.definitions.demands import FEATURES
from touchplate.builder.errors import HostLack
from touchplate.builder.limits import group_lacks
from touchplate.builder.sandbox.probe import Probe
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_json, print_line, print_pairs
from touchplate.verify.usage import OK, UNDETERMINED, UsageError

CHOICES = ("bubblewrap", "gvisor")
"""Backends of which a person may choose; images have one only, runc."""


def add_backend(parser: argparse._ActionsContainer) -> None:
    """Add the option that chooses a backend, for commands that build."""
    parser.add_argument(
        "--backend",
        choices=CHOICES,
        default="",
        help="what holds builds (not those of images); default: bubblewrap, or what the definition demands",
    )


def register(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate builder probe`."""
    parser.add_argument(
        "backend", nargs="*", metavar="BACKEND", help="bubblewrap, gvisor, runc; default: all"
    )
    parser.add_argument("--work", type=Path, metavar="DIR", help="look here, where builds will run")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


@dataclass(frozen=True)
class Found:
    """What one backend gives; `lack` says why it does not start."""

    name: str
    probe: Probe | None
    lack: str = ""

    @property
    def signs(self) -> bool:
        """Whether results under it may be signed."""
        return self.probe is not None and self.probe.backend is not None


def run(args: argparse.Namespace) -> int:
    """Probe and print. 0 when results may be signed under one of the backends asked for, else 2."""
    openers = _openers()
    unknown = [name for name in args.backend if name not in openers]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no backend; known: {', '.join(openers)}")
    if args.work is not None:
        found = [_probe(name, openers[name], args.work.absolute()) for name in args.backend or openers]
    else:
        with tempfile.TemporaryDirectory(prefix="touchplate-probe-") as folder:
            Path(folder).chmod(0o711)
            work = Path(folder) / "work"
            found = [_probe(name, openers[name], work) for name in args.backend or openers]
    lacks = group_lacks()
    if args.json:
        print_json({"backends": [_json(one) for one in found], "groups_lack": list(lacks)})
    else:
        _show(found)
        if lacks:
            print_line()
            print_pairs([("control groups", lacks[0]), *(("", lack) for lack in lacks[1:])])
    return OK if any(one.signs for one in found) else UNDETERMINED


def _openers() -> dict[str, Callable[[Path], Probe]]:
    from touchplate.builder.sandbox.bubblewrap import SandboxConfig, open_sandbox
    from touchplate.builder.sandbox.gvisor import open_gvisor_sandbox
    from touchplate.builder.sandbox.ranged import ID_RANGES
    from touchplate.builder.sandbox.runc import open_runc_sandbox

    return {
        "bubblewrap": lambda work: open_sandbox(SandboxConfig(work)).probe,
        "gvisor": lambda work: open_gvisor_sandbox(SandboxConfig(work, uids=ID_RANGES)).probe,
        "runc": lambda work: open_runc_sandbox(SandboxConfig(work, uids=ID_RANGES)).probe,
    }


def _probe(name: str, opener: Callable[[Path], Probe], work: Path) -> Found:
    try:
        return Found(name, opener(work))
    except HostLack as error:
        return Found(name, None, str(error))


def _features(probe: Probe) -> dict[str, bool]:
    return {name: given(probe) for name, given in FEATURES.items()}


def _json(found: Found) -> dict[str, JSONValue]:
    if found.probe is None:
        return {"name": found.name, "signs": False, "lack": found.lack}
    return {
        "name": found.name,
        "signs": found.signs,
        "missing": list(found.probe.missing),
        "gives": dict(_features(found.probe)),
        "probe": found.probe.describe(),
    }


def _show(found: list[Found]) -> None:
    for number, one in enumerate(found):
        if number:
            print_line()
        if one.probe is None:
            print_pairs([("backend", one.name), ("signs", "no"), ("lacks", one.lack)])
            continue
        given = _features(one.probe)
        pairs = [
            ("backend", one.name),
            ("signs", "yes" if one.signs else f"no: lacks {', '.join(one.probe.missing)}"),
            ("gives", ", ".join(name for name, there in given.items() if there)),
            ("gives not", ", ".join(name for name, there in given.items() if not there) or "-"),
            ("namespaces", ", ".join(one.probe.namespaces)),
            ("limits", ", ".join(f"{what} by {how}" for what, how in sorted(one.probe.limits.items()))),
        ]
        print_pairs(pairs)
