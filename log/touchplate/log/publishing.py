"""Signing checkpoints: what this log says about itself, once said, is never taken back.

Alone, a checkpoint is signed inside the transaction of its batch, so head and checkpoint are one durable
step. Nobody sees a note whose transaction did not commit: it is served from memory that advances after
COMMIT.
"""

from collections.abc import Sequence

from touchplate.log.errors import CheckpointError
from touchplate.log.ports import Head, Tree
from touchplate.verify.checkpoints import UnverifiedCheckpoint, parse_checkpoint_body, sign_checkpoint
from touchplate.verify.errors import VerifyError
from touchplate.verify.notes import NoteKey, NoteSigner, open_note


class Publisher:
    """Signs the heads of one tree with the log's key."""

    def __init__(self, tree: Tree, signer: NoteSigner, origin: str) -> None:
        """Raises CheckpointError when the key is not this origin's, or the stored checkpoint is another
        log's."""
        if signer.key.role != "log" or signer.key.name != origin:
            raise CheckpointError(f"the key {signer.key} is not a log key of the origin {origin!r}")
        self._tree = tree
        self._signer = signer
        self._origin = origin
        check_stored(tree.head(), [signer.key], origin)

    def start(self) -> None:
        """Sign the head if its checkpoint is missing or behind: for a new tree, and after a crash between the
        two."""
        head = self._tree.head()
        if head.checkpoint is None or stored_body(head.checkpoint, [self._signer.key]).size < head.size:
            self._tree.store_checkpoint(head.size, self.sign(head.size, head.root))

    def sign(self, size: int, root: bytes) -> bytes:
        """The signed note of a head that is being made durable. Raises CheckpointError rather than go back or
        fork."""
        head = self._tree.head()
        if size < head.size or (size == head.size and root != head.root):
            raise CheckpointError(
                f"refusing to sign size {size}, root {root.hex()}: the tree already is at size {head.size},"
                f" root {head.root.hex()}"
            )
        return sign_checkpoint(self._origin, size, root, self._signer)


def check_stored(head: Head, keys: Sequence[NoteKey], origin: str) -> None:
    """Refuse a tree whose newest checkpoint is of another origin or none of `keys`, or is not of its head's
    past."""
    if head.checkpoint is None:
        return
    body = stored_body(head.checkpoint, keys)
    if body.origin != origin:
        raise CheckpointError(
            f"the stored checkpoint is of origin {body.origin!r}, the configuration says {origin!r}:"
            " use the right data folder, or the right configuration"
        )
    if body.size > head.size or (body.size == head.size and body.root != head.root):
        raise CheckpointError(
            f"the stored checkpoint (size {body.size}) contradicts the head (size {head.size}): run log fsck"
        )


def stored_body(checkpoint: bytes, keys: Sequence[NoteKey]) -> UnverifiedCheckpoint:
    """The body of a checkpoint that one of this log's `keys` signed. Raises CheckpointError."""
    try:
        return parse_checkpoint_body(open_note(checkpoint, keys).text)
    except VerifyError as error:
        raise CheckpointError(
            f"the stored checkpoint is not signed by the configured key {keys[0]}: {error};"
            " use the right key, or the right data folder"
        ) from error
