"""The tables of a log's database. Several trees can live in one; every row names its tree.

    trees       one row per tree: its name (the origin of its checkpoints) and kind; also of one that was
                removed, whose number is never used again
    leaves      one row per entry: leaf data (what is hashed) and packed entry (what bundles serve)
    identities  identity -> index: what makes duplicates impossible (random keys: a table apart)
    tiles       hash tiles as tlog-tiles serves them; an unfinished one is replaced as it grows
    heads       one row per tree: size, root, and the newest checkpoint with the size that it speaks of
    decisions   what the decider remembers of the newest batch; only peers have one
    submissions entries on their way from a frontend to the sequencer; only several frontends have them
    trillian_trees  what Trillian's interface knows of a tree beside that; only trees that it serves have it
    raw_leaves  when a leaf of a raw tree was queued and integrated; its identity if that is not its hash
    raw_hashes  leaf hash -> index, of leaves of raw trees whose identity is not their hash

All rows of one batch are written in one transaction. An index or size is below 2^63 (checkpoint format 3).
The schema is the same in SQLite and PostgreSQL; a change to it needs a migration (`migrations/`).
"""

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    event,
    func,
)

ACTIVE = "active"
"""State of a tree that takes entries."""

FROZEN = "frozen"
"""State of a tree that takes no new entries, by its operator's decision."""

IMPORTING = "importing"
"""State of a tree into which another storage's entries are being copied: only that copying may append."""

metadata = MetaData()


def _of_a_tree() -> ForeignKeyConstraint:
    """The rows of a tree name one that there is.

    PostgreSQL would look for the tree once for each row, and lock it: nearly half of what a batch costs
    there. Whoever appends holds the row of the tree's head, which does name it.
    """
    return ForeignKeyConstraint(["tree_id"], ["trees.tree_id"]).ddl_if(dialect="sqlite")


trees = Table(
    "trees",
    metadata,
    Column("tree_id", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("kind", String(20), nullable=False),
)

leaves = Table(
    "leaves",
    metadata,
    Column("tree_id", Integer, primary_key=True, autoincrement=False),
    Column("leaf_index", BigInteger, primary_key=True, autoincrement=False),
    Column("leaf_data", LargeBinary, nullable=False),
    Column("packed", LargeBinary, nullable=False),
    _of_a_tree(),
)

identities = Table(
    "identities",
    metadata,
    Column("tree_id", Integer, primary_key=True, autoincrement=False),
    Column("identity", LargeBinary(32), primary_key=True),
    Column("leaf_index", BigInteger, nullable=False),
    _of_a_tree(),
    # Without a rowid the random key dirties one page per entry instead of two.
    sqlite_with_rowid=False,
)

tiles = Table(
    "tiles",
    metadata,
    Column("tree_id", Integer, primary_key=True, autoincrement=False),
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("tile_index", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    _of_a_tree(),
)

heads = Table(
    "heads",
    metadata,
    Column("tree_id", ForeignKey("trees.tree_id"), primary_key=True),
    Column("tree_size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("checkpoint_size", BigInteger, nullable=False),
    Column("checkpoint", LargeBinary, nullable=True),
    # Counts the changes of the sequencer. Who moves the head names the term in which it was elected, so that
    # one which was replaced and does not know it yet cannot write.
    Column("term", BigInteger, nullable=False, server_default="0"),
    # What may be written: see `states.py`. Who moves the head names the state, too, so that a running log
    # sees at its next batch that somebody froze it.
    Column("state", String(20), nullable=False, server_default="active"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("tree_id", ForeignKey("trees.tree_id"), primary_key=True),
    Column("state", LargeBinary, nullable=False),
)

submissions = Table(
    "submissions",
    metadata,
    # In the order in which they are taken.
    Column("submission_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("tree_id", ForeignKey("trees.tree_id"), nullable=False),
    Column("identity", LargeBinary(32), nullable=False),
    Column("leaf_data", LargeBinary, nullable=False),
    Column("leaf_hash", LargeBinary(32), nullable=False),
    Column("packed", LargeBinary, nullable=False),
    # Set when the identity was in the tree already; the row of an entry that got an index of its own is gone.
    Column("duplicate_of", BigInteger, nullable=True),
    Column("submitted", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

trillian_trees = Table(
    "trillian_trees",
    metadata,
    Column("tree_id", ForeignKey("trees.tree_id"), primary_key=True),
    # What clients call the tree: a random number for raw trees, `tree_id` itself for others.
    Column("public_id", BigInteger, nullable=False, unique=True),
    # Numbers of Trillian's enumerations TreeState and TreeType.
    Column("state", Integer, nullable=False),
    Column("type", Integer, nullable=False),
    Column("display_name", String(20), nullable=False),
    Column("description", String(200), nullable=False),
    # A google.protobuf.Any as it came.
    Column("storage_settings", LargeBinary, nullable=True),
    Column("max_root_nanos", BigInteger, nullable=False),
    # Milliseconds since 1970.
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("deleted", BigInteger, nullable=True),
    # Nanoseconds since 1970 of the newest root, and its size; NULL before the log was initialised.
    Column("root_nanos", BigInteger, nullable=True),
    Column("root_size", BigInteger, nullable=True),
)

raw_leaves = Table(
    "raw_leaves",
    metadata,
    Column("tree_id", Integer, primary_key=True, autoincrement=False),
    Column("leaf_index", BigInteger, primary_key=True, autoincrement=False),
    # NULL where it is the leaf hash.
    Column("identity", LargeBinary, nullable=True),
    # Nanoseconds since 1970.
    Column("queued", BigInteger, nullable=False),
    Column("integrated", BigInteger, nullable=False),
    _of_a_tree(),
)

raw_hashes = Table(
    "raw_hashes",
    metadata,
    Column("tree_id", Integer, primary_key=True, autoincrement=False),
    Column("leaf_hash", LargeBinary(32), primary_key=True),
    Column("leaf_index", BigInteger, primary_key=True, autoincrement=False),
    _of_a_tree(),
    sqlite_with_rowid=False,
)

# Leaves and tiles are hashes and signatures: PostgreSQL need not try to compress them.
_UNCOMPRESSED = ((leaves, "leaf_data"), (leaves, "packed"), (tiles, "hashes"))
for _table, _column in _UNCOMPRESSED:
    event.listen(
        _table,
        "after_create",
        DDL(f"ALTER TABLE {_table.name} ALTER COLUMN {_column} SET STORAGE EXTERNAL").execute_if(  # type: ignore[no-untyped-call]
            dialect="postgresql"
        ),
    )
