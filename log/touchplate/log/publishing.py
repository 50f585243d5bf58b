"""Signing checkpoints: what this log says about itself, once said, is never taken back.

Alone, a checkpoint is signed inside the transaction of its batch, so head and checkpoint are one durable
step. Nobody sees a note whose transaction did not commit: it is served from memory that advances after
COMMIT.
"""

from collections.abc import Sequence

from touchplate.log.errors import CheckpointError
from touchplate.log.keys import LogKeys
from touchplate.log.ports import Head, Tree
from touchplate.verify.checkpoints import UnverifiedCheckpoint, format_checkpoint_body, parse_checkpoint_body
from touchplate.verify.errors import VerifyError
from touchplate.verify.notes import NoteKey, open_note, sign_note


class Publisher:
    """Signs the heads of one tree with the log's keys."""

    def __init__(self, tree: Tree, keys: LogKeys, origin: str) -> None:
        """Raises CheckpointError when a key is not this origin's, or the stored checkpoint is another
        log's."""
        for key in keys.known:
            if key.role != "log" or key.name != origin:
                raise CheckpointError(f"the key {key} is not a log key of the origin {origin!r}")
        self._tree = tree
        self._keys = keys
        self._origin = origin
        check_stored(tree.head(), keys.known, origin)

    def start(self) -> None:
        """Sign the head if its checkpoint is missing or behind (a new tree, a crash between the two), or
        lacks the line of a key that signs now (a key that was added)."""
        head = self._tree.head()
        if head.checkpoint is None or self._is_behind(head.checkpoint, head.size):
            self._tree.store_checkpoint(head.size, self.sign(head.size, head.root))

    def _is_behind(self, checkpoint: bytes, size: int) -> bool:
        signed = {each.key for each in open_note(checkpoint, self._keys.known).signatures}
        lacks = any(signer.key not in signed for signer in self._keys.signers)
        return lacks or stored_body(checkpoint, self._keys.known).size < size

    def sign(self, size: int, root: bytes) -> bytes:
        """The signed note of a head that is being made durable. Raises CheckpointError rather than go back or
        fork."""
        head = self._tree.head()
        if size < head.size or (size == head.size and root != head.root):
            raise CheckpointError(
                f"refusing to sign size {size}, root {root.hex()}: the tree already is at size {head.size},"
                f" root {head.root.hex()}"
            )
        return sign_note(format_checkpoint_body(self._origin, size, root), self._keys.signers)


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


def stored_size(checkpoint: bytes | None) -> int:
    """The size that a stored checkpoint speaks of; -1 for none."""
    return -1 if checkpoint is None else int(checkpoint.split(b"\n", 2)[1])
