"""`touchplate log witness`: cosign the heads of other people's logs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from touchplate.base.logging import setup_logging
from touchplate.log.witness.config import load_signers
from touchplate.verify.notes import format_verifier_key
from touchplate.verify.output import flush_output, print_json, print_line, print_note
from touchplate.verify.usage import OK


def register(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate log witness`."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the witness's TOML file")
    parser.add_argument(
        "--check", action="store_true", help="read the configuration and keys, print who this witness is, end"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--log-format", choices=("plain", "json"), default="plain", help="form of log lines")


def run(args: argparse.Namespace) -> int:
    """Run the witness until it is stopped. Returns 0; raises what `touchplate` reports in one line."""
    # The server takes longest to import; mistakes in the command line are told before.
    from touchplate.node.witness_alone import load_witness_config, serve_witness

    config = load_witness_config(args.config)
    keys = [format_verifier_key(signer.key) for signer in load_signers(config.witness)]
    origins = sorted(log.named for log in config.witness.log)
    if args.check:
        if args.json:
            print_json({"keys": keys, "logs": origins})
        else:
            for key in keys:
                print_line(key)
            print_note(f"follows {len(origins)} {'log' if len(origins) == 1 else 'logs'}")
        return OK
    setup_logging(form=args.log_format)
    logging.getLogger("touchplate.node").info(
        "starting a witness of %d logs: %s", len(origins), " ".join(keys)
    )

    def announce(url: str) -> None:
        if args.json:
            print_json({"url": url, "keys": keys, "logs": origins})
        else:
            print_line(f"touchplate: ready at {url}")
        flush_output()

    serve_witness(config, announce)
    return OK
