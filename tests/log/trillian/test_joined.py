"""One read for all that ask at the same time."""

import asyncio

import pytest

from touchplate.log.trillian.joined import Joined


class Counter:
    """Reads take until they are let go; each returns its number."""

    def __init__(self) -> None:
        self.begun = 0
        self.gates: list[asyncio.Event] = []

    async def read(self) -> int:
        self.begun += 1
        number, gate = self.begun, asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        if number == 3:
            raise ValueError("the third one fails")
        return number


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def use() -> None:
    counter = Counter()
    joined = Joined(counter.read)
    first = asyncio.create_task(joined())
    await settle()
    late = [asyncio.create_task(joined()) for _ in range(10)]
    await settle()
    assert counter.begun == 1  # those who came while it ran wait for the next
    counter.gates[0].set()
    assert await first == 1
    await settle()
    late[0].cancel()  # one who gives up takes nothing from the others
    await settle()
    counter.gates[1].set()
    assert await asyncio.gather(*late[1:]) == [2] * 9
    failing = asyncio.create_task(joined())
    await settle()
    after = asyncio.create_task(joined())
    counter.gates[2].set()
    with pytest.raises(ValueError, match="third"):
        await failing
    await settle()
    counter.gates[3].set()
    assert await after == 4  # a failure is of its own run only
    assert counter.begun == 4


def test_who_asks_while_a_read_runs_shares_the_next() -> None:
    asyncio.run(use())


async def all_give_up() -> list[str]:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context)))
    counter = Counter()
    counter.begun = 2
    task = asyncio.create_task(Joined(counter.read)())
    await settle()
    task.cancel()
    counter.gates[0].set()
    await settle()
    return complaints


def test_a_read_that_fails_after_all_gave_up_is_no_complaint() -> None:
    assert asyncio.run(all_give_up()) == []
