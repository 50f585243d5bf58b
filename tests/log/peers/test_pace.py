"""How much a peer proposes at a time."""

from touchplate.log.peers.pace import FEWEST_BYTES, MOST_BYTES, Pace


def test_proposals_shrink_while_rounds_fail_and_grow_again_when_they_do_not() -> None:
    pace = Pace()
    assert pace.proposed_bytes == MOST_BYTES
    pace.decided(1)
    pace.decided(2)
    assert pace.proposed_bytes == MOST_BYTES // 4
    pace.decided(0)
    assert pace.proposed_bytes == MOST_BYTES // 2


def test_proposals_stay_within_their_limits() -> None:
    pace = Pace()
    for _ in range(50):
        pace.decided(0)
    assert pace.proposed_bytes == MOST_BYTES
    for _ in range(50):
        pace.decided(3)
    assert pace.proposed_bytes == FEWEST_BYTES
