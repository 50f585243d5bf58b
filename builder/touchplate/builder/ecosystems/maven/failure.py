"""What Maven's output says about a failed build, in a few lines: the errors, not the advice after them."""

from collections.abc import Iterator

from touchplate.builder.failure import join_first

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
    return join_first(_errors(log))


def _errors(log: bytes) -> Iterator[str]:
    for raw in log.decode("utf-8", "replace").splitlines():
        line = raw.removeprefix(_ERROR).strip() if raw.startswith(_ERROR) else ""
        if not line.startswith(_ADVICE):
            yield line
