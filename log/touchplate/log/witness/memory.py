"""What a witness must never forget: of each log the newest head that it cosigned."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The newest head of a log that was cosigned. `note`: the log's lines, then the witness's."""

    size: int
    root: bytes
    note: bytes


class Memory(Protocol):
    """Where the newest heads are kept. Survives crashes; `advance` is atomic and durable."""

    def read(self, origin: str) -> Cosigned | None:
        """The newest head of a log; None before the first."""

    def advance(self, origin: str, old: Cosigned | None, new: Cosigned) -> bool:
        """Put `new` in the place of `old`; False, and nothing, when `old` is not what is there."""

    def close(self) -> None:
        """Let go of the storage."""
