"""A node that is filled with entries of every kind, as they look in earnest: what the pages are looked at
with."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.api.support import write_node
from tests.verify.cases import OPERATOR_C, default_blocks, rebuilder_block
from tests.verify.support import OPERATOR_A, OPERATOR_B, digests_of, sha256_of, sign, statement_signer

from touchplate.verify.encoding import format_time
from touchplate.verify.entry import Entry
from touchplate.verify.names import format_builder, format_upstream_uri
from touchplate.verify.predicates.comparison import (
    Comparison,
    Differences,
    Failure,
    File,
    Result,
    format_comparison,
)
from touchplate.verify.predicates.provenance import Dependency, Provenance, format_provenance
from touchplate.verify.predicates.record import Record, format_record
from touchplate.verify.purl import PackageURL, maven_purl
from touchplate.verify.statements import (
    COMPARISON_TYPE,
    PROVENANCE_TYPE,
    RECORD_TYPE,
    make_statement,
    make_subject,
)

STRANGER = "https://stranger.example.net"
SIGNERS = {
    OPERATOR_A: "rebuilder-a",
    OPERATOR_B: "rebuilder-b",
    OPERATOR_C: "rebuilder-c",
    STRANGER: "stranger",
}
SEEN = 1_795_000_000  # 2026-11-18T14:26:40Z
HOSTILE_NAME = "lib<script>alert(1)\u202egnp"

RULES = """
[[gate.rule]]
package = "pkg:maven/org.example.fresh/*"
need = ["recorded"]
minimum_age = "7d"

[[gate.rule]]
package = "pkg:maven/org.example.warned/*"
need = ["reproduced"]
operators = 3
enforce = "warn"

[[gate.rule]]
package = "pkg:maven/org.example.watched/*"
need = ["reproduced"]
enforce = "observe"

[[gate.rule]]
package = "pkg:maven/org.example.tools/*"
need = ["recorded"]

