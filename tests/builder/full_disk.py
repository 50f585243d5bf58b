"""Rebuilds on file systems that are too small, and again when there is room. Prints what happened as JSON.

Run as `python -m tests.builder.full_disk data|work FOLDER INODES…` as root, in a mount namespace of its own
(`unshare`): either the data folder or the work folder lies on a tmpfs of so many inodes.
"""

import hashlib
import json
import re
import subprocess
import sys
import traceback
from pathlib import Path

from tests.builder.mavenparts import publish, served
from tests.builder.rebuildparts import CONTENT, Scene, scripted
from tests.verify.support import OPERATOR_A, statement_signer

from touchplate.base.errors import TouchplateError
from touchplate.base.progress import QuietProgress
from touchplate.builder.attestation.attest import Operator
from touchplate.builder.inputs.upstream_option import parse_upstream
from touchplate.builder.rebuild import fetch_published, rebuild
from touchplate.builder.sandbox import workspace
from touchplate.builder.submit import sign_rebuild
from touchplate.builder.workshop import open_workshop

ROOM = 100_000
LEFT = re.compile(r".*\.tmp|(tree|job)-[0-9a-f]{16}")
LIB = "org/example/lib/1/lib-1.txt"


def run(repository: Path, data: Path, work: Path) -> str:
    """Infer nothing, build, compare, sign: the result, or what was raised."""
    try:
        with (
            served(repository) as url,
            open_workshop(data, QuietProgress(), work=work, upstreams=[parse_upstream(url)]) as workshop,
        ):
            publish(repository, LIB, CONTENT)
            definition = scripted(Scene(repository, url, workshop), f"jar(get({LIB!r}))")
            workshop.keep_definition(definition)
            done = rebuild(workshop, definition, fetch_published(workshop, definition))
            sign_rebuild(workshop, done, Operator(OPERATOR_A, statement_signer("rebuilder-a")))
    except TouchplateError as error:
        return f"{type(error).__name__} {error.reason}: {error}"
    except OSError:
        return traceback.format_exc()
    return done.result


def find_left(*folders: Path) -> list[str]:
    """What a rebuild may not leave: folders of jobs, temporary files, files that are not their names."""
    found = []
    for path in (path for folder in folders for path in folder.rglob("*")):
        # What a file holds is kept under the file's digest, which is not its own.
        is_digest = len(path.name) == 64 and path.parent.name == path.name[:2]
        is_digest = is_digest and "contents" not in path.parts
        if LEFT.fullmatch(path.name) or (
            is_digest and hashlib.sha256(path.read_bytes()).hexdigest() != path.name
        ):
            found.append(str(path))
    return found


def main(which: str, folder: Path, inodes: list[int]) -> None:
    # Else no phase is begun where a disk is so small; that other programs fill it meanwhile is what is meant.
    workspace.FREE_BYTES = workspace.FREE_ENTRIES = 0
    small, repository = folder / "small", folder / "repository"
    small.mkdir()
    repository.mkdir()
    told = []
    for count in inodes:
        option = f"nr_inodes={count},mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", option, "none", str(small)], check=True)
        large = folder / f"large-{count}"
        large.mkdir(mode=0o755)
        data, work = (small / "data", large) if which == "data" else (large, small / "work")
        full, left = run(repository, data, work), find_left(small, large)
        subprocess.run(["mount", "-o", f"remount,nr_inodes={ROOM}", str(small)], check=True)
        room = run(repository, data, work)
        told.append({"full": full, "left": [*left, *find_left(small, large)], "room": room})
        subprocess.run(["umount", str(small)], check=True)
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [int(each) for each in sys.argv[3:]])
