"""Health and reflection, which everybody may ask, without any token.

Their streams last as long as a client likes. So they are counted apart from the calls: whoever opens many of
them keeps out others like himself, and nobody else.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection

from touchplate.log.errors import OverloadedError, RequestError
from touchplate.log.trillian.aborting import refuse

MAX_WATCHERS = 1_024
"""Clients that are told of changes of health: each takes some kilobytes."""

MAX_REFLECTIONS = 64
"""Clients that ask for descriptors at the same time: tools, and people."""

MAX_SERVICE = 200
"""Characters of a service's name: those that are watched are kept."""

NAMES = (health.SERVICE_NAME, reflection.SERVICE_NAME)


class Slots:
    """At most so many at the same time. For one event loop."""

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self._used = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """One of them. Raises OverloadedError when there is none left."""
        if self._used >= self._most:
            raise OverloadedError(f"{self._used} {self._what} at the same time; at most {self._most} may")
        self._used += 1
        try:
            yield
        finally:
            self._used -= 1


class Health(health.aio.HealthServicer):  # type: ignore[misc]  # the library has no types
    """The library's, with an end to the watchers."""

    def __init__(self, most: int = MAX_WATCHERS) -> None:
        super().__init__()
        self._slots = Slots("watchers of health", most)

    async def Watch(  # noqa: N802  # as the method is called
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> None:
        """See grpc.health.v1."""
        try:
            if len(request.service) > MAX_SERVICE:
                raise RequestError(f"service: at most {MAX_SERVICE} characters")
            with self._slots.take():
                await super().Watch(request, context)
        except (OverloadedError, RequestError) as error:
            await refuse(context, error)


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    """The library's, with an end to the streams."""

    def __init__(self, names: Sequence[str], most: int = MAX_REFLECTIONS) -> None:
        super().__init__(names)
        self._slots = Slots("reflections", most)

    async def ServerReflectionInfo(  # noqa: N802
        self, requests: Any, context: Any
    ) -> AsyncIterator[Any]:
        """See grpc.reflection.v1alpha."""
        try:
            with self._slots.take():
                async for one in super().ServerReflectionInfo(requests, context):
                    yield one
        except OverloadedError as error:
            await refuse(context, error)
