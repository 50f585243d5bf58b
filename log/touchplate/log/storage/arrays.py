"""Whole columns as one parameter: arrays in the binary form in which PostgreSQL reads them.

The driver would write an array as text, each bytes value in hexadecimal and quoted: twice the bytes, and more
time than everything else that a batch costs this process. Form (array_recv, PostgreSQL 15): int32 number
of dimensions, whether NULLs are among the elements, the elements' type, then length and lower bound of the
dimension; then each element after its length in bytes, -1 for NULL. All big-endian.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from struct import Struct
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, LargeBinary
from sqlalchemy.types import TypeEngine, UserDefinedType

from touchplate.base.postgresql import BigIntegerArray, BinaryArray, BytesArray, IntegerArray

_HEAD = Struct(">5i")
_LENGTH = Struct(">i")
_NULL = _LENGTH.pack(-1)
_INTEGER = Struct(">ii")
_BIG_INTEGER = Struct(">iq")


class PackedArray(UserDefinedType[Sequence[Any]]):
    """The type of a parameter that is a list of values of one column."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, of: TypeEngine[Any]) -> None:
        """`of`: type of the column, one of those that the tables here have."""
        self.of = of
        self._spec, self._pack = _form(of)

    def get_col_spec(self, **_: Any) -> str:
        """The name of the type in SQL."""
        return self._spec

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], BinaryArray]:
        """What makes the driver's value of a list."""
        return self._pack


def _form(of: TypeEngine[Any]) -> tuple[str, Callable[[Sequence[Any]], BinaryArray]]:
    if isinstance(of, LargeBinary):
        return "BYTEA[]", pack_bytes
    if isinstance(of, BigInteger):  # before Integer, whose subclass it is
        return "BIGINT[]", pack_big_integers
    if isinstance(of, Integer):
        return "INTEGER[]", pack_integers
    raise TypeError(f"no array of {of!r} is packed here")


def pack_bytes(values: Sequence[bytes | None]) -> BytesArray:
    """`bytea[]`; None is NULL."""
    if None in values:
        parts = [_NULL if one is None else _LENGTH.pack(len(one)) + one for one in values]
        return BytesArray(_head(BytesArray, len(values), nulls=1) + b"".join(parts))
    lengths = map(_LENGTH.pack, map(len, values))  # type: ignore[arg-type]
    body = b"".join(chain.from_iterable(zip(lengths, values, strict=True)))  # type: ignore[arg-type]
    return BytesArray(_head(BytesArray, len(values)) + body)


def pack_big_integers(values: Sequence[int]) -> BigIntegerArray:
    """`int8[]`."""
    body = b"".join([_BIG_INTEGER.pack(8, one) for one in values])
    return BigIntegerArray(_head(BigIntegerArray, len(values)) + body)


def pack_integers(values: Sequence[int]) -> IntegerArray:
    """`int4[]`."""
    body = b"".join([_INTEGER.pack(4, one) for one in values])
    return IntegerArray(_head(IntegerArray, len(values)) + body)


def _head(kind: type[BinaryArray], count: int, *, nulls: int = 0) -> bytes:
    return _HEAD.pack(1, nulls, kind.element_oid, count, 1)
