"""The tables of the index. Everything in them follows from the log and the trust file, so nothing here is
precious."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData, String, Table

VERSION = 4
"""Goes up whenever a table or the meaning of a column changes; another version in the file means: build
again."""

METADATA = MetaData()

STATE = Table(
    "state",
    METADATA,
    Column("name", String, primary_key=True),  # version, trust, followed
    Column("value", String, nullable=False),
)

ENTRIES = Table(
    "entries",
    METADATA,
    Column("entry", Integer, primary_key=True, autoincrement=False),  # index in the log
    Column("packed", LargeBinary, nullable=False),
    Column(
        "kind", String, nullable=False
    ),  # record, provenance, comparison, admission, or the reason it is bad
    Column("operator", String, nullable=False),
)

KINDS = Table(  # counted while they are added: the start page must not read every entry
    "kinds",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("number", Integer, nullable=False),
)

REBUILT = Table(  # package versions that somebody rebuilt, with the newest entry that says so
    "rebuilt",
    METADATA,
    Column("package", String, primary_key=True),
    Column("newest", Integer, nullable=False, index=True),
)

CONTRADICTED = (
    Table(  # published files of which somebody built other bytes, with the newest entry that says so
        "contradicted",
        METADATA,
        Column("file", String, primary_key=True),
        Column("sha256", String(64), primary_key=True),
        Column("newest", Integer, nullable=False, index=True),
    )
)

EVIDENCE = Table(
    "evidence",
    METADATA,
    Column("entry", Integer, primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("file", String, primary_key=True),  # package URL of the file
    Column("package", String, nullable=False),  # package URL of the package version
    Column("kind", String, nullable=False),  # record, provenance, comparison
    Column("operator", String, nullable=False),
    Column("identity", String(64), nullable=False),
    Column("detail", String, nullable=False),  # JSON: what this kind needs for levels
    Column("seen", Integer),  # records: unix seconds
    Index("evidence_sha256", "sha256", "file"),
    Index("evidence_file", "file"),
    Index("evidence_package", "package"),
    Index("evidence_identity", "identity"),
)

INPUTS = Table(  # package files that a provenance names as what it built from: recipes of Conan
    "inputs",
    METADATA,
    Column("entry", Integer, primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("file", String, primary_key=True),  # package URL of the file
    Index("inputs_sha256", "sha256", "file"),
)

LOST = Table(
    "lost",
    METADATA,
    Column("entry", Integer, primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("file", String, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("reason", String, nullable=False),
    Column("message", String, nullable=False),
    Index("lost_sha256", "sha256"),
)
