"""The files of an engine (CometBFT 0.38): keys, genesis, configuration. Written by us, in its formats.

config/priv_validator_key.json   votes; whoever has it twice can make its owner vote twice
config/node_key.json             names this node to the others (its id)
config/genesis.json              who decides and may write at the beginning, whose log: the same at every peer
config/config.toml               addresses, peers, times; written anew at each start
data/priv_validator_state.json   what it has voted for last; never put back from a backup
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from touchplate.base.durable import make_folder, write_atomic
from touchplate.base.errors import ConfigError, StorageError
from touchplate.log.peers.rules import FORMAT, RULES_VERSION, parse_peers
from touchplate.log.peers.state import MAX_STATE_BYTES, format_app_state
from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.errors import MalformedError, VerifyError, shown
from touchplate.verify.fields import take_map, take_text
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json
from touchplate.verify.predicates.peers import Peer
from touchplate.verify.trust import AdmissionList

PRIVATE = 0o600

MAX_BLOCK_BYTES = 2 * 1024 * 1024
"""Bytes of a block: four full transactions. Every peer checks all of a proposal within the time of a vote."""

P2P_BYTES_PER_SECOND = 64 * 1024 * 1024
"""Bytes per second between two engines. Each entry passes about four times (waiting and in a block, from
several sides), so the engine's default of 5 MB/s holds full blocks back for most of a second."""

COMMIT_WAIT = "20ms"
"""How long the engine waits for the last votes after a quorum decided a block. They only fill its record of
who voted, which nothing here reads; safety does not depend on it, and every entry waits that long."""

EVIDENCE_BLOCKS = 100_000
EVIDENCE_NANOSECONDS = 48 * 3600 * 10**9
"""How long proof of a double vote is taken (the engine's own defaults)."""

GENESIS_TIME = "2026-01-01T00:00:00Z"
"""The same at every peer, so that the genesis is the same bytes; block times take over from it."""

_PUBLIC_TYPE = "tendermint/PubKeyEd25519"
_PRIVATE_TYPE = "tendermint/PrivKeyEd25519"
_MAX_KEY_FILE = 4096


def make_home(home: Path) -> None:
    """Make keys and the state of votes where they are missing; existing ones are kept. Raises
    StorageError."""
    try:
        make_folder(home / "config", 0o700)
        make_folder(home / "data", 0o700)
    except OSError as error:
        raise StorageError(f"cannot make {home}: {error.strerror}") from error
    state, key = home / "data/priv_validator_state.json", home / "config/priv_validator_key.json"
    if not key.exists():
        if state.exists():
            raise StorageError(
                f"{state} is there and {key} is not: put the key back, or remove the whole of {home}"
            )
        # First what it has voted for (nothing), then the key: no key without a memory.
        _write_json(state, {"height": "0", "round": 0, "step": 0})
        _write_json(key, _key_document(Ed25519PrivateKey.generate()))
    else:
        check_votes(home)
    node = home / "config/node_key.json"
    if not node.exists():
        document = _key_document(Ed25519PrivateKey.generate())
        _write_json(node, {"priv_key": document["priv_key"]})


def check_votes(home: Path) -> None:
    """Raise StorageError for a validator key without the memory of what it has voted for."""
    state = home / "data/priv_validator_state.json"
    if not state.exists():
        raise StorageError(
            f"{state} is missing beside the validator key: without it the engine might vote twice; make a new"
            " peer in an empty folder, and let the administrators put it in the place of this one"
        )


def check_blocks(home: Path, executed: int) -> None:
    """Raise StorageError when the log has executed blocks that the engine has none of."""
    if executed and not (home / "data/blockstore.db").exists():
        raise StorageError(
            f"the log has executed {executed} blocks, and the engine's, {home / 'data/blockstore.db'}, are"
            " gone: remove the log's database too (log.sqlite and what begins with this name, not"
            " signed.head), and the peer fetches all of it from the others"
        )


def validator_key(home: Path) -> str:
    """The base64 of the validator's public key. Raises StorageError."""
    return encode_base64(_read_key(home / "config/priv_validator_key.json").public_key().public_bytes_raw())


