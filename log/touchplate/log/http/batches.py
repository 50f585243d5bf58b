"""Many entries in one request: their framing, and the answer."""

import json
from collections.abc import Sequence

from touchplate.log.errors import LogError, RequestError
from touchplate.log.http.answers import Answer
from touchplate.log.ports import Sequenced

MAX_BATCH_ENTRIES = 4096
"""Entries in one add-batch: as many as one transaction takes."""

MAX_BATCH_BODY = 8 * 1024 * 1024 + 4 * MAX_BATCH_ENTRIES
"""Bytes of an add-batch body: one transaction's worth of entries, and their lengths."""


def parse_batch(body: bytes) -> list[bytes]:
    """The entries of an add-batch body: `uint32 BE length ‖ entry`, repeated. Raises RequestError."""
    entries: list[bytes] = []
    offset = 0
    while offset < len(body):
        end = offset + 4 + int.from_bytes(body[offset : offset + 4], "big")
        if offset + 4 > len(body) or end > len(body):
            raise RequestError(f"entry {len(entries)} of the batch is cut off")
        if len(entries) == MAX_BATCH_ENTRIES:
            raise RequestError(f"a batch has at most {MAX_BATCH_ENTRIES} entries; send several")
        entries.append(body[offset + 4 : end])
        offset = end
    return entries


def batch_answer(results: Sequence[Sequenced | LogError]) -> Answer:
    """One result for each entry, in order, as JSON."""
    body = {"results": [_result(result) for result in results]}
    return Answer(json.dumps(body).encode(), content_type="application/json")


def _result(result: Sequenced | LogError) -> dict[str, object]:
    if isinstance(result, Sequenced):
        return {"index": str(result.index), "duplicate": result.duplicate}
    return {"error": {"reason": result.reason, "detail": str(result)}}
