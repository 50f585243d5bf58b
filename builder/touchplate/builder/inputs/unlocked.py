"""What a build that ended well went without, although its upstreams have it: its lock is not the whole truth.

In Build some tools find files where they lie, and nobody sees what they look for in vain. Those that go on
then say so in their output. A lock does not tell what an upstream had not either, so the upstreams are asked.
"""

from touchplate.base.errors import FetchError, ResponseTooLargeError
from touchplate.builder.errors import HostLack
from touchplate.builder.inputs.recording import UpstreamClients, is_passing
from touchplate.builder.plan import MIB, BuildPlan

MAX_ASKED = 100
"""Files that are asked for after one build; a hostile one can name as many as it likes."""

_MAX_BYTES = MIB
_HERE = 200


def find_unlocked(plan: BuildPlan, log: bytes) -> list[str]:
    """Of the files that the build says it went without, those that an upstream of it has, as
    `<upstream>/<path>`. Raises HostLack when one does not answer."""
    asked = list(dict.fromkeys(plan.went_without(log)))[:MAX_ASKED]
    if not asked:
        return []
    clients = UpstreamClients(plan.upstreams)
    try:
        places = [(one.name, path) for path in asked for one in plan.upstreams]
        return [f"{name}/{path}" for name, path in places if _is_there(clients, name, path)]
    except FetchError as error:
        raise HostLack(f"an upstream did not answer: {error}", reason="upstream-failed", log=log) from error
    finally:
        clients.close()


def _is_there(clients: UpstreamClients, name: str, path: str) -> bool:
    try:
        status = clients.client(name).get(clients.url(name, path), max_bytes=_MAX_BYTES).status
    except ResponseTooLargeError:
        return True
    if is_passing(status) and status != _HERE:
        raise HostLack(
            f"an upstream did not answer: {name}/{path}: status {status}", reason="upstream-failed"
        )
    return status == _HERE
