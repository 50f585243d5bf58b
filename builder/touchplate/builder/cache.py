"""Files by digest that builds share: inputs that were fetched, outputs that were collected.

Neither is ever visible inside a sandbox: Build sees a folder of its own with the files of its lock. An input
is used only by the digest that a lock names, never by path, so a file that one build brought in cannot
change another.
"""

from pathlib import Path

from touchplate.base.durable import DigestFolder
from touchplate.builder.known_contents import KnownContents


class Cache:
    """Two digest folders under one path, safe for many threads and processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = DigestFolder(folder / "inputs")
        self.outputs = DigestFolder(folder / "outputs")
        self.contents = KnownContents(folder / "contents")
        self.looked_through: set[tuple[str, frozenset[str]]] = set()
        """(input, forbidden digests) found clean by this process: Fetch and Build need not both look."""
