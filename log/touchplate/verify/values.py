"""Value classes: frozen, compared by content, like `@dataclass(frozen=True)` without its cost at import.

`dataclasses` writes source code and compiles it for each class, 0.7 ms each, and imports `inspect`. With
fifty classes that took longer than loading `cryptography`, in a command that people wait for. Type checkers
see ordinary frozen dataclasses (PEP 681).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def value(cls: type[T], /) -> type[T]: ...
@overload
def value(*, order: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True)
def value(cls: type[T] | None = None, /, *, order: bool = False) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class a value: its annotated names are fields, in order; what stands on the class is a default.

    Adds `__init__` (which calls `__post_init__` if there is one), `__eq__`, `__hash__`, `__repr__`, and
    refuses assignment with AttributeError. `order` adds comparison by the fields. Defaults must be
    immutable; fields of base classes are not seen.
    """
    if cls is None:
        return lambda made: _equip(made, order)
    return _equip(cls, order)


def replace(instance: T, **changes: object) -> T:
    """A copy of a value with some fields changed; `__post_init__` runs again. Raises TypeError."""
    names = type(instance).__match_args__  # type: ignore[attr-defined]
    return type(instance)(**({name: getattr(instance, name) for name in names} | changes))


class derived(Generic[T]):  # noqa: N801
    """A property that is made once and then kept with the value: for what follows from its fields alone.

    As `functools.cached_property`, which up to Python 3.11 takes one lock for all instances of a class, so
    that threads which check entries wait for each other. Here two threads may both make it, and it is equal.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> derived[T]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> T | derived[T]:
        if instance is None:  # asked of the class
            return self
        # Only asked while the instance has no attribute of this name.
        made = instance.__dict__[self._name] = self._make(instance)
        return made


def _equip(cls: type[T], order: bool) -> type[T]:
    # On the class, not closed over: the methods below are then shared by all value classes.
    names = tuple(cls.__annotations__)
    methods: dict[str, object] = {
        "__match_args__": names,
        "__field_names__": frozenset(names),
        "__init__": _init_checked if hasattr(cls, "__post_init__") else _init,
        "__eq__": _eq,
        "__hash__": _hash,
        "__repr__": _repr,
        "__setattr__": _refuse_change,
        "__delattr__": _refuse_change,
    }
    if order:
        methods |= {"__lt__": _lt, "__le__": _le, "__gt__": _gt, "__ge__": _ge}
    for name, method in methods.items():
        if name not in vars(cls):
            setattr(cls, name, method)
    return cls


def _init(self: Any, *args: object, **kwargs: object) -> None:
    cls = type(self)
    names = cls.__match_args__
    # All fields, by place or by name: the usual cases, and the quick ones.
    if len(args) == len(names) and not kwargs:
        self.__dict__.update(zip(names, args, strict=True))
    elif not args and kwargs.keys() == cls.__field_names__:
        self.__dict__.update(kwargs)
    else:
        self.__dict__.update(_given(cls, args, kwargs))


def _init_checked(self: Any, *args: object, **kwargs: object) -> None:
    _init(self, *args, **kwargs)
    self.__post_init__()


def _given(cls: Any, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
    """The value of each field, from arguments and defaults. Raises TypeError."""
    names = cls.__match_args__
    if len(args) > len(names):
        raise TypeError(f"{cls.__name__} takes {len(names)} values, not {len(args)}")
    given = dict(zip(names, args, strict=False))
    for name, member in kwargs.items():
        if name in given or name not in names:
            raise TypeError(f"{cls.__name__} has no field {name!r}, or it was given twice")
        given[name] = member
    for name in names:
        if name not in given:
            if name not in vars(cls):
                raise TypeError(f"{cls.__name__} needs {name!r}")
            given[name] = vars(cls)[name]
    return given


def _content(self: Any) -> tuple[object, ...]:
    members = vars(self)
    return tuple(members[name] for name in type(self).__match_args__)


def _eq(self: object, other: object) -> bool:
    return _content(self) == _content(other) if type(other) is type(self) else NotImplemented


def _hash(self: object) -> int:
    return hash(_content(self))


def _repr(self: object) -> str:
    cls: Any = type(self)
    pairs = zip(cls.__match_args__, _content(self), strict=True)
    return f"{cls.__qualname__}({', '.join(f'{name}={member!r}' for name, member in pairs)})"


def _refuse_change(self: object, name: str, *_: object) -> None:
    raise AttributeError(f"cannot change {name!r} of a {type(self).__name__}: it is a value")


def _lt(self: object, other: object) -> bool:
    return _content(self) < _content(other) if type(other) is type(self) else NotImplemented


def _le(self: object, other: object) -> bool:
    return _content(self) <= _content(other) if type(other) is type(self) else NotImplemented


def _gt(self: object, other: object) -> bool:
    return _content(self) > _content(other) if type(other) is type(self) else NotImplemented


def _ge(self: object, other: object) -> bool:
    return _content(self) >= _content(other) if type(other) is type(self) else NotImplemented
