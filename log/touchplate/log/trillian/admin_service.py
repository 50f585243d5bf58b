"""TrillianAdmin: making and changing raw trees. No grpc types: a request in, a response out, or an error."""

import asyncio
import time

from touchplate.log.errors import RequestError
from touchplate.log.storage.raw import Clock
from touchplate.log.storage.registry import Change, TreeRow, random_id
from touchplate.log.trillian.opened import Trees
from touchplate.log.trillian.served import Threads
from touchplate.log.trillian.trees import (
    changed_fields,
    deleted_fields,
    new_fields,
    tree_message,
    undeleted_fields,
)
from touchplate.proto.trillian.trillian_admin_api_pb2 import (
    CreateTreeRequest,
    DeleteTreeRequest,
    GetTreeRequest,
    ListTreesRequest,
    ListTreesResponse,
    UndeleteTreeRequest,
    UpdateTreeRequest,
)
from touchplate.proto.trillian.trillian_pb2 import Tree

_MILLI = 1_000_000
"""Nanoseconds."""


class AdminService:
    """The calls. Raises errors of the log, which `errors.answer` turns into status codes."""

    def __init__(self, trees: Trees, threads: Threads, now: Clock = time.time_ns) -> None:
        self._trees = trees
        self._registry = trees.registry
        self._threads = threads
        self._now = now

    async def list_trees(self, request: ListTreesRequest) -> ListTreesResponse:
        """All trees; deleted ones too when asked for."""
        rows = await self._threads(self._registry.rows)
        shown = [row for row in rows if request.show_deleted or row.fields.deleted is None]
        return ListTreesResponse(tree=[tree_message(row) for row in shown])

    async def get_tree(self, request: GetTreeRequest) -> Tree:
        """One tree, deleted or not."""
        return tree_message(await self._threads(self._registry.find, request.tree_id))

    async def create_tree(self, request: CreateTreeRequest) -> Tree:
        """A new raw tree; it takes leaves after InitLog."""
        if not request.HasField("tree"):
            raise RequestError("tree: is missing")
        fields = new_fields(request.tree, random_id(), self._millis())
        return tree_message(await self._threads(self._registry.add, fields))

    async def update_tree(self, request: UpdateTreeRequest) -> Tree:
        """Change what `update_mask` names. When it returns, no leaf is taken any more under the old state."""
        if not request.HasField("tree"):
            raise RequestError("tree: is missing")
        tree, mask, now = request.tree, list(request.update_mask.paths), self._millis()
        return await self._change(tree.tree_id, lambda row: changed_fields(row, tree, mask, now))

    async def delete_tree(self, request: DeleteTreeRequest) -> Tree:
        """Hide a tree from everything but `undelete_tree`; nothing of it is removed."""
        now = self._millis()
        return await self._change(request.tree_id, lambda row: deleted_fields(row, now))

    async def undelete_tree(self, request: UndeleteTreeRequest) -> Tree:
        """Show it again."""
        now = self._millis()
        return await self._change(request.tree_id, lambda row: undeleted_fields(row, now))

    async def _change(self, public_id: int, change: Change) -> Tree:
        # A caller who gives up does not end it, so it goes on to its end without him.
        return tree_message(await asyncio.shield(self._changed(public_id, change)))

    async def _changed(self, public_id: int, change: Change) -> TreeRow:
        try:
            return await self._threads(self._registry.change, public_id, change)
        finally:  # also when it is not known whether it was kept
            self._trees.changed(public_id)

    def _millis(self) -> int:
        return self._now() // _MILLI