def validator_address(home: Path) -> str:
    """How the engine names this validator in votes (upper-case hex). Raises StorageError."""
    return _address(_read_key(home / "config/priv_validator_key.json"))


def node_id(home: Path) -> str:
    """The id by which other engines know this node. Raises StorageError."""
    return _address(_read_key(home / "config/node_key.json")).lower()


def node_key(home: Path) -> Ed25519PrivateKey:
    """The key by which this node shows the others who it is. Raises StorageError."""
    return _read_key(home / "config/node_key.json")


def format_genesis(origin: str, peers: Sequence[Peer], listed: AdmissionList, threshold: int) -> bytes:
    """The genesis of a network: the same bytes whoever writes it from the same peers and list.

    `threshold`: administrators that a change of list or peers takes.
    """
    ordered = sorted(peers, key=lambda peer: peer.name)
    app_state = format_app_state(origin, listed, ordered, threshold)
    # The engine refuses peers of another chain id, so two networks with different lists never meet.
    founding = format_json({"app_state": app_state, "members": [[p.name, p.validator] for p in ordered]})
    return format_json(
        {
            "app_hash": "",
            "app_state": app_state,
            "chain_id": f"touchplate-{hashlib.sha256(founding).hexdigest()[:16]}",
            "consensus_params": {
                "abci": {"vote_extensions_enable_height": "0"},
                "block": {"max_bytes": str(MAX_BLOCK_BYTES), "max_gas": "-1"},
                "evidence": {
                    "max_age_duration": str(EVIDENCE_NANOSECONDS),
                    "max_age_num_blocks": str(EVIDENCE_BLOCKS),
                    "max_bytes": "65536",
                },
                "validator": {"pub_key_types": ["ed25519"]},
                "version": {"app": str(RULES_VERSION)},
            },
            "genesis_time": GENESIS_TIME,
            "initial_height": "1",
            "validators": [_format_member(peer) for peer in ordered],
        }
    )


def write_genesis(home: Path, genesis: bytes) -> None:
    """Put the genesis in its place. Raises StorageError when another one is there already."""
    path = home / "config/genesis.json"
    if path.exists() and path.read_bytes() != genesis:
        raise StorageError(f"{path} is the genesis of another network; a peer belongs to one")
    write_atomic(path, genesis)


def read_founding(home: Path) -> str:
    """The digest of the admission list in the genesis. Raises ConfigError without a genesis of ours."""
    path = home / "config/genesis.json"
    return _founding_of(_read_genesis(path)[0], path)


def load_genesis(path: Path) -> tuple[bytes, str, str, tuple[Peer, ...]]:
    """A genesis made elsewhere: its bytes, origin, digest of its list, peers. Raises ConfigError.

    Whether it is the right one no program can know: operators compare its digest.
    """
    app_state, data = _read_genesis(path)
    founding = _founding_of(app_state, path)
    try:
        peers = parse_peers(app_state.get("peers"))
        origin = take_text(app_state.get("origin"), "origin")
    except VerifyError as error:
        raise ConfigError(str(path), (f"this is no genesis of a peers' log: {error}",)) from error
    return data, origin, founding, peers


def _read_genesis(path: Path) -> tuple[dict[str, JSON], bytes]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_STATE_BYTES + 1)
        document = take_map(parse_json(data, max_bytes=MAX_STATE_BYTES), "genesis")
        app_state = take_map(document.get("app_state"), "app_state")
    except (OSError, VerifyError) as error:
        raise ConfigError(str(path), ("no genesis here: make it with `touchplate peer genesis`",)) from error
    _check_rules_version(document, path)
    return app_state, data


def _check_rules_version(document: Mapping[str, JSON], path: Path) -> None:
    """Raise ConfigError unless the network was founded under the rules of this release: under others this
    peer would execute some block otherwise than the rest, and its engine end in a panic."""
    found: JSON = dict(document)
    for name in ("consensus_params", "version", "app"):
        found = found.get(name) if isinstance(found, dict) else None
    if found != str(RULES_VERSION):
        what = (
            f"its network has rules of version {shown(found)}, this release those of version {RULES_VERSION}"
        )
        raise ConfigError(str(path), (f"{what}: run the release that the other peers run",))


