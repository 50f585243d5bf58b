"""Value classes behave as frozen dataclasses do."""

import copy
import pickle
from functools import cached_property

import pytest

from touchplate.verify.values import derived, replace, value


@value(order=True)
class Point:
    x: int
    y: int = 7

    @cached_property
    def total(self) -> int:
        return self.x + self.y


@value
class Checked:
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is negative")

    def __repr__(self) -> str:
        return "own"


@value
class Named:
    name: str
    made: list[str]

    @derived
    def upper(self) -> str:
        """In upper case."""
        self.made.append(self.name)
        return self.name.upper()


def test_what_is_derived_is_made_once_for_each_value_and_is_no_part_of_it() -> None:
    made: list[str] = []
    one, other = Named("a", made), Named("b", made)
    assert (one.upper, one.upper, other.upper, one.upper) == ("A", "A", "B", "A")
    assert made == ["a", "b"]
    assert one == Named("a", made)
    assert copy.copy(one) == one
    assert replace(one, name="c").upper == "C"
    assert Named.upper.__doc__ == "In upper case."
    with pytest.raises(AttributeError, match="cannot change"):
        one.upper = "D"


def test_fields_by_place_by_name_and_by_both_give_equal_values() -> None:
    ways = [Point(1, 2), Point(x=1, y=2), Point(y=2, x=1), Point(1, y=2)]
    assert len(set(ways)) == 1
    assert {repr(way) for way in ways} == {"Point(x=1, y=2)"}
    for kwargs in ({"x": 1, "z": 2}, {"x": 1, "y": 2, "z": 3}, {"y": 1}):
        with pytest.raises(TypeError):
            Point(**kwargs)


def test_takes_fields_by_place_and_name_with_defaults() -> None:
    assert Point(1) == Point(1, 7) == Point(y=7, x=1)
    assert Point(1).total == 8
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_refuses_other_fields_as_a_function_would() -> None:
    for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"x": 1})):
        with pytest.raises(TypeError):
            Point(*args, **kwargs)


def test_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="cannot change 'x' of a Point"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del point.y
    assert replace(point, y=1) == Point(1, 1)
    assert point == Point(1)
    with pytest.raises(TypeError):
        replace(point, z=1)


def test_compares_and_hashes_by_content_and_class() -> None:
    assert len({Point(1), Point(1, 7), Point(2)}) == 2
    other: object = Checked(1)
    assert Point(1) != other
    assert Point(1) < Point(1, 8) <= Point(1, 8) < Point(2)
    assert Point(2) > Point(1) >= Point(1)
    with pytest.raises(TypeError):
        _ = Point(1) < Checked(1)  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = Checked(1) < Checked(2)  # type: ignore[operator]


def test_runs_post_init_also_for_copies_with_changes() -> None:
    with pytest.raises(ValueError, match="negative"):
        Checked(-1)
    with pytest.raises(ValueError, match="negative"):
        replace(Checked(1), x=-1)
    assert repr(Checked(1)) == "own"


def test_copies_and_pickles() -> None:
    assert copy.deepcopy(Point(1)) == pickle.loads(pickle.dumps(Point(1))) == Point(1)
