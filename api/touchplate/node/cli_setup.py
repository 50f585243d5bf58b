"""`touchplate setup CLIENT --config FILE`: print settings with which a client cannot go round the node."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from touchplate.api.setup import CLIENTS, ClientSettings, Server, client_settings
from touchplate.base.errors import ConfigError
from touchplate.node.config import NodeConfig, load_config


def register(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate setup`."""
    parser.add_argument("client", choices=CLIENTS, help="the client to be set up")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the node's TOML file")
    parser.add_argument(
        "--server", metavar="URL", help="how clients reach the node (default: http.public_url of the file)"
    )
    parser.add_argument("--json", action="store_true", help="the same for programs")


def run(args: argparse.Namespace) -> int:
    """Print; nothing is written to any file. Returns 0. Raises ConfigError."""
    config = load_config(args.config)
    settings = client_settings(args.client, _server(config, args.server))
    sys.stdout.write(format_json(settings) if args.json else format_text(settings))
    return 0


def format_text(settings: ClientSettings) -> str:
    """For people: what enforces, the files, the notes."""
    lines = [f"What enforces: {settings.enforces}.", ""]
    for file in settings.files:
        lines += [f"==> {file.path} <==", file.text]
    lines += [f"- {note}" for note in settings.notes]
    return "\n".join(lines) + "\n"


def format_json(settings: ClientSettings) -> str:
    """For programs."""
    body = {
        "client": settings.client,
        "enforces": settings.enforces,
        "files": [{"path": file.path, "text": file.text} for file in settings.files],
        "notes": list(settings.notes),
    }
    return json.dumps(body, ensure_ascii=False, indent=1) + "\n"


def _server(config: NodeConfig, url: str | None) -> Server:
    found = (url or config.http.public_url or f"http://{config.http.listen}").rstrip("/")
    if not found.startswith(("http://", "https://")) or found.count("/") != 2:
        raise ConfigError(
            "--server", (f"{found!r} is no URL of a host, such as https://packages.example.org",)
        )
    # Of several upstreams of one registry, the first answers for its name (`Registries`).
    registries = {one.identity: one.name for one in reversed(config.upstream) if one.ecosystem == "oci"}
    return Server(
        found,
        [one.name for one in config.upstream if one.ecosystem == "maven"],
        sorted((name, identity) for identity, name in registries.items()),
        [one.name for one in config.upstream if one.ecosystem == "conan"],
    )
