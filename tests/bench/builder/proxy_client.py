"""Asks for files as a build does, over kept connections, and counts: run inside the sandbox, and outside.

    python3 -I -S proxy_client.py PORT PATH FILES CONNECTIONS

prints {"seconds": …, "bytes": …} for GET http://127.0.0.1:PORT/PATH/0.bin up to FILES-1. Standard library
only.
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator

BUFFER_BYTES = 1 << 20
SECONDS = 300


def fetch(port: int, path: str, numbers: Iterator[int], counts: list[int]) -> None:
    """Take numbers until there are none, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    buffer = memoryview(bytearray(BUFFER_BYTES))
    total = 0
    for number in numbers:
        connection.request("GET", f"/{path}/{number}.bin")
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"{number}.bin: status {answer.status}")
        while got := answer.readinto(buffer):
            total += got
    connection.close()
    counts.append(total)


def main(words: list[str]) -> None:
    """Run; see the module's text."""
    port, path, files, connections = int(words[0]), words[1], int(words[2]), int(words[3])
    numbers = iter(range(files))  # its next number goes to one thread only
    counts: list[int] = []
    began = time.perf_counter()
    threads = [threading.Thread(target=fetch, args=(port, path, numbers, counts)) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"seconds": time.perf_counter() - began, "bytes": sum(counts)}))


if __name__ == "__main__":
    main(sys.argv[1:])
