"""`touchplate`: the one console command. It finds the part that a sub-command belongs to, and reports errors.

A sub-command is a module with `register(parser)` and `run(arguments) -> exit code`, imported on use:
`touchplate verify` must start fast, and most installations hold only some of the parts.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from touchplate.verify.commands import (
    COMMANDS,
    Command,
    format_also,
    format_family,
    format_overview,
    members,
)
from touchplate.verify.errors import RefusedError, ReportedError, TransportError, VerifyError
from touchplate.verify.output import flush_output, print_error, print_text
from touchplate.verify.usage import OK, REFUSED, UNDETERMINED, USAGE, Parser, UsageError, read_version

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


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
        print_text(format_overview())
        return OK if arguments else USAGE
    if name == "--version":
        print_text(f"touchplate {read_version()}\n")
        return OK
    # A command of two words belongs to another part than its first word does.
    if (longer := " ".join(arguments[:2])) in COMMANDS:
        name = longer
    command = COMMANDS.get(name)
    if command is None:
        return _only_a_family(name, arguments[1:])
    try:
        module = cast(CommandModule, importlib.import_module(command.module))
        parser = Parser(
            prog=f"touchplate {name}", description=command.summary, epilog=format_also(name) or None
        )
        module.register(parser)
        return module.run(parser.parse_args(arguments[len(name.split()) :]))
    except ModuleNotFoundError as error:
        raise _missing_part(name, command, error) from error


def _only_a_family(word: str, rest: list[str]) -> int:
    """Show the commands that begin with a word which is none by itself. Raises UsageError without any."""
    if members(word) and (not rest or rest[0] in ("--help", "-h", "help")):
        print_text(format_family(word))
        return OK if rest else USAGE
    import difflib  # on use: nobody who types a command that exists waits for it

    wanted = " ".join([word, *rest[:1]]) if members(word) else word
    near = difflib.get_close_matches(wanted, COMMANDS, n=1) or list(members(word))[:1]
    meant = f", did you mean {near[0]!r}?" if near else ";"
    raise UsageError(f"there is no command {wanted[:40]!r}{meant} `touchplate --help` lists them")


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


def _close_output() -> None:
    # The reader is gone or the disk is full. Without this the interpreter complains once more when it flushes
    # at exit.
    try:
        sys.stdout.close()
    except OSError:
        return
