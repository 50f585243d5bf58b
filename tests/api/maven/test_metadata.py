"""maven-metadata.xml: only known elements are read, and only they are written again."""

import pytest

from touchplate.api.errors import UpstreamError
from touchplate.api.maven.metadata import Metadata, format_metadata, parse_metadata

ARTIFACT = b"""<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://maven.apache.org/METADATA/1.1.0">
  <groupId>org.example</groupId><artifactId>lib</artifactId>
  <versioning>
    <latest>1.2-SNAPSHOT</latest><release>1.1</release>
    <versions><version>1.0</version><version>1.1</version><version>1.2-SNAPSHOT</version></versions>
    <lastUpdated>20270115080000</lastUpdated>
  </versioning>
</metadata>"""

PLUGINS = b"""<metadata><plugins><plugin>
<name>Example</name><prefix>example</prefix><artifactId>example-maven-plugin</artifactId>
</plugin></plugins></metadata>"""

SNAPSHOT = b"""<metadata modelVersion="1.1.0"><groupId>org.example</groupId><artifactId>lib</artifactId>
<version>1.2-SNAPSHOT</version><versioning>
<snapshot><timestamp>20270115.080000</timestamp><buildNumber>3</buildNumber></snapshot>
<lastUpdated>20270115080000</lastUpdated>
<snapshotVersions><snapshotVersion><extension>jar</extension><value>1.2-20270115.080000-3</value>
<updated>20270115080000</updated></snapshotVersion></snapshotVersions></versioning></metadata>"""


@pytest.mark.parametrize("data", [ARTIFACT, PLUGINS, SNAPSHOT])
def test_what_is_written_reads_the_same(data: bytes) -> None:
    metadata = parse_metadata(data)
    assert parse_metadata(format_metadata(metadata)) == metadata
    assert metadata != Metadata()


def test_lists_only_the_versions_that_are_kept() -> None:
    kept = parse_metadata(ARTIFACT).only(lambda version: version == "1.0")
    text = format_metadata(kept).decode()
    assert "<version>1.0</version>" in text
    assert "1.1" not in text
    assert "<release>1.0</release>" in text
    assert "<latest>1.0</latest>" in text


def test_a_snapshot_is_the_latest_and_no_release() -> None:
    text = format_metadata(parse_metadata(ARTIFACT)).decode()
    assert "<latest>1.2-SNAPSHOT</latest>" in text
    assert "<release>1.1</release>" in text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html/>",
        b"<metadata>",
        b"not xml",
        b'<!DOCTYPE metadata [<!ENTITY a "b">]><metadata><groupId>&a;</groupId></metadata>',
        b"<metadata><versioning><versions><version>1\n0</version></versions></versioning></metadata>",
        "<metadata><groupId>ä</groupId></metadata>".encode(),
        b'<?xml version="1.0" encoding="no-such-code"?><metadata/>',
    ],
)
def test_refuses_what_is_no_metadata(data: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        parse_metadata(data)
    assert caught.value.reason == "upstream-nonsense"


def test_every_truncation_is_refused_by_our_own_error() -> None:
    for end in range(len(ARTIFACT)):
        with pytest.raises(UpstreamError):
            parse_metadata(ARTIFACT[:end])


def test_what_the_upstream_calls_latest_stays_so_while_it_is_listed() -> None:
    versions = "".join(f"<version>{version}</version>" for version in ("1.9", "1.10", "1.2"))
    read = parse_metadata(
        f"<metadata><versioning><latest>1.10</latest><release>1.9</release><versions>{versions}</versions>"
        "</versioning></metadata>".encode()
    )
    assert (read.latest, read.release) == ("1.10", "1.9")
    kept = read.only(lambda version: version != "1.10")
    assert (kept.latest, kept.release) == (None, "1.9")
    text = format_metadata(kept).decode()
    assert "<latest>1.2</latest>" in text
    assert "<release>1.9</release>" in text


def test_a_latest_that_is_not_among_the_versions_is_nobodys() -> None:
    read = parse_metadata(
        b"<metadata><versioning><latest>9.9</latest><release>9.9</release><versions><version>1.0</version>"
        b"</versions></versioning></metadata>"
    )
    assert "9.9" not in format_metadata(read).decode()
