"""A real release rebuilt in a build root of Debian's packages: part of `make rebuild-sample`, minutes.

Locks a root with a JDK and gcc by this machine's apt (made twice, the same), rebuilds commons-csv in it
under both sandboxes, and a small C library as a stock Conan client of this host publishes it; repeats the
first from the log alone in an empty folder, where the root is made from its lock again; and has a wrong
package and a changed root refused. Ends with `roots: ok`, exit code 0.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.builder.conanparts import infer, need_tools, scene
from tests.builder.loghost import LogHost, log_host

from touchplate.base.environment import read_environment
from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.definitions.normalise import normalise_definition
from touchplate.builder.rebuild import fetch_published, rebuild
from touchplate.builder.roots.lock import parse_root_lock
from touchplate.builder.workshop import default_data
from touchplate.verify.jcs import format_json

PACKAGE = "pkg:maven/org.apache.commons/commons-csv@1.12.0"
SHA256 = "e11a33d65e5f2e92769c0b13c548e0c2da01e37c1581417ea3fd7d5d9474fee6"
INCLUDE = "openjdk-17-jdk-headless,python3,gcc,g++,libc6-dev"
RUN_SECONDS = 1800
NEEDED = ("mmdebstrap", "runc", "apt-get")


class Unexpected(Exception):  # noqa: N818  the word for it
    """A step gave something else."""


def command(*arguments: str) -> dict[str, Any]:
    """`touchplate … --json` in a process of its own; its progress goes to our stderr."""
    program = Path(sys.executable).with_name("touchplate")
    done = subprocess.run(
        [program, *arguments, "--json"], stdout=subprocess.PIPE, timeout=RUN_SECONDS, check=False
    )
    answer = json.loads(done.stdout)
    return {**answer, "exit code": done.returncode}


def expect(what: str, found: object, wanted: object) -> None:
    """Raise unless they are the same."""
    if found != wanted:
        raise Unexpected(f"{what}: {found!r}, not {wanted!r}")


class Steps:
    """The steps in their order; each leaves what the next one needs."""

    def __init__(self, host: LogHost, data: Path, folder: Path) -> None:
        self._host = host
        self._data = data
        self._folder = folder
        self._lock = folder / "root.json"
        self._index = "0"

    def lock(self) -> str:
        """The lock of a root that is the same twice."""
        found = command("builder", "root", "lock", "--suite", suite(), "--include", INCLUDE,
                        "--out", str(self._lock), "--data", str(self._data))  # fmt: skip
        expect("exit code", found["exit code"], 0)
        expect("lock", found["lock"], hashlib.sha256(self._lock.read_bytes()).hexdigest())
        self.root = Path(found["path"])
        return f"{found['packages']} packages, tree {found['tree'][:16]}, twice the same"

    def rebuild(self, backend: str) -> str:
        """commons-csv in the root, signed and logged."""
        found = command("rebuild", PACKAGE, "--root", str(self._lock), "--backend", backend,
                        "--data", str(self._data), *self._host.signing)  # fmt: skip
        expect("result", found.get("result", found.get("error")), "identical")
        expect("published file", found["outputs"][0]["published"]["sha256"], SHA256)
        tools = found["tools"]
        expect("tools of the host", [tool["name"] for tool in tools if tool.get("root") == "host"], [])
        expect("root", [tool["sha256"] for tool in tools if tool["name"] == "build-root"], [self.root.name])
        self._index = found["signed"]["indexes"][0]
        return f"identical, all tools pinned, index {self._index}"

    def conan(self) -> str:
        """A C library, published by a stock client with this host's gcc, built with that of the root."""
        tools = self._folder / "tools"
        tools.mkdir(mode=0o755)
        need_tools(tools)
        with scene(tools) as one:
            published = one.serve(one.other_client(uid=4711).publish())
            lock = parse_root_lock(self._lock.read_bytes())
            one.workshop.roots.learn(lock)
            (one.workshop.data / "roots").mkdir()
            shutil.copytree(self.root, one.workshop.data / "roots" / lock.tree, symlinks=True)
            value = normalise_definition(infer(one, published).definition)
            definition = make_definition({**value, "root": {"lock": lock.sha256}})
            done = rebuild(one.workshop, definition, fetch_published(one.workshop, definition))
            expect("result", done.failure or done.result, "equivalent")  # no client packs with our hook
            assert done.built is not None
            revision = f"{published.revision.prev}, as published"
            expect("package revision", done.built.result.labels["revision"], revision)
            expect("tools of the host", [tool.name for tool in done.tools if tool.is_host_tool], [])
        return "equivalent, the same package revision"

    def repeat(self) -> str:
        """From the log and its evidence, in an empty folder: the root is made from its lock."""
        data = self._folder / "elsewhere"
        shutil.copytree(self._data / "debs", data / "debs", copy_function=shutil.copyfile)
        found = command("rebuild", "--from", self._index, "--data", str(data),
                        "--state", str(self._folder / "state"), *self._host.reading)  # fmt: skip
        expect("same", found.get("same", found.get("error")), True)
        expect("root", [path.name for path in (data / "roots").glob("[0-9a-f]*")], [self.root.name])
        return "the root made from the logged lock, the same bytes built in it"

    def wrong_package(self) -> str:
        """A lock that gives a package another digest."""
        value = json.loads(self._lock.read_bytes())
        value["packages"][0]["sha256"] = "00" * 32
        value["tree"] = "00" * 32
        wrong = self._folder / "wrong.json"
        wrong.write_bytes(format_json(value))
        found = command("builder", "root", "make", str(wrong), "--data", str(self._data))
        expect("reason", found.get("reason"), "wrong-digest")
        return "refused"

    def changed(self) -> str:
        """A root in which one byte of the JDK is another."""
        path = next(self.root.glob("usr/lib/jvm/*/lib/modules"))
        with path.open("r+b") as file:
            file.seek(1000)
            byte = file.read(1)
            file.seek(1000)
            file.write(bytes([byte[0] ^ 1]))
        try:
            found = command("rebuild", PACKAGE, "--root", str(self._lock), "--data", str(self._data))
            expect("reason", found.get("reason"), "root-changed")
            if str(path.relative_to(self.root)) not in found["error"]:
                raise Unexpected(f"does not name the file: {found['error']}")
        finally:
            shutil.rmtree(self.root)  # it is made again when it is needed
        return "refused, with the file"


