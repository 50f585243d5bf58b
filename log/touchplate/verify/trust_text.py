"""Writes a commented trust file for a person to keep and edit. `trust` reads it back."""

from collections.abc import Sequence

from touchplate.verify.values import value

_HEAD = """\
# Trust file of touchplate: what YOU believe when a file is checked. It is never sent anywhere.
# Every key here was handed to you by somebody; ask them over another way whether it is theirs.

[log]
policy = "{policy}"            # the log's keys, the witnesses and the quorum (C2SP tlog-policy)
# max_checkpoint_age = "24h"       # judged for fetched checkpoints and with --fresh; needs witnesses

[levels.reproduced]
operators = {operators}                      # different operators that must have built the same bytes
sources = {sources}   # kinds of source that count: vcs, source-release, sources-jar
stabilizers = []                   # name@version; non-empty lets `equivalent` rebuilds count
"""

_REBUILDER = """
[[rebuilder]]
operator = "{operator}"
builder = "{operator}/touchplate/{backend}/v1"   # the only builder that this key may sign for
key = \"\"\"
{key}\"\"\"
ecosystems = {ecosystems}
# until_index = 120000             # set it when the key is retired or stolen: from there on it counts no more
"""

_RECORDER = """
[[recorder]]
operator = "{operator}"
key = \"\"\"
{key}\"\"\"
ecosystems = {ecosystems}
"""

_VERIFIER = """
[[verifier]]                       # whose summaries `touchplate vsa check` believes; stands in no log
operator = "{operator}"   # the only verifier.id that this key may sign for
key = \"\"\"
{key}\"\"\"
ecosystems = {ecosystems}
"""

_REBUILDERD = """
[[rebuilderd]]                     # whose links `touchplate link check` shows; counts for no level
operator = "{operator}"
key = \"\"\"
{key}\"\"\"
"""

_POLICY_HEAD = """\
# Whose signatures make a checkpoint of the log valid (C2SP tlog-policy).
"""


@value
class TrustChoices:
    """What goes into a new trust file. Keys as text: verifier keys, and (operator, PEM) pairs."""

    logs: tuple[str, ...]
    witnesses: tuple[str, ...]
    rebuilders: tuple[tuple[str, str], ...]
    recorders: tuple[tuple[str, str], ...]
    verifiers: tuple[tuple[str, str], ...]
    rebuilderds: tuple[tuple[str, str], ...]
    """Instances of rebuilderd."""
    backend: str
    ecosystems: tuple[str, ...]
    operators: int
    sources: tuple[str, ...]


def format_trust_text(choices: TrustChoices, policy_name: str) -> tuple[str, str]:
    """(trust file, policy) for `choices`. Unchecked: `parse_trust` says whether they are good."""
    ecosystems = _list(choices.ecosystems)
    parts = [_HEAD.format(policy=policy_name, operators=choices.operators, sources=_list(choices.sources))]
    blocks = (
        (_REBUILDER, choices.rebuilders),
        (_RECORDER, choices.recorders),
        (_VERIFIER, choices.verifiers),
        (_REBUILDERD, choices.rebuilderds),
    )
    parts += [
        block.format(
            operator=_inside(operator),
            backend=_inside(choices.backend),
            key=_inside(key),
            ecosystems=ecosystems,
        )
        for block, keys in blocks
        for operator, key in keys
    ]
    return "".join(parts), _format_policy(choices.logs, choices.witnesses)


def _format_policy(logs: Sequence[str], witnesses: Sequence[str]) -> str:
    lines = [f"log {key}" for key in logs]
    lines += [f"witness w{number} {key}" for number, key in enumerate(witnesses, start=1)]
    if not witnesses:
        lines += ["# No witness: only the log itself says that everybody sees the same tree.", "quorum none"]
    else:
        members = " ".join(f"w{number}" for number in range(1, len(witnesses) + 1))
        lines += [f"group witnesses all {members}", "quorum witnesses"]
    return _POLICY_HEAD + "\n".join(lines) + "\n"


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{_inside(name)}"' for name in names) + "]"


def _inside(text: str) -> str:
    """`text` as it may stand between the quotes of a TOML string."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
