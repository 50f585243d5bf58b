"""One question for all who wait at the same time."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from touchplate.log.trillian.gathered import MAX_KEYS, Gathered


class Database:
    """Answers keys that are even, when it is let."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.answers = asyncio.Event()
        self.fails = False

    async def __call__(self, keys: Sequence[int]) -> Mapping[int, str]:
        self.asked.append(list(keys))
        await self.answers.wait()
        if self.fails:
            raise OSError("gone")
        return {key: f"value {key}" for key in keys if key % 2 == 0}


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_comes_while_a_question_runs_is_in_the_next_one() -> None:
    async def main() -> None:
        database = Database()
        gathered = Gathered(database)
        first = asyncio.create_task(gathered([2]))
        await settle()
        later = [asyncio.create_task(gathered([key, 4])) for key in (2, 3, 4)]
        await settle()
        assert database.asked == [[2]]  # the second caller for 2 is not answered by what was asked before
        database.answers.set()
        assert (await first)[2] == "value 2"
        answers = await asyncio.gather(*later)
        assert database.asked == [[2], [2, 4, 3]]
        assert [answer.get(key) for answer, key in zip(answers, (2, 3, 4), strict=True)] == [
            "value 2",
            None,
            "value 4",
        ]

    asyncio.run(main())


def test_a_question_has_only_so_many_keys_and_nobody_is_left_out() -> None:
    async def main() -> None:
        database = Database()
        gathered = Gathered(database)
        calls = [asyncio.create_task(gathered(range(at, at + 100))) for at in range(0, 1_000, 100)]
        calls.append(asyncio.create_task(gathered(range(5_000, 5_000 + 2 * MAX_KEYS))))
        database.answers.set()
        answers = await asyncio.gather(*calls)
        assert [answer[at] for answer, at in zip(answers, [*range(0, 1_000, 100), 5_000], strict=True)]
        assert sorted(key for keys in database.asked for key in keys) == [
            *range(1_000),
            *range(5_000, 5_000 + 2 * MAX_KEYS),
        ]
        assert max(map(len, database.asked[:-1])) <= MAX_KEYS

    asyncio.run(main())


def test_a_failure_is_told_to_those_who_asked_and_ends_nothing() -> None:
    async def main() -> None:
        database = Database()
        gathered = Gathered(database)
        database.fails = True
        database.answers.set()
        told = await asyncio.gather(gathered([2]), gathered([4]), return_exceptions=True)
        assert [str(one) for one in told] == ["gone", "gone"]
        database.fails = False
        assert (await gathered([6]))[6] == "value 6"

    asyncio.run(main())


def test_a_caller_who_goes_away_takes_nothing_from_the_others() -> None:
    async def main() -> None:
        database = Database()
        gathered = Gathered(database)
        gone, stays = asyncio.create_task(gathered([2])), asyncio.create_task(gathered([4]))
        await settle()
        left = asyncio.create_task(gathered([8]))
        await settle()
        gone.cancel()
        left.cancel()
        database.answers.set()
        assert (await stays)[4] == "value 4"
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert (await gathered([10]))[10] == "value 10"
        assert [8] not in database.asked

    asyncio.run(main())


def test_the_end_of_the_loop_leaves_nobody_waiting() -> None:
    async def main() -> list[asyncio.Task[Mapping[int, str]]]:
        gathered = Gathered(Database())
        calls = [asyncio.create_task(gathered([2]))]
        await settle()
        calls.append(asyncio.create_task(gathered([4])))
        await settle()
        return calls

    assert all(call.cancelled() for call in asyncio.run(main()))
