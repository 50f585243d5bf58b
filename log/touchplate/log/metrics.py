"""What Prometheus is told of a log: one registry for all of a process, on an address of its own (`[log]
metrics`).

What happens is counted as it happens (`Observer`); what is the case is asked at each look (`LogState`).
Labels hold names of ours and of the policy only, nothing that a caller chooses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from logging import getLogger
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric

from touchplate.base.errors import ConfigError
from touchplate.log.cosigning.status import WitnessStatus

PREFIX = "touchplate_log"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the histogram's buckets: from one entry on a fast disk to a batch that waited for a lock."""

logger = getLogger(__name__)


@dataclass(frozen=True)
class LogState:
    """How a log is at this moment. `published`: size of the checkpoint that is served, -1 before the first;
    `checkpoint`: that one; `published_seconds`: its age, if whoever publishes knows."""

    size: int
    published: int
    checkpoint: bytes | None
    published_seconds: float | None
    frozen: bool
    waiting: int
    leads: bool
    witnesses: tuple[WitnessStatus, ...]
    exported: tuple[tuple[str, int], ...]
    """(kind, size of the tree that is shown there), of each export."""


class LogMetrics:
    """The metrics of one log; an `Observer` of its sequencer and its writer. Safe from any thread."""

    def __init__(self, state: Callable[[], LogState]) -> None:
        """`state` is asked at each look; it must not wait for the database."""
        self.registry = CollectorRegistry()
        self._state = state
        self._lock = Lock()
        self._seen: bytes | None = None  # the checkpoint, and since when it is there; under _lock
        self._since = time.monotonic()
        self._answers = Counter(
            f"{PREFIX}_submissions",
            "Submitted entries, by what became of them: new, duplicate, or the reason of a refusal",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("new", "duplicate"):
            self._answers.labels(outcome)  # there from the start: a rate begins at 0
        self._commits = Histogram(
            f"{PREFIX}_commit_seconds",
            "Time that a batch took to be durable",
            registry=self.registry,
            buckets=SECONDS,
        )
        self._failed = Counter(
            f"{PREFIX}_commits_failed", "Batches that were not kept", registry=self.registry
        )
        self._entries = Counter(
            f"{PREFIX}_entries",
            "Entries that were submitted here, in committed batches",
            registry=self.registry,
        )
        self.registry.register(self)

    def answered(self, outcome: str, count: int = 1) -> None:
        """See `Observer`."""
        self._answers.labels(outcome).inc(count)

    def committed(self, entries: int, seconds: float) -> None:
        """See `Observer`."""
        self._commits.observe(seconds)
        self._entries.inc(entries)

    def failed(self) -> None:
        """See `Observer`."""
        self._failed.inc()

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the state cannot be asked before the log is open."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The state, for the registry."""
        state = self._state()
        for name, help_text, value in (
            ("size", "Entries in the tree", state.size),
            (
                "published_size",
                "Entries under the checkpoint that is served; -1 before the first",
                state.published,
            ),
            (
                "published_age_seconds",
                "Age of that checkpoint, as far as this process knows",
                self._age(state),
            ),
            ("frozen", "1 when no new entries are taken", state.frozen),
            ("waiting_entries", "Entries taken and not yet answered", state.waiting),
            ("leads", "1 when this process sequences and signs", state.leads),
        ):
            yield _gauge(name, help_text, value)
        exported = GaugeMetricFamily(
            f"{PREFIX}_exported_size", "Entries that the export shows", labels=["to"]
        )
        for kind, size in state.exported:
            exported.add_metric([kind], size)
        yield exported
        yield from _witnesses(state)

    def _age(self, state: LogState) -> float:
        with self._lock:
            if state.checkpoint != self._seen:
                self._seen, self._since = state.checkpoint, time.monotonic()
            seconds = time.monotonic() - self._since
        return seconds if state.published_seconds is None else state.published_seconds


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", help_text, value=float(value))


def _witnesses(state: LogState) -> Iterator[Metric]:
    """How each witness is; of several frontends, the one that asks them knows."""
    rows = {
        "cosigned": "1 when it has cosigned the head that is asked about now",
        "failing": "1 when its last answer was none, or of no use",
        "size": "Entries of this log that it is known to have cosigned",
    }
    for name, help_text in rows.items():
        family = GaugeMetricFamily(f"{PREFIX}_witness_{name}", help_text, labels=["witness"])
        for each in state.witnesses if state.leads else ():
            values = {"cosigned": each.cosigned, "failing": each.error is not None, "size": each.size}
            family.add_metric(["/".join(each.names)], float(values[name]))
        yield family


def serve_metrics(address: tuple[str, int], registry: CollectorRegistry) -> Callable[[], None]:
    """Answer Prometheus on `address` (port 0: a free one, which is logged); returns what ends that. Raises
    ConfigError when the address cannot be used."""
    host, port = address
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(
            "log.metrics", (f"cannot listen on {host}:{port}: {error.strerror or error}",)
        ) from error
    logger.info("metrics are at http://%s:%d/metrics", host, server.server_port)

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close
