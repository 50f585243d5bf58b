"""What Maven's output says about a failed build, in a few lines: what it was not given, and the errors, not
the advice after them."""

import re
from collections.abc import Iterator

from touchplate.builder.failure import join_first
from touchplate.builder.plan import REPOSITORY_FOLDER

_ERROR = "[ERROR] "

# Printed after every failure, whatever its cause.
_ADVICE = (
    "-> [Help",
    "To see the full stack trace",
    "Re-run Maven",
    "For more information about the errors",
    "[Help ",
    "After correcting the problems",
    "COMPILATION ERROR",
)


_LACKING = re.compile(
    r"The POM for (\S{1,300}) is missing, no dependency information available"
    rf"|Could not find artifact (\S{{1,300}}) in \S+ \(file://{REPOSITORY_FOLDER}/"
)
"""Maven goes on without a POM, and fails later, at a class or an element that it would have led to."""


def explain_failure(log: bytes) -> str | None:
    """What a Maven log says was asked for and is not in the lock, and its first distinct errors, on one line;
    None when it has neither."""
    lines = log.decode("utf-8", "replace").splitlines()
    return join_first([*dict.fromkeys(_lacking(lines)), *_errors(lines)])


def _lacking(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if match := _LACKING.search(line):
            # Maven names the artifact that the POM belongs to.
            what = f"the POM of {match[1]}" if match[1] else match[2]
            yield f"{what} is not in the input lock"


def _errors(lines: list[str]) -> Iterator[str]:
    for raw in lines:
        line = raw.removeprefix(_ERROR).strip() if raw.startswith(_ERROR) else ""
        if not line.startswith(_ADVICE):
            yield line
