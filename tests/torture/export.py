"""The export's part of the series: `touchplate log export`, killed on its way from one checkpoint to the
next.

The folder that it writes is a mirror, and so are its points, its scenarios and what is asked afterwards. What
differs is where it comes from: the log of a node's configuration, in a database that is read meanwhile.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.log.support import sign, write_settings
from tests.simkeys import ORIGIN
from tests.torture.mirror import MirrorSeries
from tests.torture.oracle import Finding
from tests.torture.points import EXPORT, MIRROR
from tests.torture.process import Kill, Run

from touchplate.base.sql import sqlite_engine
from touchplate.log.ports import pack
from touchplate.log.service import database_path, log_folder
from touchplate.log.storage.sql import open_tree
from touchplate.verify.entry import pack_entry


class ExportSeries(MirrorSeries):
    """Runs the exports, one kill at a time, each into a folder of its own."""

    points = (*MIRROR, *EXPORT)

    def _publish(self) -> None:
        """The same entries and the same checkpoint, in the database of a node."""
        super()._publish()
        write_settings(self._folder)
        tree = open_tree(sqlite_engine(database_path(log_folder(self._data))), ORIGIN)
        tree.apply([pack(entry, pack_entry(entry)) for entry in self._log.entries], sign)
        tree.close()
        self._config.write_text(
            f'data = "{self._data}"\n[log]\norigin = "{ORIGIN}"\n'
            'key = "file:log.key"\nadmission = "admission.toml"\n'
        )

    def _look_beside(self, folder: Path) -> Iterator[Finding]:
        return iter(())  # an export remembers nothing but its folder

    def _start(self, folder: Path, kill: Kill | None = None) -> Run:
        mirror = folder / "mirror"
        argv = ["log", "export", str(mirror), "--config", str(self._config), "--json"]
        return self._launcher.start(argv, {"mirror": mirror, "exported": self._data}, kill)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _config(self) -> Path:
        return self._folder / "node.toml"