def suite() -> str:
    """The suite that this machine is of."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    values = dict(line.partition("=")[::2] for line in lines)
    return values.get("VERSION_CODENAME", "").strip('"')


def main() -> int:
    """Run all steps, and stop at the first that gives something else."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=default_data(), help="shared cache folder")
    args = parser.parse_args()
    environment = read_environment()
    if lacking := [name for name in NEEDED if environment.find_program(name) is None]:
        print(f"roots: BUILD ROOTS NOT TESTED: this needs {', '.join(lacking)}")
        return 1 if environment.is_ci else 0
    with tempfile.TemporaryDirectory() as name, log_host(Path(name) / "host") as host:
        Path(name).chmod(0o755)
        steps = Steps(host, args.data.absolute(), Path(name))
        rows: list[tuple[str, Callable[[], str]]] = [
            ("root locked", steps.lock),
            ("commons-csv 1.12.0 in it", lambda: steps.rebuild("bubblewrap")),
            *(
                [("… in gVisor", lambda: steps.rebuild("gvisor"))]
                if environment.find_program("runsc")
                else []
            ),
            ("repeated elsewhere", steps.repeat),
            ("a C library by Conan", steps.conan),
            ("wrong package", steps.wrong_package),
            ("changed root", steps.changed),
        ]
        for row, step in rows:
            start = time.monotonic()
            try:
                said = step()
            except (Unexpected, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
                print(f"{row:<26} {time.monotonic() - start:7.1f}  FAILED: {error}\nroots: FAILED")
                return 1
            print(f"{row:<26} {time.monotonic() - start:7.1f}  {said}", flush=True)
    print("roots: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
