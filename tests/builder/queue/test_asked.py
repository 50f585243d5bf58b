"""From a refusal to the file: a client asks, the node queues the rebuild, a worker makes it, the file passes.

All of it is real: node and worker are processes, the build runs in its sandbox.
"""

import json
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.builder.queue.queuehost import ADMIN, WAIT_SECONDS, WORKER, queue_host
from tests.builder.rebuildparts import JAR, PACKAGE, PUBLISHED
from tests.builder.sandboxes import require_sandbox

from touchplate.builder.queue.jobs import CLOSED
from touchplate.node.rebuilds import LATE

RULES = '\n[[gate.rule]]\nneed = ["reproduced"]\nrebuild = "authenticated"\n'


def ask(url: str, token: str) -> tuple[int, bytes]:
    """One request over TCP, as a build tool makes it."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_a_refused_file_is_rebuilt_by_a_worker_and_then_served(tmp_path: Path) -> None:
    require_sandbox()
    with queue_host(tmp_path, rules=RULES) as host:
        url = f"{host.url}/maven/central/{JAR}"
        status, body = ask(url, WORKER)  # a worker's token does not ask
        assert (status, host.queue.list()) == (403, [])
        status, body = ask(url, ADMIN)
        assert status == 403
        # The number of the job, or on a busy machine that the queue has not answered yet.
        assert json.loads(body)["detail"].endswith(("job 1 (touchplate jobs show 1)", LATE))
        worker = host.worker(1, slots=1)
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while not (jobs := host.queue.list()) or jobs[0].state not in CLOSED:
                assert time.monotonic() < deadline, (jobs, worker.lines)
                time.sleep(0.2)
        finally:
            worker.end(signal.SIGTERM)
        (job,) = jobs
        assert (job.package, job.state, job.result) == (PACKAGE, "done", "identical"), worker.lines
        assert ask(url, WORKER) == (200, PUBLISHED)
