"""Comparison v1: what a rebuilder found when it set its own file beside the published one."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.fields import (
    check_same_digests,
    take_choice,
    take_count,
    take_digests,
    take_list,
    take_object,
    take_sha256,
    take_text,
    take_upstream_uri,
)
from touchplate.verify.jcs import JSON, JSONValue
from touchplate.verify.purl import PackageURL, parse_purl
from touchplate.verify.subjects import Subject
from touchplate.verify.values import value

COMPARISON_TYPE = "https://touchplate.dev/predicates/comparison/v1"

Result: TypeAlias = Literal["identical", "equivalent", "different", "not-built"]
RESULTS: tuple[Result, ...] = get_args(Result)

PHASES = ("definition", "fetch", "build", "collect")
FAILURES = ("timeout", "exit-status", "missing-output", "refused-input", "refused-output", "too-large")

_ALWAYS = ("result", "package", "published", "definition")

# Statement format 4, the table of results: what must stand beside _ALWAYS. All else is forbidden.
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "identical": ("rebuilt", "provenance"),
    "equivalent": ("rebuilt", "provenance", "stabilizers", "stabilized"),
    "different": ("rebuilt", "provenance", "differences"),
    "not-built": ("failure",),
}

_SOMETIMES = frozenset(key for keys in _REQUIRED.values() for key in keys)

_STABILIZER = "[a-z0-9]+(?:-[a-z0-9]+)*@[1-9][0-9]{0,8}"  # compiled on use, and then kept by `re`


@value
class File:
    """Digests (sha256 always) and size in bytes of a file; `uri` says where it was published."""

    digests: Mapping[str, str]
    size: int
    uri: str | None = None

    @property
    def sha256(self) -> str:
        """The digest that identifies the file."""
        return self.digests["sha256"]


@value
class Differences:
    """How two files differ: number of differing members, causes, a summary for people, a report by digest."""

    count: int
    causes: tuple[str, ...]
    summary: tuple[str, ...]
    report: File | None = None


@value
class Failure:
    """Why nothing was built: a phase of `PHASES`, a reason of `FAILURES`, a detail for people."""

    phase: str
    reason: str
    detail: str


@value
class Comparison:
    """One published file and what became of rebuilding it.

    `definition`: sha256 of the build definition. `provenance`: identity (hex) of the entry about `rebuilt`.
    `stabilizers`: in order of application; `stabilized`: sha256 that both files then have.
    """

    result: Result
    package: PackageURL
    published: File
    definition: str
    rebuilt: File | None = None
    provenance: str | None = None
    stabilizers: tuple[str, ...] = ()
    stabilized: str | None = None
    differences: Differences | None = None
    failure: Failure | None = None


def parse_comparison(subjects: Sequence[Subject], predicate: Mapping[str, JSON]) -> Comparison:
    """The comparison in a predicate, checked against its one subject (statement format 4).

    Raises MalformedError.
    """
    members = _take_members(dict(predicate))
    if len(subjects) != 1:
        raise MalformedError(f"a comparison has one subject, not {len(subjects)}")
    package = parse_purl(take_text(members["package"], "comparison package"))
    if package != subjects[0].uri:
        raise MalformedError(
            f"comparison package {shown(str(package))} is not its subject {shown(str(subjects[0].uri))}"
        )
    published = _parse_published(members["published"])
    check_same_digests(published.digests, subjects[0].digests, "published is not the subject")
    definition = take_object(members["definition"], "definition", ("digest",))
    comparison = Comparison(
        result=_parse_result(members["result"]),
        package=package,
        published=published,
        definition=take_digests(definition["digest"], "definition digest")["sha256"],
        rebuilt=_parse_file(members["rebuilt"], "rebuilt") if "rebuilt" in members else None,
        provenance=_parse_provenance(members["provenance"]) if "provenance" in members else None,
        stabilizers=_parse_stabilizers(members["stabilizers"]) if "stabilizers" in members else (),
        stabilized=_parse_stabilized(members["stabilized"]) if "stabilized" in members else None,
        differences=_parse_differences(members["differences"]) if "differences" in members else None,
        failure=_parse_failure(members["failure"]) if "failure" in members else None,
    )
    _check_rebuilt(comparison)
    return comparison


def format_comparison(comparison: Comparison) -> dict[str, JSONValue]:
    """The predicate of `comparison`. `statements.make_statement` checks the result."""
    members: dict[str, JSONValue] = {
        "result": comparison.result,
        "package": str(comparison.package),
        "published": _format_file(comparison.published),
        "definition": {"digest": {"sha256": comparison.definition}},
    }
    if comparison.rebuilt is not None:
        members["rebuilt"] = _format_file(comparison.rebuilt)
    if comparison.provenance is not None:
        members["provenance"] = {"identity": comparison.provenance}
    if comparison.stabilizers:
        members["stabilizers"] = comparison.stabilizers
    if comparison.stabilized is not None:
        members["stabilized"] = {"sha256": comparison.stabilized}
    if comparison.differences is not None:
        members["differences"] = _format_differences(comparison.differences)
    if comparison.failure is not None:
        failure = comparison.failure
        members["failure"] = {"phase": failure.phase, "reason": failure.reason, "detail": failure.detail}
    return members


def _take_members(predicate: dict[str, JSON]) -> dict[str, JSON]:
    result = _parse_result(predicate.get("result"))
    forbidden = predicate.keys() & _SOMETIMES - {*_REQUIRED[result]}
    if forbidden:
        raise MalformedError(f"a comparison {result} must not have {', '.join(sorted(forbidden))}")
    return take_object(predicate, f"comparison {result}", (*_ALWAYS, *_REQUIRED[result]))


def _parse_result(value: JSON) -> Result:
    for known in RESULTS:
        if value == known:
            return known
    raise MalformedError(f"comparison result is {shown(value)}, not one of {', '.join(RESULTS)}")


def _parse_published(value: JSON) -> File:
    members = take_object(value, "published", ("uri", "digest", "size"))
    return File(
        digests=take_digests(members["digest"], "published digest"),
        size=take_count(members["size"], "published size"),
        uri=take_upstream_uri(members["uri"], "published uri"),
    )


def _parse_file(value: JSON, what: str) -> File:
    members = take_object(value, what, ("digest", "size"))
    digests = take_digests(members["digest"], f"{what} digest")
    return File(digests, take_count(members["size"], f"{what} size"), None)


def _parse_provenance(value: JSON) -> str:
    members = take_object(value, "comparison provenance", ("identity",))
    return take_sha256(members["identity"], "provenance identity")


def _parse_stabilizers(value: JSON) -> tuple[str, ...]:
    names = tuple(take_text(name, "stabilizer") for name in take_list(value, "stabilizers", least=1))
    for name in names:
        if re.fullmatch(_STABILIZER, name) is None:
            raise MalformedError(f"stabilizer {shown(name)} is not of the form name@version")
    return names


def _parse_stabilized(value: JSON) -> str:
    return take_sha256(take_object(value, "stabilized", ("sha256",))["sha256"], "stabilized sha256")


def _parse_differences(value: JSON) -> Differences:
    members = take_object(value, "differences", ("count", "causes", "summary"), ("report",))
    return Differences(
        count=take_count(members["count"], "differences count", least=1),
        causes=tuple(take_text(cause, "cause") for cause in take_list(members["causes"], "causes")),
        summary=tuple(take_text(line, "summary line") for line in take_list(members["summary"], "summary")),
        report=_parse_file(members["report"], "differences report") if "report" in members else None,
    )


def _parse_failure(value: JSON) -> Failure:
    members = take_object(value, "failure", ("phase", "reason", "detail"))
    return Failure(
        phase=take_choice(members["phase"], "failure phase", PHASES),
        reason=take_choice(members["reason"], "failure reason", FAILURES),
        detail=take_text(members["detail"], "failure detail"),
    )


def _check_rebuilt(comparison: Comparison) -> None:
    published, rebuilt = comparison.published, comparison.rebuilt
    if rebuilt is None:
        return
    if comparison.result == "identical":
        check_same_digests(rebuilt.digests, published.digests, "identical, yet rebuilt is not published")
        if rebuilt.size != published.size:
            raise MalformedError(f"identical, yet rebuilt has {rebuilt.size} bytes of {published.size}")
    elif rebuilt.sha256 == published.sha256:
        raise MalformedError(
            f"comparison {comparison.result} of two files with the same sha256 {rebuilt.sha256}"
        )


def _format_file(file: File) -> dict[str, JSONValue]:
    members: dict[str, JSONValue] = {"digest": dict(file.digests), "size": file.size}
    if file.uri is not None:
        members["uri"] = file.uri
    return members


def _format_differences(differences: Differences) -> dict[str, JSONValue]:
    members: dict[str, JSONValue] = {
        "count": differences.count,
        "causes": differences.causes,
        "summary": differences.summary,
    }
    if differences.report is not None:
        members["report"] = _format_file(differences.report)
    return members
