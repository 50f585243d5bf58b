"""A Conan package that requires another, inferred and rebuilt on file systems that are too small, and again
when there is room. Prints what happened as JSON.

Run as `python -m tests.builder.conan_full_disk data|work TOOLS FOLDER OPTION…` as root, in a mount namespace
of its own (`unshare`), as `full_disk.py`. TOOLS: where Conan was made; OPTION: of each tmpfs, what is small.
"""

import json
import random
import subprocess
import sys
import traceback
from pathlib import Path

from tests.builder.conanparts import Client, Published, upstreams
from tests.builder.full_disk import ROOM, find_left
from tests.builder.requireparts import Shelf, library, sources
from tests.builder.sandboxes import Site
from tests.verify.support import OPERATOR_A, statement_signer

from touchplate.base.errors import TouchplateError
from touchplate.base.progress import QuietProgress
from touchplate.builder.attestation.attest import Operator
from touchplate.builder.ecosystems.conan.ecosystem import make_ecosystem
from touchplate.builder.ecosystems.conan.tools import default_conan, need_conan
from touchplate.builder.rebuild import rebuild
from touchplate.builder.sandbox import workspace
from touchplate.builder.submit import sign_rebuild
from touchplate.builder.workshop import open_workshop

NOISE_BYTES = 2 << 20


def run(site: Site, published: Published, tools: Path, data: Path, work: Path) -> str:
    """Infer, build, compare, sign: the result, or what was raised."""
    phase = "open"
    try:
        with open_workshop(data, QuietProgress(), work=work, upstreams=upstreams(site)) as workshop:
            if not workshop.tools.exists():
                workshop.tools.symlink_to(tools)
            phase = "infer"
            found = make_ecosystem().infer(workshop, published.purl, {})
            phase = "keep"
            workshop.keep_definition(found.definition)
            phase = "rebuild"
            done = rebuild(workshop, found.definition, found.published)
            phase = "sign"
            sign_rebuild(workshop, done, Operator(OPERATOR_A, statement_signer("rebuilder-a")))
    except TouchplateError as error:
        return f"{phase}: {type(error).__name__} {error.reason}: {error}"
    except OSError:
        return f"{phase}: {traceback.format_exc()}"
    return done.result


def make_noise() -> str:
    """A header that no archive makes small, as long as the others together many times."""
    return f"/* {random.Random(1).randbytes(NOISE_BYTES).hex()} */\n"


def main(which: str, tools: Path, folder: Path, options: list[str]) -> None:
    # Else no phase is begun where a disk is so small; that other programs fill it meanwhile is what is meant.
    workspace.FREE_BYTES = workspace.FREE_ENTRIES = 0
    small = folder / "small"
    small.mkdir()
    shelf = Shelf(Client(need_conan(default_conan(), tools).home, folder))
    shelf.publish("base", library("base"), {**sources("base"), "noise.h": make_noise()})
    needs = library("middle", 'requires = "base/[>=1.0 <2]"')
    published = shelf.publish("middle", needs, sources("middle", "base"))
    site, told = Site(), []
    site.pages.update(shelf.pages)
    try:
        for number, option in enumerate(options):
            mount = ["mount", "-t", "tmpfs", "-o", f"{option},mode=755", "none", str(small)]
            subprocess.run(mount, check=True)
            large = folder / f"large-{number}"
            large.mkdir(mode=0o755)
            data, work = (small / "data", large) if which == "data" else (large, small / "work")
            full, left = run(site, published, tools, data, work), find_left(small, large)
            more = f"remount,nr_inodes={ROOM},size=1g"
            subprocess.run(["mount", "-o", more, str(small)], check=True)
            room = run(site, published, tools, data, work)
            told.append({"full": full, "left": [*left, *find_left(small, large)], "room": room})
            subprocess.run(["umount", str(small)], check=True)
    finally:
        site.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
