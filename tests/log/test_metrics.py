"""What Prometheus is told of a log, read as Prometheus reads it."""

import asyncio
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.worlds import free_port
from tests.log.cosigning.support import eventually, policy_text, witnesses
from tests.log.support import STRANGER, record_envelope, write_settings

from touchplate.base.errors import ConfigError
from touchplate.log.cosigning.config import WitnessesConfig
from touchplate.log.errors import AdmissionError, FrozenError, OverloadedError
from touchplate.log.export_thread import ExportConfig
from touchplate.log.sequencer import Limits
from touchplate.log.service import LogConfig, LogService, database_path
from touchplate.log.storage.states import freeze

Found = dict[str, float]


def config_for(folder: Path) -> tuple[LogConfig, str]:
    """A log's configuration with metrics, and their URL."""
    address = f"127.0.0.1:{free_port()}"
    return replace(write_settings(folder / "settings"), metrics=address), f"http://{address}/metrics"


def ask(url: str) -> Found:
    """Every sample by name and labels' values."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.read().decode()
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_state_and_what_happened_are_told(tmp_path: Path) -> None:
    config, url = config_for(tmp_path)
    config = replace(config, export=ExportConfig(tmp_path / "public"))
    service = LogService(config, tmp_path / "data")
    service.start()
    try:
        before = ask(url)
        assert before["touchplate_log_size"] == 0
        assert before["touchplate_log_submissions_total new"] == 0
        service.append([record_envelope(number) for number in range(5)])
        service.append([record_envelope(3)])
        with pytest.raises(AdmissionError):
            service.append([record_envelope(9, STRANGER)])
        batch = [record_envelope(7), b"{", record_envelope(8, STRANGER)]
        asyncio.run(service.writer.add_batch(batch))
        found = ask(url)
        assert found["touchplate_log_size"] == found["touchplate_log_published_size"] == 6
        assert found["touchplate_log_submissions_total new"] == 6
        assert found["touchplate_log_submissions_total duplicate"] == 1
        assert found["touchplate_log_submissions_total unknown-key"] == 2
        assert found["touchplate_log_submissions_total malformed"] == 1
        assert found["touchplate_log_commit_seconds_count"] == 3
        assert found["touchplate_log_commit_seconds_sum"] > 0
        assert found["touchplate_log_entries_total"] == 7
        assert found["touchplate_log_waiting_entries"] == 0
        assert found["touchplate_log_leads"] == 1
        assert found["touchplate_log_frozen"] == 0
        age = found["touchplate_log_published_age_seconds"]
        assert ask(url)["touchplate_log_published_age_seconds"] > age > 0
        eventually(lambda: ask(url)["touchplate_log_exported_size folder"] == 6)
    finally:
        service.stop()
    with pytest.raises(OSError, match="refused"):
        ask(url)


def test_what_is_refused_for_want_of_room_or_frozen_is_counted(tmp_path: Path) -> None:
    config, url = config_for(tmp_path)
    service = LogService(replace(config, limits=Limits(outstanding=2)), tmp_path / "data")
    service.start()
    try:
        with pytest.raises(OverloadedError):
            service.append([record_envelope(number) for number in range(3)])
        service.append([record_envelope(1)])
        freeze(service._engine, config.origin)
        for _ in range(3):  # the database says it twice, memory from then on
            with pytest.raises(FrozenError):
                service.append([record_envelope(2)])
        found = ask(url)
        assert found["touchplate_log_submissions_total overloaded"] == 3
        assert found["touchplate_log_submissions_total frozen"] == 3
        assert found["touchplate_log_commits_failed_total"] == 2
        assert found["touchplate_log_frozen"] == 1
    finally:
        service.stop()
    assert database_path(tmp_path / "data").exists()


def test_each_witness_is_told_by_its_name_in_the_policy(tmp_path: Path) -> None:
    config, url = config_for(tmp_path)
    with witnesses(tmp_path / "witnesses") as servers:
        policy = tmp_path / "policy.txt"
        policy.write_text(policy_text(servers, 2))
        servers[2].mode = "failing"
        service = LogService(replace(config, witness=WitnessesConfig(policy)), tmp_path / "data")
        service.start()
        try:
            service.append([record_envelope(number) for number in range(4)])
            eventually(lambda: ask(url)["touchplate_log_published_size"] == 4)
            eventually(lambda: ask(url).get("touchplate_log_witness_failing w3") == 1)
            found = ask(url)
            for name, good in (("w1", 1), ("w2", 1), ("w3", 0)):
                assert found[f"touchplate_log_witness_cosigned {name}"] == good
                assert found[f"touchplate_log_witness_failing {name}"] == 1 - good
                assert found[f"touchplate_log_witness_size {name}"] == (4 if good else 0)
        finally:
            service.stop()


def test_an_address_that_is_none_or_taken_is_told(tmp_path: Path) -> None:
    config, url = config_for(tmp_path)
    assert any("metrics" in each for each in replace(config, metrics="here").check())
    assert any("metrics" in each for each in replace(config, mode="peers").check())
    first = LogService(config, tmp_path / "data")
    first.start()
    second = LogService(config, tmp_path / "other")
    try:
        with pytest.raises(ConfigError, match="cannot listen"):
            second.start()
        assert ask(url)["touchplate_log_size"] == 0
    finally:
        second.stop()
        first.stop()
