"""What an engine says of itself, in our words."""

from collections.abc import Mapping
from dataclasses import dataclass

from touchplate.log.peers.rpc import EngineError


@dataclass(frozen=True)
class Status:
    """How far an engine is. `root`: of the tree after the block before the newest (hex)."""

    height: int
    root: str
    catching_up: bool
    voting_power: int


def read_status(result: Mapping[str, object]) -> Status:
    """The status in the engine's answer. Raises EngineError when it is none."""
    try:
        sync, validator = result["sync_info"], result["validator_info"]
        assert isinstance(sync, dict)
        assert isinstance(validator, dict)
        return Status(
            int(sync["latest_block_height"]),
            str(sync["latest_app_hash"])[:64].lower(),
            bool(sync["catching_up"]),
            int(validator["voting_power"]),
        )
    except (KeyError, ValueError, TypeError, AssertionError) as error:
        raise EngineError(f"the engine's status cannot be understood: {error!r}") from error
