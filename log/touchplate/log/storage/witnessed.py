"""What a witness has cosigned: per origin the newest head, which only ever moves forward.

One row per log. Checking what is there and writing what follows is one statement in one transaction, so two
requests, or two processes, can never both go on from the same head.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from touchplate.base.sql import begin_write
from touchplate.log.errors import CorruptTreeError
from touchplate.log.storage.failures import answering
from touchplate.log.witness.memory import Cosigned
from touchplate.verify.proofs import MAX_SIZE
from touchplate.verify.rfc6962 import HASH_SIZE

metadata = MetaData()

witnessed = Table(
    "witnessed",
    metadata,
    Column("origin", String(255), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("note", LargeBinary, nullable=False),
)

_HERE = witnessed.c.origin == bindparam("of")
_READ = select(witnessed).where(_HERE)
_ADD = insert(witnessed)
_MOVE = update(witnessed).where(
    _HERE, witnessed.c.size == bindparam("old_size"), witnessed.c.root == bindparam("old_root")
)


class WitnessedHeads:
    """The heads of one witness, in the database of `engine`. Safe from any thread."""

    def __init__(self, engine: Engine) -> None:
        """Makes the table if it is not there. Raises StorageFailedError."""
        self._engine = engine
        try:
            with answering("opening the witness's heads"), begin_write(engine) as transaction:
                metadata.create_all(transaction)
        except BaseException:
            engine.dispose()
            raise

    def read(self, origin: str) -> Cosigned | None:
        """The newest head of a log; None before the first. Raises StorageFailedError, CorruptTreeError."""
        with answering("reading a witnessed head"), self._engine.connect() as connection:
            row = connection.execute(_READ, {"of": origin}).one_or_none()
        if row is None:
            return None
        if type(row.size) is not int or not 0 <= row.size < MAX_SIZE or len(row.root) != HASH_SIZE:
            raise CorruptTreeError(
                f"the witnessed head of {origin!r} cannot be one: nothing is cosigned for this log until you"
                " have found out what was"
            )
        return Cosigned(row.size, row.root, row.note)

    def advance(self, origin: str, old: Cosigned | None, new: Cosigned) -> bool:
        """Put `new` in the place of `old`, durably; False, and nothing, when `old` is not what is there.

        Raises StorageFailedError: then either may be there, and `read` says which.
        """
        values = {"size": new.size, "root": new.root, "note": new.note}
        with answering("storing a witnessed head"):
            try:
                with begin_write(self._engine) as connection:
                    if old is None:
                        connection.execute(_ADD, {"origin": origin, **values})
                        return True
                    where = {"of": origin, "old_size": old.size, "old_root": old.root}
                    return connection.execute(_MOVE, {**where, **values}).rowcount == 1
            except IntegrityError:  # somebody else was first
                return False

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        self._engine.dispose()
