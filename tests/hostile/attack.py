"""What an attack is, and the list of them.

An attack is a function from a World to whether it succeeded. For each backend it names the walls that contain
it. Each wall has to do so alone: with all others off the attack must fail; with all of them off it must
succeed, which is its control: an attack that cannot succeed tests nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.hostile.world import World

Try = Callable[["World"], bool]


@dataclass(frozen=True)
class Attack:
    """One attack. `walls`: backend → the protections that stop it there, each by itself."""

    name: str
    walls: Mapping[str, tuple[str, ...]]
    attempt: Try

    def compositions(self, backend: str) -> list[tuple[frozenset[str], bool]]:
        """(walls left out, whether the attack must then succeed): all walls, each alone, none."""
        walls = self.walls[backend]
        alone = [frozenset(walls) - {wall} for wall in walls] if len(walls) > 1 else []
        return [(frozenset(), False), *((off, False) for off in alone), (frozenset(walls), True)]


def everywhere(*walls: str, **other: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The same walls in each backend, but for those that are named."""
    return {backend: other.get(backend, walls) for backend in ("bubblewrap", "runc", "gvisor")}