[[gate.rule]]
need = ["recorded", "reproduced"]
"""


@dataclass(frozen=True)
class Release:
    """A jar as an upstream publishes it."""

    group: str
    artifact: str
    version: str
    extension: str = "jar"

    @property
    def purl(self) -> PackageURL:
        return maven_purl(self.group, self.artifact, self.version, self.extension)

    @property
    def path(self) -> str:
        folder = f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}"
        return f"{folder}/{self.artifact}-{self.version}.{self.extension}"

    @property
    def published(self) -> bytes:
        return f"{self.path} as published\n".encode() * 400

    @property
    def other(self) -> bytes:
        return f"{self.path} as somebody built it\n".encode() * 400


VERIFIED = Release("org.example.text", "text-tools", "1.12.0")
HALF = Release("org.example.http", "http-core", "5.3.1")
WEAK = Release("org.example.json", "json-binding", "2.17.2")
CONTRADICTED = Release("org.example.crypto", "crypto-provider", "1.78.1")
DIFFERENT = Release("org.example.xml", "xml-parse", "3.0.1")
NOT_BUILT = Release("org.example.logging", "logging-api", "2.0.13")
RECORDED = Release("org.example.tools", "report-plugin", "4.0.2")
REFUSED = Release("org.example.untried", "nobody-looked", "0.9")
FRESH = Release("org.example.fresh", "just-released", "6.0.0")
WARNED = Release("org.example.warned", "wants-three", "1.1")
WATCHED = Release("org.example.watched", "only-observed", "2.2")
CHANGED = Release("org.example.changed", "moved-bytes", "1.0.4")
CONFLICT = Release("org.example.changed", "two-contents", "7.1")
RENAMED = Release("org.example.renamed", "text-tools", "9.9.9")
OLDER = Release("org.example.text", "text-tools", "1.9.0")
HOSTILE = Release("org.example.hostile", HOSTILE_NAME, "1.0")
FETCHED = (
    VERIFIED, HALF, WEAK, CONTRADICTED, DIFFERENT, NOT_BUILT, RECORDED, REFUSED, FRESH, WARNED, WATCHED,
)  # fmt: skip
"""Those that a client asks this node for."""

EVIDENCE = {
    "definition": b"version: 1\nname: an-example\n",
    "input-lock": json.dumps({"inputs": [], "version": 1}).encode(),
    "build-log": b"[INFO] BUILD SUCCESS\n" * 40,
    "sandbox-report": b'{"namespaces": ["net", "pid", "mnt"]}\n',
    "report": b"META-INF/MANIFEST.MF\n-Build-Jdk-Spec: 11\n+Build-Jdk-Spec: 17\n",
}
"""What stands behind the statements; all but the sandbox report is uploaded to the node."""


def built(
    release: Release,
    operator: str,
    at: int,
    data: bytes | None = None,
    *,
    sources: Sequence[str] = ("source-release",),
    host_tool: bool = True,
) -> Entry:
    """A provenance, finished at the time `at` (unix seconds)."""
    uris = {
        "source-release": format_upstream_uri("central", release.path.replace(".jar", "-source-release.zip")),
        "sources-jar": format_upstream_uri("central", release.path.replace(".jar", "-sources.jar")),
    }
    provenance = Provenance(
        build_type="https://touchplate.dev/buildtypes/maven/v1",
        package=release.purl,
        definition=f"{release.artifact}-{release.version}",
        dependencies=(
            Dependency("definition", sha256_of(EVIDENCE["definition"]), name="definition"),
            Dependency("input-lock", sha256_of(EVIDENCE["input-lock"]), name="input-lock"),
            *(Dependency(kind, sha256_of(uris[kind].encode()), uris[kind]) for kind in sorted(sources)),
            Dependency(
                "tool", sha256_of(b"jdk"), name="jdk-17", annotations={"root": "host"} if host_tool else {}
            ),
        ),
        builder=format_builder(operator, "bubblewrap"),
        byproducts={name: sha256_of(EVIDENCE[name])["sha256"] for name in ("build-log", "sandbox-report")},
        metadata={"startedOn": format_time(at - 71), "finishedOn": format_time(at)},
    )
    subject = make_subject(release.purl, sha256_of(release.published if data is None else data))
    payload = make_statement([subject], PROVENANCE_TYPE, format_provenance(provenance))
    return sign(payload, statement_signer(SIGNERS[operator]))


def compared(
    release: Release,
    operator: str,
    result: Result,
    provenance: Entry | None = None,
    *,
    differences: Differences | None = None,
    failure: Failure | None = None,
) -> Entry:
    """A comparison with the published file."""
    rebuilt = {"identical": release.published, "different": release.other}.get(result)
    comparison = Comparison(
        result=result,
        package=release.purl,
        published=File(
            sha256_of(release.published),
            len(release.published),
            format_upstream_uri(
                "central", release.path.encode("ascii", "replace").decode().replace("?", "_")
            ),
        ),
        definition=sha256_of(EVIDENCE["definition"])["sha256"],
        rebuilt=File(sha256_of(rebuilt), len(rebuilt)) if rebuilt is not None else None,
        provenance=provenance.identity.hex() if provenance else None,
        differences=differences,
        failure=failure,
    )
    subject = make_subject(release.purl, sha256_of(release.published))
    payload = make_statement([subject], COMPARISON_TYPE, format_comparison(comparison))
    return sign(payload, statement_signer(SIGNERS[operator]))


def recorded(release: Release, data: bytes | None = None, at: int = SEEN) -> Entry:
    """A record of first sight by the node's own recorder, as another node of the same operator writes it."""
    data = release.published if data is None else data
    digests = digests_of(data)
    uri = format_upstream_uri("central", release.path.encode("ascii", "replace").decode().replace("?", "_"))
    record = Record(release.purl, uri, len(data), at, digests)
    payload = make_statement([make_subject(release.purl, digests)], RECORD_TYPE, format_record(record))
    return sign(payload, statement_signer("recorder"))


def identical(release: Release, operator: str, at: int, **options: Sequence[str]) -> list[Entry]:
    """Both entries of a rebuild that came out the same."""
    provenance = built(release, operator, at, **options)  # type: ignore[arg-type]
    return [provenance, compared(release, operator, "identical", provenance)]


