"""A fuzz target: something that reads untrusted bytes, and what has to be true whatever they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from touchplate.base.errors import TouchplateError
from touchplate.verify.errors import VerifyError

T = TypeVar("T")


class PropertyError(AssertionError):
    """A property does not hold for the input at hand."""


@dataclass(frozen=True)
class Target:
    """`check` takes any bytes and says whether they were accepted. It raises PropertyError, or lets an
    exception escape that is not of our family: both are findings.

    `seeds`: good and bad inputs to start from, the same in every run. `max_bytes`: longer inputs are not
    tried, so that a quadratic reader shows as a slow input and not as a slow run. `words`: what a blind
    mutation would take long to spell. `is_json`: inputs are also changed as JSON, member by member.
    """

    name: str
    check: Callable[[bytes], bool]
    seeds: Callable[[], Sequence[bytes]]
    max_bytes: int = 4096
    words: tuple[str, ...] = ()
    is_json: bool = False


def expect(condition: bool, what: str) -> None:
    """Raise PropertyError unless `condition`."""
    if not condition:
        raise PropertyError(what)


def attempt(read: Callable[[], T], refusals: type[TouchplateError | VerifyError] = VerifyError) -> T | None:
    """What `read` returns, None when it refuses with an error of ours; everything else is a finding.

    `refusals`: the tree of the part that reads.

    What has to be true of an accepted input is checked outside, where our errors are findings too.
    """
    try:
        return read()
    except refusals as error:
        expect(bool(error.reason) and "\n" not in str(error), f"an error of several lines: {error!r}")
        return None


def text_of(data: bytes) -> str:
    """The text that a reader of files would get, and for other bytes one that is no UTF-8: lone surrogates
    come from command lines."""
    return data.decode("utf-8", "surrogateescape")


class Bytes:
    """Takes numbers from the front of an input; past its end everything is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, count: int) -> bytes:
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self, count: int = 1) -> int:
        return int.from_bytes(self.take(count), "big")

    def __bool__(self) -> bool:
        return bool(self._data)
