"""Where the parts meet: log, evidence store and adapters of one node, made from its configuration.

Everything is opened here, in the order in which it is needed, so that a node which must not run never
listens.
"""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from touchplate.api.alarms import Alarms
from touchplate.api.blobs import BlobStore
from touchplate.api.gate import Gate, Rule
from touchplate.api.http.calls import Calls
from touchplate.api.index.facts import FactIndex
from touchplate.api.index.observe import Observer
from touchplate.api.index.store import IndexStore
from touchplate.api.links import Links
from touchplate.api.maven.judge import MavenJudge, Stores
from touchplate.api.maven.repository import MetadataSource, Repository
from touchplate.api.proofs import Prover
from touchplate.api.pull import HTTPFetcher, Puller
from touchplate.api.records import Budget, RecordWriter
from touchplate.api.views import Views
from touchplate.base.addresses import AddressRules
from touchplate.base.durable import DigestFolder
from touchplate.base.errors import ConfigError
from touchplate.base.http import HTTPClient, HTTPLimits
from touchplate.base.sql import sqlite_engine
from touchplate.base.upstreams import AUTO, resolve_upstream
from touchplate.log.service import LogService, log_folder
from touchplate.node.config import NodeConfig, RuleSection, UpstreamSection
from touchplate.node.neighbours import LogProofs, LogRecorder
from touchplate.verify.keys import StatementSigner, load_signer
from touchplate.verify.trust import TrustFile, load_admission, load_trust

READ_SECONDS = 20.0
"""Silence of an upstream that is waited for: below what stopping may take, so that every request ends in
order."""


class Node:
    """All parts of one process. `start` and `stop` block; they are called once each."""

    def __init__(self, config: NodeConfig) -> None:
        """Raises ConfigError, TrustError, StorageError and what LogService raises."""
        self.config = config
        self._stopped = False
        self.trust = load_trust(config.gate.trust)
        self.gate = Gate([_rule(rule) for rule in config.gate.rule], self.trust.reproduced)
        signer = _recorder_key(config, self.trust)
        self.evidence = DigestFolder(config.data / "evidence")
        self.alarms = Alarms()
        self.calls = Calls(config.http.threads)
        self.log = LogService(config.log, log_folder(config.data))
        self.index = self._open_index()
        self.links = Links(sqlite_engine(config.data / "links.sqlite"))
        self.blobs = BlobStore(DigestFolder(config.data / "blobs"))
        self.records = None
        if signer is not None:
            budget = Budget(config.records_per_minute)
            self.records = RecordWriter(LogRecorder(self.log), signer, budget)
        self.fetchers: list[HTTPFetcher] = []
        self.clients: list[HTTPClient] = []
        stores = Stores(self.blobs, self.links, self.index, self.alarms)
        repositories = [self._repository(upstream) for upstream in config.upstream]
        self.maven = MavenJudge(repositories, stores, self.gate, self.records)
        self.prover = Prover(self.index.store, LogProofs(self.log), self.trust.policy)
        self.views = Views(self.index, self.links, self.prover, self.trust.reproduced, self.alarms)

    def start(self) -> None:
        """The log first, then what reads it, then what writes to it."""
        self.log.start()
        self.index.start()
        if self.records is not None:
            self.records.start()

    def interrupt(self) -> None:
        """Break off what may take long: the server waits for running requests before the parts stop."""
        for fetcher in self.fetchers:
            fetcher.stop()

    def stop(self) -> None:
        """In the other order; what was taken is finished. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        self.interrupt()
        self.calls.stop()
        if self.records is not None:
            self.records.stop()
        self.index.stop()
        self.log.stop()
        for client in self.clients:
            client.close()

    def _open_index(self) -> FactIndex:
        # What counts depends on the trust file, so another one means another index.
        trust = hashlib.sha256(repr(self.trust.keys).encode()).hexdigest()
        store = IndexStore(sqlite_engine(self.config.data / "index.sqlite"), trust)
        return FactIndex(store, self.log, Observer(self.trust))

    def _repository(self, section: UpstreamSection) -> Repository:
        upstream = resolve_upstream(section.upstream)
        # The address of Maven's own central comes from this machine's settings: its owner named the host.
        hosts = (
            {urlsplit(upstream.url).hostname or ""} if section.allow_private or section.url == AUTO else ()
        )
        client = HTTPClient(AddressRules.parse(hosts=hosts), HTTPLimits(read=READ_SECONDS))
        fetcher = HTTPFetcher(section.name, upstream.url, client)
        self.clients.append(client)
        self.fetchers.append(fetcher)
        return Repository(
            section.name,
            section.identity,
            section.record,
            Puller(section.name, fetcher, self.blobs),
            MetadataSource(section.name, fetcher),
        )


def _rule(section: RuleSection) -> Rule:
    return Rule(
        need=section.need,
        enforce=section.enforce,
        ecosystem=section.ecosystem,
        repository=section.repository,
        package=section.package,
        minimum_age=section.minimum_age,
        operators=section.operators,
    )


def _recorder_key(config: NodeConfig, trust: TrustFile) -> StatementSigner | None:
    """The recorder's key, which the log must admit and the gate must trust: else nothing would ever pass."""
    section = config.recorder
    if section is None:
        return None
    password = section.password.resolve().encode() if section.password else None
    signer = load_signer(section.key.resolve().encode(), password)
    mistakes = []
    spki = signer.key.spki
    lists = (
        ("gate.trust", trust.find(spki)),
        ("log.admission", load_admission(config.log.admission).find(spki)),
    )
    for where, blocks in lists:
        if not any(block.kind == "recorder" and block.operator == section.operator for block in blocks):
            mistakes.append(
                f"{where}: no [[recorder]] block has this key and the operator {section.operator!r}"
            )
    if mistakes:
        raise ConfigError("recorder", tuple(mistakes))
    return signer
