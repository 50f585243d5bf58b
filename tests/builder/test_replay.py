"""The server of locked files by itself: what requests mean, and what a build may be without."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.builder.sandboxes import SECONDS

from touchplate.builder.ecosystems.oci.apt import OPTIONAL
from touchplate.builder.inputs import replay
from touchplate.builder.inputs.lock import is_checksum
from touchplate.builder.inputs.replay import NotServedError, Replay, locate

PLACES = {"a.example/debian": "debian", "a.example/debian/extra": "extra", "b.example:8080": "flat"}


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("http://a.example/debian/dists/x/InRelease", ("debian", "dists/x/InRelease")),
        ("http://A.example:80/debian/pool/a_1%3a2+b~c.deb", ("debian", "pool/a_1:2+b~c.deb")),
        ("http://a.example/debian/extra/Release", ("extra", "Release")),
        ("http://b.example:8080/./Packages.xz", ("flat", "Packages.xz")),
        ("http://a.example/debian/%2561", ("debian", "%61")),  # decoded once
    ],
)
def test_request_means_a_path_of_an_upstream(target: str, meant: tuple[str, str]) -> None:
    assert locate(target, PLACES) == meant


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://a.example/debian", 403),
        ("http://a.example/debian/", 400),
        ("http://a.example/other/x", 403),
        ("http://a.example/debiany/x", 403),
        ("http://a.example:8080/debian/x", 403),
        ("http://b.example/x", 403),
        ("http://a.example@evil.example/debian/x", 403),
        ("http://a.example/debian/../x", 400),
        ("http://a.example/debian/%2e%2e/x", 400),
        ("http://a.example/debian/a%5cb", 400),
        ("http://a.example/debian/a%00b", 400),
        ("http://a.example/debian/%ff", 400),
        ("http://a.example/debian/x?y", 400),
        ("http://a.example/debian/x.sha256", 403),
        ("http://a.example/debian/x%2esha1", 403),
        ("https://a.example/debian/x", 400),
        ("/debian/x", 400),
        ("ftp://a.example/debian/x", 400),
        ("", 400),
    ],
)
def test_everything_else_is_refused(target: str, status: int) -> None:
    with pytest.raises(NotServedError) as caught:
        locate(target, PLACES)
    assert caught.value.status == status


def test_names_that_no_lock_has_are_refused_in_both_phases() -> None:
    assert all(is_checksum(f"a{end}") for end in replay.CHECKSUM_SUFFIXES)
    for path in ("a.md5", "a.sha1", "a.sha224", "a.sha256", "a.sha384", "a.sha512", "a.asc", "sha256"):
        try:
            is_refused = not locate(f"http://a.example/debian/{path}", PLACES)
        except NotServedError:
            is_refused = True
        assert is_refused is is_checksum(path)


@pytest.mark.parametrize(
    ("path", "may_lack"),
    [
        ("dists/bookworm/InRelease", True),
        ("dists/bookworm/Release.gpg", True),
        ("InRelease", True),
        ("dists/bookworm/main/binary-amd64/Packages.xz", True),
        ("dists/bookworm/main/i18n/Translation-en.bz2", True),
        ("dists/bookworm/main/binary-amd64/Packages.diff/Index", True),
        ("dists/x/main/binary-amd64/by-hash/SHA256/" + "0" * 64, True),
        ("pool/main/h/hello/hello_2.10-3_amd64.deb", False),
        ("pool/Packages.xz.deb", False),
        ("pool/InRelease/x.deb", False),
        ("keys/archive.asc", False),
        ("dists/x/main/Contents-udeb-amd64.gz", True),
        ("dists/x/main/dep11/Components-amd64.yml.xz", True),
        ("dists/x/main/dep11/icons-64x64@2.tar.gz", True),
        ("dists/x/main/cnf/Commands-all.xz", True),
        ("dists/x/main/i18n/Translation-sr@latin", True),
        ("dists/x/main/i18n/Translation-pt_BR.zst", True),
        # Packages may be called like indexes, and are packages.
        ("pool/main/i/icons-theme/icons-theme_1.0_all.deb", False),
        ("pool/Contents-amd64.deb", False),
        ("pool/Translation-en_1.0_all.deb", False),
        ("pool/Packages.deb", False),
        ("pool/Sources.dsc", False),
        ("pool/Release.deb", False),
        ("pool/Index.html", False),
        ("pool/by-hash/SHA256/a/b.deb", False),
        ("dists/x/INRELEASE", False),
    ],
)
def test_indexes_may_be_absent_and_packages_may_not(tmp_path: Path, path: str, may_lack: bool) -> None:
    served = Replay(PLACES, tmp_path, OPTIONAL)
    assert served.find(f"http://a.example/debian/{path}") is None
    assert served.is_short is not may_lack
    assert bool(served.not_given) is not may_lack


def test_what_is_remembered_of_endless_requests_is_bounded(tmp_path: Path) -> None:
    served = Replay(PLACES, tmp_path, OPTIONAL)
    for number in range(2 * replay.NOTED):
        served.find(f"http://a.example/debian/{number}.deb")
    assert len(served.not_given) == replay.SHOWN
    assert len(served._lacking) == replay.NOTED


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "locked/debian").mkdir(parents=True, exist_ok=True)
    (folder / "locked/debian/a.deb").write_bytes(b"a package\n" * 100_000)
    settings = {"port": port, "places": PLACES, "folder": str(folder / "locked"), "optional": OPTIONAL}
    (folder / "settings").write_text(json.dumps(settings))
    text = (
        "import sys, urllib.request as u, http.client, urllib.error\n"
        f"def get(url): return u.build_opener(u.ProxyHandler({{'http': 'http://127.0.0.1:{port}'}})).open(url).read()\n"
        f"def ask(*request):\n"
        f"    c = http.client.HTTPConnection('127.0.0.1', {port}); c.request(*request)\n"
        "    a = c.getresponse(); return a.status, a.read()\n"
    )
    command = [sys.executable, "-I", "-S", replay.__file__, str(folder / "settings")]
    return subprocess.run(
        [*command, sys.executable, "-c", text + script], capture_output=True, text=True, timeout=SECONDS * 3
    )


def test_command_is_given_the_locked_files_and_its_exit_code_is_kept(tmp_path: Path) -> None:
    done = run(tmp_path, "print(len(get('http://a.example/debian/a.deb'))); sys.exit(7)")
    assert (done.returncode, done.stdout) == (7, "1000000\n")


def test_command_that_went_on_without_a_package_fails(tmp_path: Path) -> None:
    done = run(tmp_path, "print(ask('GET', 'http://a.example/debian/b.deb')[0])")
    assert done.returncode == replay.NOT_LOCKED
    assert done.stdout == "404\nNot given: debian/b.deb (not in the input lock)\n"


def test_what_ends_the_build_is_named_however_much_was_refused_before(tmp_path: Path) -> None:
    many = f"for number in range({replay.NOTED + 1}): ask('GET', f'http://elsewhere.example/{{number}}')\n"
    done = run(tmp_path, f"{many}ask('GET', 'http://a.example/debian/b.deb')")
    assert done.returncode == replay.NOT_LOCKED
    assert done.stdout.startswith("Not given: debian/b.deb (not in the input lock)\n")


def test_refused_requests_are_named_when_the_command_fails(tmp_path: Path) -> None:
    script = "print([ask(*one)[0] for one in (('POST', '/x', b'x'), ('CONNECT', 'c:443'), ('GET', '/y'))])"
    fine, failed = run(tmp_path, script), run(tmp_path, f"{script}; sys.exit(1)")
    assert (fine.returncode, fine.stdout) == (0, "[405, 403, 400]\n")
    assert failed.returncode == 1
    assert len([line for line in failed.stdout.splitlines() if line.startswith("Not given: ")]) == 3


def test_head_has_no_body_and_killed_commands_have_the_shells_code(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "print(ask('HEAD', 'http://a.example/debian/a.deb')); sys.stdout.flush()\n"
        "import os; os.kill(os.getpid(), 9)",
    )
    assert (done.returncode, done.stdout) == (137, "(200, b'')\n")
