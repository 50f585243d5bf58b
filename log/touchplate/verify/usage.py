"""The command line's grammar errors and exit codes, for every part's sub-commands."""

import argparse
from typing import Any, NoReturn

from touchplate.verify.errors import VerifyError

OK = 0
"""Verified, identical, done."""

REFUSED = 1
"""Refused, different."""

UNDETERMINED = 2
"""Cannot be determined here: something is missing or cannot be read."""

USAGE = 64
"""EX_USAGE of sysexits.h: argparse's own 2 would read as "cannot be determined"."""


HELP_WIDTH = 80
"""Columns of a help text: what every terminal has."""


class UsageError(VerifyError):
    """The command line is not understood. Every error whose reason is `usage` ends with exit code 64."""

    default_reason = "usage"


class _Formatter(argparse.HelpFormatter):
    """Of one width: to ask the terminal for its, argparse loads three compression libraries at each start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=HELP_WIDTH)


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of leaving with exit code 2. Sub-parsers are of the same class."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", _Formatter)
        super().__init__(*args, **kwargs)

    def add_subparsers(self, **kwargs: Any) -> Any:
        """As argparse does; the help of a sub-command begins with the line that the list of them has."""
        commands = super().add_subparsers(**kwargs)
        add_parser = commands.add_parser

        def add_described(name: str, **options: Any) -> Any:
            return add_parser(name, **{"description": options.get("help"), **options})

        commands.add_parser = add_described  # type: ignore[method-assign]
        return commands

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the name of the command."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def read_version() -> str:
    """The version of touchplate that is installed here."""
    from importlib import metadata  # on use: it costs as much as the rest of the start

    try:
        return metadata.version("touchplate")
    except metadata.PackageNotFoundError:
        return "(not installed)"
