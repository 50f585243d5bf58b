"""Logs exported into buckets, for the tests: with the double of a store, and with a real one."""

from pathlib import Path
from typing import Any

from tests.log.exports import ENTRIES
from tests.s3_double import BUCKET, Store
from tests.simkeys import ORIGIN, solo_policy

from touchplate.base.config import Secret
from touchplate.base.sql import Engine
from touchplate.base.values import Duration
from touchplate.log.bucket.bucket import Bucket
from touchplate.log.bucket.config import BucketConfig
from touchplate.log.export import Exporter
from touchplate.log.follow import Update
from touchplate.log.fsck import check_log
from touchplate.log.served import ServedLog
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.client import LogClient
from touchplate.verify.entry import pack_entry
from touchplate.verify.sources import open_source

ACCESS, SECRET = "an-access-key-of-tests", "a-secret-key-of-tests"
PREFIX = "log"


def config_for(url: str, folder: Path, **changes: Any) -> BucketConfig:
    """A bucket at `url`; the credentials are put into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    secrets = {}
    for name, value in (("access", ACCESS), ("secret", SECRET)):
        path = folder / f"{name}.key"
        path.write_text(value)
        path.chmod(0o600)
        secrets[f"{name}_key"] = Secret.parse(f"file:{path.name}", folder)
    given: dict[str, Any] = {"bucket": BUCKET, "prefix": PREFIX, "timeout": Duration(20), **secrets}
    return BucketConfig(endpoint=url, **(given | changes))


def export_to(config: BucketConfig, engine: Engine) -> Update:
    """One update by an exporter that was just started; lets go of `engine`."""
    rows = TreeRows(engine, ORIGIN)
    exporter = Exporter(Bucket(config, solo_policy()), solo_policy())
    try:
        return exporter.update(rows)
    finally:
        exporter.close()
        rows.close()
        engine.dispose()


def look_at(url: str) -> tuple[int, list[str]]:
    """The size of a log below `url` and what is wrong with it, as readers find it over plain HTTP."""

    def read_head(note: bytes) -> tuple[int, bytes]:
        head = open_checkpoint(note, solo_policy())
        return head.size, head.root

    served = ServedLog(open_source(url), read_head)
    wrong = [str(each) for each in check_log(served, policy=solo_policy()).findings]
    client = LogClient(url, solo_policy())
    size = client.checkpoint().size
    if [pack_entry(entry) for _, entry in client.entries()] != [entry.packed for entry in ENTRIES[:size]]:
        wrong.append("other entries")
    return size, wrong


def partials_in(store: Store) -> set[str]:
    """The folders of partial tiles and bundles that are there."""
    prefix = f"{BUCKET}/{PREFIX}/"
    return {name.removeprefix(prefix).rpartition("/")[0] for name in store.names() if ".p/" in name}
