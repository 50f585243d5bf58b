"""`touchplate`: the one console command. It finds the part that a sub-command belongs to, and reports errors.

A sub-command is a module with `register(parser)` and `run(arguments) -> exit code`, imported on use:
`touchplate verify` must start fast, and most installations hold only some of the parts.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from touchplate.verify.errors import RefusedError, ReportedError, TransportError, VerifyError
from touchplate.verify.output import flush_output, print_error, print_text
from touchplate.verify.usage import OK, REFUSED, UNDETERMINED, USAGE, Parser, UsageError, read_version

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


class Command(NamedTuple):
    """Where a sub-command lives, the extra that brings what it needs, and one line about it."""

    module: str
    extra: str
    summary: str


COMMANDS = {
    "verify": Command("touchplate.verify.cli_verify", "", "check a file against its proof bundle, offline"),
    "inspect": Command(
        "touchplate.verify.cli_inspect", "", "show what a node knows about a package or digest"
    ),
    "prove": Command("touchplate.verify.cli_prove", "", "make proofs from a log or a mirror, and check them"),
    "vsa": Command(
        "touchplate.builder.cli.summary", "builder", "check a file and sign a summary of it (VSA)"
    ),
    "vsa check": Command("touchplate.verify.cli_summary", "", "check a verification summary (VSA), offline"),
    "link check": Command(
        "touchplate.verify.cli_link", "", "check links of rebuilderd about a file, offline"
    ),
    "trust": Command("touchplate.verify.cli_trust", "", "make, show and export trust files"),
    "keygen": Command("touchplate.verify.cli_keygen", "", "make a key for one role"),
    "log": Command("touchplate.log.cli", "log", "read, recompute and follow a log"),
    "log witness": Command("touchplate.node.cli_witness", "all", "cosign the heads of other people's logs"),
    "log serve": Command("touchplate.node.cli_log", "all", "run a log without adapters"),
    "rebuild": Command(
        "touchplate.builder.cli.rebuild", "builder", "rebuild a published package and compare"
    ),
    "definition": Command(
        "touchplate.builder.cli.definition", "builder", "check, infer, show and begin build definitions"
    ),
    "builder work": Command("touchplate.builder.cli.work", "builder", "rebuild what a queue asks for"),
    "builder probe": Command("touchplate.builder.cli.probe", "builder", "what this host's sandboxes give"),
    "builder root": Command(
        "touchplate.builder.cli.root", "builder", "lock and make build roots of pinned packages"
    ),
    "jobs": Command("touchplate.builder.cli.jobs", "builder", "add, list, cancel and watch a queue's jobs"),
    "peer": Command("touchplate.node.cli_peer", "all", "be one of several peers that hold one log"),
    "net": Command("touchplate.node.cli_net", "all", "run a network of peers on this machine"),
    "serve": Command("touchplate.node.cli", "all", "run a node: log, builder, gate and adapters"),
    "setup": Command("touchplate.node.cli_setup", "all", "print client settings that enforce"),
}


class CommandModule(Protocol):
    """What each part's command module offers."""

    def register(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the sub-command."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `touchplate` with `argv` (default: the process's). Returns 0, 1, 2 or 64; 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    try:
        code = _dispatch(arguments)
        flush_output()  # here, not at exit: an answer that could not be written is no answer
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _close_output()
        return UNDETERMINED
    except Exception as error:
        if not _is_expected(error):
            raise
        try:
            print_error(error, as_json=as_json)
            flush_output()
        except OSError:
            _close_output()
        return exit_code(error)


def exit_code(error: Exception) -> int:
    """The exit code that an error stands for."""
    # A log's own word may be the reason of a transport error, and decides nothing.
    if isinstance(error, TransportError):
        return UNDETERMINED
    if getattr(error, "reason", "") == UsageError.default_reason:
        return USAGE
    refused = isinstance(error, RefusedError) or (isinstance(error, ReportedError) and error.evidence)
    return REFUSED if refused else UNDETERMINED


def _dispatch(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("--help", "-h", "help"):
        print_text(_help())
        return OK if arguments else USAGE
    if name == "--version":
        print_text(f"touchplate {read_version()}\n")
        return OK
    # A command of two words belongs to another part than its first word does.
    if (longer := " ".join(arguments[:2])) in COMMANDS:
        name = longer
    command = COMMANDS.get(name)
    if command is None:
        known = ", ".join(COMMANDS)
        raise UsageError(f"there is no command {name[:40]!r}; known: {known}")
    try:
        module = cast(CommandModule, importlib.import_module(command.module))
        parser = Parser(prog=f"touchplate {name}", description=command.summary)
        module.register(parser)
        return module.run(parser.parse_args(arguments[len(name.split()) :]))
    except ModuleNotFoundError as error:
        raise _missing_part(name, command, error) from error


def _missing_part(name: str, command: Command, error: ModuleNotFoundError) -> VerifyError:
    install = f"touchplate[{command.extra}]" if command.extra else "touchplate"
    return VerifyError(
        f"`touchplate {name}` needs a part that is not installed ({error.name}): pip install '{install}'",
        reason="not-installed",
    )


def _is_expected(error: Exception) -> bool:
    """Whether an error is one of ours or of the system: one line says enough, a traceback would not help."""
    if isinstance(error, VerifyError | OSError):
        return True
    # The other parts' errors, which this one may not import: their trees carry a reason as well.
    return type(error).__module__.startswith("touchplate.") and hasattr(error, "reason")


def _help() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: touchplate COMMAND …",
            "",
            *lines,
            "",
            "`touchplate COMMAND --help` shows the options; `touchplate --version` the version.",
            "exit codes: 0 verified or identical, 1 refused or different, 2 cannot be determined here,",
            "64 usage",
            "",
        ]
    )


def _close_output() -> None:
    # The reader is gone or the disk is full. Without this the interpreter complains once more when it flushes
    # at exit.
    try:
        sys.stdout.close()
    except OSError:
        return