def different(
    release: Release, operator: str, at: int, causes: Sequence[str], summary: Sequence[str]
) -> list[Entry]:
    """Both entries of a rebuild that came out differently."""
    provenance = built(release, operator, at, release.other)
    report = File(sha256_of(EVIDENCE["report"]), len(EVIDENCE["report"]))
    told = Differences(len(summary), tuple(causes), tuple(summary), report)
    return [provenance, compared(release, operator, "different", provenance, differences=told)]


def not_built(release: Release, operator: str, detail: str) -> Entry:
    """A rebuild that failed."""
    failure = Failure("build", "exit-status", detail)
    return compared(release, operator, "not-built", failure=failure)


JDK = ["META-INF/MANIFEST.MF: Build-Jdk-Spec 17 != 11"]
CLASSES = [
    "META-INF/MANIFEST.MF: Build-Jdk-Spec 21 != 17",
    "org/example/crypto/engines/AESFastEngine.class: method code of rotate(int, int)",
    "org/example/crypto/engines/AESFastEngine.class: constant pool, 214 entries != 211",
    "module-info.class: only in the rebuilt file",
]
NASTY = [
    "<img src=x onerror=alert(1)>",
    "\u202etxt.exe\u2066 turned around\x1b[31m",
    "A" * 5000,
    "</ul></section><script>alert(2)</script>",
    *(f"line {number} of very many" for number in range(300)),
]


def entries() -> list[Entry]:
    """Everything that rebuilders and other recorders had to say, in the order of the log."""
    day, hour = 86_400, 3_600
    return [
        *identical(OLDER, OPERATOR_A, SEEN - 40 * day),
        not_built(
            VERIFIED, OPERATOR_A, "the command ended with status 1: package javax.annotation does not exist"
        ),
        *identical(VERIFIED, OPERATOR_A, SEEN + hour),
        *identical(VERIFIED, OPERATOR_B, SEEN + 2 * hour),
        *identical(HALF, OPERATOR_A, SEEN + 3 * hour),
        *identical(WEAK, OPERATOR_A, SEEN + 4 * hour, sources=("sources-jar",)),
        *identical(WEAK, OPERATOR_B, SEEN + 5 * hour),
        *identical(CONTRADICTED, OPERATOR_A, SEEN + 6 * hour),
        *identical(CONTRADICTED, OPERATOR_B, SEEN + 7 * hour),
        *different(
            CONTRADICTED, OPERATOR_C, SEEN + 8 * hour, ["jdk-major", "class-code", "content"], CLASSES
        ),
        *different(DIFFERENT, OPERATOR_B, SEEN + 9 * hour, ["jdk-major"], JDK),
        not_built(NOT_BUILT, OPERATOR_A, "the command ended with status 1"),
        not_built(NOT_BUILT, OPERATOR_B, "timeout after 3600 s in goal compile"),
        *identical(REFUSED, STRANGER, SEEN + 10 * hour),
        *identical(WARNED, OPERATOR_A, SEEN + 11 * hour),
        *identical(WARNED, OPERATOR_B, SEEN + 12 * hour),
        recorded(CHANGED, b"the bytes that everybody got until now\n", SEEN - 200 * day),
        recorded(CONFLICT, at=SEEN - 30 * day),
        recorded(CONFLICT, CONFLICT.other, SEEN - 3 * day),
        *different(HOSTILE, OPERATOR_C, SEEN + 13 * hour, ["<b>bold</b>", *NASTY[:3]], NASTY),
    ]


def write_world(folder: Path, upstream_url: str) -> Path:
    """The node's configuration: its log also admits a rebuilder whom its trust file does not list."""
    config = write_node(folder, upstream_url, rules=RULES)
    stranger = rebuilder_block(STRANGER, "stranger")
    (folder / "admission.toml").write_text("\n".join([*default_blocks(), stranger]))
    return config


def sha256(data: bytes) -> str:
    """The digest under which a page is found."""
    return hashlib.sha256(data).hexdigest()
