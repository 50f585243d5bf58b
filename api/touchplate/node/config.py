"""The configuration of a node: one TOML file, one frozen tree; every mistake is listed at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from touchplate.api.docker.layout import check_name
from touchplate.api.errors import BadNameError
from touchplate.api.gate import pattern_mistake
from touchplate.api.rebuilds import RebuildMode
from touchplate.base.config import Duration, Secret, load_file
from touchplate.base.postgresql import parse_address
from touchplate.base.upstreams import AUTO, Upstream
from touchplate.builder.queue.jobs import LONGEST_LEASE_SECONDS
from touchplate.builder.queue.retention import LEAST_SECONDS, MOST_SECONDS, Retention
from touchplate.log.service import SQLITE, LogConfig
from touchplate.log.witness.config import WitnessConfig
from touchplate.verify.errors import MalformedError
from touchplate.verify.names import check_operator

_IDENTITY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._~:-]*[A-Za-z0-9])?\Z")

_TOKEN_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}\Z")

EXISTING_LEVELS = ("recorded", "reproduced")
RECORDS_PER_MINUTE = 6_000
MAX_PORT = 65_535
MAX_LEASE_SECONDS = 7 * 24 * 3600
"""Longest `max_lease`: definitions may give each of their two phases a day."""


@dataclass(frozen=True)
class HTTPConfig:
    """Where to listen. Port 0 chooses a free one and says which. `public_url` is what pages and clients
    are told."""

    listen: str = "127.0.0.1:8350"
    public_url: str | None = None
    threads: int = 48  # requests that may wait for one upstream at the same time

    def check(self) -> list[str]:
        """The form of address and URL."""
        found = []
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > MAX_PORT:
            found.append(f"listen: {self.listen!r} is no address; write host:port, such as 127.0.0.1:8350")
        if self.public_url is not None:
            parts = urlsplit(self.public_url)
            if parts.scheme not in ("http", "https") or not parts.hostname or self.public_url.endswith("/"):
                found.append(f"public_url: {self.public_url!r} is no URL without a slash at its end")
        if not 1 <= self.threads <= 1024:
            found.append("threads: write a number from 1 to 1024")
        return found

    @property
    def address(self) -> tuple[str, int]:
        """Host (an IPv6 one without brackets) and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class RecorderSection:
    """Who signs records of first sight."""

    operator: str
    key: Secret
    password: Secret | None = None

    def check(self) -> list[str]:
        """The form of the operator."""
        try:
            check_operator(self.operator)
        except MalformedError as error:
            return [str(error)]
        return []


@dataclass(frozen=True)
class EvidenceSection:
    """The evidence store under /builder/evidence: everybody reads, the token writes."""

    token: Secret


@dataclass(frozen=True)
class QueueTokenSection:
    """Who may use the queue of rebuilds: a name that its jobs show, a token, and what it is for."""

    name: str
    token: Secret
    scopes: tuple[Literal["work", "admin", "ask"], ...]

    def check(self) -> list[str]:
        """The form of the name."""
        if not _TOKEN_NAME.match(self.name):
            return [f"name {self.name!r}: write 1 to 40 letters, digits and . _ -"]
        return [] if self.scopes else ['scopes: write "work", "admin", "ask" or several of them']


