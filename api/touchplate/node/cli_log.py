"""`touchplate log serve --config FILE`: run a log, without adapters."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from touchplate.base.logging import setup_logging
from touchplate.verify.output import flush_output, print_line
from touchplate.verify.usage import OK


def register(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate log serve`."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the log's TOML file")
    parser.add_argument("--log-format", choices=("plain", "json"), default="plain", help="form of log lines")


def run(args: argparse.Namespace) -> int:
    """Run the log until it is stopped. Returns 0; raises what `touchplate` reports in one line."""
    # The server takes long to import.
    from touchplate.node.log_node import load_log_config, serve_log

    config = load_log_config(args.config)
    setup_logging(form=args.log_format)
    logging.getLogger("touchplate.node").info("starting: data in %s", config.data)
    serve_log(config, _announce)
    return OK


def _announce(url: str) -> None:
    print_line(f"touchplate: ready at {url}")
    flush_output()
