"""The grpc.aio server: both services, health and reflection on one address."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from logging import getLogger
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc

from touchplate.base.errors import ConfigError
from touchplate.base.status import GRPCCode
from touchplate.log.errors import RequestError
from touchplate.log.trillian.aborting import abort
from touchplate.log.trillian.auth import Caller, Gatekeeper
from touchplate.log.trillian.beside import NAMES, Health, Reflection, Slots
from touchplate.log.trillian.calls import ADMIN_SERVICE, LOG_SERVICE, Call
from touchplate.log.trillian.config import TLS
from touchplate.log.trillian.errors import answer
from touchplate.log.trillian.metrics import Metrics
from touchplate.log.trillian.quota import MAX_USER, MAX_USERS, Charge, Quota

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of a message that is received: gRPC's own default, which Trillian's clients have for answers."""

MAX_METADATA = 8 * 1024
"""Bytes of a call's headers: gRPC's own default."""

MAX_CALLS = 1_024
"""Calls at the same time whose messages are here; further ones are refused with RESOURCE_EXHAUSTED."""

MAX_STREAMS = 1_024
"""Calls of one connection, also those whose messages are on their way; a client's library waits with more."""

STOP_SECONDS = 5.0
"""Time for calls that run when the server stops."""

logger = getLogger(__name__)


class Guard:
    """What stands before every call: who may, how often."""

    def __init__(self, gatekeeper: Gatekeeper, quota: Quota, *, has_certificates: bool) -> None:
        """`has_certificates`: clients show some. To look for what cannot be there costs as much as a root."""
        self._gatekeeper = gatekeeper
        self._quota = quota
        self._has_certificates = has_certificates

    def admit(self, call: Call, context: Any) -> Caller:
        """Who calls. Raises UnauthenticatedError, NotAllowedError."""
        token = _authorization(context) if self._gatekeeper.wants_tokens else None
        certificate = _certificate(context) if self._has_certificates else None
        return self._gatekeeper.admit(token, certificate, call.needs)

    def charge(self, call: Call, request: Any, caller: Caller) -> None:
        """Raises QuotaError, RequestError."""
        users = call.users_of(request)
        if len(users) > MAX_USERS or any(len(user) > MAX_USER for user in users):
            raise RequestError(f"charge_to: at most {MAX_USERS} users, of {MAX_USER} characters each")
        self._quota.take(Charge(call.cost(request), call.writes, call.tree_of(request), caller.user, users))


class Server:
    """One listening server, for the event loop in which it is made."""

    def __init__(self, calls: Sequence[Call], guard: Guard, metrics: Metrics) -> None:
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            # Answers fit into MAX_MESSAGE, but for ListTrees, which has no pages: who has many trees raises
            # the limit of his client.
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", MAX_METADATA),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            # Else a second server on the same port would silently get half of the connections.
            ("grpc.so_reuseport", 0),
        ]
        # Not the library's own limit: that counts the streams of health, which never end.
        self._server = grpc.aio.server(options=options)
        self._slots = Slots("calls", MAX_CALLS)
        self._guard = guard
        self._metrics = metrics
        for service in (LOG_SERVICE, ADMIN_SERVICE):
            methods = {call.name: self._method(call) for call in calls if call.service == service}
            handler = grpc.method_handlers_generic_handler(service, methods)
            self._server.add_generic_rpc_handlers((handler,))
        self._health = Health()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        shown = Reflection((LOG_SERVICE, ADMIN_SERVICE, *NAMES))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(shown, self._server)

    def listen(self, host: str, port: int, tls: TLS | None) -> int:
        """Take a port (0: a free one); the port. Raises ConfigError."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                return int(self._server.add_insecure_port(address))
            credentials = grpc.ssl_server_credentials(
                [(tls.key, tls.cert)], tls.client_ca, require_client_auth=tls.client_ca is not None
            )
            return int(self._server.add_secure_port(address, credentials))
        except (RuntimeError, ValueError) as error:
            what = f"cannot listen on {address}" + (" with this certificate and key" if tls else "")
            raise ConfigError("log.trillian.listen", (f"{what}: {error}",)) from error

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()
        self._say(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Refuse new calls, finish those that run, cut what is left after a while."""
        self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._health.end()
        await self._server.stop(STOP_SECONDS)

    def _say(self, status: Any) -> None:
        for name in ("", LOG_SERVICE, ADMIN_SERVICE):
            self._health.tell(name, status)

    def _method(self, call: Call) -> Any:
        async def behave(data: bytes, context: Any) -> bytes:
            begun = time.monotonic()
            code = GRPCCode.CANCELLED  # unless it is answered
            try:
                with self._slots.take():
                    response = await self._answered(call, data, context)
                code = GRPCCode.OK
                return response
            except asyncio.CancelledError:
                raise
            except Exception as error:
                code, text = answer(error)
                if code is GRPCCode.INTERNAL:
                    logger.exception("%s failed", call.method)
            finally:
                self._metrics.called(call.name, code.name, time.monotonic() - begun)
            await abort(context, code, text)  # raises
            return b""

        # Without (de)serializers: a message that cannot be parsed is then answered by us, not by the library.
        return grpc.unary_unary_rpc_method_handler(behave)

    async def _answered(self, call: Call, data: bytes, context: Any) -> bytes:
        caller = self._guard.admit(call, context)  # before a stranger's message is looked at
        try:
            request = call.request.FromString(data)
        except DecodeError:
            raise RequestError(f"this is no {call.request.DESCRIPTOR.full_name}") from None
        self._guard.charge(call, request, caller)
        response = await call.handler(request)
        if call.leaves is not None:
            for code, leaves in Counter([one.status.code for one in call.leaves(response)]).items():
                self._metrics.wrote(GRPCCode(code).name, leaves)
        return response.SerializeToString()


def _authorization(context: Any) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            return str(value)
    return None


def _certificate(context: Any) -> str | None:
    """The name in the client's certificate, which the library has checked."""
    names = (context.auth_context() or {}).get("x509_common_name") or ()
    for name in names:
        return bytes(name).decode("utf-8", "replace")
    return None
