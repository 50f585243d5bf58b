"""A foreign witness is asked by our log itself, and what the log then publishes satisfies its policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.go_programs import built
from tests.conformance.made_logs import KEY
from tests.conformance.witness import NAME, running_witness
from tests.conformance.witness_build import WitnessPrograms, build_witness
from tests.log.cosigning.support import cosigned_log, eventually, published, read_policy
from tests.log.support import record_envelope

from touchplate.verify.notes import parse_verifier_key


@pytest.fixture(scope="session")
def programs() -> WitnessPrograms:
    return built(build_witness, "omniwitness")


@pytest.mark.slow
def test_our_log_asks_omniwitness_and_publishes_what_it_cosigned(
    programs: WitnessPrograms, tmp_path: Path
) -> None:
    with running_witness(programs, tmp_path / "witness", KEY) as witness:
        text = f"log {KEY}\nwitness w1 {witness.key} {witness.url}\nquorum w1\n"
        policy = read_policy(text)
        with cosigned_log(tmp_path / "log", text) as service:
            for size in (1, 5, 300):
                have = service.reader.size()
                service.append([record_envelope(number) for number in range(have, size)])

                def is_there(size: int = size) -> bool:
                    head = published(service, policy)
                    return head is not None and head.size == size

                eventually(is_there)
            assert parse_verifier_key(witness.key).name == NAME
        # The same witness after a new start, whose size the log has to ask for.
        with cosigned_log(tmp_path / "log", text) as service:
            service.append([record_envelope(300)])
            eventually(lambda: (head := published(service, policy)) is not None and head.size == 301)
