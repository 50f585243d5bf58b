"""A log with a configuration file, as its operator has it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.log.support import record_envelope, write_settings
from tests.simkeys import ORIGIN

from touchplate.base.config import load_file
from touchplate.log.cli_store import read_store
from touchplate.log.fsck import check_log
from touchplate.log.service import LogService, log_folder, open_log
from touchplate.log.storage.rows import TreeRows
from touchplate.node.log_node import LogNodeConfig
from touchplate.verify.cli import main


@dataclass
class Operated:
    """A log whose keys, list, configuration and data are in `folder`."""

    folder: Path
    storage: str = "sqlite"

    def __post_init__(self) -> None:
        write_settings(self.folder)
        self.write()

    @property
    def config(self) -> Path:
        return self.folder / "log.toml"

    @property
    def data(self) -> Path:
        return log_folder(self.folder / "data")

    @property
    def database(self) -> Path:
        return self.data / "log.sqlite"

    def write(self, key: str = "log.key", more: str = "") -> None:
        self.config.write_text(
            f'data = "data"\n[log]\norigin = "{ORIGIN}"\nkey = "file:{key}"\nadmission = "admission.toml"\n'
            f'storage = "{self.storage}"\n{more}'
        )

    @contextmanager
    def running(self) -> Iterator[LogService]:
        config = load_file(LogNodeConfig, self.config)
        service = open_log(config.log, log_folder(config.data))
        service.start()
        try:
            yield service
        finally:
            service.stop()

    def append(self, start: int, end: int) -> bytes:
        """Append records; the checkpoint then."""
        with self.running() as service:
            service.append([record_envelope(number) for number in range(start, end)])
            return service.checkpoint()

    def run(self, *command: str) -> int:
        return main(["log", *command, "--config", str(self.config)])

    def told(self, capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> dict[str, Any]:
        """What a command prints with --json."""
        capsys.readouterr()
        assert self.run(*command, "--json") == code
        out, err = capsys.readouterr()
        found: dict[str, Any] = json.loads(out or err)
        return found

    def findings(self) -> list[str]:
        """What fsck says about the database."""
        store = read_store(self.config)
        engine = store.open_engine()
        rows = TreeRows(engine, ORIGIN)
        try:
            return [str(each) for each in check_log(rows, policy=store.keys.policy()).findings]
        finally:
            rows.close()
            engine.dispose()


def note_in(folder: Path) -> bytes:
    """The checkpoint of an exported log."""
    return (folder / "checkpoint").read_bytes()
