"""The sub-commands of `touchplate`: where each lives, what it needs, and the overview of `--help`."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Command(NamedTuple):
    """Where a sub-command lives, the extra that brings what it needs, and one line about it."""

    module: str
    extra: str
    summary: str


GROUPS: dict[str, dict[str, Command]] = {
    "check what others say, trusting keys only (in every installation)": {
        "verify": Command(
            "touchplate.verify.cli_verify", "", "check a file against its proof bundle, offline"
        ),
        "inspect": Command(
            "touchplate.verify.cli_inspect", "", "show what a node knows about a package or digest"
        ),
        "prove": Command(
            "touchplate.verify.cli_prove", "", "make proofs from a log or a mirror, and check them"
        ),
        "vsa check": Command(
            "touchplate.verify.cli_summary", "", "check a verification summary (VSA), offline"
        ),
        "link check": Command(
            "touchplate.verify.cli_link", "", "check links of rebuilderd about a file, offline"
        ),
        "trust": Command("touchplate.verify.cli_trust", "", "make, show and export trust files"),
        "keygen": Command("touchplate.verify.cli_keygen", "", "make a key for one role"),
        "completion": Command(
            "touchplate.verify.cli_completion", "", "print what makes a shell complete commands"
        ),
    },
    "rebuild, alone or as a fleet": {
        "rebuild": Command(
            "touchplate.builder.cli.rebuild", "builder", "rebuild a published package and compare"
        ),
        "definition": Command(
            "touchplate.builder.cli.definition", "builder", "check, infer, show and begin build definitions"
        ),
        "builder probe": Command(
            "touchplate.builder.cli.probe", "builder", "what this host's sandboxes give"
        ),
        "builder root": Command(
            "touchplate.builder.cli.root", "builder", "lock and make build roots of pinned packages"
        ),
        "builder work": Command("touchplate.builder.cli.work", "builder", "rebuild what a queue asks for"),
        "jobs": Command(
            "touchplate.builder.cli.jobs", "builder", "add, list, cancel and watch a queue's jobs"
        ),
        "vsa": Command(
            "touchplate.builder.cli.summary", "builder", "check a file and sign a summary of it (VSA)"
        ),
    },
    "serve packages": {
        "serve": Command("touchplate.node.cli", "all", "run a node: log, builder, gate and adapters"),
        "setup": Command("touchplate.node.cli_setup", "all", "print client settings that enforce"),
    },
    "keep a log": {
        "log": Command("touchplate.log.cli", "log", "read, recompute and follow a log"),
        "log serve": Command("touchplate.node.cli_log", "all", "run a log without adapters"),
        "log witness": Command(
            "touchplate.node.cli_witness", "all", "cosign the heads of other people's logs"
        ),
        "peer": Command("touchplate.node.cli_peer", "all", "be one of several peers that hold one log"),
        "net": Command("touchplate.node.cli_net", "all", "run a network of peers on this machine"),
    },
}
"""What each group is for, and its commands in the order in which they are shown."""

COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}

TAIL = """
`touchplate COMMAND --help` shows the options; `touchplate --version` says which
one this is.

exit codes: 0  verified, identical, done
            1  refused, different, not built
            2  cannot be determined here: something is missing or cannot be read
           64  the command line is wrong
          130  interrupted
"""


def format_overview() -> str:
    """Every command by what it is for, and what the exit codes mean; at most 80 columns."""
    width = max(len(name) for name in COMMANDS)
    lines = ["usage: touchplate COMMAND …"]
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *_listing(group, width)]
    return "\n".join([*lines, TAIL])


def format_family(word: str) -> str:
    """The commands of two words that begin with `word`."""
    family = members(word)
    lines = _listing(family, max(len(name) for name in family))
    return "\n".join([f"usage: touchplate {word} COMMAND …", "", *lines, TAIL])


def format_also(name: str) -> str:
    """What stands below the help of a command that shares its first word with others; else nothing."""
    family = members(name)
    if not family:
        return ""
    return "see also: " + "; ".join(f"touchplate {one} ({family[one].summary})" for one in family)


def members(word: str) -> Mapping[str, Command]:
    """The commands of two words whose first one is `word`."""
    return {name: command for name, command in COMMANDS.items() if name.startswith(f"{word} ")}


def _listing(group: Mapping[str, Command], width: int) -> Iterable[str]:
    return (f"  {name:<{width}}  {command.summary}" for name, command in group.items())
