"""Ends a gRPC call with the status of an error."""

from types import MappingProxyType
from typing import Any

import grpc

from touchplate.base.status import GRPCCode
from touchplate.log.trillian.errors import answer

CODES = MappingProxyType({GRPCCode(code.value[0]): code for code in grpc.StatusCode})


async def abort(context: Any, code: GRPCCode, text: str) -> None:
    """Raises what the library wants to be raised."""
    await context.abort(CODES[code], text)


async def refuse(context: Any, error: Exception) -> None:
    """The same with the code and text of `error`."""
    await abort(context, *answer(error))
