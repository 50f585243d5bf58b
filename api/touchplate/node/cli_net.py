"""`touchplate net local`: several peers of one log on this machine, to try it out."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from touchplate.base.shutdown import Shutdown
from touchplate.log.peers.engine import install_engine
from touchplate.node.localnet import MAX_LOCAL, LocalNetwork, make_network
from touchplate.verify.output import print_json, print_line, print_note
from touchplate.verify.usage import OK, UsageError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `touchplate net`."""
    commands = parser.add_subparsers(dest="net_command", required=True, metavar="COMMAND")
    local = commands.add_parser("local", help="run several peers on loopback until interrupted")
    local.add_argument("-n", dest="count", type=int, default=4, metavar="N", help="how many (4)")
    local.add_argument(
        "--folder", type=Path, default=Path("touchplate-net"), help="where their keys and data are kept"
    )
    local.add_argument("--admission", type=Path, metavar="FILE", help="who may write; absent: keys are made")
    local.add_argument("--json", action="store_true", help="print JSON once all are up")


def run(args: argparse.Namespace) -> int:
    """Run the network until SIGINT or SIGTERM. Returns 0."""
    if not 1 <= args.count <= MAX_LOCAL:
        raise UsageError(f"-n: write a number from 1 to {MAX_LOCAL}")
    install_engine(progress=print_note)
    network = LocalNetwork(make_network(args.folder, args.count, args.admission))
    asyncio.run(_run(network, as_json=args.json))
    return OK


async def _run(network: LocalNetwork, *, as_json: bool) -> None:
    async with Shutdown() as shutdown:
        shutdown.add("peers", network.stop, seconds=60.0)
        starting = asyncio.create_task(asyncio.to_thread(network.start, print_note))
        stopping = asyncio.create_task(shutdown.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _tell(network, as_json=as_json)
            await stopping


def _tell(network: LocalNetwork, *, as_json: bool) -> None:
    urls = [peer.url for peer in network.peers]
    if as_json:
        print_json({"urls": urls, "policy": str(network.policy())})
        return
    for url in urls:
        print_line(url)
    print_note(f"read:   touchplate log checkpoint --url {urls[0]} --policy {network.policy()}")
    print_note(f"check:  touchplate log fsck --url {urls[-1]} --policy {network.policy()}")
    print_note("write:  POST an envelope of a listed key to any …/add; Ctrl-C stops the network")
