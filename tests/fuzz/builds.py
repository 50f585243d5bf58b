"""Targets: what decides how a package is built, and what two builds are compared by."""

import io
import re
import zipfile
from dataclasses import replace

from tests.builder.test_stabilize_zip import HIDDEN, JAR, LATER, zip_of
from tests.fuzz.target import Target, attempt, expect

from touchplate.builder.definitions.definition import parse_definition
from touchplate.builder.definitions.normalise import normalise_definition
from touchplate.builder.ecosystems.maven.pom import parse_pom
from touchplate.builder.ecosystems.oci.containerfile import read_containerfile
from touchplate.builder.errors import BuilderError
from touchplate.builder.inputs.lock import InputLock, LockedInput, format_lock, make_lock, parse_lock
from touchplate.builder.stabilize.registry import JAR_STABILIZERS, stabilize
from touchplate.verify.jcs import format_json

DIGEST = "e11a33d65e5f2e92769c0b13c548e0c2da01e37c1581417ea3fd7d5d9474fee6"


def definition(data: bytes) -> bool:
    """An accepted definition, written out with every default, is accepted and means the same."""
    read = attempt(lambda: parse_definition(data), BuilderError)
    if read is None:
        return False
    written = normalise_definition(read)
    again = parse_definition(format_json(written))
    expect(normalise_definition(again) == written, "another meaning when it is written out")
    expect(again.command == read.command and again.umask == read.umask, "another command or umask")
    expect(bool(read.outputs) and bool(read.source.files), "nothing to make, or nothing to make it from")
    return True


def _definitions() -> list[bytes]:
    good = f"""version: 1
name: demo-1.0
package: "pkg:maven/org.example/demo@1.0?type=jar"
source:
  kind: source-release
  files:
    - uri: "upstream:central/org/example/demo/1.0/demo-1.0-source-release.zip"
      sha256: {DIGEST}
      size: 574
tools:
  jdk: 17
  maven: {{version: 3.9.11, sha256: {DIGEST}}}
command: [mvn, -B, package]
umask: "022"
outputs:
  - path: target/demo-1.0.jar
    package: "pkg:maven/org.example/demo@1.0?type=jar"
limits: {{wall_seconds: 60}}
"""
    changes = (
        ("", ""), ("jdk: 17", "jdk: 0x11"), ("umask: \"022\"", "umask: 022"), ("name:", "&a name:"),
        ("target/", "../"), ("limits:", "limit:"), ("version: 1", "version: 1\nversion: 1"),
        ("-B,", "-B, yes,"), ("mvn, -B", "/usr/bin/python3, '-c'"), ("size: 574", "size: -1"),
    )  # fmt: skip
    return [good.replace(one, other, 1).encode() for one, other in changes]


def input_lock(data: bytes) -> bool:
    """An accepted lock is written again as the same bytes, and no path of it leaves its upstream's folder."""
    read = attempt(lambda: parse_lock(data), BuilderError)
    if read is None:
        return False
    expect(format_lock(read) == data, "another spelling")
    places = [(one.upstream, one.path) for one in read.inputs]
    expect(len(set(places)) == len(places), "one place twice")
    for one in read.inputs:
        parts = (one.upstream, *one.path.split("/"))
        expect(not {"", ".", ".."} & {*parts} and "/" not in one.upstream, "a path that leads elsewhere")
        expect(
            re.fullmatch("[0-9a-f]{64}", one.sha256) is not None and one.size >= 0, "no digest, or no size"
        )
    return True


def _locks() -> list[bytes]:
    one = LockedInput("central", "org/a/1/a-1.jar", DIGEST, 3)
    other = replace(one, path="org/b/1/b-1.pom", size=0)
    good = format_lock(make_lock([one, other]))
    return [
        good, format_lock(make_lock([])), format_lock(InputLock((other, one))), good + b"\n",
        good.replace(b"org/a/1", b"org/../1"), good.replace(b"central", b"a/b"), good.replace(b"3", b"-3"),
        good.replace(b'"version":1', b'"version":2'), good.replace(b"a-1.jar", b"maven-metadata.xml"),
    ]  # fmt: skip


def pom(data: bytes) -> bool:
    """An accepted POM names an artifact, and holds no entity or DTD that another reader would expand."""
    read = attempt(lambda: parse_pom(data), BuilderError)
    if read is None:
        return False
    expect(bool(read.artifact.strip()), "no artifact")
    text = data.decode("latin-1")
    expect("<!ENTITY" not in text or "<!--" in text or "<![CDATA[" in text, "an entity")
    return True


