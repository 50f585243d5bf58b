"""Runs inside the sandbox: makes the mirror's unix socket a loopback port, then runs the build command.

    python3 -I -S bridge.py PORT SOCKET COMMAND [ARGUMENT …]

Standard library only, since the sandbox shows nothing of touchplate. It exits with the command's code. Before
it starts the command it sends one request the whole way round, so that a bridge that does not work ends the
phase at once, not after every request of the build has waited for its time limit.
"""

import contextlib
import os
import signal
import socket
import sys
import threading

CHUNK_BYTES = 64 * 1024
BACKLOG = 128
CLIENTS = 64
"""Connections forwarded at one time, as many as the mirror serves; more wait. Each costs two threads, and
threads count against the build's processes."""
READY = b"GET /-/ready HTTP/1.0\r\n\r\n"
SECONDS = 20.0
"""For the trial request: the supervisor answers it by itself, within milliseconds."""

BROKEN = 97
"""Exit code when the bridge itself does not work; the supervisor knows by the missing trial request."""


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends, then end the target's input; an error ends both connections at once.

    The mirror's death must reach the client: a client left open would wait to the phase's time limit.
    """
    try:
        while data := source.recv(CHUNK_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            with contextlib.suppress(OSError):  # closed by the other direction already
                end.shutdown(socket.SHUT_RDWR)


def serve_client(client: socket.socket, path: str) -> None:
    """Forward one connection, both ways, until both sides have ended."""
    with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mirror:
        try:
            mirror.connect(path)
        except OSError:
            return  # leaving closes the client's connection, and that is its answer
        upward = threading.Thread(target=pump, args=(client, mirror), daemon=True)
        try:
            upward.start()
        except RuntimeError:
            return  # no thread to be had: likewise
        pump(mirror, client)
        # The mirror has said its last word; nothing that the client still sends could be answered.
        with contextlib.suppress(OSError):  # the client was faster
            client.shutdown(socket.SHUT_RDWR)
        upward.join()


def listen(port: int) -> socket.socket:
    """A listening socket on loopback. Raises OSError."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def accept_forever(listener: socket.socket, path: str) -> None:
    """Serve each client in a thread of its own, CLIENTS at one time."""
    free = threading.BoundedSemaphore(CLIENTS)

    def serve(client: socket.socket) -> None:
        try:
            serve_client(client, path)
        finally:
            free.release()

    while True:
        free.acquire()
        client, _ = listener.accept()
        # Head and body of an answer come in two pieces: without this the second waits for the client's
        # delayed acknowledgement of the first, 40 ms a file (RFC 896, RFC 1122 4.2.3.2).
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            threading.Thread(target=serve, args=(client,), daemon=True).start()
        except RuntimeError:  # the build has used up its processes: it must see an end, not a silence
            client.close()
            free.release()


def check_way(port: int) -> None:
    """Send the trial request through port and socket. Raises OSError when there is no answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as trial:
        trial.sendall(READY)
        if not trial.recv(CHUNK_BYTES).startswith(b"HTTP/1."):
            raise OSError("the mirror does not answer")


def main(arguments: list[str]) -> int:
    """Run; see the module's text."""
    port, path, command = int(arguments[0]), arguments[1], arguments[2:]
    try:
        listener = listen(port)
        threading.Thread(target=accept_forever, args=(listener, path), daemon=True).start()
        check_way(port)
    except OSError as error:
        print(f"bridge: port {port} to {path}: {error}", file=sys.stderr, flush=True)
        return BROKEN
    try:
        # Python ignores these two; the command must start as it does in Build, where no Python starts it.
        usual = [signal.SIGPIPE, signal.SIGXFSZ]
        child = os.posix_spawnp(command[0], command, os.environ, setsigdef=usual)
    except OSError as error:
        print(f"bridge: cannot start {command[0]!r}: {error}", file=sys.stderr, flush=True)
        return 127
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    # Not sys.exit: threads that still forward for a daemon of the build must not hold the end up.
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
