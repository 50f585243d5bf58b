"""Generate the code of every .proto file: `python -m tests.proto.generate FOLDER`, for `make proto`.

The generator is grpcio-tools in the version of the lock, so the same source gives the same bytes everywhere.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "proto"


def sources() -> list[str]:
    """The .proto files, relative to the root of the sources."""
    return sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.proto"))


def generate(target: Path) -> None:
    """Write the messages' code and their stubs below `target`."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCES}"]
    subprocess.run([*command, f"--python_out={target}", f"--pyi_out={target}", *sources()], check=True)


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