@dataclass(frozen=True)
class QueueSection:
    """The queue of rebuilds under /builder/jobs. `storage`: "sqlite", or an address on PostgreSQL."""

    token: tuple[QueueTokenSection, ...]
    storage: str = SQLITE
    storage_password: Secret | None = None
    # A folder of definitions by which refused files are rebuilt; without one, only by inferred ones.
    definitions: Path | None = None
    # Silence of a worker after which its job is another's, and how often that may happen to one job.
    lease: Duration = field(default=Duration(60))
    max_lost: int = 5
    # Pause before a job is tried again that was not built, or whose worker lacked something.
    retry: Duration = field(default=Duration(300))
    # How long one lease may last, however often it is renewed: longer than any build of the definitions used.
    max_lease: Duration = field(default=Duration(LONGEST_LEASE_SECONDS))
    # How long jobs that are done or were cancelled are kept after their end, and how long those that failed.
    keep: Duration = field(default=Duration(Retention().ended))
    keep_failed: Duration = field(default=Duration(Retention().failed))

    def check(self) -> list[str]:
        """What concerns all tokens, and the form of the address."""
        names = [token.name for token in self.token]
        found = [f"token: two are named {name!r}" for name in sorted(set(names)) if names.count(name) > 1]
        if not names:
            found.append("token: nobody could use the queue; add a [[queue.token]]")
        if not 2 <= self.lease <= 3600:
            found.append('lease: write a time from "2s" to "1h"')
        if not self.lease <= self.max_lease <= MAX_LEASE_SECONDS:
            found.append('max_lease: write a time that is not less than lease, at most "7d"')
        if not 1 <= self.retry <= 3600:
            found.append('retry: write a time from "1s" to "1h"')
        if self.max_lost < 0:
            found.append("max_lost: write 0 or more")
        for name, kept in (("keep", self.keep), ("keep_failed", self.keep_failed)):
            if not LEAST_SECONDS <= kept <= MOST_SECONDS:
                found.append(f'{name}: write a time from "1d" to "36500d"')
        if self.definitions is not None and not self.definitions.is_dir():
            found.append(f"definitions: there is no folder {str(self.definitions)!r}")
        if self.storage == SQLITE:
            if self.storage_password is not None:
                found.append('storage_password: belongs to the address of a database; storage is "sqlite"')
            return found
        try:
            parse_address(self.storage)
        except ValueError as error:
            found.append(f'storage: {error}, or "sqlite"')
        return found


@dataclass(frozen=True)
class UpstreamSection:
    """One upstream: served at /maven/<name>/…, /v2/<name>/… or /conan/<name>/…; `identity` is how statements
    speak of it (format 1)."""

    name: str
    ecosystem: Literal["maven", "conan", "oci"]
    identity: str
    url: str = AUTO
    record: bool = False
    # An upstream on this machine or in a private network; else such addresses are refused.
    allow_private: bool = False
    # For oci only. `default`: images whose name begins with no upstream's; `namespace`: put before names of
    # one segment; `private_hosts`: other hosts that it sends to (token service, store of blobs) and that may
    # have private addresses. For oci and conan, `credentials`: `user:password` for the upstream and its token
    # service.
    default: bool = False
    tags: Literal["follow", "pin"] = "follow"
    namespace: str | None = None
    credentials: Secret | None = None
    private_hosts: tuple[str, ...] = ()

    def check(self) -> list[str]:
        """The form of names and URL."""
        found = self.upstream.check()
        if self.ecosystem == "oci":
            found += self._check_registry()
        elif (self.default, self.tags, self.namespace, self.private_hosts) != (False, "follow", None, ()):
            found.append("default, tags, namespace and private_hosts are for upstreams of ecosystem oci")
        if self.ecosystem == "maven" and self.credentials:
            found.append("credentials are for upstreams of ecosystem oci or conan")
        if not _IDENTITY.match(self.identity):
            found.append(f"identity {self.identity!r}: write letters, digits and . _ ~ : -")
        if self.url == AUTO and self.name != "central":
            found.append(
                f'url "{AUTO}" is known for the Maven upstream named central only; write the address'
            )
        return found

    def _check_registry(self) -> list[str]:
        found = []
        for what, name in (("name", self.name), ("namespace", self.namespace)):
            try:
                check_name(name if name is not None else "library")
            except BadNameError as error:
                found.append(f"{what}: {error}")
        if self.identity != self.identity.lower() or "~" in self.identity:
            found.append(f"identity {self.identity!r}: write the registry's name as it stands in image names")
        return found

    @property
    def upstream(self) -> Upstream:
        """The same for touchplate.base.upstreams."""
        return Upstream(self.name, self.ecosystem, self.identity, self.url, self.record)


