"""`make bench-peers`: four peers on this machine, until an entry is acknowledged, and published by a quorum.

Four engines, four applications and the client share the machine, so wall-clock figures are upper bounds; CPU
seconds per entry are what can be compared between runs.
"""

import concurrent.futures
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.log.support import record_envelope

from touchplate.log.peers.engine import install_engine
from touchplate.node.localnet import LocalNetwork, make_network
from touchplate.verify.keys import load_signer

LONE = 40
LOADED = 2000
CLIENTS = 40
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(parent: int) -> dict[str, float]:
    """CPU seconds of all descendants of a process, by program."""
    children: dict[int, list[tuple[int, str, float]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        fields = rest.split()
        seconds = (int(fields[11]) + int(fields[12])) / _TICKS
        children.setdefault(int(fields[1]), []).append((int(folder.name), name, seconds))
    found: dict[str, float] = {}
    queue = [parent]
    while queue:
        for pid, name, seconds in children.get(queue.pop(), []):
            found[name] = found.get(name, 0.0) + seconds
            queue.append(pid)
    return found


def post(url: str, body: bytes) -> float:
    """Submit one envelope; seconds until it was acknowledged."""
    began = time.perf_counter()
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}/add", body, method="POST"), timeout=60
    ) as answer:
        answer.read()
    return time.perf_counter() - began


def published(url: str) -> int:
    with urllib.request.urlopen(f"{url}/checkpoint", timeout=10) as answer:
        return int(answer.read().split(b"\n")[1])


def wait_published(urls: Sequence[str], size: int) -> None:
    while min(published(url) for url in urls) < size:
        time.sleep(0.02)


def show(what: str, seconds: Sequence[float]) -> None:
    cuts = statistics.quantiles(seconds, n=100)
    print(f"{what:<52} p50 {1000 * cuts[49]:6.0f}  p90 {1000 * cuts[89]:6.0f}  p99 {1000 * cuts[98]:6.0f} ms")


def measure(network: LocalNetwork, envelopes: Sequence[bytes]) -> None:
    urls = [peer.url for peer in network.peers]
    acknowledged, covered = [], []
    for number, envelope in enumerate(envelopes[:LONE]):
        began = time.perf_counter()
        acknowledged.append(post(urls[number % len(urls)], envelope))
        wait_published(urls[:1], number + 1)
        covered.append(time.perf_counter() - began)
    show(f"one at a time: acknowledged ({LONE})", acknowledged)
    show("one at a time: covered by a quorum's checkpoint", covered)
    before = cpu_seconds(os.getpid())
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        jobs = [pool.submit(post, urls[n % len(urls)], one) for n, one in enumerate(envelopes[LONE:])]
        seconds = [job.result() for job in jobs]
    wait_published(urls, len(envelopes))
    total = time.perf_counter() - began
    after = cpu_seconds(os.getpid())
    show(f"{CLIENTS} clients: acknowledged ({LOADED})", seconds)
    print(f"{CLIENTS} clients: entries a second, published by all four      {LOADED / total:8.0f}")
    for name in sorted(after):
        per_peer = (after[name] - before.get(name, 0.0)) / len(urls)
        print(f"CPU per peer and 1,000 entries, {name:<20} {1000 * per_peer / LOADED:8.2f} s")


def main() -> int:
    install_engine()
    with tempfile.TemporaryDirectory() as folder:
        network = LocalNetwork(make_network(Path(folder) / "net", 4, None))
        signer = load_signer((Path(folder) / "net/recorder.pem").read_bytes())
        envelopes = [record_envelope(number, signer) for number in range(LONE + LOADED)]
        try:
            network.start(lambda _: None)
            print(f"{time.strftime('%Y-%m-%d')}  {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
            measure(network, envelopes)
        finally:
            network.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
