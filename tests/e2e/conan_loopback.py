"""Runs the stock conan_server on loopback: its own command listens on every address of the machine.

`python conan_loopback.py FOLDER PORT`, with the Python of the venv that holds conan-server; FOLDER holds
server.conf and gets the data.
"""

import sys

import bottle
from conans.server.server_launcher import ServerLauncher


def main() -> None:
    """Serve until the process ends."""
    folder, port = sys.argv[1:]
    app = ServerLauncher(server_dir=folder).server.root_app
    bottle.run(app, host="127.0.0.1", port=int(port), quiet=True)


if __name__ == "__main__":
    main()
