"""The queue of rebuilds, as the configuration describes it."""

from pathlib import Path

from touchplate.base.bearer import BearerTokens
from touchplate.base.durable import DigestFolder
from touchplate.base.errors import ConfigError
from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import Engine, sqlite_engine
from touchplate.builder.definitions.index import DefinitionIndex
from touchplate.builder.queue.http import JobRoutes
from touchplate.builder.queue.jobs import QueueLimits
from touchplate.builder.queue.retention import Retention
from touchplate.builder.queue.store import Queue
from touchplate.builder.queue.tokens import MIN_TOKEN_CHARS, Caller
from touchplate.log.service import SQLITE
from touchplate.node.config import QueueSection
from touchplate.node.rebuilds import RebuildDesk, Source

DATABASE_NAME = "queue.sqlite"


def open_jobs(section: QueueSection, data: Path) -> JobRoutes:
    """The queue and its routes. Raises ConfigError (tokens), StorageError."""
    tokens = _read_tokens(section)  # before a database is made
    limits = QueueLimits(
        lease_seconds=int(section.lease),
        longest_lease_seconds=int(section.max_lease),
        lost=section.max_lost,
        retry_seconds=int(section.retry),
    )
    retention = Retention(ended=int(section.keep), failed=int(section.keep_failed))
    return JobRoutes(Queue(_open_engine(section, data), limits), tokens, retention=retention)


def open_desk(section: QueueSection, jobs: JobRoutes, evidence: DigestFolder) -> RebuildDesk:
    """Where refused clients ask for rebuilds."""
    definitions = None if section.definitions is None else DefinitionIndex(section.definitions)
    return RebuildDesk(Source(jobs.queue, jobs.tokens, definitions, evidence), clock=jobs.clock)


def _open_engine(section: QueueSection, data: Path) -> Engine:
    if section.storage == SQLITE:
        return sqlite_engine(data / DATABASE_NAME)
    url = parse_address(section.storage)
    if section.storage_password is not None:
        url = url.set(password=section.storage_password.resolve())
    return postgresql_engine(url)


def _read_tokens(section: QueueSection) -> BearerTokens[Caller]:
    found: list[tuple[Caller, str]] = []
    mistakes = []
    for token in section.token:
        secret = token.token.resolve()
        if len(secret) < MIN_TOKEN_CHARS:
            mistakes.append(f"queue.token {token.name}: shorter than {MIN_TOKEN_CHARS} characters")
        if secret in (other for _, other in found):
            mistakes.append(f"queue.token {token.name}: another one has the same token")
        found.append((Caller(token.name, frozenset(token.scopes)), secret))
    if mistakes:
        raise ConfigError("queue", tuple(mistakes))
    return BearerTokens(found)
