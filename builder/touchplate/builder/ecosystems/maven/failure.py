"""What Maven's output says about a failed build, in a few lines: the errors, not the advice after them."""

from collections.abc import Iterator

from touchplate.builder.contents import printable

MAX_LINES = 6
"""Lines of a failure's detail: a compiler repeats itself, and the log itself is evidence enough."""

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


def explain_failure(log: bytes) -> str | None:
    """The first distinct errors of a Maven log on one line; None when it has none."""
    lines: list[str] = []
    for line in _errors(log):
        if line not in lines:
            lines.append(line)
        if len(lines) == MAX_LINES:
            break
    return "; ".join(lines) or None


def _errors(log: bytes) -> Iterator[str]:
    for raw in log.decode("utf-8", "replace").splitlines():
        line = printable(raw.removeprefix(_ERROR).strip()) if raw.startswith(_ERROR) else ""
        if line and not line.startswith(_ADVICE):
            yield line