def _founding_of(app_state: Mapping[str, JSON], path: Path) -> str:
    if app_state.get("format") != FORMAT:
        what = f"a genesis of format {app_state.get('format')!r}, not {FORMAT!r}"
        raise ConfigError(str(path), (what,))
    return str(app_state.get("admission_sha256"))


@dataclass(frozen=True)
class EngineSettings:
    """What differs between engines. `peers`: id@host:port of the others. `socket`: file beside the home."""

    name: str
    p2p: str
    rpc: str
    peers: tuple[str, ...]
    socket: str = "app.sock"
    propose: str = "500ms"
    vote: str = "500ms"


def write_config(home: Path, settings: EngineSettings) -> None:
    """Write config.toml: what is not in it has the engine's default. Raises StorageError."""
    write_atomic(home / "config/config.toml", format_config(settings).encode(), PRIVATE)


def format_config(settings: EngineSettings) -> str:
    """The text of config.toml. Only listed peers connect, RPC stays on this host, nothing is exported."""
    ids = ",".join(peer.partition("@")[0] for peer in settings.peers)
    return f"""\
# Written by touchplate at each start; changes here are lost.
proxy_app = "unix://{settings.socket}"
abci = "socket"
moniker = {json.dumps(settings.name)}
log_level = "error"
filter_peers = true

[rpc]
laddr = "tcp://{settings.rpc}"
unsafe = false
max_body_bytes = 1000000
pprof_laddr = ""
grpc_laddr = ""

[p2p]
laddr = "tcp://{settings.p2p}"
persistent_peers = "{",".join(settings.peers)}"
unconditional_peer_ids = "{ids}"
private_peer_ids = "{ids}"
pex = false
addr_book_strict = false
allow_duplicate_ip = true
max_num_inbound_peers = {2 * len(settings.peers) + 2}
flush_throttle_timeout = "10ms"
send_rate = {P2P_BYTES_PER_SECOND}
recv_rate = {P2P_BYTES_PER_SECOND}
persistent_peers_max_dial_period = "2s"

[mempool]
type = "flood"
recheck = true
size = 5000
cache_size = 10000
max_tx_bytes = 524288
max_txs_bytes = 67108864

[consensus]
timeout_propose = "{settings.propose}"
timeout_prevote = "{settings.vote}"
timeout_precommit = "{settings.vote}"
timeout_commit = "{COMMIT_WAIT}"
create_empty_blocks = false
peer_gossip_sleep_duration = "10ms"
double_sign_check_height = 0

[tx_index]
indexer = "null"

[instrumentation]
prometheus = false
prometheus_listen_addr = "127.0.0.1:0"
"""


def _format_member(peer: Peer) -> dict[str, JSONValue]:
    try:
        public = peer.public
    except MalformedError as error:
        raise ConfigError(peer.name, (str(error),)) from error
    return {
        "address": hashlib.sha256(public).hexdigest()[:40].upper(),
        "name": peer.name,
        "power": "1",
        "pub_key": {"type": _PUBLIC_TYPE, "value": peer.validator},
    }


def _key_document(key: Ed25519PrivateKey) -> dict[str, object]:
    public = key.public_key().public_bytes_raw()
    return {
        "address": _address(key),
        "pub_key": {"type": _PUBLIC_TYPE, "value": encode_base64(public)},
        "priv_key": {"type": _PRIVATE_TYPE, "value": encode_base64(key.private_bytes_raw() + public)},
    }


def _address(key: Ed25519PrivateKey) -> str:
    return hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()[:40].upper()


def _read_key(path: Path) -> Ed25519PrivateKey:
    try:
        with path.open("rb") as file:
            secret = decode_base64(json.loads(file.read(_MAX_KEY_FILE))["priv_key"]["value"], "key")
        return Ed25519PrivateKey.from_private_bytes(secret[:32])
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; run `touchplate peer init`") from error
    except (ValueError, KeyError, TypeError, MalformedError):
        raise StorageError(f"{path} is not a key file of the engine") from None


def _write_json(path: Path, document: object) -> None:
    write_atomic(path, json.dumps(document, indent=2).encode() + b"\n", PRIVATE)
