"""What commands print: plain tables, one-line errors, and the JSON form of both."""

import json
import sys
from collections.abc import Sequence
from typing import TextIO

from touchplate.verify.errors import RefusedError, ReportedError
from touchplate.verify.jcs import JSONValue

CONTROL_REPLACEMENT = "\ufffd"
"""Stands for a control character: untrusted text must not write escape sequences to a terminal."""


def print_line(line: str = "") -> None:
    """One line to standard output, without control characters."""
    print_text(printable(line) + "\n")


def print_text(text: str) -> None:
    """Text of our own, line ends included, to standard output."""
    _write(sys.stdout, text)


def print_note(line: str) -> None:
    """One line for people to standard error, which keeps standard output clean for what was asked for."""
    _write(sys.stderr, f"touchplate: {printable(line)}\n")


def flush_output() -> None:
    """Hand over what was printed. Raises OSError when nobody can take it."""
    if sys.stdout is not None:
        sys.stdout.flush()


def print_json(value: JSONValue) -> None:
    """One JSON value and a line end to standard output.

    All but ASCII is escaped: any terminal shows it, none obeys it, and the name of a file that is not UTF-8
    (held as lone surrogates, PEP 383) has a form.
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True, default=dict)
    _write(sys.stdout, text + "\n")


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Aligned `name  value` lines; a name of "" continues the one above."""
    for line in _aligned(pairs):
        print_line(line)


def print_refusal(error: RefusedError, remedy: str, pairs: Sequence[tuple[str, str]]) -> None:
    """A refusal to standard error: the reason, why, what to do, then what is known."""
    lines = [f"refused: {error.reason} (step {error.step})", f"  why: {error}", f"  do:  {remedy}"]
    for line in [*lines, *_aligned(pairs)]:
        _write(sys.stderr, printable(line) + "\n")


def _aligned(pairs: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name:<{width}}  {value}".rstrip() for name, value in pairs]


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns under `heads`."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        print_line("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def print_error(error: Exception, *, as_json: bool) -> None:
    """An error as one line on standard error, and with `as_json` as an object on standard output too."""
    if as_json:
        print_json(error_json(error))
    lines = [line.strip() for line in describe(error).splitlines()]
    print_note(" ".join(line for line in lines if line))


def describe(error: Exception) -> str:
    """The text of an error; for the system's, what failed and where."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror.lower()}"
    text = str(error) or type(error).__name__
    if isinstance(error, RefusedError):
        return f"refused: {error.reason} (step {error.step}): {text}"
    return text


def error_json(error: Exception) -> dict[str, JSONValue]:
    """The machine form of an error: `error`, `reason`; `step` when the numbered check refused; of a report
    about a log the `evidence` and the `file` that keeps it."""
    reason = "system" if isinstance(error, OSError) else getattr(error, "reason", "error")
    value: dict[str, JSONValue] = {"error": describe(error), "reason": str(reason)}
    if isinstance(error, RefusedError):
        value["error"] = str(error)
        value["step"] = error.step
    if isinstance(error, ReportedError):
        value["evidence"] = error.evidence
        value["file"] = error.kept
    return value


def _write(stream: TextIO | None, text: str) -> None:
    """Write what the stream's encoding can say; the rest is escaped. A stream that was closed is None."""
    if stream is not None:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def printable(text: str) -> str:
    """`text` with each control, format or lone-surrogate character replaced; spaces stay."""
    return "".join(one if one == " " or one.isprintable() else CONTROL_REPLACEMENT for one in text)
