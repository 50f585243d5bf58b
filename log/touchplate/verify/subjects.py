"""Subjects of a statement: the files that it speaks of, or, of an administrator's, the log."""

from collections.abc import Mapping

from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.fields import take_digests, take_object, take_sha256, take_text
from touchplate.verify.jcs import JSON, JSONValue
from touchplate.verify.notes import is_origin
from touchplate.verify.purl import PackageURL, parse_purl
from touchplate.verify.values import value

# in-toto ResourceDescriptor v1, beside name, uri and digest: allowed, and evidence of nothing.
_LABELS = ("annotations", "content", "downloadLocation", "mediaType")


@value
class Subject:
    """One file: the last segment of its path, its purl, and its digests (sha256 always) in lower-case hex."""

    name: str
    uri: PackageURL
    digests: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """The digest that identifies the file."""
        return self.digests["sha256"]


def make_subject(uri: PackageURL, digests: Mapping[str, str]) -> Subject:
    """The subject for a file, named as its purl says. Raises MalformedError for a purl that names no file."""
    return Subject(uri.file_name, uri, dict(digests))


def parse_subject(value: JSON, what: str) -> Subject:
    """A subject of a statement (entry format 3); `what` names it in messages. Raises MalformedError."""
    members = take_object(value, what, ("name", "uri", "digest"), _LABELS)
    uri = parse_purl(take_text(members["uri"], f"{what} uri"))
    name = take_text(members["name"], f"{what} name")
    if name != uri.file_name:
        raise MalformedError(
            f"{what} is named {shown(name)}, and the last path segment of its uri is {shown(uri.file_name)}"
        )
    return Subject(name, uri, take_digests(members["digest"], f"{what} digest"))


def format_subject(subject: Subject) -> dict[str, JSONValue]:
    """The JSON of a subject."""
    return {"name": subject.name, "uri": str(subject.uri), "digest": dict(subject.digests)}


@value
class LogSubject:
    """The log that an administrator's statement is about.

    `origin` names it; `rules` (SHA-256, hex) are those that the statement changes (peers format 10). So the
    statement says nothing about another log, nor about this one once its rules are others.
    """

    origin: str
    rules: str


def parse_log_subject(value: JSON, what: str) -> LogSubject:
    """The subject of an administrator's statement (statement format 4). Raises MalformedError."""
    members = take_object(value, what, ("name", "digest"))
    origin = take_text(members["name"], f"{what} name")
    if not is_origin(origin):
        raise MalformedError(f"{what} is named {shown(origin)}, which is no log's origin")
    digest = take_object(members["digest"], f"{what} digest", ("sha256",))
    return LogSubject(origin, take_sha256(digest["sha256"], f"{what} digest sha256"))


def format_log_subject(subject: LogSubject) -> dict[str, JSONValue]:
    """The JSON of a log as a subject."""
    return {"name": subject.origin, "digest": {"sha256": subject.rules}}
