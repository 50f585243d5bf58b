"""A worker: asks the queue for jobs, runs each in a process of its own, keeps its lease, passes output on.

Each slot is a thread with one job at a time. What ends a job belongs to its process (`job`): a slot only ends
it when the queue took the job away, and otherwise lets the lease run out when the process died.
"""

import contextlib
import queue as queues
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from touchplate.base.progress import STEP
from touchplate.builder.errors import HostLack
from touchplate.builder.job import BAD_KEY, MODULE, Settings, Task, check_key, open_queue
from touchplate.builder.process import Program, printable
from touchplate.builder.queue.client import QueueClient, ServerError
from touchplate.builder.queue.jobs import MAX_BATCH_BYTES, Lease, LeaseLostError, QueueError
from touchplate.builder.sandbox.bubblewrap import SandboxConfig
from touchplate.builder.sandbox.ids import end_abandoned
from touchplate.builder.sandbox.ranged import ID_RANGES
from touchplate.builder.sandbox.workspace import remove_abandoned, tidy
from touchplate.builder.workshop import TREE

POLL_SECONDS = 5.0
"""Pause between two questions of a slot that got no job: twenty slots ask four times a second."""

TOLD_SECONDS = 1.0
"""How long output is collected before it is sent on."""

WAITING_BYTES = 1024 * 1024
"""Output of a job that waits to be sent; what comes beyond it is not shown (the build log has it)."""

_PIECE_BYTES = 1024  # of output that waits: so the bytes that wait are bounded by their number
_ENDING_SECONDS = 0.05  # between two looks at a process whose output has ended: it is gone in a moment

DYING_SECONDS = 10.0
"""How long what a killed job left is tried to be removed: its sandbox dies with it, but a moment later, and a
build may write until then. What is left after that, such as by a disk that fails, goes with the next look."""

_DYING_PAUSE_SECONDS = 0.1  # between two tries

_LINE_BYTES = 64 * 1024
"""Of a line that has not ended, kept until it does: only how it begins is looked at."""

USUAL = "usual"
"""What is shown as the backend of a worker that leaves the choice to each build."""

_STEP = STEP.encode()

Tell = Callable[[str], None]

Show = Callable[[int, str], None]
"""Told what a slot does now: the job and its phase; empty when it waits for one."""


@dataclass(frozen=True)
class WorkerSettings:
    """A worker: how many slots, under which name, and whether it ends when the queue is empty."""

    job: Settings
    slots: int
    name: str
    until_empty: bool = False
    version: str = ""
    """Of this program, for those who look at the queue's workers."""

    @property
    def slots_folder(self) -> Path:
        """Holds the work folders of all slots; another worker may share it."""
        return Path(self.job.data) / "slots"


