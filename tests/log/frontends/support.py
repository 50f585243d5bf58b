"""Frontends of one log for the tests: in this process, or each in one of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

from tests.log.support import write_settings
from tests.simkeys import ORIGIN, solo_policy

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.log.cosigning.config import WitnessesConfig
from touchplate.log.frontends.decider import SharedDecider
from touchplate.log.frontends.service import FrontendService
from touchplate.log.fsck import check_log
from touchplate.log.ports import PackedEntry, Sequenced
from touchplate.log.service import LogConfig, open_log
from touchplate.log.storage.rows import TreeRows

SECONDS = 60
"""Only a bound: nothing here takes that long."""


POLICY = "witnesses.txt"
"""A file of this name beside the frontends' folders makes them ask these witnesses."""


def config_for(folder: Path, url: str) -> LogConfig:
    """The configuration of a frontend whose keys lie in `folder`."""
    policy = folder.parent / POLICY
    witness = WitnessesConfig(policy) if policy.exists() else None
    return replace(write_settings(folder / "settings"), storage=url, witness=witness)


def open_frontend(folder: Path, url: str) -> FrontendService:
    service = open_log(config_for(folder, url), folder / "data")
    assert isinstance(service, FrontendService)
    return service


@contextmanager
def frontends(folder: Path, url: str, count: int = 2) -> Iterator[list[FrontendService]]:
    """Running frontends; the first is elected when this begins."""
    with ExitStack() as stack:
        found = []
        for number in range(count):
            service = open_frontend(folder / f"frontend-{number}", url)
            stack.callback(service.stop)
            service.start()
            found.append(service)
            until(lambda: any(is_elected(one) for one in found))
        yield found


def is_elected(service: FrontendService) -> bool:
    decider = service.sequencer._decider
    assert isinstance(decider, SharedDecider)
    return decider.is_elected


def until(condition: Callable[[], object]) -> None:
    """Wait for something that is sure to come."""
    deadline = monotonic() + SECONDS
    while not condition():
        assert monotonic() < deadline, "it did not come"
        sleep(0.01)


def append(service: FrontendService, entries: Sequence[PackedEntry]) -> list[Sequenced]:
    return [future.result(SECONDS) for future in service.sequencer.submit(entries)]


def findings(url: str) -> list[str]:
    """What fsck finds in the stored log."""
    engine = postgresql_engine(parse_address(url), idle_seconds=0)
    rows = TreeRows(engine, ORIGIN)
    try:
        return [str(finding) for finding in check_log(rows, policy=solo_policy()).findings]
    finally:
        rows.close()
        engine.dispose()
