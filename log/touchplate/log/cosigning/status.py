"""What publishing says of itself: for `GET <log>/publishing`, monitors and people."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE_SECONDS = 60.0
"""How long the published checkpoint may lag behind the log before publishing counts as failed: slow witnesses
answer within seconds."""


@dataclass(frozen=True)
class WitnessStatus:
    """One witness. `names`: in the policy; `size`: of ours that it knows; `error`: of its last question."""

    names: tuple[str, ...]
    url: str
    size: int
    cosigned: bool
    error: str | None


@dataclass(frozen=True)
class PublishingStatus:
    """`size` of the log, `published`: of its checkpoint (-1: none yet), `seconds` since one was stored."""

    size: int
    published: int
    seconds: float
    witnesses: tuple[WitnessStatus, ...]
    failure: str | None
    leads: bool = True
    """Whether this process asks the witnesses: of several frontends one does, and knows how they are."""

    @property
    def is_ready(self) -> bool:
        """Whether readers see the log as it is, or soon will."""
        if self.failure is not None:
            return False
        return self.published == self.size or self.seconds < PATIENCE_SECONDS

    def document(self) -> dict[str, object]:
        """As JSON. Sizes are decimal strings, as everywhere."""
        return {
            "ready": self.is_ready,
            "leads": self.leads,
            "size": str(self.size),
            "published": None if self.published < 0 else str(self.published),
            "secondsSincePublished": int(self.seconds),
            "failure": self.failure,
            "witnesses": [
                {
                    "names": list(each.names),
                    "url": each.url,
                    "size": str(each.size),
                    "cosigned": each.cosigned,
                    "error": each.error,
                }
                for each in self.witnesses
            ],
        }
