"""TrillianLog: leaves in, roots and proofs out. No grpc types: a request in, a response out, or an error.

Arguments are checked before the tree is looked at, as Trillian does. A root is taken first, and everything
else in an answer is of that root or of what it contains.
"""

import time
from collections.abc import Callable

from touchplate.log.errors import NotFoundError, RequestError
from touchplate.log.storage.raw import Clock
from touchplate.log.storage.registry import LOG, PREORDERED
from touchplate.log.trillian import leaves
from touchplate.log.trillian.nodes import CachedHashes, MissingError, NodeCache
from touchplate.log.trillian.opened import Trees
from touchplate.log.trillian.roots import LogRoot, format_log_root
from touchplate.log.trillian.served import ServedTree
from touchplate.proto.trillian.trillian_log_api_pb2 import (
    AddSequencedLeavesRequest,
    AddSequencedLeavesResponse,
    GetConsistencyProofRequest,
    GetConsistencyProofResponse,
    GetEntryAndProofRequest,
    GetEntryAndProofResponse,
    GetInclusionProofByHashRequest,
    GetInclusionProofByHashResponse,
    GetInclusionProofRequest,
    GetInclusionProofResponse,
    GetLatestSignedLogRootRequest,
    GetLatestSignedLogRootResponse,
    GetLeavesByRangeRequest,
    GetLeavesByRangeResponse,
    InitLogRequest,
    InitLogResponse,
    QueueLeafRequest,
    QueueLeafResponse,
)
from touchplate.proto.trillian.trillian_pb2 import Proof, SignedLogRoot
from touchplate.verify.proofs import HashReader, prove_consistency, prove_inclusion
from touchplate.verify.rfc6962 import HASH_SIZE

MAX_PAGE = 1_000
"""Leaves in one answer."""

MAX_SEQUENCED = 4_096
"""Leaves in one AddSequencedLeaves: they are one transaction."""

MOST_BYTES = 3 * 1024 * 1024
"""Of leaves in one answer: clients take messages of 4 MiB unless told otherwise."""


