"""`touchplate serve --config FILE`: run a node."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from touchplate.base.logging import setup_logging
from touchplate.node.config import load_config


def register(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate serve`."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the node's TOML file")
    parser.add_argument(
        "--log-format", choices=("plain", "json"), default="plain", help="form of the log lines"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="read the configuration, keys and lists, say what is wrong, and end",
    )


def run(args: argparse.Namespace) -> int:
    """Run the node until it is stopped. Returns 0; raises what `touchplate` reports in one line."""
    config = load_config(args.config)
    if args.check:
        from touchplate.node.checks import check_files

        check_files(config)
        sys.stdout.write(f"{args.config}: the configuration is right\n")
        return 0
    setup_logging(form=args.log_format)
    logging.getLogger("touchplate.node").info("starting: data in %s", config.data)
    # The server takes longest to import; mistakes in the configuration are told before.
    from touchplate.node.serve import serve

    serve(config, _announce)
    return 0


def _announce(url: str) -> None:
    sys.stdout.write(f"touchplate: ready at {url}\n")
    sys.stdout.flush()
