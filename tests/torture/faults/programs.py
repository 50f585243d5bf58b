"""The programs whose calls fail: each with what it works on, and what must hold after a failure and after the
next try."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import inspect
from tests.log.mirrors import entries_in, files_in, wrong_with
from tests.log.support import sign
from tests.simkeys import ORIGIN
from tests.simlog import SimLog
from tests.torture.kills.lives import write_log
from tests.torture.oracle import INCONSISTENT, LOST, Finding
from tests.torture.process import Launcher, SeriesError

from touchplate.base.sql import sqlite_engine
from touchplate.log.fsck import check_log
from touchplate.log.ports import pack
from touchplate.log.service import database_path, log_folder
from touchplate.log.storage.rows import TreeRows
from touchplate.log.storage.sql import open_tree
from touchplate.verify.entry import pack_entry
from touchplate.verify.errors import VerifyError
from touchplate.verify.notes import parse_signer_key, parse_verifier_key
from touchplate.verify.policy import Policy, format_policy

OLD, NEW = 250, 300
"""Entries of the log before and after it grew: a partial bundle, and a full one with a partial one behind."""


class World:
    """What the programs work on, made once: a log of NEW entries in a database and in a folder, and mirrors
    of it as it was with OLD."""

    def __init__(self, folder: Path, launcher: Launcher) -> None:
        self.folder = folder
        self.launcher = launcher
        self.log = SimLog(folder / "published")
        self.log.grow(OLD)
        self.log.publish()
        self.policy: Policy = self.log.policy
        self.policy_file = folder / "policy.txt"
        self.policy_file.write_text(format_policy(self.policy))
        self.config = write_log(folder / "node", ORIGIN)
        tree = open_tree(sqlite_engine(database_path(log_folder(folder / "node" / "data"))), ORIGIN)
        tree.apply([pack(entry, pack_entry(entry)) for entry in self.log.entries], sign)
        tree.close()
        for program in (Export(self), Follow(self)):
            self._make(program, folder / f"old-{program.name}")
        self.log.grow(NEW - OLD)
        self.log.publish()
        tree = open_tree(sqlite_engine(database_path(log_folder(folder / "node" / "data"))), ORIGIN)
        tree.apply([pack(entry, pack_entry(entry)) for entry in self.log.entries[OLD:]], sign)
        tree.close()
        for program in (Export(self), Follow(self)):
            self._make(program, folder / f"new-{program.name}")

    def _make(self, program: "Program", folder: Path) -> None:
        program.prepare(folder)
        run = self.launcher.start(program.argv(folder), {"state": folder})
        if run.wait() != 0:
            raise SeriesError(f"{program.name} ended with {run.code}: {run.err()}")


class Program:
    """One command. `folder`: of its own, in which it leaves everything."""

    name = ""

    def __init__(self, world: World) -> None:
        self.world = world

    def prepare(self, folder: Path) -> None:
        """Make the folder as it is before the command."""
        folder.mkdir(parents=True)

    def argv(self, folder: Path) -> list[str]:
        """The command."""
        raise NotImplementedError

    def again(self, folder: Path) -> list[str] | None:
        """The command for the next try; None when nothing is left to be done."""
        return self.argv(folder)

    def look(self, folder: Path, *, is_done: bool) -> Iterator[Finding]:
        """What is wrong with what is there. `is_done`: the command has said that it succeeded."""
        raise NotImplementedError


class Export(Program):
    """`log export`, of a log that grew since the last one."""

    name = "export"

    def prepare(self, folder: Path) -> None:
        """With the older mirror, where there is one."""
        super().prepare(folder)
        for part in ("mirror", "state"):
            old = self.world.folder / f"old-{self.name}" / part
            if old.exists():
                shutil.copytree(old, folder / part)

    def argv(self, folder: Path) -> list[str]:
        """Into `mirror`."""
        return ["log", "export", str(folder / "mirror"), "--config", str(self.world.config)]

    def look(self, folder: Path, *, is_done: bool) -> Iterator[Finding]:
        """A whole log of the old size or the new; when it is done, file by file as an undisturbed one."""
        mirror, policy = folder / "mirror", self.world.policy
        size = int((mirror / "checkpoint").read_text().splitlines()[1])
        if size not in ((NEW,) if is_done else (OLD, NEW)):
            yield Finding(LOST, f"the folder has {size} entries")
        yield from (Finding(INCONSISTENT, each) for each in wrong_with(mirror, policy))
        if entries_in(mirror, policy) != self.world.log.entries[:size]:
            yield Finding(LOST, "the folder has other entries than the log")
        undisturbed = self.world.folder / f"new-{self.name}" / "mirror"
        if is_done and files_in(mirror) != files_in(undisturbed):
            different = files_in(mirror).items() ^ files_in(undisturbed).items()
            yield Finding(INCONSISTENT, f"not as undisturbed: {sorted({path for path, _ in different})}")


class Follow(Export):
    """`log follow`, with the head that it remembers."""

    name = "follow"

    def argv(self, folder: Path) -> list[str]:
        """Into `mirror`; remembers in `state`."""
        argv = [
            "log",
            "follow",
            "--url",
            str(self.world.log.folder),
            "--to",
            str(folder / "mirror"),
            "--once",
        ]
        return [*argv, "--policy", str(self.world.policy_file), "--state", str(folder / "state")]

    def look(self, folder: Path, *, is_done: bool) -> Iterator[Finding]:
        """The mirror, and the remembered head."""
        yield from super().look(folder, is_done=is_done)
        notes = {self.world.log.note(size) for size in ((NEW,) if is_done else (OLD, NEW))}
        if (folder / "state" / f"head-{ORIGIN}").read_bytes() not in notes:
            yield Finding(LOST, "another head is remembered than any that was followed")


class Remember(Program):
    """`log checkpoint`, which remembers what it has seen."""

    name = "remember"

    def argv(self, folder: Path) -> list[str]:
        """Remembers in `state`."""
        argv = ["log", "checkpoint", "--url", str(self.world.log.folder)]
        return [*argv, "--policy", str(self.world.policy_file), "--state", str(folder / "state")]

    def look(self, folder: Path, *, is_done: bool) -> Iterator[Finding]:
        """The head, whole or not there."""
        head = folder / "state" / f"head-{ORIGIN}"
        if (is_done or head.exists()) and (not head.exists() or head.read_bytes() != self.world.log.note()):
            yield Finding(LOST, "the head that was seen is not remembered")
        if is_done and (rests := list((folder / "state").glob("*.tmp"))):
            yield Finding(LOST, f"{rests} are left over")


class Keygen(Program):
    """`keygen`: a log key, private and public."""

    name = "keygen"

    def argv(self, folder: Path) -> list[str]:
        """Two files."""
        return ["keygen", "--for", "log", "--name", ORIGIN, "--out", str(folder / "log.key")]

    def again(self, folder: Path) -> list[str] | None:
        """An existing key is never touched."""
        return None if (folder / "log.pub").exists() else self.argv(folder)

    def look(self, folder: Path, *, is_done: bool) -> Iterator[Finding]:
        """Both, or none."""
        private, public = folder / "log.key", folder / "log.pub"
        there = {path.name for path in (private, public) if path.exists()}
        if len(there) == 1 or (is_done and not there):
            yield Finding(LOST, f"of two files {there or 'none'} is there")
        if len(there) < 2:
            return
        try:
            if parse_signer_key(private.read_text()).key != parse_verifier_key(public.read_text().strip()):
                yield Finding(INCONSISTENT, "the two keys are none of a pair")
        except VerifyError as error:
            yield Finding(LOST, f"a key cannot be read: {error}")


class Import(Program):
    """`log import` of the published folder into a new database."""

    name = "import"

    def prepare(self, folder: Path) -> None:
        """With a configuration of its own."""
        super().prepare(folder)
        write_log(folder, ORIGIN)

    def argv(self, folder: Path) -> list[str]:
        """Into `data`."""
        return ["log", "import", str(self.world.log.folder), "--config", str(folder / "log.toml")]

    def look(self, folder: Path, *, is_done: bool) -> Iterator[Finding]:
        """Nothing yet, a part that nobody can serve, or all of it."""
        database = database_path(log_folder(folder / "data"))
        if not is_done and not (database.exists() and database.stat().st_size):
            return
        yield from _look_at(database, self.world, is_done=is_done)


class Backup(Program):
    """`log backup`."""

    name = "backup"

    def argv(self, folder: Path) -> list[str]:
        """One file."""
        return ["log", "backup", str(folder / "copy.sqlite"), "--config", str(self.world.config)]

    def again(self, folder: Path) -> list[str] | None:
        """A copy that is there is never replaced."""
        return None if (folder / "copy.sqlite").exists() else self.argv(folder)

    def look(self, folder: Path, *, is_done: bool) -> Iterator[Finding]:
        """No file of this name, or a whole log."""
        copy = folder / "copy.sqlite"
        if is_done or copy.exists():
            yield from _look_at(copy, self.world, is_done=True)
        if is_done and (rests := [path.name for path in folder.glob(".copy*")]):
            yield Finding(LOST, f"{rests} are left over")


def _look_at(database: Path, world: World, *, is_done: bool) -> Iterator[Finding]:
    if not database.exists():
        yield Finding(LOST, f"{database.name} is not there")
        return
    engine = sqlite_engine(database)
    try:
        if not is_done and not inspect(engine).has_table("trees"):
            return  # it was not even begun
        with closing(TreeRows(engine)) as rows:
            if rows.state() == "importing" and not is_done:
                return
            size = rows.head()[0]
            if size not in ((NEW,) if is_done else (0, NEW)):
                yield Finding(LOST, f"{database.name} has {size} entries of {NEW}")
            if rows.head()[2] is not None or is_done:
                found = check_log(rows, policy=world.policy).findings
                yield from (Finding(INCONSISTENT, f"fsck: {each}") for each in found)
    finally:
        engine.dispose()


PROGRAMS: Sequence[type[Program]] = (Export, Follow, Remember, Keygen, Import, Backup)