class LogService:
    """The calls. Raises errors of the log, which `errors.answer` turns into status codes."""

    def __init__(self, trees: Trees, now: Clock = time.time_ns) -> None:
        self._trees = trees
        self._now = now
        self._nodes = NodeCache()

    # Writing

    async def queue_leaf(self, request: QueueLeafRequest) -> QueueLeafResponse:
        """Append a leaf to a LOG; answered when it is integrated, which Trillian's clients need not know."""
        if not request.HasField("leaf"):
            raise RequestError("leaf: is missing")
        entry = leaves.raw_entry(request.leaf, self._now())
        async with self._trees.use(request.log_id, appends_to=LOG) as tree:
            _check_type(tree, LOG)
            done = await tree.append(entry)
            if not done.duplicate:
                queued = leaves.accepted(entry, done.index)
            else:
                (old,) = await tree.leaves(done.index, done.index + 1, MOST_BYTES)
                queued = leaves.duplicate(old)
        return QueueLeafResponse(queued_leaf=queued)

    async def add_sequenced_leaves(self, request: AddSequencedLeavesRequest) -> AddSequencedLeavesResponse:
        """Append leaves to a PREORDERED_LOG at the indexes that they name; one status each."""
        if not request.leaves:
            raise RequestError("leaves: are missing")
        if len(request.leaves) > MAX_SEQUENCED:
            raise RequestError(f"leaves: {len(request.leaves)} at once; at most {MAX_SEQUENCED}")
        now = self._now()
        named = [(leaf.leaf_index, leaves.raw_entry(leaf, now)) for leaf in request.leaves]
        leaves.check_contiguous([index for index, _ in named])
        async with self._trees.use(request.log_id, appends_to=PREORDERED) as tree:
            _check_type(tree, PREORDERED)
            placed = await tree.place(named)
        results = [
            leaves.placed(index, entry, one) for (index, entry), one in zip(named, placed, strict=True)
        ]
        return AddSequencedLeavesResponse(results=results)

    async def init_log(self, request: InitLogRequest) -> InitLogResponse:
        """Make the root of the empty tree."""
        async with self._trees.use(request.log_id) as tree:
            return InitLogResponse(created=_signed(await tree.initialise()))

    # Reading

    async def get_inclusion_proof(self, request: GetInclusionProofRequest) -> GetInclusionProofResponse:
        """By index. A size beyond this tree's is answered with its root and no proof: a copy may lag."""
        index, size = request.leaf_index, request.tree_size
        _check_index(index, size)
        async with self._trees.use(request.log_id) as tree:
            root = await tree.root()
            response = GetInclusionProofResponse(signed_log_root=_signed(root))
            if size <= root.size:
                response.proof.CopyFrom(await self._inclusion(tree, index, size))
        return response

    async def get_inclusion_proof_by_hash(
        self, request: GetInclusionProofByHashRequest
    ) -> GetInclusionProofByHashResponse:
        """Of every leaf with this Merkle leaf hash, in order."""
        size = request.tree_size
        if size <= 0:
            raise RequestError(f"tree_size: must be above 0, not {size}")
        if len(request.leaf_hash) != HASH_SIZE:
            raise RequestError(f"leaf_hash: has {len(request.leaf_hash)} bytes, not {HASH_SIZE}")
        async with self._trees.use(request.log_id) as tree:
            root = await tree.root()
            # No proof can be of a size that is not there; what is there is proved at its own.
            known = min(size, root.size)
            indexes = await tree.find_hash(request.leaf_hash, known)
            if not indexes:
                raise NotFoundError(f"no leaf of the first {size} has the hash {request.leaf_hash.hex()}")
            if size > root.size:
                raise NotFoundError(f"the tree has {root.size} leaves, not {size} (yet)")
            proofs = [await self._inclusion(tree, index, size) for index in indexes]
        return GetInclusionProofByHashResponse(proof=proofs, signed_log_root=_signed(root))

    async def get_consistency_proof(self, request: GetConsistencyProofRequest) -> GetConsistencyProofResponse:
        """Between two sizes; beyond this tree's: its root and no proof."""
        first, second = request.first_tree_size, request.second_tree_size
        if first <= 0 or second <= 0 or second < first:
            raise RequestError(
                f"sizes {first} and {second}: both must be above 0, the first not the larger one"
            )
        async with self._trees.use(request.log_id) as tree:
            root = await tree.root()
            response = GetConsistencyProofResponse(signed_log_root=_signed(root))
            if second <= root.size:
                response.proof.CopyFrom(await self._consistency(tree, first, second))
        return response

    async def get_latest_signed_log_root(
        self, request: GetLatestSignedLogRootRequest
    ) -> GetLatestSignedLogRootResponse:
        """The newest root; with the proof that it goes on from `first_tree_size`, if that is above 0."""
        first = request.first_tree_size
        if first < 0:
            raise RequestError(f"first_tree_size: must not be negative, not {first}")
        async with self._trees.use(request.log_id) as tree:
            root = await tree.root()
            response = GetLatestSignedLogRootResponse(signed_log_root=_signed(root))
            if first > root.size:
                raise RequestError(f"first_tree_size: {first}; the tree has {root.size} leaves")
            if first:
                response.proof.CopyFrom(await self._consistency(tree, first, root.size))
        return response

    async def get_entry_and_proof(self, request: GetEntryAndProofRequest) -> GetEntryAndProofResponse:
        """A leaf and its proof, at the tree's own size when `tree_size` is beyond it."""
        index, size = request.leaf_index, request.tree_size
        _check_index(index, size)
        async with self._trees.use(request.log_id) as tree:
            root = await tree.root()
            response = GetEntryAndProofResponse(signed_log_root=_signed(root))
            size = min(size, root.size)
            if index < size:
                (leaf,) = await tree.leaves(index, index + 1, MOST_BYTES)
                response.leaf.CopyFrom(leaves.stored(leaf))
                response.proof.CopyFrom(await self._inclusion(tree, index, size))
        return response

    async def get_leaves_by_range(self, request: GetLeavesByRangeRequest) -> GetLeavesByRangeResponse:
        """Leaves from `start_index`; as many as fit into an answer."""
        start, count = request.start_index, request.count
        if start < 0 or count <= 0:
            raise RequestError(f"start_index {start}, count {count}: must be 0 or more, and above 0")
        async with self._trees.use(request.log_id) as tree:
            root = await tree.root()
            end = min(start + min(count, MAX_PAGE), root.size)
            found = await tree.leaves(start, end, MOST_BYTES) if start < end else []
        return GetLeavesByRangeResponse(
            leaves=[leaves.stored(leaf) for leaf in found], signed_log_root=_signed(root)
        )

    async def _inclusion(self, tree: ServedTree, index: int, size: int) -> Proof:
        hashes = await self._prove(tree, size, lambda reader: prove_inclusion(reader, index, size))
        return Proof(leaf_index=index, hashes=hashes)

    async def _consistency(self, tree: ServedTree, first: int, second: int) -> Proof:
        hashes = await self._prove(tree, second, lambda reader: prove_consistency(reader, first, second))
        return Proof(hashes=hashes)

    async def _prove(
        self, tree: ServedTree, size: int, prove: Callable[[HashReader], list[bytes]]
    ) -> list[bytes]:
        """A proof in the tree of `size` leaves, which there is."""
        reader = CachedHashes(self._nodes, self._nodes.number(tree.tree), size, tree.tree.tile_at_hand)
        try:
            return prove(reader)
        except MissingError as error:
            reader.add(await tree.tiles(error.tiles))
            return prove(reader)  # asks for the same nodes


def _signed(root: LogRoot) -> SignedLogRoot:
    return SignedLogRoot(log_root=format_log_root(root))


def _check_index(index: int, size: int) -> None:
    if size <= 0:
        raise RequestError(f"tree_size: must be above 0, not {size}")
    if not 0 <= index < size:
        raise RequestError(f"leaf_index: {index} is not in a tree of {size} leaves")


def _check_type(tree: ServedTree, wanted: int) -> None:
    if tree.row.fields.type != wanted:
        what = (
            "a LOG gives the indexes itself: use QueueLeaf"
            if wanted == PREORDERED
            else ("the leaves of a PREORDERED_LOG come with AddSequencedLeaves")
        )
        raise RequestError(f"log_id: {what}")
