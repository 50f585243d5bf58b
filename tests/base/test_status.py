"""The table from errors to HTTP status and gRPC code."""

from __future__ import annotations

import pytest

from touchplate.base import errors, status
from touchplate.base.status import StatusTable


def test_finds_an_error_by_its_nearest_class() -> None:
    table = StatusTable()
    assert table.status(errors.NotStoredError("x")) == status.NOT_FOUND
    assert table.status(errors.AddressRefusedError("x")) == status.BAD_GATEWAY
    assert table.status(errors.FetchTimeoutError("x")) == status.GATEWAY_TIMEOUT


def test_a_reason_goes_before_the_class() -> None:
    table = StatusTable({errors.FetchError: status.BAD_GATEWAY, "busy": status.UNAVAILABLE})
    assert table.status(errors.FetchError("x", reason="busy")) == status.UNAVAILABLE


def test_what_nobody_foresaw_is_an_internal_error() -> None:
    assert StatusTable().status(ValueError("x")) == status.INTERNAL
    assert StatusTable().status(errors.StorageError("disk full")).http == 500


def test_one_error_cannot_have_two_statuses() -> None:
    table = StatusTable().extended({LookupError: status.NOT_FOUND})
    assert table.status(KeyError("x")) == status.NOT_FOUND
    assert table.extended({LookupError: status.NOT_FOUND}).status(KeyError("x")) == status.NOT_FOUND
    with pytest.raises(ValueError, match="one error has one status"):
        table.extended({LookupError: status.CONFLICT})
