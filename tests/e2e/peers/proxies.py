"""Links between engines that a test can cut: one TCP relay on loopback for each ordered pair of peers."""

import contextlib
import socket
import threading
from collections.abc import Iterable

CHUNK = 64 * 1024


class Link:
    """A relay to `target`. Cut, it ends its connections and takes none."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.target: tuple[str, int] | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()  # under _lock
        self._cut = False  # under _lock
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Let nothing through from now on."""
        with self._lock:
            self._cut = True
            ended = list(self._open)
        for each in ended:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._cut = False

    def close(self) -> None:
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._listener.accept()
            except OSError:
                return
            try:
                assert self.target is not None
                reached = socket.create_connection(self.target, timeout=5)
                reached.settimeout(None)
            except OSError:
                taken.close()
                continue
            with self._lock:
                if self._cut:
                    taken.close()
                    reached.close()
                    continue
                self._open |= {taken, reached}
            for one, other in ((taken, reached), (reached, taken)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()


class Links:
    """All links of a network, by (from, to)."""

    def __init__(self, names: Iterable[str]) -> None:
        listed = list(names)
        self.by_pair = {(one, other): Link() for one in listed for other in listed if one != other}

    def split(self, group: set[str]) -> None:
        """Cut every link between `group` and the rest."""
        for (one, other), link in self.by_pair.items():
            if (one in group) != (other in group):
                link.cut()

    def split_pairs(self, *pairs: tuple[str, str]) -> None:
        """Cut the links between the two of each pair, in both directions."""
        for one, other in pairs:
            self.by_pair[one, other].cut()
            self.by_pair[other, one].cut()

    def heal(self) -> None:
        for link in self.by_pair.values():
            link.heal()

    def close(self) -> None:
        for link in self.by_pair.values():
            link.close()
