"""What Prometheus is told of Trillian's interface, beside what it is told of the log (`log/metrics.py`)."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX = "touchplate_trillian"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the histogram's buckets: from a root out of memory to a batch on a slow disk."""


class Metrics:
    """Counters of calls and leaves. Labels hold names of methods and codes only, nothing that a caller
    chooses."""

    def __init__(self, registry: CollectorRegistry, open_trees: Callable[[], int]) -> None:
        self._calls = Counter(
            f"{PREFIX}_calls",
            "Calls by method and gRPC status code",
            ["method", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            f"{PREFIX}_call_seconds",
            "Time from a call's arrival to its answer",
            ["method"],
            registry=registry,
            buckets=SECONDS,
        )
        # A metric looks for the series of some labels under a lock, each time.
        self._series: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._leaves = Counter(
            f"{PREFIX}_leaves", "Leaves written, by what became of them", ["status"], registry=registry
        )
        trees = Gauge(f"{PREFIX}_open_trees", "Raw trees in use", registry=registry)
        trees.set_function(open_trees)

    def called(self, method: str, code: str, seconds: float) -> None:
        """A call was answered."""
        series = self._series.get((method, code))
        if series is None:
            series = self._calls.labels(method, code), self._seconds.labels(method)
            self._series[method, code] = series
        series[0].inc()
        series[1].observe(seconds)

    def wrote(self, code: str, leaves: int) -> None:
        """So many leaves were answered alike."""
        self._leaves.labels(code).inc(leaves)