class Worker:
    """Runs until `stop`. Jobs that run then are ended; the queue gives them to somebody else."""

    def __init__(
        self,
        settings: WorkerSettings,
        tell: Tell,
        *,
        show: Show = lambda slot, text: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._show = show
        self._poll = poll_seconds
        self._stopping = threading.Event()
        self.done = 0
        """Jobs whose processes said that the queue knows what came of them."""

    def stop(self) -> None:
        """End after the current moment; jobs that run are killed."""
        self._stopping.set()

    def run(self) -> None:
        """Work in all slots until `stop`, or until the queue is empty. Raises what the first slot met."""
        self._tidy()
        try:
            self._run_slots()
        finally:
            self._tidy()

    def _tidy(self) -> None:
        """Remove what killed jobs left, of any slot: those that run have locked their folders."""
        until = time.monotonic() + DYING_SECONDS
        while not self._is_tidy() and time.monotonic() < until:
            time.sleep(_DYING_PAUSE_SECONDS)

    def _is_tidy(self) -> bool:
        """Try; whether nothing is left."""
        config = SandboxConfig(self._settings.slots_folder)
        for uids in (config.uids, ID_RANGES):  # first: what still runs may write into what is removed
            end_abandoned(config.locks, uids)
        slots = [tidy(slot) for slot in self._settings.slots_folder.glob("*")]
        return remove_abandoned(Path(self._settings.job.data), TREE) and all(slots)

    def _run_slots(self) -> None:
        failures: list[Exception] = []

        def work(slot: int) -> None:
            try:
                self._work(slot)
            except Exception as error:
                failures.append(error)
                self.stop()

        threads = [threading.Thread(target=work, args=(slot,)) for slot in range(self._settings.slots)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _work(self, slot: int) -> None:
        with open_queue(self._settings.job) as queue:
            quiet = True
            while not self._stopping.is_set():
                try:
                    name = f"{self._settings.name}/{slot}"
                    backend = self._settings.job.backend or USUAL
                    lease = queue.lease(name, self._settings.version, backend)
                except ServerError as error:
                    if error.is_final:
                        raise
                    if quiet:  # once, not every five seconds
                        self._tell(f"slot {slot}: {error}; asking again")
                    quiet = False
                    lease = None
                else:
                    quiet = True
                    if lease is None and self._settings.until_empty:
                        return
                if lease is None:
                    self._stopping.wait(self._poll)
                    continue
                self._do(slot, queue, lease)

    def _do(self, slot: int, queue: QueueClient, lease: Lease) -> None:
        job = lease.job
        self._tell(f"slot {slot}: job {job.number}: {job.package}")
        work = str(self._settings.slots_folder / str(slot))
        try:
            program = Program(MODULE, Task(self._settings.job, work, lease).format())
        except HostLack as error:
            with contextlib.suppress(QueueError):  # else the lease runs out
                queue.give_back(job.number, lease.secret, str(error))
            return
        keeper = _Keeper(queue, lease, program, self._stopping)
        self._show(slot, f"job {job.number}: {job.package}")
        try:
            code = keeper.follow(lambda phase: self._show(slot, f"job {job.number}: {phase}"))
        finally:
            self._show(slot, "")
        is_told = code in (0, BAD_KEY)
        self.done += is_told
        said = f": {keeper.lost or keeper.last}" if keeper.lost or keeper.last else ""
        self._tell(f"slot {slot}: job {job.number}: {'ended' if is_told else f'died ({code})'}{said}")
        if code == BAD_KEY:  # each further job would go the same way, all of the queue
            check_key(self._settings.job)
        if not is_told:  # what it left is as large as a build may be, and the next job may be long in coming
            self._tidy()


class StepReader:
    """Finds the lines in a job's output by which it says that a new phase begins (`base/progress`)."""

    def __init__(self) -> None:
        self._rest = b""
        self._phase = ""

    def read(self, data: bytes) -> str:
        """The phase after this piece of output. What a piece begins with may be the middle of a line."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:_LINE_BYTES]
        for line in lines:
            if line.startswith(_STEP):
                self._phase = printable(line.removeprefix(_STEP))
        return self._phase


class _Keeper:
    """Keeps the lease of one job while its process runs, and passes its output on."""

    def __init__(self, queue: QueueClient, lease: Lease, program: Program, stopping: threading.Event) -> None:
        self._queue = queue
        self._lease = lease
        self._program = program
        self._stopping = stopping
        self._pieces: queues.Queue[bytes] = queues.Queue(WAITING_BYTES // _PIECE_BYTES)
        self._phase = self._told_phase = ""
        self.last = ""
        """The last line of its output."""
        self.lost = ""
        """Why the job was ended: its lease is over. Empty while it is not."""
        self._is_over = False

    def follow(self, on_phase: Tell) -> int:
        """Until the process ended; its exit code. `on_phase` is told of each new phase."""
        shown = ""
        reader = threading.Thread(target=self._read)
        reader.start()
        beat = time.monotonic()
        try:
            while self._program.is_alive or reader.is_alive() or not self._pieces.empty():
                if self._stopping.is_set():
                    self._program.kill()
                waited = time.monotonic() - beat
                is_new = self._phase != self._told_phase and waited >= TOLD_SECONDS
                if not self.lost and (is_new or waited >= self._lease.seconds / 4):
                    beat = time.monotonic()
                    self._beat()
                if shown != self._phase:
                    shown = self._phase
                    on_phase(shown)
                self._send()
                self._wait(reader)
        finally:
            self._program.kill()  # does nothing to one that has ended
            code = self._program.wait()
        return code

    def _wait(self, reader: threading.Thread) -> None:
        seconds = min(TOLD_SECONDS, self._lease.seconds / 8)
        if reader.is_alive():
            reader.join(seconds)
        elif self._program.is_alive:  # its output has ended, and it is about to
            time.sleep(_ENDING_SECONDS)

    def _read(self) -> None:
        steps = StepReader()
        while data := self._program.read():
            self._phase = steps.read(data)
            lines = data.strip().splitlines()  # of a flood only the last one is worth the time
            self.last = printable(lines[-1]) if lines else self.last
            for start in range(0, len(data), _PIECE_BYTES):
                try:
                    self._pieces.put_nowait(data[start : start + _PIECE_BYTES])
                except queues.Full:
                    break

    def _beat(self) -> None:
        phase = self._phase
        try:
            self._queue.heartbeat(self._lease.job.number, self._lease.secret, phase)
        except LeaseLostError as error:
            self._told_phase = phase
            if not self._is_closing():
                self._end(str(error))
        except ServerError as error:
            # Another answer may come before the lease ends; if not, the next heartbeat says so.
            if error.is_final:  # the token was taken away: nothing of what is built can be told any more
                self._end(str(error))
        except QueueError:
            return
        else:
            self._told_phase = phase

    def _is_closing(self) -> bool:
        """Whether the lease ended with the job: its process told the queue, and is about to end, too.

        One that failed or waits again may also have been taken by the queue. Its process gets time until the
        next heartbeat: long enough to end, and to say why, such as that its key is of no use.
        """
        try:
            state = self._queue.find(self._lease.job.number).state
        except QueueError:
            return False
        was_over, self._is_over = self._is_over, state in ("failed", "waiting")
        return state == "done" or (self._is_over and not was_over)

    def _end(self, why: str) -> None:
        self.lost = why
        self._program.kill()

    def _send(self) -> None:
        batch = b""
        while len(batch) + _PIECE_BYTES <= MAX_BATCH_BYTES:
            try:
                batch += self._pieces.get_nowait()
            except queues.Empty:
                break
        if batch:
            with contextlib.suppress(QueueError):  # only those who watch miss it
                self._queue.output(self._lease.job.number, self._lease.secret, batch)
