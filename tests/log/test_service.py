"""A whole log behind one object, as the node holds it, and read back by the auditors' client."""

import asyncio
import threading
from pathlib import Path

import httpx
import pytest
from tests.log.support import (
    STRANGER,
    record_envelope,
    running_log,
    signed_entries,
    signed_entry,
    write_settings,
)
from tests.simkeys import note_signer, solo_policy

from touchplate.base.errors import ConfigError
from touchplate.log.errors import AdmissionError, CheckpointError, StoppedError
from touchplate.log.ports import Sequenced
from touchplate.log.service import LogService, database_path, log_folder
from touchplate.verify.client import Appended, LogClient, Rejected
from touchplate.verify.errors import NotFoundError, TrustError
from touchplate.verify.sources import AnswerError

SECONDS = 20


class ASGISource:
    """The client's transport, without a socket."""

    def __init__(self, service: LogService) -> None:
        self._service = service

    def _ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._service.asgi)
            async with httpx.AsyncClient(transport=transport, base_url="http://log.test/log/") as client:
                return await client.request(method, path, content=body, headers=headers)

        response = asyncio.run(main())
        if response.status_code == 404:
            raise NotFoundError(path)
        if response.status_code != 200:
            problem = response.json()
            raise AnswerError(problem["detail"], response.status_code, reason=problem["reason"])
        return response.content

    def read(self, path: str, max_bytes: int) -> bytes:
        return self._ask("GET", path)

    def post(self, path: str, body: bytes, headers: dict[str, str], max_bytes: int) -> bytes:
        return self._ask("POST", path, body, headers)


def test_appends_and_gives_entries_to_who_lacks_them(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        envelopes = [record_envelope(number) for number in range(5)]
        assert service.append(envelopes) == [Sequenced(number, False) for number in range(5)]
        assert service.append(envelopes[3:4]) == [Sequenced(3, True)]
        expected = [(index, entry.packed) for index, entry in enumerate(signed_entries(5))]
        assert service.entries_after(0) == expected
        assert service.entries_after(3) == expected[3:]
        assert service.entries_after(5) == []


def test_appends_all_or_nothing_when_one_is_not_admitted(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        with pytest.raises(AdmissionError):
            service.append([record_envelope(0), record_envelope(1, STRANGER)])
        # What was taken before would come first now.
        assert service.append([record_envelope(2)]) == [Sequenced(0, False)]
        assert service.reader.size() == 1


def test_a_key_writes_only_in_its_range_of_the_growing_tree(tmp_path: Path) -> None:
    config = write_settings(tmp_path / "settings")
    text = config.admission.read_text()
    config.admission.write_text(text + "from_index = 0\nuntil_index = 2\n")
    service = LogService(config, tmp_path / "data")
    service.start()
    for number in range(2):
        service.append([record_envelope(number)])
    with pytest.raises(AdmissionError) as caught:
        service.append([record_envelope(2)])
    assert caught.value.reason == "wrong-index"
    assert service.reader.size() == 2
    service.stop()


def test_is_the_same_log_after_a_restart(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        service.append([record_envelope(number) for number in range(300)])
        before = service.checkpoint()
    with running_log(tmp_path) as service:
        assert service.checkpoint() == before
        assert service.append([record_envelope(7), record_envelope(300)]) == [
            Sequenced(7, True),
            Sequenced(300, False),
        ]


def test_wakes_a_follower(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        sizes: list[int] = []
        follower = threading.Thread(target=lambda: sizes.append(service.wait_for_growth(0, SECONDS)))
        follower.start()
        service.append([record_envelope(0)])
        follower.join(SECONDS)
        assert sizes == [1]


def test_refuses_entries_before_start(tmp_path: Path) -> None:
    service = LogService(write_settings(tmp_path / "settings"), tmp_path / "data")
    with pytest.raises(StoppedError):
        service.append([record_envelope(0)])
    service.stop()


def test_refuses_to_open_with_a_bad_key_file_or_list(tmp_path: Path) -> None:
    config = write_settings(tmp_path / "settings")
    (tmp_path / "settings" / "log.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        LogService(config, tmp_path / "data")
    (tmp_path / "settings" / "log.key").chmod(0o600)
    config.admission.write_text('[[recorder]]\noperator = "nobody"\n')
    with pytest.raises(TrustError):
        LogService(config, tmp_path / "data")
    other = write_settings(tmp_path / "other", signer=note_signer("other.example.org", "log"))
    with pytest.raises(CheckpointError, match="not a log key of the origin"):
        LogService(other, tmp_path / "data")


def test_names_the_folders_of_a_node(tmp_path: Path) -> None:
    assert database_path(log_folder(tmp_path)) == tmp_path / "log" / "log.sqlite"


def test_the_auditors_client_appends_reads_and_proves(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        client = LogClient(tmp_path, solo_policy(), tmp_path / "state" / "checkpoint")
        client._source = ASGISource(service)
        assert client.append(record_envelope(0)) == 0
        envelopes = [record_envelope(number) for number in range(300)]
        results = client.append_batch([*envelopes, record_envelope(1, STRANGER)])
        assert results[:2] == [Appended(0, True), Appended(1, False)]
        assert isinstance(results[300], Rejected)
        assert results[300].reason == "unknown-key"
        assert client.checkpoint().size == 300
        assert [entry.envelope for _, entry in client.entries()] == envelopes
        assert client.entry(256).leaf_hash == signed_entry(256).leaf_hash
        assert client.inclusion(299) == service.reader.inclusion(299, 300)
        client.append(record_envelope(300))
        assert client.checkpoint().size == 301
        with pytest.raises(AnswerError) as caught:
            client.append(record_envelope(2, STRANGER))
        assert caught.value.reason == "unknown-key"
