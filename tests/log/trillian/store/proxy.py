"""A gRPC proxy in front of a Trillian, which can lie, fail before or after the effect, and be gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import grpc
from google.protobuf.message import Message

from touchplate.proto.trillian import trillian_admin_api_pb2, trillian_log_api_pb2

SECONDS = 30
THREADS = 80

Failure = Literal["before", "after"]
M = TypeVar("M", bound=Message)


class Proxy(grpc.GenericRpcHandler):
    """Hands every call on. `lie` changes the answers of one, `fail` lets the next of one fail."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)])
        self._server: Any = None
        self.port = 0
        self.calls: list[str] = []
        self._lies: dict[str, Callable[[bytes], bytes]] = {}
        self._failures: dict[str, tuple[Failure, grpc.StatusCode]] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; again on the same port after `stop`."""
        self._server = grpc.server(
            ThreadPoolExecutor(THREADS), handlers=[self], options=[("grpc.so_reuseport", 0)]
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Be gone."""
        self._server.stop(None).wait()

    def close(self) -> None:
        self.stop()
        self._channel.close()

    def lie(self, method: str, change: Callable[[Any], None]) -> None:
        """From now on `change` the answers of `method`."""

        def edit(data: bytes) -> bytes:
            modules = (trillian_log_api_pb2, trillian_admin_api_pb2)
            names = [f"{method}Response"] if method.startswith(("Get", "Queue")) else []
            kinds = [getattr(one, name) for one in modules for name in names if hasattr(one, name)]
            if not kinds:  # TrillianAdmin answers with the tree itself
                from touchplate.proto.trillian.trillian_pb2 import Tree

                kinds = [Tree]
            message = kinds[0].FromString(data)
            change(message)
            told: bytes = message.SerializeToString()
            return told

        self._lies[method] = edit

    def honest(self) -> None:
        """No lies and failures any more."""
        self._lies.clear()
        self._failures.clear()

    def fail(self, method: str, when: Failure, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        """The next call of `method` fails, before or after its effect."""
        self._failures[method] = when, code

    def service(self, details: Any) -> Any:
        """See grpc.GenericRpcHandler."""
        path = details.method
        method = path.rpartition("/")[2]
        forward: Any = self._channel.unary_unary(path)

        def answer(request: bytes, context: Any) -> bytes:
            self.calls.append(method)
            failure = self._failures.pop(method, None)
            if failure is not None and failure[0] == "before":
                context.abort(failure[1], "failing before the effect")
            try:
                data: bytes = forward(request, timeout=SECONDS)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            if failure is not None:
                context.abort(failure[1], "failing after the effect")
            edit = self._lies.get(method)
            return data if edit is None else edit(data)

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """A proxy in front of the server at `target`."""
    proxy = Proxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
