"""What a peer tells everybody about the rules of its log: those in force, and what is approved (format 10).

It is what the peer says, and signed by nobody. Who makes a statement from it names the rules by digest: made
from a lie, the statement is of rules that no log is under, and no peer takes it.
"""

from dataclasses import dataclass

from touchplate.log.errors import RequestError
from touchplate.log.peers.changes import Approval, Scheduled
from touchplate.log.peers.rules import Rules, parse_rules
from touchplate.log.peers.state import (
    MAX_STATE_BYTES,
    State,
    format_approvals,
    format_scheduled,
    parse_approval,
    parse_scheduled,
)
from touchplate.verify.encoding import parse_decimal
from touchplate.verify.errors import MalformedError, VerifyError
from touchplate.verify.fields import take_list, take_object, take_text
from touchplate.verify.jcs import format_json, parse_json

RULES_PATH = "/peers/rules"
"""Below a log's prefix."""

_FIELDS = ("approvals", "height", "rules", "rules_sha256", "scheduled", "size")


@dataclass(frozen=True)
class Overview:
    """The rules after the block at `height`, when the tree had `size` entries."""

    height: int
    size: int
    rules: Rules
    approvals: tuple[Approval, ...]
    scheduled: Scheduled | None


def format_overview(state: State) -> bytes:
    """The answer at `RULES_PATH`."""
    return format_json(
        {
            "approvals": format_approvals(state.agreed.approvals),
            "height": str(state.height),
            "rules": state.rules.document,
            "rules_sha256": state.rules.digest,
            "scheduled": format_scheduled(state.agreed.scheduled),
            "size": str(state.size),
        }
    )


def parse_overview(body: bytes) -> Overview:
    """What stands in an answer; its digest is computed, never believed. Raises RequestError."""
    try:
        members = take_object(parse_json(body, max_bytes=MAX_STATE_BYTES), "answer", _FIELDS)
        rules = parse_rules(members["rules"])
        if rules.digest != members["rules_sha256"]:
            raise MalformedError("its rules have another digest than it says")
        return Overview(
            parse_decimal(take_text(members["height"], "height"), "height"),
            parse_decimal(take_text(members["size"], "size"), "size"),
            rules,
            tuple(parse_approval(each) for each in take_list(members["approvals"], "approvals")),
            parse_scheduled(members["scheduled"]),
        )
    except VerifyError as error:
        raise RequestError(f"this is no answer about a log's rules: {error}") from error
