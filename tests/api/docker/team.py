"""A registry of one team, as tests of one image need it: what passes, what is refused, and what is free."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.api.docker.support import ImageWorld, image_world
from tests.images import make_image

GOOD = make_image("good")
BAD = make_image("bad")
FREE = make_image("free", layers=[{"big": random.Random(2).randbytes(500_000)}])
LAYER = f"/v2/team/free/blobs/sha256:{FREE.layer}"


@contextmanager
def team_world(folder: Path) -> Iterator[ImageWorld]:
    """A node over the registry that has all three."""
    with image_world(folder) as made:
        made.registry.push("team/app", "1", GOOD)
        made.registry.push("team/bad", "1", BAD)
        made.registry.push("team/free", "1", FREE)
        yield made


def error(answer: Any) -> dict[str, Any]:
    """The one error of an answer (OCI distribution specification, "Error Codes")."""
    (one,) = answer.json["errors"]
    return dict(one)
