"""Real note keys, the same in every run, and checkpoints signed with them: for tests only."""

import hashlib

from touchplate.verify.checkpoints import Checkpoint, open_checkpoint, sign_checkpoint
from touchplate.verify.notes import COSIGNER_KEY_TYPE, LOG_KEY_TYPE, NoteSigner, Role, format_verifier_key
from touchplate.verify.policy import Policy, parse_policy

ORIGIN = "log.example.org"


def note_signer(name: str, role: Role, salt: str = "") -> NoteSigner:
    """The signer of that name and role; another `salt` gives another key."""
    seed = hashlib.sha256(f"test key {role} {name} {salt}".encode()).digest()
    return NoteSigner(name, LOG_KEY_TYPE if role == "log" else COSIGNER_KEY_TYPE, seed)


def log_signer(salt: str = "") -> NoteSigner:
    """The log key of ORIGIN."""
    return note_signer(ORIGIN, "log", salt)


def witness_signer(name: str) -> NoteSigner:
    """The cosigner key of a witness."""
    return note_signer(name, "cosigner")


def verifier_key(signer: NoteSigner) -> str:
    """The public text form."""
    return format_verifier_key(signer.key)


def solo_policy(signer: NoteSigner | None = None) -> Policy:
    """A policy that knows one log key and asks for no witness."""
    return parse_policy(f"log {verifier_key(signer or log_signer())}\nquorum none\n")


def head(size: int, root: bytes) -> Checkpoint:
    """An opened checkpoint of ORIGIN with this size and root."""
    return open_checkpoint(sign_checkpoint(ORIGIN, size, root, log_signer()), solo_policy())
