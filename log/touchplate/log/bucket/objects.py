"""The objects of one bucket: read, write, replace under a condition, list, remove. Only this file knows
obstore.

What goes wrong is told in our own words: an answer of a store can repeat the access key and what was signed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from touchplate.base.errors import ConfigError, StorageError
from touchplate.log.bucket.config import BucketConfig

if TYPE_CHECKING:
    from obstore.store import S3Store

RETRIES = 2
"""Further tries of a request that got no answer or a 5xx. More is the next update's business."""

LISTED = 1000
"""Names in one answer to a listing: as many as S3 gives."""

RENEWED = timedelta(minutes=5)
"""How long credentials are used before they are read again, so that files with temporary ones can be
renewed."""

_STATUS = re.compile(r"status(?: code)?:? (\d{3})\b", re.ASCII | re.IGNORECASE)
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,64})</Code>", re.ASCII)
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*([A-Za-z]{1,40})\b", re.ASCII)
_KIND = re.compile(r"kind: ([A-Z][A-Za-z]{1,32})\b", re.ASCII)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read: its bytes, and the mark of exactly this version."""

    data: bytes
    tag: str | None


@dataclass(frozen=True, slots=True)
class Kind:
    """What readers are told about an object."""

    content_type: str
    cache_control: str

    @property
    def attributes(self) -> dict[str, str]:
        """As headers."""
        return {"Content-Type": self.content_type, "Cache-Control": self.cache_control}


class Objects:
    """See the module. Safe from any thread. Every method raises StorageError: `store-unreachable` without an
    answer, `store-refused` when the store does not let us, `store-failed` otherwise."""

    def __init__(self, config: BucketConfig) -> None:
        """Sends nothing yet. Raises ConfigError when the credentials cannot be read, StorageError when
        obstore is not installed."""
        self._config = config
        self._unreadable = ""  # why the credentials could not be read
        self._credentials()
        try:
            from obstore.store import S3Store
        except ModuleNotFoundError as error:
            raise StorageError(
                "a bucket needs a client that is not installed (obstore): pip install 'touchplate[s3]'"
            ) from error
        seconds = timedelta(seconds=float(config.timeout))
        self._store: S3Store = S3Store(
            config.bucket,
            prefix=config.prefix or None,
            # Each of these stands in the environment of some machines, and would win if it were not given.
            config={
                "endpoint": config.endpoint,
                "aws_endpoint_url_s3": config.endpoint,
                "region": config.region,
                "virtual_hosted_style_request": False,
                "skip_signature": False,
                "unsigned_payload": False,
                "request_payer": False,
                "s3_express": False,
                "conditional_put": "etag",
                # One request each: not every store has the request that removes several.
                "disable_bulk_delete": True,
            },
            client_options={
                "timeout": seconds,
                "connect_timeout": seconds,
                "allow_http": config.endpoint.startswith("http://"),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": seconds},
            credential_provider=self._credentials,
        )

    def __str__(self) -> str:
        return f"{self._config.endpoint}/{self._config.bucket}/{self._config.prefix}".rstrip("/")

    def _credentials(self) -> Any:
        config = self._config
        try:
            token = None if config.session_token is None else config.session_token.resolve()
            found = {
                "access_key_id": config.access_key.resolve(),
                "secret_access_key": config.secret_key.resolve(),
                "token": token,
                "expires_at": datetime.now(UTC) + RENEWED,
            }
        except ConfigError as error:
            self._unreadable = str(error)
            raise
        self._unreadable = ""
        return found

    def get(self, path: str, max_bytes: int) -> Stored | None:
        """The object at `path`; None when there is none. StorageError also for more than `max_bytes`."""
        import obstore

        with self._failing("reading", path):
            try:
                found = obstore.get(self._store, path)
            except FileNotFoundError:
                return None
            if found.meta["size"] > max_bytes:
                raise StorageError(f"{path} in {self} has more than {max_bytes} bytes", reason="too-large")
            return Stored(bytes(found.bytes()), found.meta["e_tag"])

    def put(self, path: str, data: bytes, kind: Kind) -> None:
        """Make or overwrite an object; on return the store has confirmed it."""
        import obstore

        with self._failing("writing", path):
            obstore.put(self._store, path, data, attributes=kind.attributes, use_multipart=False)

    def replace(self, path: str, data: bytes, kind: Kind, tag: str | None) -> bool:
        """Write `data` if the object still has the version `tag` (None: is not there); whether it was.

        After a lost answer the second try finds the first one's object, and False is returned.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._failing("replacing", path):
            try:
                mode: Any = "create" if tag is None else {"e_tag": tag}
                obstore.put(self._store, path, data, attributes=kind.attributes, mode=mode)
            except (AlreadyExistsError, PreconditionError):
                return False
            except FileNotFoundError:  # what was to be replaced is gone; else there is no bucket
                if tag is None:
                    raise
                return False
            return True

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; one that is not there is no error."""
        import obstore

        for path in paths:
            with self._failing("removing", path):
                try:
                    obstore.delete(self._store, path)
                except FileNotFoundError:
                    continue

    def list(self, folder: str) -> Iterator[str]:
        """The names of all objects below `folder`."""
        import obstore

        with self._failing("listing", folder):
            for page in obstore.list(self._store, folder, chunk_size=LISTED):
                for meta in page:
                    yield meta["path"]

    @contextmanager
    def _failing(self, what: str, path: str) -> Iterator[None]:
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            text = str(error)
            status, code, kind = (found.search(text) for found in (_STATUS, _CODE, _KIND))
            told = " ".join(part[1] for part in (status, code) if part)
            reason = "store-failed"
            if self._unreadable:
                reason, told = "bad-configuration", self._unreadable
            elif isinstance(error, PermissionDeniedError | UnauthenticatedError):
                reason, told = "store-refused", told or "these credentials may not do that"
            elif not told:
                reason = "store-unreachable"
                told = f"no answer ({kind[1] if kind else type(error).__name__})"
                if bad := _CERTIFICATE.search(text):
                    told = f"its certificate is not accepted ({bad[1]}); SSL_CERT_FILE may name its authority"
            # Not `from error`: its text would be in every traceback.
            raise StorageError(f"{what} {path} in {self}: {told}", reason=reason) from None
