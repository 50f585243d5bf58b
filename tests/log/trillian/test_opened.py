"""Trees in use: bounded, closed when nobody uses them, never while somebody does."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.log.trillian.test_persistence import entry, fields

from touchplate.base.sql import begin_write, sqlite_engine
from touchplate.log.errors import NotFoundError, OverloadedError
from touchplate.log.storage.raw import RawTree
from touchplate.log.storage.registry import Registry
from touchplate.log.storage.sql import open_tree
from touchplate.log.trillian.admin_service import AdminService
from touchplate.log.trillian.opened import Bounds, Trees
from touchplate.log.trillian.served import Threads
from touchplate.proto.trillian.trillian_admin_api_pb2 import DeleteTreeRequest


def with_trees(folder: Path, bounds: Bounds, work: Callable[[Trees], Awaitable[None]]) -> None:
    """`work` with three initialised trees, 1 to 3."""
    engine = sqlite_engine(folder / "db")
    open_tree(engine, "log.example.org")
    registry = Registry(engine)
    for number in (1, 2, 3):
        RawTree(engine, registry.add(fields(2**40 + number))).initialise()

    async def main() -> None:
        with ThreadPoolExecutor(2) as executor:
            trees = Trees(
                registry, Threads(executor), lambda row: RawTree(engine, row), bounds, is_shared=False
            )
            await work(trees)
            await trees.close()
            assert len(trees) == 0

    asyncio.run(main())
    engine.dispose()


def test_a_tree_that_nobody_uses_is_closed_and_opened_again(tmp_path: Path) -> None:
    async def work(trees: Trees) -> None:
        async with trees.use(2**40 + 1) as tree:
            await tree.append(entry("a"))
            await trees.close_idle()
            assert len(trees) == 1
        await trees.close_idle()
        assert len(trees) == 0
        async with trees.use(2**40 + 1) as tree:
            assert (await tree.append(entry("a"))).duplicate
            assert (await tree.append(entry("b"))).index == 1

    with_trees(tmp_path, Bounds(idle_seconds=0), work)


def test_a_tree_that_was_used_just_now_stays_open(tmp_path: Path) -> None:
    async def work(trees: Trees) -> None:
        async with trees.use(2**40 + 1):
            pass
        await trees.close_idle()
        assert len(trees) == 1

    with_trees(tmp_path, Bounds(idle_seconds=3600), work)


def test_when_all_that_may_be_open_are_in_use_others_wait_outside(tmp_path: Path) -> None:
    async def work(trees: Trees) -> None:
        async with trees.use(2**40 + 1), trees.use(2**40 + 2):
            with pytest.raises(OverloadedError, match="2 trees are in use"):
                async with trees.use(2**40 + 3):
                    pass
        async with trees.use(2**40 + 3):
            assert len(trees) == 2

    with_trees(tmp_path, Bounds(trees=2), work)


def test_a_tree_is_opened_once_for_all_who_come_together(tmp_path: Path) -> None:
    async def work(trees: Trees) -> None:
        seen = []

        async def one() -> None:
            async with trees.use(2**40 + 1) as tree:
                seen.append(tree)

        await asyncio.gather(*(one() for _ in range(20)))
        assert len({id(tree) for tree in seen}) == 1

    with_trees(tmp_path, Bounds(), work)


def test_an_unknown_tree_opens_nothing(tmp_path: Path) -> None:
    async def work(trees: Trees) -> None:
        with pytest.raises(NotFoundError):
            async with trees.use(7):
                pass
        assert len(trees) == 0

    with_trees(tmp_path, Bounds(), work)


def test_the_answers_of_two_changes_may_come_in_any_order(tmp_path: Path) -> None:
    async def work(trees: Trees) -> None:
        one = 2**40 + 1
        async with trees.use(one):
            pass
        trees.registry.change(one, lambda row: replace(row.fields, deleted=7))
        trees.registry.change(one, lambda row: replace(row.fields, deleted=None))
        for _ in range(2):  # the first call's answer is the last to come
            trees.changed(one)
        async with trees.use(one) as tree:
            assert tree.row.fields.deleted is None

    with_trees(tmp_path, Bounds(), work)


def test_a_change_whose_caller_gave_up_holds_all_the_same(tmp_path: Path) -> None:
    async def work(trees: Trees) -> None:
        one = 2**40 + 1
        async with trees.use(one):
            pass
        engine = sqlite_engine(tmp_path / "db")
        with ThreadPoolExecutor(1) as executor:
            admin = AdminService(trees, Threads(executor))
            with begin_write(engine):  # it waits for this one
                call = asyncio.ensure_future(admin.delete_tree(DeleteTreeRequest(tree_id=one)))
                await asyncio.sleep(0.05)
                call.cancel()
                await asyncio.wait([call])
            # After it, in the same thread.
            assert (await Threads(executor)(trees.registry.find, one)).fields.deleted is not None
        engine.dispose()
        with pytest.raises(NotFoundError, match="deleted"):
            async with trees.use(one):
                pass

    with_trees(tmp_path, Bounds(), work)
