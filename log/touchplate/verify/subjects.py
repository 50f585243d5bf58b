"""Subjects of a statement: the files that it speaks of."""

from collections.abc import Mapping

from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.fields import take_digests, take_object, take_text
from touchplate.verify.jcs import JSON, JSONValue
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
