"""Packages of a root lock, fetched by digest: whatever serves them, only the locked bytes are taken."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from touchplate.base.durable import DigestFolder
from touchplate.base.errors import FetchError, StorageError, WrongDigestError
from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.progress import Progress
from touchplate.builder.errors import DISK_FULL, HostLack, storage_lack
from touchplate.builder.roots.lock import RootPackage
from touchplate.builder.sandbox.workspace import FREE_BYTES
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
    _check_room(store.folder, total)
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
        # Piece by piece: the size is what a lock says, and that may be a stranger's.
        with store.writer(expected=one.sha256) as writer:
            response = client.stream(url, writer.write, max_bytes=one.size)
            if response.status == 200:
                writer.commit()
                return
    except FetchError as error:
        raise HostLack(
            f"archive {one.upstream!r} does not give {one.path}: {error}", reason="archive-failed"
        ) from error
    except WrongDigestError as error:
        raise HostLack(
            f"{one.upstream}/{one.path} is not what the root lock has: {error}", reason="wrong-digest"
        ) from error
    except StorageError as error:
        raise storage_lack(f"cannot store {one.path}", store.folder, error) from error
    raise HostLack(
        f"archive {one.upstream!r} answers {response.status} for {one.path}: what was superseded leaves "
        f"the mirrors; give --archive {one.upstream}=URL of one that keeps it, such as a snapshot",
        reason="archive-failed",
    )


def _check_room(folder: Path, total: int) -> None:
    """Raise HostLack unless the disk has room for `total` bytes and a phase; before anything is fetched."""
    free = shutil.disk_usage(folder).free
    if free < total + FREE_BYTES:
        raise HostLack(
            f"the packages have {total} bytes, and of {free} free ones below {folder} {FREE_BYTES} are kept "
            "for builds; make room, or lock a smaller root",
            reason=DISK_FULL,
        )


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
