"""Packages of a root lock, fetched by digest: whatever serves them, only the locked bytes are taken."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from touchplate.base.durable import DigestFolder
from touchplate.base.errors import FetchError, StorageError
from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.progress import Progress
from touchplate.builder.errors import HostLack
from touchplate.builder.roots.lock import RootPackage
from touchplate.verify.names import encode_name


def fetch_packages(
    packages: Sequence[RootPackage],
    store: DigestFolder,
    find: Callable[[], Mapping[str, str]],
    display: Progress,
) -> None:
    """Have each package in `store`, where one of the same digest is taken as it is.

    `find`: the archives' addresses by name; asked once, when something has to be fetched. Raises HostLack for
    an archive that is not known, does not have the file, or has another.
    """
    missing = [one for one in packages if not _is_kept(store, one.sha256)]
    if not missing:
        return
    archives = find()
    for name in sorted({one.upstream for one in missing} - archives.keys()):
        raise HostLack(f"no archive {name!r} is known here; give --archive {name}=URL", reason="no-archive")
    total = sum(one.size for one in missing)
    with ExitStack() as stack:
        client = stack.enter_context(HTTPClient(AddressRules.naming(*archives.values())))
        task = display.task(f"fetch {len(missing)} packages", total, "bytes")
        for one in missing:
            _fetch(one, archives[one.upstream], client, store)
            task.advance(one.size)
        task.finish()


def _fetch(one: RootPackage, archive: str, client: HTTPClient, store: DigestFolder) -> None:
    url = f"{archive.rstrip('/')}/{encode_name(one.path, slash=True)}"
    try:
        response = client.get(url, max_bytes=one.size)
    except FetchError as error:
        raise HostLack(
            f"archive {one.upstream!r} does not give {one.path}: {error}", reason="archive-failed"
        ) from error
    if response.status != 200:
        raise HostLack(
            f"archive {one.upstream!r} answers {response.status} for {one.path}: what was superseded leaves "
            f"the mirrors; give --archive {one.upstream}=URL of one that keeps it, such as a snapshot",
            reason="archive-failed",
        )
    found = hashlib.sha256(response.body).hexdigest()
    if found != one.sha256:
        raise HostLack(
            f"{one.upstream}/{one.path} has sha256 {found}, and the root lock has {one.sha256}",
            reason="wrong-digest",
        )
    try:
        store.put(response.body, expected=one.sha256)
    except StorageError as error:
        raise HostLack(f"cannot store {one.path}: {error}", reason="disk-full") from error


def _is_kept(store: DigestFolder, sha256: str) -> bool:
    """Whether the file is there whole; one that the disk has changed is removed, and fetched again."""
    try:
        if not store.has(sha256):
            return False
        if digest_of(store.path(sha256)) == sha256:
            return True
        store.remove(sha256)
    except (OSError, StorageError) as error:
        raise HostLack(f"cannot read {store.path(sha256)}: {error}", reason="cache-damaged") from error
    return False


def digest_of(path: Path) -> str:
    """SHA-256 of a file, lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
