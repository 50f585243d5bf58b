"""Generate the code of every .proto file: `python -m tests.proto.generate FOLDER`, for `make proto`.

The generator is grpcio-tools in the version of the lock, so the same source gives the same bytes everywhere.
"""

import subprocess
import sys
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "proto"


def sources() -> list[str]:
    """The .proto files, relative to the root of the sources."""
    return sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.proto"))


def generate(target: Path) -> None:
    """Write the messages' code and stubs, and the services' code, below `target`."""
    # google/rpc/status.proto comes with googleapis-common-protos, beside the code generated from it.
    included = [SOURCES, resources.files("google.rpc").joinpath("../..")]
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{folder}" for folder in included)]
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi")]
    subprocess.run([*command, *outputs, *sources()], check=True)
    services = [name for name in sources() if "\nservice " in (SOURCES / name).read_text()]
    subprocess.run([*command, f"--grpc_python_out={target}", *services], check=True)


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
