"""The engine's JSON-RPC on loopback: handing in transactions, asking how it is. No more of it is used."""

import json
from collections.abc import Mapping

from touchplate.base.addresses import AddressRules
from touchplate.base.environment import Environment
from touchplate.base.errors import FetchError
from touchplate.base.http import HTTPClient, HTTPLimits
from touchplate.log.errors import BusyError, LogError
from touchplate.verify.encoding import encode_base64

MAX_ANSWER_BYTES = 1024 * 1024
"""Bytes of an answer: the longest, a status, has three thousand."""

SECONDS = 10.0
"""Time for one call: a transaction is checked by our own application, which takes milliseconds."""

IN_CACHE = "tx already exists in cache"


class EngineError(BusyError):
    """The engine does not answer, or takes nothing now."""

    default_reason = "engine"


class RefusedTxError(LogError):
    """Our own application refused a transaction (CheckTx); `code` is the machine's."""

    default_reason = "refused-transaction"

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail or f"refused with code {code}")
        self.code = code


class EngineRPC:
    """Calls one engine. Blocking; safe from any thread."""

    def __init__(self, address: str) -> None:
        """`address`: host:port on loopback."""
        host = address.rpartition(":")[0].strip("[]")
        self._url = f"http://{address}/"
        # Straight to this machine: no proxy is asked for.
        self._client = HTTPClient(
            AddressRules.parse(hosts=[host]),
            HTTPLimits(connect=2.0, read=SECONDS, total=SECONDS),
            environment=Environment({}),
        )

    def submit(self, tx: bytes) -> None:
        """Hand in a transaction; it waits in the engine when this returns.

        Raises RefusedTxError, EngineError.
        """
        result = self._call("broadcast_tx_sync", {"tx": encode_base64(tx)})
        code = result.get("code")
        if code != 0:
            raise RefusedTxError(code if isinstance(code, int) else -1, str(result.get("log", ""))[:1000])

    def status(self) -> dict[str, object]:
        """What the engine says of itself. Raises EngineError."""
        return self._call("status", {})

    def close(self) -> None:
        """Close kept connections."""
        self._client.close()

    def _call(self, method: str, parameters: Mapping[str, object]) -> dict[str, object]:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        headers = {"Content-Type": "application/json"}
        try:
            response = self._client.post(self._url, body, headers=headers, max_bytes=MAX_ANSWER_BYTES)
            answer = json.loads(response.body)
        except (FetchError, ValueError) as error:
            raise EngineError(f"the engine does not answer: {error}") from error
        failed = answer.get("error") if isinstance(answer, dict) else "no object"
        if failed is not None:
            text = (
                f"{failed.get('message')}: {failed.get('data')}" if isinstance(failed, dict) else str(failed)
            )
            if IN_CACHE in text:
                return {"code": 0}
            raise EngineError(f"the engine takes nothing now: {text[:300]}")
        result = answer.get("result")
        return result if isinstance(result, dict) else {}
