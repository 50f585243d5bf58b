"""`touchplate peer`: make a peer's keys, found or join a network, run the peer, ask how it is.

What administrators do is in cli_rules.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from touchplate.base.logging import setup_logging
from touchplate.log.peers.engine import install_engine
from touchplate.log.peers.joining import (
    CARD_NAME,
    CONFIG_NAME,
    HOME_NAME,
    POLICY_NAME,
    Local,
    init_peer,
    join_later,
    join_network,
    load_card,
)
from touchplate.node import cli_rules
from touchplate.verify.output import print_json, print_line, print_note, print_pairs
from touchplate.verify.trust import load_admission
from touchplate.verify.usage import OK, UNDETERMINED


def register(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `touchplate peer`."""
    commands = parser.add_subparsers(dest="peer_command", required=True, metavar="COMMAND")
    _register_init(commands.add_parser("init", help="make a peer's keys and its card, and build the engine"))
    genesis = commands.add_parser("genesis", help="found a network: genesis, configuration, policy")
    genesis.add_argument("--folder", type=Path, required=True, help="the peer's folder")
    genesis.add_argument(
        "--admission", type=Path, required=True, metavar="FILE", help="who may write; the same at every peer"
    )
    genesis.add_argument(
        "--card", type=Path, action="append", required=True, metavar="FILE", help="another peer's card (each)"
    )
    genesis.add_argument(
        "--threshold",
        type=int,
        metavar="N",
        help="administrators that a change takes; else more than half",
    )
    _add_local(genesis)
    genesis.set_defaults(run_peer=_genesis)
    _register_join(commands.add_parser("join", help="join a network that runs, by its genesis"))
    cli_rules.register(commands)
    start = commands.add_parser("start", help="run the peer until it is stopped")
    start.add_argument("--config", type=Path, required=True, metavar="FILE", help="the peer's TOML file")
    start.add_argument("--log-format", choices=("plain", "json"), default="plain", help="form of log lines")
    start.set_defaults(run_peer=_start)
    status = commands.add_parser("status", help="ask the peer that runs here how far it is")
    status.add_argument("--config", type=Path, required=True, metavar="FILE", help="the peer's TOML file")
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run_peer=_status)


def _register_join(join: argparse.ArgumentParser) -> None:
    join.add_argument("--folder", type=Path, required=True, help="the peer's folder")
    join.add_argument(
        "--genesis", type=Path, required=True, metavar="FILE", help="engine/config/genesis.json of any peer"
    )
    join.add_argument(
        "--admission",
        type=Path,
        required=True,
        metavar="FILE",
        help="the list it was made with",
    )
    join.add_argument(
        "--card",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="the card of a peer that joined later (each)",
    )
    _add_local(join)
    join.set_defaults(run_peer=_join)


def _add_local(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", default="127.0.0.1:8350", metavar="ADDRESS", help="the log's HTTP face")
    parser.add_argument("--rpc", default="127.0.0.1:26657", metavar="ADDRESS", help="the engine's RPC here")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _register_init(init: argparse.ArgumentParser) -> None:
    init.add_argument("--folder", type=Path, required=True, help="where its keys and data will be")
    init.add_argument("--name", required=True, help="what the others call it")
    init.add_argument("--origin", required=True, help="the log's origin: a bare host name, common to all")
    init.add_argument(
        "--p2p", required=True, metavar="HOST:PORT", help="where the others' engines reach this one"
    )
    init.add_argument(
        "--url", required=True, help="where this peer's log will be read, such as https://…/log"
    )
    init.add_argument("--no-engine", action="store_true", help="do not build the engine now")
    init.add_argument("--json", action="store_true", help="print JSON")
    init.set_defaults(run_peer=_init)


def run(args: argparse.Namespace) -> int:
    """Run what was parsed; the exit code."""
    command: Callable[[argparse.Namespace], int] = args.run_peer
    return command(args)


def _init(args: argparse.Namespace) -> int:
    card = init_peer(args.folder, args.name, args.origin, p2p=args.p2p, url=args.url)
    engine = None if args.no_engine else str(install_engine(progress=print_note))
    path = args.folder / CARD_NAME
    if args.json:
        print_json({"card": str(path), "engine": engine, **asdict(card)})
        return OK
    print_pairs([("card", str(path)), ("engine", engine or "not built"), ("node", card.node)])
    print_note(f"send {CARD_NAME} to the other operators, take theirs, then: touchplate peer genesis")
    return OK


def _genesis(args: argparse.Namespace) -> int:
    own = load_card(args.folder / CARD_NAME)
    # Somebody who gives all cards gives his own, too.
    cards = list(dict.fromkeys([own, *map(load_card, args.card)]))
    local = Local(args.listen, args.rpc)
    config = join_network(args.folder, cards, args.admission, local, threshold=args.threshold)
    if all(block.kind != "administrator" for block in load_admission(args.admission).keys):
        print_note("the list names no administrator: neither it nor the peers can ever change")
    return _tell_network(args, config)


def _join(args: argparse.Namespace) -> int:
    cards = [load_card(path) for path in args.card]
    local = Local(args.listen, args.rpc)
    return _tell_network(args, join_later(args.folder, args.genesis, cards, args.admission, local))


def _tell_network(args: argparse.Namespace, config: Path) -> int:
    genesis = args.folder / HOME_NAME / "config/genesis.json"
    policy = args.folder / POLICY_NAME
    if args.json:
        print_json({"config": str(config), "genesis": str(genesis), "policy": str(policy)})
    else:
        print_pairs([("config", str(config)), ("genesis", str(genesis)), ("policy", str(policy))])
        print_note(
            "compare the genesis with the other operators (sha256sum): it is the same file at every peer"
        )
    if config.name != CONFIG_NAME:
        print_note(f"{CONFIG_NAME} is kept as it is; what is new stands in {config}: take over what you want")
    return OK


def _start(args: argparse.Namespace) -> int:
    # The server takes longest to import; mistakes in the command line are told before.
    from touchplate.node.peer import load_peer_config, serve_peer

    config = load_peer_config(args.config)
    setup_logging(form=args.log_format)
    logging.getLogger("touchplate.node").info("starting a peer: data in %s", config.data)
    serve_peer(config, lambda url: print_line(f"touchplate: ready at {url}"))
    return OK


def _status(args: argparse.Namespace) -> int:
    from touchplate.log.peers.rpc import EngineRPC
    from touchplate.log.peers.status import read_status
    from touchplate.node.peer import load_peer_config

    config = load_peer_config(args.config)
    assert config.log.peers is not None
    rpc = EngineRPC(config.log.peers.rpc)
    try:
        status = read_status(rpc.status())
    finally:
        rpc.close()
    if args.json:
        print_json(
            {
                "height": str(status.height),
                "root": status.root,
                "catchingUp": status.catching_up,
                "votingPower": str(status.voting_power),
            }
        )
    else:
        print_pairs([(name.replace("_", " "), str(value)) for name, value in asdict(status).items()])
    return UNDETERMINED if status.catching_up else OK
