"""What is done with a side, and how long it takes: one entry at a time, as many as it can, and one peer
killed.

The clock of a rate runs from the first envelope that is sent until all peers publish the last one.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.bench.harness import WrongResultError, check, process_cpu
from tests.bench.peers.clients import AnswerError, Connection, connections, send_all
from tests.bench.peers.networks import PEERS, READY_SECONDS, Ours, Side

from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.policy import parse_policy

LOOK_SECONDS = 0.005
"""Between two looks at what is published, where a single entry is timed."""

RARE_LOOK_SECONDS = 0.05
"""The same under load, where looking costs those who work."""

Send = Callable[[Connection, bytes], Awaitable[None]]


@dataclass
class Load:
    """What a load gave. `cpu`: seconds of all peers, by program."""

    entries: int
    wall: float
    cpu: dict[str, float]
    answered: list[float]

    @property
    def rate(self) -> float:
        """Entries per second, published by all peers."""
        return self.entries / self.wall

    def each(self, program: str | None = None) -> float:
        """CPU milliseconds per entry and peer."""
        seconds = sum(self.cpu.values()) if program is None else self.cpu.get(program, 0.0)
        return 1000 * seconds / self.entries / PEERS


@dataclass
class Pause:
    """Longest seconds without a newer published head: before and after one peer was killed."""

    before: float
    after: float
    failed: int = 0


@dataclass
class Lone:
    """Seconds of single entries: until the answer, until published."""

    answered: list[float] = field(default_factory=list)
    published: list[float] = field(default_factory=list)


async def wait_size(side: Side, size: int, pause: float = RARE_LOOK_SECONDS) -> None:
    """Wait until every peer of a side shows so many."""
    async with connections(side.addresses, PEERS) as clients:
        for client in clients:
            await wait_one(side, client, size, pause)


async def wait_one(side: Side, client: Connection, size: int, pause: float) -> None:
    """Wait until one peer shows so many."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(OSError, EOFError, AnswerError):
            if await side.size(client) >= size:
                return
        check(time.monotonic() < deadline, f"{client.address} does not get to {size} entries")
        await asyncio.sleep(pause)


async def largest(side: Side) -> int:
    """The most that any peer of a side shows."""
    found = []
    async with connections(side.addresses, PEERS) as clients:
        for client in clients:
            with contextlib.suppress(OSError, EOFError, AnswerError):
                found.append(await side.size(client))
    return max(found)


async def check_agreement(ours: Ours) -> None:
    """All peers publish one head of all entries, each under a quorum of cosignatures. WrongResultError if
    not."""
    await wait_size(ours, await largest(ours))
    policy = parse_policy(ours.policy.read_text())
    heads = set()
    async with connections(ours.addresses, PEERS) as clients:
        for client in clients:
            opened = open_checkpoint(await client.ask("GET", "/log/checkpoint"), policy)
            heads.add((opened.size, opened.root))
    check(len(heads) == 1, f"the peers publish different heads: {heads}")


async def lone(side: Side, send: Send, bodies: Sequence[bytes], found: Lone) -> None:
    """One after the other, each at the next peer, until that peer publishes it."""
    async with connections(side.addresses, PEERS) as clients:
        size = await side.size(clients[0])
        for number, body in enumerate(bodies):
            client = clients[number % PEERS]
            began = time.perf_counter()
            await send(client, body)
            found.answered.append(time.perf_counter() - began)
            size += 1
            await wait_one(side, client, size, LOOK_SECONDS)
            found.published.append(time.perf_counter() - began)


async def load(side: Side, send: Send, bodies: Sequence[bytes], entries: int, clients: int) -> Load:
    """All `bodies` (together `entries` envelopes) by so many clients at once."""
    async with connections(side.addresses, clients) as opened:
        size = await side.size(opened[0])
        before, began = _cpu(side), time.perf_counter()
        answered = await send_all(opened, bodies, send)
        await wait_size(side, size + entries)
        wall, after = time.perf_counter() - began, _cpu(side)
    return Load(entries, wall, {name: after[name] - before[name] for name in after}, answered)


def _cpu(side: Side) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in side.processes:
        for program, pid in each.find().items():
            found[program] = found.get(program, 0.0) + process_cpu(pid)
    return found


async def pause(
    side: Side, send: Send, bodies: Sequence[bytes], victim: int, seconds: tuple[float, float]
) -> Pause:
    """Kill one peer under a load at all of them; so many seconds before that, and after.

    A client whose peer is gone goes on at the next one, with the same envelope.
    """
    calm, shaken = seconds
    survivors = [number for number in range(PEERS) if number != victim]
    waiting = itertools.chain(bodies, _exhausted())
    failed = 0
    over = asyncio.Event()

    async def work(number: int) -> None:
        nonlocal failed
        clients = itertools.cycle(Connection(side.addresses[(number + n) % PEERS]) for n in range(PEERS))
        client, body = next(clients), next(waiting)
        while not over.is_set():
            try:
                await send(client, body)
                body = next(waiting)
            except (OSError, EOFError, AnswerError):
                failed += 1
                client.close()
                client = next(clients)
        client.close()

    watch = [Watch(side, side.addresses[number]) for number in survivors]
    async with asyncio.TaskGroup() as group:
        for number in range(2 * PEERS):
            group.create_task(work(number))
        for each in watch:
            group.create_task(each.run(over))
        await asyncio.sleep(calm)
        before = max(each.take() for each in watch)
        side.processes[victim].kill()
        await asyncio.sleep(shaken)
        after = max(each.take() for each in watch)
        over.set()
    return Pause(before, after, failed)


def _exhausted() -> Iterator[bytes]:
    raise WrongResultError("the envelopes were used up before the time was over")
    yield b""  # makes this a generator


class Watch:
    """Looks at what one peer publishes."""

    def __init__(self, side: Side, address: str) -> None:
        self._side = side
        self._address = address
        self._grown = time.perf_counter()
        self._longest = 0.0

    async def run(self, over: asyncio.Event) -> None:
        """Look until it is over."""
        size = 0
        async with connections([self._address], 1) as (client,):
            while not over.is_set():
                found = await self._side.size(client)
                if found > size:
                    now = time.perf_counter()
                    self._longest = max(self._longest, now - self._grown)
                    size, self._grown = found, now
                await asyncio.sleep(2 * LOOK_SECONDS)

    def take(self) -> float:
        """The longest time without growth since the last call, the one that still lasts included."""
        longest = max(self._longest, time.perf_counter() - self._grown)
        self._longest = 0.0
        return longest
