"""What apt says: which packages a root is made of, and where the archives of this machine are.

apt is asked with lists and a cache of its own, below a folder that is gone afterwards: those of the machine
stay as they are. Its answers come from signed Release files, checked by apt itself with the machine's keys.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote

from touchplate.base.environment import read_environment
from touchplate.builder.errors import HostLack
from touchplate.builder.process import ask_tool
from touchplate.builder.roots.lock import RootPackage
from touchplate.builder.sandbox.workspace import locked_folder, remove_abandoned

APT_SECONDS = 600.0
"""For one question to apt: it fetches lists of 10 MB, minutes over a slow line."""

BASE = ("python3-minimal",)
"""In every root, beside what is essential in Debian: the bridge of Fetch runs on it."""

ESSENTIAL = "?narrow(?architecture({}),?essential)"
"""apt-patterns(7)."""

_APT = "apt-"  # prefix of folders in which apt keeps lists for one question
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SUITES = ("{}", "{}-updates", "{}-security", "{}/updates")  # the last until Debian 10
_PRINTED = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>[0-9]+)(?: \S*)?")
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?", re.ASCII)


@dataclass(frozen=True)
class Resolved:
    """What apt chose. `epoch`: of the newest Release file, Unix seconds."""

    architecture: str
    epoch: int
    packages: tuple[RootPackage, ...]


@dataclass(frozen=True)
class _Apt:
    """apt over lists of its own, of one suite."""

    options: tuple[str, ...]
    lists: Path
    archives: Mapping[str, str]
    """Address with a final slash → the archive's name."""

    def get(self, *arguments: str) -> str:
        return _ask("apt-get", *self.options, *arguments)

    def cache(self, *arguments: str) -> str:
        return _ask("apt-cache", *self.options, *arguments)


def resolve(suite: str, include: Sequence[str], folder: Path) -> Resolved:
    """The exact packages of a root of `suite`: essential ones, `BASE`, `include` and what these need.

    `folder`: where apt's own lists go meanwhile. Raises HostLack with what apt says.
    """
    for name in include:
        if not _NAME.fullmatch(name):
            raise HostLack(
                f"{name[:80]!r} is no package name; write NAME or NAME=VERSION", reason="no-package"
            )
    architecture = machine_architecture()
    with _own_apt(suite, folder) as apt:
        wanted = [ESSENTIAL.format(architecture), *BASE, *include]
        printed = apt.get("install", "--yes", "--print-uris", *wanted)
        files = dict(_printed(printed, apt.archives))
        names = sorted({path.rpartition("/")[2].partition("_")[0] for path in files})
        packages = tuple(_packages(apt.cache("show", "--no-all-versions", *names), files))
        if len(packages) != len(files):
            raise HostLack("apt does not describe all packages that it would install", reason="no-package")
        return Resolved(architecture, _newest_release(apt.lists), packages)


def find_archives(suite: str, folder: Path) -> dict[str, str]:
    """Where this machine's apt finds the archives of `suite`: name → address. Raises HostLack."""
    with _own_apt(suite, folder) as apt:
        return {name: url for url, name in apt.archives.items()}


def machine_architecture() -> str:
    """Debian's name for this machine's. Raises HostLack where there is no dpkg."""
    return _ask("dpkg", "--print-architecture").strip()


@contextmanager
def _own_apt(suite: str, folder: Path) -> Iterator[_Apt]:
    sources = _sources(suite)
    remove_abandoned(folder, _APT)
    with locked_folder(folder, _APT, 0o755) as own:
        lists = own / "state" / "lists"
        for path in (lists / "partial", own / "cache" / "archives" / "partial"):
            path.mkdir(parents=True)
        (own / "status").touch()  # nothing is installed: so everything is chosen
        (own / "own.list").write_text("".join(f"{line}\n" for line in sources))
        settings = {
            "Dir::Etc::sourcelist": own / "own.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": own / "state",
            "Dir::State::status": own / "status",
            "Dir::Cache": own / "cache",
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false",
            "APT::Install-Suggests": "false",
        }
        options = ("-qq", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}")))
        apt = _Apt(options, lists, {})
        apt.get("update", "-o", "APT::Update::Error-Mode=any")
        yield _Apt(options, lists, dict(_archives(apt)))


def _sources(suite: str) -> list[str]:
    """The machine's own sources of `suite`, in the form of sources.list(5)."""
    found = _ask(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"
    )
    suites = [form.format(suite) for form in _SUITES]
    key = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    lines = {
        f"deb {key}{line}"
        for line in found.splitlines()
        if line.split(" ")[1:2] and line.split(" ")[1] in suites
    }
    if not lines:
        raise HostLack(
            f"apt of this machine has no source of the suite {suite!r}; add one to "
            "/etc/apt/sources.list.d, or (to make a root only) give --archive NAME=URL",
            reason="no-suite",
        )
    return sorted(lines)


def _archives(apt: _Apt) -> Iterator[tuple[str, str]]:
    """Address → name: the label of its Release file, in lower case (`debian-security`)."""
    for line in apt.get(
        "indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages"
    ).splitlines():
        url, _, label = line.partition(" ")
        yield url, re.sub(r"[^a-z0-9._-]+", "-", label.lower())


def _printed(text: str, archives: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Path in its archive → the archive's name, of each file that apt would fetch."""
    for line in text.splitlines():
        if (found := _PRINTED.fullmatch(line.strip())) is None:
            continue
        url = next((url for url in archives if found["uri"].startswith(url)), None)
        if url is None:
            raise HostLack(
                f"apt would fetch {found['file']} from nowhere that it has lists of", reason="no-package"
            )
        yield unquote(found["uri"][len(url) :]), archives[url]


def _packages(text: str, files: Mapping[str, str]) -> Iterator[RootPackage]:
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"(?m)^([A-Za-z0-9-]+): (.*)$", stanza))
        path = fields.get("Filename", "")
        if path in files:
            yield RootPackage(
                name=fields["Package"],
                version=fields["Version"],
                arch=fields["Architecture"],
                upstream=files[path],
                path=path,
                sha256=fields.get("SHA256", ""),
                size=int(fields["Size"]),
            )


def _newest_release(lists: Path) -> int:
    dates = [
        int(parsedate_to_datetime(found[1]).timestamp())
        for path in sorted(lists.glob("*Release"))
        if (found := re.search(r"(?m)^Date: (.+)$", path.read_text(errors="replace")))
    ]
    return max(dates, default=0)


def _ask(name: str, *arguments: str) -> str:
    program = read_environment().find_program(name)
    if program is None:
        raise HostLack(
            f"{name} is not installed: roots are made of Debian packages, on Debian", reason="no-apt"
        )
    return ask_tool([str(program), *arguments], seconds=APT_SECONDS)
