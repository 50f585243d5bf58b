"""What the output of a failed command says, in a line: what each ecosystem's `explain_failure` gives."""

from collections.abc import Iterable

from touchplate.builder.comparison.contents import printable

MAX_LINES = 6
"""Lines of a failure's detail: a compiler repeats itself, and the log itself is evidence enough."""


def join_first(lines: Iterable[str]) -> str | None:
    """The first distinct ones of `lines` on one line, safe to show; None when there is none."""
    found: list[str] = []
    for line in lines:  # no further than needed: a log may have a hundred thousand
        said = printable(line.strip())
        if said and said not in found:
            found.append(said)
        if len(found) == MAX_LINES:
            break
    return "; ".join(found) or None
