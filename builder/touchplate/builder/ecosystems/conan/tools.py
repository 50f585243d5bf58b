"""The tools of a Conan build: Conan itself, made once from pinned hashes, and compilers of this host or of a
build root.

Conan is published as source and runs on the Python of the host. The list of what it is made of, with hashes
and without addresses (`conan.lock`), is part of touchplate: pip fetches from wherever this machine's own
settings say, and takes nothing that has another hash.
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from touchplate.base.durable import write_atomic
from touchplate.builder.ecosystems.conan.definition import PROGRAMS, ConanTool
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.process import run_installer, run_tool
from touchplate.builder.roots.store import Root
from touchplate.builder.roots.use import digest_of_folder, digest_of_program, resolve_inside
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.sandbox.workspace import locked_folder, remove_abandoned, rename_unless_there
from touchplate.builder.trees import tree_digest

CONAN_VERSION = "2.34.0"

CONAN_INSIDE = "/conan"
"""The same path on every host: a tool's place must not reach the output."""

INSTALL_SECONDS = 600.0
"""For fetching 3 MB and installing them: minutes over a slow line."""

_LOCK = Path(__file__).with_name("conan.lock")
_MAKERS = frozenset({"packaging", "setuptools", "wheel"})  # what builds the others; not part of the tool
_ASIDE = ".new-"  # prefix of folders in which tools are made
_DIGEST = ".sha256"
_NAMED = re.compile(r"([A-Za-z0-9_.-]+)==")


@dataclass(frozen=True)
class Conan:
    """Conan with all that it needs, in one folder of Python packages. `digest`: the folder's tree digest."""

    home: Path
    version: str
    digest: str


@dataclass(frozen=True)
class Gcc:
    """A gcc of this host. `digest`: tree digest of the folder that holds its compilers proper."""

    version: str
    digest: str
    c: str
    cpp: str
    is_default: bool
    """Whether it is the one that is found without being named."""


@dataclass(frozen=True)
class Program:
    """Another program of this host."""

    name: str
    version: str
    digest: str


def default_conan() -> ConanTool:
    """The Conan that this touchplate makes, as definitions name it."""
    return ConanTool(CONAN_VERSION, hashlib.sha256(_LOCK.read_bytes()).hexdigest())


def need_conan(tool: ConanTool, folder: Path) -> Conan:
    """Conan below `folder`, made when it is not there yet.

    Raises DefinitionError for another than ours, HostLack with the remedy when it cannot be made.
    """
    ours = default_conan()
    if tool != ours:
        raise DefinitionError(
            f"the definition wants Conan {tool.version} of the list {tool.lock[:16]}…, and this touchplate "
            f"makes {ours.version} of {ours.lock[:16]}…"
        )
    home = folder / f"conan-{tool.version}-{tool.lock[:16]}"
    if not home.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        remove_abandoned(folder, _ASIDE)
        # Made aside and renamed: a crash leaves no half tool, and two processes do not meet.
        with locked_folder(folder, _ASIDE) as aside:
            _make(aside)
            write_atomic(home.with_name(home.name + _DIGEST), tree_digest(aside / "conan").encode())
            rename_unless_there(aside / "conan", home)
    digest = tree_digest(home)
    try:
        as_made = home.with_name(home.name + _DIGEST).read_text()
    except OSError as error:
        raise HostLack(f"{home} cannot be checked: {error.strerror}; remove it") from error
    if digest != as_made:
        raise HostLack(f"{home} is not what it was when it was made; remove it", reason="tool-changed")
    return Conan(home, tool.version, digest)


def _make(aside: Path) -> None:
    makers, packages = _split_lock()
    (aside / "makers.lock").write_text(makers)
    (aside / "conan.lock").write_text(packages)
    _run([PYTHON, "-m", "venv", str(aside / "venv")], "install the package python3-venv")
    pip = [str(aside / "venv/bin/python"), "-m", "pip", "install", "-q", "--require-hashes", "--no-deps"]
    target = ["--no-compile", "--target", str(aside / "conan")]
    for options in (
        ["--only-binary", ":all:", "-r", str(aside / "makers.lock")],
        ["--no-build-isolation", *target, "-r", str(aside / "conan.lock")],
    ):
        _run([*pip, *options], "see to it that pip reaches its package index")
    _tidy(aside / "conan")


