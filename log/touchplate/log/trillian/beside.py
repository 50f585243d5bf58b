"""Health and reflection, which everybody may ask, without any token.

Their streams last as long as a client likes. So they are counted apart from the calls: whoever opens many of
them keeps out others like himself, and nobody else.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from touchplate.log.errors import NotFoundError, OverloadedError, RequestError
from touchplate.log.trillian.aborting import refuse

MAX_WATCHERS = 1_024
"""Clients that are told of changes of health: each takes some kilobytes."""

MAX_REFLECTIONS = 64
"""Clients that ask for descriptors at the same time: tools, and people."""

MAX_SERVICE = 200
"""Characters of a service's name: that of one that is watched is kept."""

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


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the library has no types
    """grpc.health.v1. Not the library's own, in which a watcher who takes nothing holds up all others, and
    the end of the server."""

    def __init__(self, most: int = MAX_WATCHERS) -> None:
        self._slots = Slots("watchers of health", most)
        self._statuses: dict[str, int] = {}
        self._changed = asyncio.Event()  # a new one after each change
        self._is_over = False

    def tell(self, service: str, status: int) -> None:
        """Set what is answered from now on."""
        self._statuses[service] = status
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self) -> None:
        """Let the watchers go, who are told first what was set before."""
        self._is_over = True
        self._changed.set()

    async def Check(  # noqa: N802  # as the method is called
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """The status of a service; NOT_FOUND for an unknown one."""
        status = self._statuses.get(request.service)
        if status is None:
            await refuse(
                context, NotFoundError(f"there is no service {request.service[:MAX_SERVICE]!r} here")
            )
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> None:
        """The status now, and after each change."""
        try:
            if len(request.service) > MAX_SERVICE:
                raise RequestError(f"service: has {len(request.service)} characters; at most {MAX_SERVICE}")
            with self._slots.take():
                await self._watch(request.service, context)
        except (OverloadedError, RequestError) as error:
            await refuse(context, error)

    async def _watch(self, service: str, context: Any) -> None:
        told, is_over = None, False
        while not is_over:
            is_over = self._is_over
            changed = self._changed
            status = self._statuses.get(service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            await changed.wait()


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
