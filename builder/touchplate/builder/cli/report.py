"""What a rebuild shows: a table for people, JSON for programs, one exit code."""

import hashlib
from collections.abc import Sequence

from touchplate.builder.inputs.repository import RemoteFile
from touchplate.builder.rebuild import OutputVerdict, Rebuild
from touchplate.builder.repeat import Repeat
from touchplate.builder.repeatability.report import repeatability_json, repeatability_lines
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_line, print_pairs

IDENTICAL = 0
DIFFERENT = 1


def exit_code(rebuild: Rebuild) -> int:
    """0 identical; 1 equivalent, different or not built: readers count other bytes only if they say so."""
    return IDENTICAL if rebuild.result == "identical" else DIFFERENT


def rebuild_json(rebuild: Rebuild, notes: Sequence[str] = ()) -> dict[str, JSONValue]:
    """Everything about a rebuild, as `--json` prints it."""
    definition = rebuild.definition
    value: dict[str, JSONValue] = {
        "package": str(definition.package),
        "result": rebuild.result,
        "definition": {"name": definition.name, "sha256": definition.sha256},
        "source": {
            "kind": definition.source.kind,
            "files": [{"uri": file.uri, **_source_digests(file)} for file in rebuild.sources],
        },
        "command": list(definition.command),
        "tools": [
            {"name": tool.name, "sha256": tool.digests["sha256"], **tool.annotations}
            for tool in rebuild.tools
        ],
        "backend": rebuild.backend or "none",
        "milliseconds": {phase: round(seconds * 1000) for phase, seconds in rebuild.seconds.items()},
        "notes": list(notes),
        "outputs": [],
    }
    if rebuild.failure is not None:
        failure = rebuild.failure
        value["failure"] = {"phase": failure.phase, "reason": failure.reason, "detail": failure.detail}
    if rebuild.built is not None:
        lock = rebuild.built.lock
        value["lock"] = {"sha256": lock.sha256, "files": len(lock.inputs), "bytes": lock.total_bytes}
        value["outputs"] = [
            {"package": str(output.package), **_verdict_json(verdict)}
            for output, verdict in zip(definition.outputs, rebuild.built.verdicts, strict=True)
        ]
        if rebuild.repeatability is not None:
            value["repeatability"] = repeatability_json(rebuild.repeatability)
        if rebuild.built.result.labels:
            value["labels"] = dict(rebuild.built.result.labels)
    return value


def _source_digests(file: RemoteFile) -> dict[str, JSONValue]:
    return {name: digest for name, digest in file.digests.items() if name != "sha512"}


def _verdict_json(verdict: OutputVerdict) -> dict[str, JSONValue]:
    found = verdict.comparison
    value: dict[str, JSONValue] = {
        "result": found.result,
        "published": {"sha256": verdict.published.sha256, "size": len(verdict.published.data)},
        "rebuilt": {"sha256": verdict.rebuilt.sha256, "size": verdict.rebuilt.size},
        "stabilizers": found.stabilizers,
        "causes": found.causes,
        "summary": found.summary,
        "differences": found.count,
        "matched": found.matched,
    }
    if found.report:
        value["report"] = {"sha256": hashlib.sha256(found.report).hexdigest(), "size": len(found.report)}
    if found.detailed:
        value["diffoscope"] = {
            "sha256": hashlib.sha256(found.detailed).hexdigest(),
            "size": len(found.detailed),
        }
    if found.stabilized:
        value["stabilized"] = {"sha256": found.stabilized}
    return value


def print_rebuild(rebuild: Rebuild, indexes: Sequence[int] = ()) -> None:
    """The table that ends a rebuild."""
    definition = rebuild.definition
    pairs = [
        ("package", str(definition.package)),
        ("result", rebuild.result),
        *_verdict_lines(rebuild),
        ("source", f"{definition.source.kind}: {', '.join(file.uri for file in rebuild.sources)}"),
        ("definition", f"{definition.name} sha256 {definition.sha256}"),
    ]
    if rebuild.built is not None:
        lock = rebuild.built.lock
        megabytes = lock.total_bytes / 1e6
        pairs.append(("inputs", f"{len(lock.inputs)} files, {megabytes:.1f} MB, lock sha256 {lock.sha256}"))
    pairs += [
        ("tools", _tools_line(rebuild)),
        ("sandbox", rebuild.backend or f"too weak to sign results: lacks {', '.join(rebuild.missing)}"),
        ("seconds", ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in rebuild.seconds.items())),
    ]
    if indexes:
        pairs.append(("log", f"indexes {', '.join(map(str, indexes))}"))
    print_pairs(pairs)
    if rebuild.repeatability is not None:
        print_line()
        print_pairs(repeatability_lines(rebuild.repeatability))


def _tools_line(rebuild: Rebuild) -> str:
    named = [f"{tool.name} {tool.annotations.get('version', '')}".strip() for tool in rebuild.tools]
    if any(tool.is_host_tool for tool in rebuild.tools):
        named.append("not pinned (from the host)")
    return ", ".join(named)


def _verdict_lines(rebuild: Rebuild) -> list[tuple[str, str]]:
    if rebuild.failure is not None:
        failure = rebuild.failure
        return [("failed", f"phase {failure.phase}, {failure.reason}"), ("detail", failure.detail)]
    assert rebuild.built is not None
    lines = []
    several = len(rebuild.built.verdicts) > 1
    for output, verdict in zip(rebuild.definition.outputs, rebuild.built.verdicts, strict=True):
        found, file = verdict.comparison, verdict.published
        if several:
            lines.append(("file", f"{output.package.file_name}: {found.result}"))
        lines.append(("published", f"{file.sha256}  {len(file.data)} bytes"))
        lines.append(("rebuilt", f"{verdict.rebuilt.sha256}  {verdict.rebuilt.size} bytes"))
        if found.matched:
            lines.append(("the same", ", ".join(found.matched)))
        if found.result == "equivalent":
            lines.append(("equal after", ", ".join(found.stabilizers)))
            lines.append(("stabilized", found.stabilized))
        if found.result != "identical":
            lines.append(("causes", ", ".join(found.causes)))
            lines += [("" if number else "why", line) for number, line in enumerate(found.summary)]
        if found.detailed:
            digest = hashlib.sha256(found.detailed).hexdigest()
            lines.append(("in full", f"evidence {digest}: diffoscope, {len(found.detailed)} bytes"))
    return [*lines, *rebuild.built.result.labels.items()]


def print_repeat(repeat: Repeat) -> None:
    """The table of a repeated rebuild."""
    print_rebuild(repeat.here)
    was = ", ".join(sorted(repeat.logged.rebuilt.values())) or repeat.logged.result
    print_line()
    word = "the same" if repeat.is_same else "NOT the same"
    print_pairs([("logged", f"index {repeat.logged.index}: {was}"), ("repeated", word)])


def repeat_json(repeat: Repeat) -> dict[str, JSONValue]:
    """`--json` of a repeated rebuild."""
    logged: dict[str, JSONValue] = {
        "index": str(repeat.logged.index),
        "result": repeat.logged.result,
        "rebuilt": repeat.logged.rebuilt,
    }
    return {**rebuild_json(repeat.here), "logged": logged, "same": repeat.is_same}
