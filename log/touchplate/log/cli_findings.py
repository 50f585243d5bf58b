"""What fsck found, as the commands print it that recompute a log."""

from touchplate.log.fsck import Result
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_line

SHOWN_FINDINGS = 50
"""Findings printed one by one; --json has them all."""


def findings_json(result: Result) -> dict[str, JSONValue]:
    """`findings`, and how many `more` there were than are kept."""
    findings: list[JSONValue] = [{"where": each.where, "what": each.what} for each in result.findings]
    return {"findings": findings, "more": result.dropped}


def print_findings(result: Result) -> None:
    """One line each, up to SHOWN_FINDINGS."""
    for finding in result.findings[:SHOWN_FINDINGS]:
        print_line(str(finding))
    hidden = len(result.findings) - SHOWN_FINDINGS + result.dropped
    if hidden > 0:
        print_line(f"… and {hidden} more")


def count_findings(result: Result) -> str:
    """How many there are, in words."""
    count = len(result.findings) + result.dropped
    return f"{count} {'finding' if count == 1 else 'findings'}"
