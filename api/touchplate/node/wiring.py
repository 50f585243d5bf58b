"""Where the parts meet: log, evidence store and adapters of one node, made from its configuration.

Everything is opened here, in the order in which it is needed, so that a node which must not run never
listens.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from touchplate.api.alarms import Alarms
from touchplate.api.blobs import BlobStore
from touchplate.api.conan.answers import Answers
from touchplate.api.conan.judge import ConanJudge
from touchplate.api.conan.listing import Listing
from touchplate.api.conan.repository import Remote
from touchplate.api.conan.upstream import ABSENT_SECONDS, RemoteClient
from touchplate.api.docker.judge import ImageJudge
from touchplate.api.docker.links import ImageLinks
from touchplate.api.docker.referrers import Referrers
from touchplate.api.docker.repository import Registries, Registry
from touchplate.api.docker.upstream import RegistryClient
from touchplate.api.http.calls import Calls, Lanes
from touchplate.api.index.facts import FactIndex
from touchplate.api.index.observe import Observer
from touchplate.api.index.store import CACHE_KIB, IndexStore
from touchplate.api.links import Link, Links
from touchplate.api.maven.judge import MavenJudge
from touchplate.api.maven.repository import MetadataSource, Repository
from touchplate.api.peers import PeerBlobs
from touchplate.api.proofs import Prover
from touchplate.api.pull import HTTPFetcher, NegativeCache, Puller
from touchplate.api.records import Budget, RecordWriter
from touchplate.api.stores import FirstSights, Stores
from touchplate.api.views import Views
from touchplate.base.addresses import AddressRules
from touchplate.base.durable import DigestFolder, FileLock
from touchplate.base.errors import ConfigError, StorageError
from touchplate.base.http import HTTPClient, HTTPLimits
from touchplate.base.registry_tokens import Tokens
from touchplate.base.sql import sqlite_engine
from touchplate.base.upstreams import AUTO
from touchplate.log.service import log_folder, open_log
from touchplate.node.checks import check_files
from touchplate.node.config import NodeConfig, UpstreamSection
from touchplate.node.jobs import open_desk, open_jobs
from touchplate.node.neighbours import EvidenceLinks, LogProofs, LogRecorder
from touchplate.node.peer_blobs import open_holders, open_requests
from touchplate.node.witness import WitnessNode, open_witness
from touchplate.verify.purl import PackageURL

if TYPE_CHECKING:
    from touchplate.base.sql import Engine

HELD_THREADS = 16
"""Requests answered at the same time from what is held: they wait for disks and databases only."""

STREAM_THREADS = 32
"""Layers that are fetched at the same time from one upstream; further ones wait."""

READ_SECONDS = 20.0
"""Silence of an upstream that is waited for: below what stopping may take, so that every request ends in
order."""


ANSWER_SECONDS = 120.0
"""A manifest, a listing or a token, from request to last byte: 4 MiB at 35 kB/s. Else an upstream that sends
a byte now and then would hold a thread for an hour, and with a few dozen requests all of them."""

BLOB_SECONDS = 3600.0
"""Fetching one large file, a blob of an image or a Conan package, from request to last byte: 10 GB at
3 MB/s."""


class Node:
    """All parts of one process. `start` and `stop` block; they are called once each."""

    def __init__(self, config: NodeConfig) -> None:
        """Raises ConfigError, TrustError, StorageError and what LogService raises."""
        self.config = config
        self._stopped = False
        self.checked = check_files(config)
        self.witness: WitnessNode | None = None
        self.trust, self.gate = self.checked.trust, self.checked.gate
        self._lock = _lock_folder(config.data)
        try:
            self._open()
        except BaseException:
            if (log := getattr(self, "log", None)) is not None:
                log.stop()
            if self.witness is not None:
                self.witness.stop()
            self._lock.close()
            raise

    def _open(self) -> None:
        config = self.config
        self.evidence = DigestFolder(config.data / "evidence")
        self.jobs = open_jobs(config.queue, config.data) if config.queue is not None else None
        self.rebuilds = None
        if self.jobs is not None and config.queue is not None:
            self.rebuilds = open_desk(config.queue, self.jobs, self.evidence)
        self.alarms = Alarms()
        # Requests that wait for a dead upstream must not hold up those that need none, or another one.
        self.calls = Calls(HELD_THREADS)
        upstreams = [f"{section.ecosystem}:{section.name}" for section in config.upstream]
        self.fetches = Lanes(config.http.threads, upstreams)
        # Layers take minutes, and must not keep manifests waiting.
        self.streams = Lanes(STREAM_THREADS, upstreams)
        self.log = open_log(config.log, log_folder(config.data))
        if config.witness is not None:
            self.witness = open_witness(config.witness, config.data)
        self.index = self._open_index()
        engine = sqlite_engine(config.data / "links.sqlite")
        self.links = Links(engine)
        self.blobs = BlobStore(DigestFolder(config.data / "blobs"))
        self.records = None
        if self.checked.recorder is not None:
            budget = Budget(config.records_per_minute)
            self.records = RecordWriter(LogRecorder(self.log), self.checked.recorder, budget)
        self.fetchers: list[HTTPFetcher | RegistryClient | RemoteClient] = []
        self.clients: list[HTTPClient] = []
        self.image_links = ImageLinks(engine)
        self.peers = self._open_peers()
        self.stores = stores = Stores(self.blobs, self.links, self.index, self.alarms, self.peers)
        pairs = zip(config.upstream, self.checked.urls, strict=True)
        repositories: list[Repository] = []
        registries: list[Registry] = []
        remotes: list[Remote] = []
        for section, url in pairs:
            if section.ecosystem == "oci":
                registries.append(self._registry(section, url))
            elif section.ecosystem == "conan":
                remotes.append(self._remote(section, url, engine))
            else:
                repositories.append(self._repository(section, url))
        sights = FirstSights(stores, self.records)
        self.maven = MavenJudge(repositories, stores, self.gate, sights)
        self.conan = ConanJudge(remotes, stores, self.gate, sights)
        self.listing = Listing(self.gate, self.index)
        self.prover = Prover(self.index.store, LogProofs(self.log), self.trust.policy)
        default = next((section.name for section in config.upstream if section.default), None)
        places = Registries(registries, default)
        self.images = ImageJudge(places, stores, self.image_links, self.gate, sights)
        self.referrers = Referrers(self.images, stores, self.prover)
        self.views = Views(
            self.index,
            self.links,
            self.prover,
            self.trust.reproduced,
            self.alarms,
            evidence=EvidenceLinks(self.evidence),
            package_of=self._package_of,
        )

    def _package_of(self, link: Link) -> PackageURL | None:
        """The package file as which a link serves its bytes, whichever adapter made the link."""
        adapters = (self.maven.package_of, self.images.registries.package_of, self.conan.package_of)
        return next((package for find in adapters if (package := find(link)) is not None), None)

    def start(self) -> None:
        """The log first, then what reads it, then what writes to it."""
        self.log.start()
        self.index.start()
        if self.records is not None:
            self.records.start()
        if self.jobs is not None:
            self.jobs.start()

    def interrupt(self) -> None:
        """Break off what may take long: the server waits for running requests before the parts stop."""
        for fetcher in self.fetchers:
            fetcher.stop()
        if self.jobs is not None:
            self.jobs.live.stop()
        if self.peers is not None:
            self.peers.stop()

    def stop(self) -> None:
        """In the other order; what was taken is finished. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        self.interrupt()
        self.calls.stop()
        self.fetches.stop()
        self.streams.stop()
        if self.records is not None:
            self.records.stop()
        self.index.stop()
        self.index.store.close()
        self.links.close()
        if self.rebuilds is not None:
            self.rebuilds.stop()
        if self.jobs is not None:
            self.jobs.stop()
        self.log.stop()
        if self.witness is not None:
            self.witness.stop()
        for client in self.clients:
            client.close()
        self._lock.close()

    def _open_peers(self) -> PeerBlobs | None:
        """Other peers as holders of blobs; None for a log that is held alone."""
        if self.config.log.peers is None:
            return None
        # On use: a log alone needs no protobuf.
        from touchplate.log.peers.service import PeerService

        assert isinstance(self.log, PeerService)
        self.peer_requests = open_requests(self.config.log.peers, self.log.find_peer)
        holders = open_holders(self.config.log.peers, self.peer_requests)
        self.clients += [holder.client for holder in holders]
        return PeerBlobs(holders, self.blobs, self.alarms)

    def gave(self, sha256: str) -> bool:
        """Whether an upstream that records first sight gave this blob: such a one may be given to peers."""
        for section in self.config.upstream:
            prefix = "" if section.ecosystem == "maven" else f"{section.ecosystem}:"
            if section.record and self.links.refers(f"{prefix}{section.name}", sha256):
                return True
            if (
                section.record
                and section.ecosystem == "oci"
                and self.image_links.is_held_from(section.name, sha256)
            ):
                return True
        return False

    def _open_index(self) -> FactIndex:
        # What counts depends on the trust file, so another one means another index.
        trust = hashlib.sha256(repr(self.trust.keys).encode()).hexdigest()
        store = IndexStore(_derived_engine(self.config.data / "index.sqlite"), trust)
        return FactIndex(store, self.log, Observer(self.trust))

    def _repository(self, section: UpstreamSection, url: str) -> Repository:
        # The address of Maven's own central comes from this machine's settings: its owner named the host.
        named = (url,) if section.allow_private or section.url == AUTO else ()
        client = HTTPClient(AddressRules.naming(*named), HTTPLimits(read=READ_SECONDS))
        fetcher = HTTPFetcher(section.name, url, client)
        self.clients.append(client)
        self.fetchers.append(fetcher)
        return Repository(
            section.name,
            section.identity,
            section.record,
            Puller(section.name, fetcher, self.blobs),
            MetadataSource(section.name, fetcher),
        )

    def _remote(self, section: UpstreamSection, url: str, engine: Engine) -> Remote:
        client, slow = self._upstream_clients(_rules(section, url))
        credentials = section.credentials.resolve() if section.credentials else None
        remote = RemoteClient(section.name, url, client, credentials, slow=slow)
        self.fetchers.append(remote)
        negative = NegativeCache(ABSENT_SECONDS)
        return Remote(
            section.name,
            section.identity,
            section.record,
            Puller(section.name, remote, self.blobs, negative=negative),
            Answers(section.name, remote, engine),
        )

    def _upstream_clients(self, rules: AddressRules) -> tuple[HTTPClient, HTTPClient]:
        """For short answers, and for files. Large upstreams keep their files elsewhere."""
        made = [
            HTTPClient(
                rules,
                HTTPLimits(read=READ_SECONDS, total=total),
                foreign_redirects=True,
            )
            for total in (ANSWER_SECONDS, BLOB_SECONDS)
        ]
        self.clients += made
        return made[0], made[1]

    def _registry(self, section: UpstreamSection, url: str) -> Registry:
        client, slow = self._upstream_clients(_rules(section, url, section.private_hosts))
        credentials = section.credentials.resolve() if section.credentials else None
        tokens = Tokens(section.name, url, client, credentials)
        registry = RegistryClient(section.name, url, client, tokens, slow=slow)
        self.fetchers.append(registry)
        return Registry(
            section.name,
            section.identity,
            section.record,
            registry,
            tags=section.tags,
            namespace=section.namespace,
        )


def _rules(section: UpstreamSection, url: str, hosts: Iterable[str] = ()) -> AddressRules:
    """What an upstream's clients may connect to; `hosts`: others that it may send them to."""
    return AddressRules.naming(*((url,) if section.allow_private else ()), hosts=hosts)


def _lock_folder(folder: Path) -> FileLock:
    """Hold the data folder for this process: two nodes on it would spoil each other's log and index."""
    try:
        return FileLock(folder / "node.lock")
    except StorageError as error:
        if error.reason != "locked":
            raise
        mistake = f"another node runs on {folder}; stop it, or give this one a folder of its own"
        raise ConfigError("data", (mistake,)) from None


def _derived_engine(path: Path) -> Engine:
    """The database at `path`, begun again when the file is damaged: all in it can be derived."""
    try:
        return sqlite_engine(path, cache_kib=CACHE_KIB)
    except StorageError as error:
        code = getattr(getattr(error.__cause__, "orig", None), "sqlite_errorcode", None)
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        logging.getLogger("touchplate.node").warning("%s; it is made again", error)
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return sqlite_engine(path, cache_kib=CACHE_KIB)
