"""The command line's grammar errors and exit codes, for every part's sub-commands."""

import argparse
from typing import NoReturn

from touchplate.verify.errors import VerifyError

OK = 0
"""Verified, identical, done."""

REFUSED = 1
"""Refused, different."""

UNDETERMINED = 2
"""Cannot be determined here: something is missing or cannot be read."""

USAGE = 64
"""EX_USAGE of sysexits.h: argparse's own 2 would read as "cannot be determined"."""


class UsageError(VerifyError):
    """The command line is not understood. Every error whose reason is `usage` ends with exit code 64."""

    default_reason = "usage"


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of leaving with exit code 2. Sub-parsers are of the same class."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the name of the command."""
        raise UsageError(f"{message} (see `{self.prog} --help`)")
