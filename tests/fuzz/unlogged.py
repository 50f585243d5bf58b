"""Targets: what is checked beside a log: verification summaries and links of rebuilderd."""

import json

from tests.fuzz.target import Target, attempt, expect
from tests.verify.links import DAEMON, NAME, link, trusting, two
from tests.verify.support import OTHER, PUBLISHED, digests_of

from touchplate.verify.files import FileDigests
from touchplate.verify.jcs import format_json, parse_json
from touchplate.verify.links import check_link, parse_link
from touchplate.verify.predicates.summary import (
    Described,
    Policy,
    Summary,
    format_summary,
    parse_summary,
)

FILE = FileDigests(len(PUBLISHED), digests_of(PUBLISHED))
TRUST = trusting()


def rebuilderd_link(data: bytes) -> bool:
    """The bytes under the signatures are those of the link that was read; who signed is somebody listed."""
    parsed = attempt(lambda: parse_link(data))
    if parsed is None:
        return False
    expect(json.loads(parsed.signed) == json.loads(data)["signed"], "other bytes are signed than were read")
    checked = attempt(lambda: check_link(data, FILE, TRUST))
    if checked is not None:
        expect(checked.link.digests["sha256"] == FILE.sha256, "another file")
        expect(bool(checked.signers), "nobody signed")
    return True


def _links() -> list[bytes]:
    good = [link(), link(DAEMON), link(DAEMON, environment={}), link(materials={NAME: two(PUBLISHED)})]
    return [*good, link(data=OTHER), link(command=["make"]), link()[:-1]]


def verification_summary(data: bytes) -> bool:
    """A summary that is written again from what was read of it is read as the same summary."""
    value = attempt(lambda: parse_json(data, max_bytes=len(data)))
    if not isinstance(value, dict):
        return False
    summary = attempt(lambda: parse_summary(value))
    if summary is None:
        return False
    written = json.loads(format_json(format_summary(summary)))
    expect(parse_summary(written) == summary, "another summary when written")
    expect((summary.result == "FAILED") == summary.has("FAILED"), "a failure that passed")
    return True


def _summaries() -> list[bytes]:
    policy = Policy("https://verify.example.org/strict", "ab" * 32, {"policy.txt": "cd" * 32})
    inputs = (Described("ef" * 32, "https://log.example.org/log/entry/7", "log.example.org/entry/7"),)
    levels = ("SLSA_BUILD_LEVEL_1", "SLSA_BUILD_REPRODUCED", "TOUCHPLATE_REPRODUCED")
    versions = {"touchplate": "0.1.0"}
    good = Summary(
        "https://verify.example.org", "pkg:x/y", policy, "PASSED", levels, 7, inputs, versions, "1.2"
    )
    failed = Summary("x:y", "pkg:x/y", Policy("x:y", "ab" * 32), "FAILED", ("FAILED",))
    formatted = [format_json(format_summary(each)) for each in (good, failed)]
    return [*formatted, formatted[0].replace(b"PASSED", b"FAILED"), formatted[1].replace(b'"x:y"', b"7")]


TARGETS = (
    Target("link", rebuilderd_link, _links, is_json=True, words=("sha256", "sha512", "environment", "link")),
    Target(
        "summary",
        verification_summary,
        _summaries,
        is_json=True,
        words=(
            "verifiedLevels",
            "SLSA_BUILD_LEVEL_",
            "FAILED",
            "PASSED",
            "annotations",
            "sha256",
        ),
    ),
)