def _poms() -> list[bytes]:
    good = (
        b"<project><modelVersion>4.0.0</modelVersion><parent><groupId>org.p</groupId><artifactId>p</artifactId>"
        b"<version>1</version></parent><artifactId>a</artifactId><properties><x>${y}</x><y>${x}</y></properties>"
        b"<build><finalName>a</finalName><plugins><plugin><artifactId>maven-jar-plugin</artifactId><executions>"
        b"<execution><id>e</id><phase>package</phase><goals><goal>jar</goal></goals></execution></executions>"
        b"</plugin></plugins></build></project>"
    )
    return [
        good, b'<?xml version="1.0" encoding="UTF-8"?>\n' + good,
        good.replace(b"<artifactId>a</artifactId>", b""),
        b'<!DOCTYPE p [<!ENTITY x "y">]>' + good, b"<a/>", good[:-3], good.replace(b"<x>", b"<x a='1'>"),
        b"<project xmlns='http://maven.apache.org/POM/4.0.0'><artifactId>a</artifactId></project>",
    ]  # fmt: skip


def containerfile(data: bytes) -> bool:
    """What an accepted Containerfile begins with is pinned by a name, and nothing comes from an address."""
    read = attempt(lambda: read_containerfile(data, "Containerfile"), BuilderError)
    if read is None:
        return False
    for name in read.images:
        expect("$" not in name and not name.startswith("-"), "an image that depends on something")
    # By a literal reading of lines that neither continue nor are continued.
    lines = data.decode().replace("\r\n", "\n").split("\n")
    plain = [line for before, line in zip(["", *lines], lines, strict=False) if not before.endswith("\\")]
    for line in plain:
        words = line.split()
        if len(words) < 2 or words[-1].endswith("\\") or "`" in line:
            continue
        if words[0].upper() == "ADD":
            expect(not re.match(r"(?i)(https?|git|ftp)(://|@)", words[1]), "ADD of an address")
        if words[0].upper() == "RUN":
            expect(not words[1].startswith(("--mount", "--network", "--security")), "a flag of RUN")
    return True


def _containerfiles() -> list[bytes]:
    base = b"registry.example.org/base:1"
    good = b'FROM %s AS one\nRUN make \\\n  all\nFROM scratch\nCOPY --from=one /a /a\nCMD ["/a"]\n' % base
    return [
        good, b"FROM scratch\nADD a.tar /\n", b"FROM scratch\nADD https://example.org/a /\n", b"RUN true\n",
        good.replace(b"RUN make", b"RUN --mount=type=cache,target=/c make"), b"ARG B\nFROM $B\n",
        b"# syntax=docker/dockerfile:1\n" + good, good.replace(b"\n", b"\r\n"),
        b"FROM %s\nRUN <<E\nE\n" % base,
    ]  # fmt: skip


def jar_stabilizer(data: bytes) -> bool:
    """What the steps leave of a zip has, for Python's reader too, the members and contents that it had."""
    made = attempt(lambda: stabilize(data, JAR_STABILIZERS[:4]), BuilderError)
    if made is None:
        return False
    expect(stabilize(made, JAR_STABILIZERS[:4]) == made, "more to take out the second time")
    try:
        members = _members(data)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
        return True  # names that are no text, extra fields that it takes for its own
    expect(_members(made) == members, "other members, or other contents")
    return True


def _members(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return sorted((info.filename, archive.read(info)) for info in archive.infolist())


def _zips() -> list[bytes]:
    return [
        zip_of(JAR),
        zip_of(JAR[::-1], level=1),
        zip_of([replace(one, time=LATER) for one in JAR]),
        *HIDDEN,
        b"PK",
    ]


YAML_WORDS = (
    "version: 1",
    "package: ",
    "command: ",
    "outputs:",
    "!!",
    "&",
    "*",
    "<<:",
    "? ",
    "|",
    "022",
    "yes",
)
FILE_WORDS = (
    "FROM ",
    "COPY --from=",
    "ADD ",
    "RUN ",
    "ARG ",
    "ONBUILD ",
    "\\\n",
    "# escape=`",
    "<<EOF",
    "--platform=",
)

TARGETS = (
    Target("definition", definition, _definitions, 2048, YAML_WORDS),
    Target(
        "input-lock", input_lock, _locks, 1024, ("inputs", "path", "sha256", "size", "upstream"), is_json=True
    ),
    Target(
        "pom",
        pom,
        _poms,
        2048,
        ("<parent>", "<plugin>", "<execution>", "<goal>", "<properties>", "<!DOCTYPE", "${"),
    ),
    Target("containerfile", containerfile, _containerfiles, 1024, FILE_WORDS),
    Target("jar-stabilizer", jar_stabilizer, _zips, 12_288),
)