@dataclass(frozen=True)
class RuleSection:
    """One rule of the gate; the first one that matches wins, the last one must match everything."""

    need: tuple[str, ...]
    enforce: Literal["enforce", "warn", "observe"] = "enforce"
    ecosystem: Literal["maven", "conan", "oci"] | None = None
    repository: str | None = None
    package: str | None = None
    rebuild: RebuildMode = "never"  # whose requests for a refused file put its rebuild into the queue
    minimum_age: Duration = field(default=Duration(0))
    operators: int | None = None

    def check(self) -> list[str]:
        """What the gate cannot do is refused here, never ignored."""
        found = []
        for level in self.need:
            if level == "signed":
                found.append(
                    "need: the level 'signed' does not exist yet, so nothing could pass; leave it out"
                )
            elif level not in EXISTING_LEVELS:
                found.append(f"need: {level!r} is no level; known: {', '.join(EXISTING_LEVELS)}")
        if self.rebuild != "never" and "reproduced" not in self.need:
            found.append('rebuild: helps only where "reproduced" is in need; put it there, or leave this out')
        if self.rebuild != "never" and self.enforce != "enforce":
            found.append(
                f'rebuild: only refusals ask for one, and enforce is "{self.enforce}"; leave one of them out'
            )
        if self.operators is not None and self.operators < 1:
            found.append("operators: write a number of at least 1, or leave it out")
        if self.operators is not None and "reproduced" not in self.need:
            found.append(
                'operators: counts who reproduced a file; put "reproduced" into need, or leave it out'
            )
        if self.package is not None and (mistake := pattern_mistake(self.package)):
            found.append(mistake)
        return found

    @property
    def is_default(self) -> bool:
        """Whether this rule matches everything."""
        return self.ecosystem is None and self.repository is None and self.package is None


@dataclass(frozen=True)
class GateSection:
    """The gate: what it believes (a trust file) and what it asks for (rules)."""

    trust: Path
    rule: tuple[RuleSection, ...] = ()

    def check(self) -> list[str]:
        """The default rule stands last, and only there."""
        if not self.rule or not self.rule[-1].is_default:
            return ["rule: the last [[gate.rule]] is the default: without ecosystem, repository and package"]
        hidden = [str(number) for number, rule in enumerate(self.rule[:-1], 1) if rule.is_default]
        return (
            [f"rule: number {', '.join(hidden)} matches everything and hides those after it"]
            if hidden
            else []
        )


@dataclass(frozen=True)
class NodeConfig:
    """The whole configuration of `touchplate serve`. Relative paths count from the folder of the file."""

    data: Path
    log: LogConfig
    gate: GateSection
    http: HTTPConfig = field(default_factory=HTTPConfig)
    recorder: RecorderSection | None = None
    evidence: EvidenceSection | None = None
    queue: QueueSection | None = None
    witness: WitnessConfig | None = None  # this node cosigns the heads of others' logs, below /witness
    upstream: tuple[UpstreamSection, ...] = ()
    records_per_minute: int = RECORDS_PER_MINUTE

    def check(self) -> list[str]:
        """What concerns several tables at once."""
        found = []
        names = [(upstream.ecosystem, upstream.name) for upstream in self.upstream]
        for ecosystem, name in sorted({pair for pair in names if names.count(pair) > 1}):
            found.append(f"upstream: two {ecosystem} upstreams are named {name!r}")
        defaults = [upstream.name for upstream in self.upstream if upstream.default]
        if len(defaults) > 1:
            found.append(f"upstream: {' and '.join(map(repr, defaults))} both say default = true")
        recorded = [upstream.name for upstream in self.upstream if upstream.record]
        if recorded and self.recorder is None:
            found.append(f"recorder: missing, and upstream {recorded[0]!r} says record = true")
        if self.witness is not None and self.log.origin in [log.named for log in self.witness.log]:
            found.append(f"witness: nobody is a witness of his own log; leave out {self.log.origin!r}")
        if self.records_per_minute < 1:
            found.append("records_per_minute: write a number of at least 1")
        known = {name for _, name in names}
        for number, rule in enumerate(self.gate.rule, 1):
            if rule.repository is not None and rule.repository not in known:
                found.append(f"gate.rule {number}: no upstream is named {rule.repository!r}")
            if rule.rebuild != "never":
                found += [f"gate.rule {number}: {mistake}" for mistake in self._check_rebuild(rule.rebuild)]
        return found

    def _check_rebuild(self, mode: RebuildMode) -> list[str]:
        """What a rule that asks for rebuilds needs elsewhere."""
        if self.queue is None:
            return [f'rebuild = "{mode}" needs a [queue] to put jobs into; add one, or write "never"']
        if mode == "authenticated" and not any({"ask", "admin"} & {*one.scopes} for one in self.queue.token):
            return ['rebuild = "authenticated": no [[queue.token]] has the scope "ask" or "admin"']
        return []


def load_config(path: Path) -> NodeConfig:
    """The configuration in the file `path`. Raises ConfigError with all its mistakes."""
    return load_file(NodeConfig, path)
