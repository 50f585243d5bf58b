"""SLSA Verification Summary Attestation (VSA) v1: what a verifier found about one file under a policy.

No entry of a log: a summary adds nothing to the evidence that it summarises. It is a convenience for whoever
trusts a verifier, and cannot or will not check the evidence.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from touchplate.verify.encoding import format_time, parse_time
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.fields import take_digests, take_list, take_map, take_text, take_texts
from touchplate.verify.jcs import JSON, JSONValue
from touchplate.verify.values import value

SUMMARY_TYPE = "https://slsa.dev/verification_summary/v1"

Result: TypeAlias = Literal["PASSED", "FAILED"]
RESULTS: tuple[Result, ...] = get_args(Result)

FAILED_LEVEL = "FAILED"
"""What stands in `verifiedLevels`, alone, when the policy was not met."""

_REQUIRED = ("verifier", "resourceUri", "policy", "verificationResult", "verifiedLevels")
_LEVEL = r"(SLSA_[A-Z0-9]+(?:_[A-Z0-9]+)*_LEVEL_)([0-9]{1,3})"
_TRACK = r"(SLSA_[A-Z0-9]+(?:_[A-Z0-9]+)*_LEVEL_)(?:[0-9]{1,3}|UNEVALUATED)"
# Without spaces and commas: lists of levels are shown, and asked for, with commas between them.
_PLAIN = r"[!-+\--~]+"
_VERSION = r"[0-9]{1,4}\.[0-9]{1,4}"
_NONE: Mapping[str, str] = MappingProxyType({})


@value
class Described:
    """A thing by digest (in-toto ResourceDescriptor): sha256 in hex, where it can be fetched, its name."""

    sha256: str
    uri: str | None = None
    name: str | None = None


@value
class Policy:
    """The policy of a summary: `uri` names it, `sha256` is that of its file, `files` those that it names."""

    uri: str
    sha256: str
    files: Mapping[str, str] = _NONE


@value
class Summary:
    """A verifier's word about one file. `time`: unix seconds, None when it does not say.

    `inputs`: every attestation that counted; empty when it does not say. `levels`: one of each track, and
    properties; `("FAILED",)` when the result is FAILED.
    """

    verifier: str
    resource: str
    policy: Policy
    result: Result
    levels: tuple[str, ...]
    time: int | None = None
    inputs: tuple[Described, ...] = ()
    versions: Mapping[str, str] = _NONE
    slsa_version: str | None = None

    def has(self, level: str) -> bool:
        """Whether it says `level`: as it is, or a higher one of the same track, which implies it."""
        if level in self.levels:
            return True
        wanted = re.fullmatch(_LEVEL, level)
        if wanted is None:
            return False
        matches = (re.fullmatch(_LEVEL, one) for one in self.levels)
        return any(
            found is not None and found[1] == wanted[1] and int(found[2]) >= int(wanted[2])
            for found in matches
        )


def parse_summary(predicate: Mapping[str, JSON]) -> Summary:
    """The summary in a predicate. Fields that are not known here are ignored, as the specification has it.

    Raises MalformedError, also for what contradicts itself: two levels of one track, levels beside FAILED.
    """
    missing = [name for name in _REQUIRED if name not in predicate]
    if missing:
        raise MalformedError(f"summary lacks {', '.join(missing)}")
    verifier = take_map(predicate["verifier"], "verifier")
    result = _parse_result(predicate["verificationResult"])
    return Summary(
        verifier=take_text(verifier.get("id"), "verifier id"),
        resource=take_text(predicate["resourceUri"], "resourceUri"),
        policy=_parse_policy(predicate["policy"]),
        result=result,
        levels=_parse_levels(predicate["verifiedLevels"], result),
        time=_parse_time(predicate.get("timeVerified")),
        inputs=tuple(
            _parse_described(each, f"inputAttestations {number}")
            for number, each in enumerate(
                take_list(predicate.get("inputAttestations", []), "inputAttestations")
            )
        ),
        versions=take_texts(verifier.get("version", {}), "verifier version", "version of"),
        slsa_version=_parse_version(predicate.get("slsaVersion")),
    )


def format_summary(summary: Summary) -> dict[str, JSONValue]:
    """The predicate of `summary`. `parse_summary` says whether it is one."""
    verifier: dict[str, JSONValue] = {"id": summary.verifier}
    if summary.versions:
        verifier["version"] = dict(summary.versions)
    policy: dict[str, JSONValue] = {"uri": summary.policy.uri, "digest": {"sha256": summary.policy.sha256}}
    if summary.policy.files:
        files = summary.policy.files.items()
        policy["annotations"] = {name: {"sha256": digest} for name, digest in files}
    made: dict[str, JSONValue] = {
        "verifier": verifier,
        "resourceUri": summary.resource,
        "policy": policy,
        "inputAttestations": [_format_described(each) for each in summary.inputs],
        "verificationResult": summary.result,
        "verifiedLevels": list(summary.levels),
    }
    if summary.time is not None:
        made["timeVerified"] = format_time(summary.time)
    if summary.slsa_version is not None:
        made["slsaVersion"] = summary.slsa_version
    return made


def _parse_result(value: JSON) -> Result:
    for known in RESULTS:
        if value == known:
            return known
    raise MalformedError(f"verificationResult is {shown(value)}, not one of {', '.join(RESULTS)}")


def _parse_time(value: JSON) -> int | None:
    return None if value is None else parse_time(take_text(value, "timeVerified"), "timeVerified")


def _parse_levels(value: JSON, result: Result) -> tuple[str, ...]:
    levels = tuple(take_text(each, "level") for each in take_list(value, "verifiedLevels", least=1))
    if len(set(levels)) != len(levels):
        raise MalformedError(f"verifiedLevels name one level twice: {shown(levels)}")
    if (result == "FAILED") != (FAILED_LEVEL in levels) or (FAILED_LEVEL in levels and len(levels) > 1):
        raise MalformedError(f"verifiedLevels are {shown(levels)} beside the result {result}")
    for level in levels:
        if re.fullmatch(_PLAIN, level) is None:
            raise MalformedError(f"verifiedLevels name {shown(level)}, which is no plain word")
    tracks = [match[1] for match in (re.fullmatch(_TRACK, level) for level in levels) if match]
    if len(set(tracks)) != len(tracks):
        raise MalformedError(f"verifiedLevels name two levels of one track: {shown(levels)}")
    return levels


def _parse_policy(value: JSON) -> Policy:
    members = take_map(value, "policy")
    digest = take_digests(members.get("digest"), "policy digest")
    annotations = take_map(members.get("annotations", {}), "policy annotations")
    files = {
        name: take_digests(each, f"policy annotation {shown(name)}")["sha256"]
        for name, each in annotations.items()
        if isinstance(each, dict) and "sha256" in each  # others are somebody else's
    }
    return Policy(take_text(members.get("uri"), "policy uri"), digest["sha256"], files)


def _parse_described(value: JSON, what: str) -> Described:
    members = take_map(value, what)
    digest = take_digests(members.get("digest"), f"{what} digest")
    texts = {name: take_text(members[name], f"{what} {name}") for name in ("uri", "name") if name in members}
    return Described(digest["sha256"], texts.get("uri"), texts.get("name"))


def _format_described(described: Described) -> dict[str, JSONValue]:
    made: dict[str, JSONValue] = {"digest": {"sha256": described.sha256}}
    if described.uri is not None:
        made["uri"] = described.uri
    if described.name is not None:
        made["name"] = described.name
    return made


def _parse_version(value: JSON) -> str | None:
    if value is None:
        return None
    version = take_text(value, "slsaVersion")
    if re.fullmatch(_VERSION, version) is None:
        raise MalformedError(f"slsaVersion is {shown(version)}, not major.minor")
    return version
