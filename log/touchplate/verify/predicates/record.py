"""Record v1: the file as it was first seen at an upstream, by the recorder that fetched it."""

from collections.abc import Mapping, Sequence

from touchplate.verify.encoding import format_time, parse_time
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.fields import take_count, take_digests, take_object, take_text, take_upstream_uri
from touchplate.verify.jcs import JSON, JSONValue
from touchplate.verify.purl import PackageURL, parse_purl
from touchplate.verify.subjects import Subject
from touchplate.verify.values import value

RECORD_TYPE = "https://touchplate.dev/predicates/record/v1"

_DIGESTS = frozenset({"sha256", "sha512", "sha1", "md5"})


@value
class Record:
    """First sight of a file. `uri`: where, as `upstream:`; `size` in bytes; `seen` in unix seconds."""

    package: PackageURL
    uri: str
    size: int
    seen: int
    digests: Mapping[str, str]


def parse_record(subjects: Sequence[Subject], predicate: Mapping[str, JSON]) -> Record:
    """The record in a predicate, checked against its one subject (statement format 4).

    Raises MalformedError.
    """
    members = take_object(dict(predicate), "record", ("package", "uri", "size", "seen", "digest"))
    if len(subjects) != 1:
        raise MalformedError(f"a record has one subject, not {len(subjects)}")
    subject = subjects[0]
    package = parse_purl(take_text(members["package"], "record package"))
    if package != subject.uri:
        raise MalformedError(
            f"record package {shown(str(package))} is not its subject {shown(str(subject.uri))}"
        )
    digests = take_digests(members["digest"], "record digest")
    if digests.keys() != _DIGESTS:
        raise MalformedError(
            f"record digest has {', '.join(sorted(digests))}, not {', '.join(sorted(_DIGESTS))}"
        )
    if digests != subject.digests:
        raise MalformedError("record digest is not that of its subject")
    return Record(
        package=package,
        uri=take_upstream_uri(members["uri"], "record uri"),
        size=take_count(members["size"], "record size"),
        seen=parse_time(take_text(members["seen"], "record seen"), "record seen"),
        digests=digests,
    )


def format_record(record: Record) -> dict[str, JSONValue]:
    """The predicate of `record`."""
    return {
        "package": str(record.package),
        "uri": record.uri,
        "size": record.size,
        "seen": format_time(record.seen),
        "digest": dict(record.digests),
    }
