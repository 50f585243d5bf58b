"""One upstream that does not answer holds up nobody who wants something of another one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.api.conan.support import upstream_text as conan_text
from tests.api.docker.support import image_node, running_registry, upstream_text, write_image_node
from tests.base.support import Handler
from tests.images import make_image

IMAGE = make_image("free")
WAIT_SECONDS = 60


def test_a_silent_registry_stops_no_other_upstream(tmp_path: Path) -> None:
    """With one thread for each, which its first request holds."""
    asked = threading.Event()

    def silent(handler: Handler) -> None:
        asked.set()
        handler.wait_for_release()

    with running_registry() as dead, running_registry() as alive:
        alive.push("team/free", "1", IMAGE)
        dead.acts["/v2/team/free/manifests/1"] = silent
        text = upstream_text("dead", dead.url, identity="dead.example.org") + upstream_text("hub", alive.url)
        path = write_image_node(tmp_path, text + conan_text(alive.url, record=False))
        path.write_text(path.read_text().replace("[http]", "[http]\nthreads = 1"))
        with image_node(tmp_path, alive, path) as here, ThreadPoolExecutor(4) as pool:
            stuck = [pool.submit(here.get, "/v2/dead/team/free/manifests/1") for _ in range(2)]
            try:
                assert asked.wait(WAIT_SECONDS)
                for url, status in (
                    ("/v2/hub/team/free/manifests/1", 200),
                    (f"/v2/hub/team/free/blobs/sha256:{IMAGE.layer}", 200),
                    ("/conan/team/v2/conans/lib/1.0/_/_/latest", 404),
                    ("/maven/central/org/example/lib/1.0/lib-1.0.jar", 502),
                ):
                    assert pool.submit(here.get, url).result(WAIT_SECONDS).status == status
                assert not any(one.done() for one in stuck)
            finally:
                dead.server.released.set()
            assert {one.result(WAIT_SECONDS).status for one in stuck} == {502}