def _split_lock() -> tuple[str, str]:
    makers: list[str] = []
    packages: list[str] = []
    kept = packages
    for line in _LOCK.read_text().splitlines(keepends=True):
        if named := _NAMED.match(line):
            kept = makers if named[1] in _MAKERS else packages
        kept.append(line)
    return "".join(makers), "".join(packages)


def _tidy(tree: Path) -> None:
    """Leave only what is run: the rest names this machine's folders, and gives each host another digest."""
    for folder in [tree / "bin", *tree.rglob("__pycache__")]:
        shutil.rmtree(folder, ignore_errors=True)
    for record in [*tree.glob("*.dist-info/RECORD"), *tree.glob("*.dist-info/direct_url.json")]:
        record.unlink()
    if not (tree / "conan" / "cli").is_dir():
        raise HostLack("Conan could not be made: pip installed something else", reason="no-conan")
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            # Whatever the umask is: the sandbox runs under another uid.
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _run(argv: list[str], remedy: str) -> None:
    if said := run_installer(argv, seconds=INSTALL_SECONDS):
        raise HostLack(f"Conan could not be made: {said}; {remedy}", reason="no-conan")


def default_gcc() -> int:
    """Major version of the gcc of this host. Raises HostLack when there is none."""
    version = run_tool(["/usr/bin/gcc", "-dumpversion"]).partition(".")[0]
    if not version.isdecimal():
        raise HostLack("this host has no gcc; install the package gcc", reason="no-gcc")
    return int(version)


def need_gcc(major: int) -> Gcc:
    """The gcc of this major version. Raises HostLack, `needs gcc <major>`, when this host has none."""
    for suffix in ("", f"-{major}"):
        program = f"/usr/bin/gcc{suffix}"
        version = run_tool([program, "-dumpfullversion"])
        if version.partition(".")[0] == str(major):
            proper = Path(run_tool([program, "-print-prog-name=cc1"]))
            if not proper.is_file():
                break
            return Gcc(version, tree_digest(proper.parent), program, f"/usr/bin/g++{suffix}", not suffix)
    here = run_tool(["/usr/bin/gcc", "-dumpversion"]) or "none"
    raise HostLack(
        f"needs gcc {major}; this host has {here}; install gcc-{major} and g++-{major}", reason="no-gcc"
    )


def need_gcc_of(root: Root, major: int) -> Gcc:
    """The gcc of this major version in a build root, found without running it.

    Raises DefinitionError when the root has none.
    """
    c = resolve_inside(root.path, f"/usr/bin/gcc-{major}")
    cpp = resolve_inside(root.path, f"/usr/bin/g++-{major}")
    proper = [
        folder
        for folder in sorted(root.path.glob(f"usr/lib/gcc/*/{major}"))
        if (folder / "cc1").is_file() and not folder.is_symlink()
    ]
    if c is None or cpp is None or len(proper) != 1:
        raise DefinitionError(
            f"needs gcc {major}, and the build root has none; include gcc-{major} and g++-{major} in its lock"
        )
    version = root.lock.version_of(f"gcc-{major}").partition("-")[0] or str(major)
    usual = [resolve_inside(root.path, f"/usr/bin/{name}") for name in ("gcc", "g++")]
    is_default = usual == [c, cpp]
    suffix = "" if is_default else f"-{major}"
    digest = digest_of_folder(root, proper[0])
    return Gcc(version, digest, f"/usr/bin/gcc{suffix}", f"/usr/bin/g++{suffix}", is_default)


def need_program_of(root: Root, name: str) -> Program:
    """A program in /usr/bin of a build root. Raises DefinitionError when it has none."""
    version = root.lock.version_of(PROGRAMS.get(name, name))
    if name == "python3" and not version:  # python3-minimal has the program, and not what Conan imports
        raise DefinitionError("Conan needs all of Python; include python3 in the root lock")
    return Program(name, version or "unknown", digest_of_program(root, f"/usr/bin/{name}"))


def need_program(name: str) -> Program:
    """A program in /usr/bin, which is asked for its version: one of `PROGRAMS`, or our own choice.

    Raises HostLack with the package to install.
    """
    path = Path("/usr/bin", name)
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise HostLack(
            f"this host has no {str(path)!r}: install the package {PROGRAMS.get(name, name)}",
            reason="no-tool",
        ) from error
    said = re.search(r"[0-9]+(\.[0-9]+)+", run_tool([str(path), "--version"]).partition("\n")[0])
    return Program(name, said[0] if said else "unknown", digest)
