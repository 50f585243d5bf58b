"""The recording mirror: what it refuses, what it records, and what an upstream cannot do to it."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import pytest
from tests.builder.sandboxes import Rig

from touchplate.base.http import AddressRules
from touchplate.base.upstreams import Upstream
from touchplate.builder.errors import DefinitionError, PhaseFailed
from touchplate.builder.inputs.lock import InputLock, LockedInput
from touchplate.builder.inputs.recording import UpstreamClients
from touchplate.builder.plan import Bind, Forbidden, Limits

PUBLISHED = b"PK the published jar, byte for byte"
SHA256 = hashlib.sha256(PUBLISHED).hexdigest()

# Sends raw lines to the mirror and prints the status line of each answer.
RAW = """
import socket, sys
for request in sys.argv[1:]:
    with socket.create_connection(("127.0.0.1", 3128), timeout=10) as mirror:
        mirror.sendall(request.encode().decode("unicode_escape").encode("latin-1"))
        print(mirror.makefile("rb").readline().decode().split()[1])
"""


def ask(rig: Rig, *requests: str) -> list[str]:
    """Status codes that the mirror answers to raw requests, from inside a Fetch."""
    lines = (f"{one} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" for one in requests)
    plan = rig.plan("", command=("/usr/bin/python3", "-c", RAW, *lines))
    rig.heard.lines.clear()
    rig.fetch(plan)
    return rig.heard.lines


def zipped(*members: tuple[str, bytes]) -> bytes:
    """A zip with these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(name: str, content: bytes, mode: str = "w:gz") -> bytes:
    """A tar with one member, compressed as `mode` says."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_only_get_and_head_pass(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"a"
    said = ask(
        rig, *(f"{word} /central/a.jar" for word in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT"))
    )
    assert said == ["405"] * 6
    assert rig.site.asked == []
    assert ask(rig, "HEAD /central/a.jar", "GET /central/a.jar") == ["200", "200"]
    assert rig.site.asked == ["a.jar"]


@pytest.mark.parametrize(
    "target",
    [
        "/central/a.jar?token=1",
        "/central/a.jar?",
        "/central/a.jar#part",
        "http://other.example.org/a.jar",
        "/central/../secret",
        "/central/%2e%2e/secret",
        "/central/a%2f..%2fb",
        "/central//a.jar",
        "/central/a.jar/",
        "/central/a\\\\b",
        "/central/%5c",
        "/central/%00",
        "/central/%ff",
        "/central/%0d%0aX-Other:%20y",
        "/central/" + "a" * 256,
        "/central/" + "a/" * 600 + "a",
    ],
)
def test_paths_that_could_mean_two_things_are_refused(rig: Rig, target: str) -> None:
    assert ask(rig, f"GET {target}") == ["400"]
    assert rig.site.asked == []


def test_escaped_path_is_recorded_in_its_plain_form(rig: Rig) -> None:
    rig.site.pages["a+b/c%20d.jar"] = b"a"
    assert ask(rig, "GET /central/a%2Bb/%63%20d.jar") == ["200"]
    assert rig.heard.inputs == ["central/a+b/c d.jar"]


def test_other_upstream_is_refused_and_named(rig: Rig) -> None:
    failed = rig.fails(rig.plan("get jboss-releases/a.jar"))
    assert (failed.phase, failed.failure) == ("fetch", "exit-status")
    assert "no upstream of this build is called 'jboss-releases'" in failed.detail


def test_refused_request_that_the_build_can_do_without_fails_nothing(rig: Rig) -> None:
    plan = rig.plan("get elsewhere/a.jar || echo made > out", outputs=("out",))
    assert rig.build(plan, rig.fetch(plan)).outputs["out"].size == 5


def test_missing_file_is_named_when_the_command_fails(rig: Rig) -> None:
    failed = rig.fails(rig.plan("get central/a/missing-1.jar"))
    assert (failed.phase, failed.failure) == ("fetch", "exit-status")
    assert "central/a/missing-1.jar (404)" in failed.detail


def test_file_missing_in_one_upstream_and_found_in_another_is_not_missing(rig: Rig) -> None:
    rig.site.pages["second/a.jar"] = b"a"
    second = Upstream("second", "maven", "second", f"{rig.site.url}/second")
    plan = rig.plan("get central/a.jar || get second/a.jar; exit 3")
    failed = rig.fails(replace(plan, upstreams=(*plan.upstreams, second)))
    assert failed.phase == "build"


def test_nothing_of_the_client_s_headers_goes_upstream(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"0123456789"
    script = """
import urllib.request
headers = {"Authorization": "Basic c2VjcmV0", "Cookie": "a=b", "Range": "bytes=2-3", "X-Leak": "source text",
           "If-None-Match": "*", "User-Agent": "secret agent"}
request = urllib.request.Request("http://127.0.0.1:3128/central/a.jar", headers=headers)
print(urllib.request.urlopen(request).read())
"""
    rig.fetch(rig.plan("", command=("/usr/bin/python3", "-c", script)))
    assert rig.heard.lines == ["b'0123456789'"]
    (headers,) = rig.site.headers
    assert not {"authorization", "cookie", "range", "x-leak", "if-none-match"} & set(headers)
    assert headers["user-agent"] == "touchplate"


def test_request_with_a_body_is_refused(rig: Rig) -> None:
    script = """
import http.client
mirror = http.client.HTTPConnection("127.0.0.1", 3128)
mirror.request("GET", "/central/a.jar", body=b"smuggled")
print(mirror.getresponse().status)
"""
    rig.fetch(rig.plan("", command=("/usr/bin/python3", "-c", script)))
    assert rig.heard.lines == ["400"]


def test_many_clients_at_once_ask_upstream_once_per_file(rig: Rig) -> None:
    rig.site.pages |= {f"{number}.jar": b"%d" % number * 10_000 for number in range(20)}
    script = """
import threading, urllib.request
def ask(number):
    got = urllib.request.urlopen(f"http://127.0.0.1:3128/central/{number % 20}.jar").read()
    assert got == b"%d" % (number % 20) * 10_000
threads = [threading.Thread(target=ask, args=(number,)) for number in range(200)]
[one.start() for one in threads]; [one.join() for one in threads]
"""
    lock = rig.fetch(rig.plan("", command=("/usr/bin/python3", "-c", script)))
    assert rig.heard.lines == []
    assert len(lock.inputs) == 20
    assert sorted(rig.site.asked) == sorted(f"{number}.jar" for number in range(20))


def test_answer_that_changes_during_a_fetch_does_not_change_for_the_build(rig: Rig) -> None:
    bodies = iter([b"first", b"later"])

    def page(handler: BaseHTTPRequestHandler) -> None:
        body = next(bodies)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    rig.site.pages["a.jar"] = page
    rig.fetch(rig.plan("get central/a.jar; echo; get central/a.jar; echo"))
    assert rig.heard.lines == ["first", "first"]


FORBIDDEN = Forbidden(frozenset({SHA256}), frozenset({("central", "g/a/1/a-1.jar")}))


def test_published_file_is_refused_by_path_before_it_is_asked_for(rig: Rig) -> None:
    rig.site.pages["g/a/1/a-1.jar"] = PUBLISHED
    failed = rig.fails(
        rig.plan("get central/g/a/1/a-1.jar > out || true", outputs=("out",), forbidden=FORBIDDEN)
    )
    assert (failed.phase, failed.failure) == ("fetch", "refused-input")
    assert "central/g/a/1/a-1.jar" in failed.detail
    assert rig.site.asked == []


@pytest.mark.parametrize(
    "content",
    [
        PUBLISHED,
        zipped(("innocent.txt", b"x"), ("lib/inner.jar", PUBLISHED)),
        zipped(("inner.zip", zipped(("a.jar", PUBLISHED)))),
        tarred("a.jar", PUBLISHED),
        tarred("a.jar", PUBLISHED, "w:xz"),
        tarred("a.jar", PUBLISHED, "w:bz2"),
        tarred("a.jar", PUBLISHED, "w:"),
        zipped(("inner.tar.gz", tarred("a.jar", PUBLISHED))),
        tarred("inner.tar.gz", tarred("a.jar", PUBLISHED)),
        b"#!/bin/sh\necho self-extracting\n" + zipped(("a.jar", PUBLISHED)),
    ],
)
def test_published_file_is_refused_by_digest_also_inside_archives(rig: Rig, content: bytes) -> None:
    rig.site.pages["other/name.bin"] = content
    failed = rig.fails(rig.plan("get central/other/name.bin > out", outputs=("out",), forbidden=FORBIDDEN))
    assert (failed.phase, failed.failure) == ("fetch", "refused-input")
    assert "central/other/name.bin" in failed.detail


def test_published_file_in_the_source_is_refused(rig: Rig) -> None:
    (rig.source / "lib.zip").write_bytes(zipped(("a.jar", PUBLISHED)))
    failed = rig.fails(rig.plan("true", forbidden=FORBIDDEN))
    assert (failed.phase, failed.failure) == ("fetch", "refused-input")
    assert "lib.zip" in failed.detail


def test_published_file_in_somebody_else_s_lock_is_refused(rig: Rig) -> None:
    rig.site.pages |= {"x.jar": PUBLISHED, "g/a/1/a-1.jar": b"by path"}
    by_digest = LockedInput("central", "x.jar", SHA256, len(PUBLISHED))
    by_path = LockedInput("central", "g/a/1/a-1.jar", hashlib.sha256(b"by path").hexdigest(), 7)
    for one in (by_digest, by_path):
        failed = rig.fails(rig.plan("true", forbidden=FORBIDDEN), InputLock((one,)))
        assert (failed.phase, failed.failure) == ("fetch", "refused-input")


def test_refused_input_ends_the_phase_at_once(rig: Rig) -> None:
    rig.site.pages["x.jar"] = PUBLISHED
    failed = rig.fails(rig.plan("get central/x.jar || sleep 1000", forbidden=FORBIDDEN))
    assert failed.failure == "refused-input"


def test_metadata_is_refused_by_file_name_unless_allowed(rig: Rig) -> None:
    rig.site.pages |= {"g/maven-metadata.xml": b"<m/>", "g/maven-repository-metadata-3.1.1.jar": b"a"}
    with pytest.raises(PhaseFailed, match=r"g/maven-metadata\.xml") as caught:
        rig.fetch(rig.plan("get central/g/maven-metadata.xml"))
    assert (caught.value.phase, caught.value.failure) == ("fetch", "refused-input")
    both = "get central/g/maven-metadata.xml; get central/g/maven-repository-metadata-3.1.1.jar"
    assert len(rig.fetch(rig.plan(both, allow_metadata=True)).inputs) == 2
    assert len(rig.fetch(rig.plan("get central/g/maven-repository-metadata-3.1.1.jar")).inputs) == 1


ASK_ALL = """
import sys, urllib.request, urllib.error
for path in sys.argv[1:]:
    try:
        urllib.request.urlopen("http://127.0.0.1:3128/central/" + path).read()
    except urllib.error.HTTPError as error:
        assert error.code in (403, 404), error
"""


@pytest.mark.parametrize(
    ("limits", "paths"),
    [
        (Limits(wall_seconds=20, fetch_files=5), [f"{number}.jar" for number in range(6)]),
        (Limits(wall_seconds=20, fetch_bytes=5500), [f"{number}.jar" for number in range(6)]),
        (Limits(wall_seconds=20, fetch_bytes=999), ["0.jar"]),
        (Limits(wall_seconds=20, fetch_files=5), [f"missing-{number}" for number in range(21)]),
    ],
)
def test_number_and_size_of_inputs_are_limited(rig: Rig, limits: Limits, paths: list[str]) -> None:
    rig.site.pages |= {f"{number}.jar": b"x" * 1000 for number in range(10)}
    command = ("/usr/bin/python3", "-c", ASK_ALL)
    rig.fetch(rig.plan("", command=(*command, *paths[:-1]), limits=limits))
    failed = rig.fails(rig.plan("", command=(*command, *paths), limits=limits))
    assert (failed.phase, failed.failure) == ("fetch", "too-large")


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"only this")
    handler.close_connection = True


def elsewhere(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://other.example.org/a.jar")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\0\1\2 not http\r\n\r\n")
    handler.close_connection = True


@pytest.mark.parametrize("page", [500, 503, 429, 401, cut_off, elsewhere, garbage])
def test_upstream_in_trouble_is_a_lack_of_the_host_and_nothing_is_recorded(rig: Rig, page: object) -> None:
    rig.site.pages["a.jar"] = page
    lack = rig.lacks(rig.plan("get central/a.jar"))
    assert lack.reason == "upstream-failed"
    assert list(rig.cache.inputs.digests()) == []
    assert rig.heard.inputs == []


def test_upstream_that_is_down_is_a_lack_of_the_host(rig: Rig) -> None:
    plan = rig.plan("get central/a.jar")
    nowhere = Upstream("central", "maven", "central", "http://127.0.0.1:1/")
    assert rig.lacks(replace(plan, upstreams=(nowhere,))).reason == "upstream-failed"


def test_upstream_that_recovers_is_asked_again(rig: Rig) -> None:
    def page(handler: BaseHTTPRequestHandler) -> None:
        rig.site.pages["a.jar"] = b"a"
        handler.send_response(503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    rig.site.pages["a.jar"] = page
    assert len(rig.fetch(rig.plan("get central/a.jar")).inputs) == 1


def test_private_address_by_name_is_refused_where_only_a_name_server_vouches(rig: Rig) -> None:
    private = Upstream("central", "maven", "central", "http://10.255.255.1/")
    lack = rig.lacks(replace(rig.plan("get central/a.jar"), upstreams=(private,)))
    assert "not public" in str(lack)


def test_archive_of_apt_may_be_at_a_private_address_without_https() -> None:
    """As those of companies are; apt checks signatures, and no other host of that kind is asked."""
    clients = UpstreamClients((Upstream("archive", "apt", "archive", "http://mirror.example.org/debian"),))
    assert clients.client("archive").rules == AddressRules(hosts=frozenset({"mirror.example.org"}))
    clients.close()


def test_an_upstream_that_drips_neither_holds_up_the_end_nor_makes_the_package_not_built(rig: Rig) -> None:
    released = threading.Event()

    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000000")
        handler.end_headers()
        try:
            while not released.wait(0.02):
                handler.wfile.write(b"drip")
        except OSError:
            pass  # the mirror has hung up, as it should
        handler.close_connection = True

    rig.site.pages["a.jar"] = page
    plan = rig.plan("get central/a.jar", limits=Limits(wall_seconds=1))
    try:
        lack = rig.lacks(plan)
    finally:
        released.set()
    assert lack.reason == "upstream-failed"
    assert "still sending" in str(lack)
    assert "central/a.jar" in str(lack)


def test_a_build_that_hangs_by_itself_is_not_built_whatever_it_was_given(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"a"
    failed = rig.fails(rig.plan("get central/a.jar; sleep 60", limits=Limits(wall_seconds=1)))
    assert (failed.phase, failed.failure) == ("fetch", "timeout")


@pytest.mark.parametrize("cut", ["GET /central/a.jar", "{}\\r\\n", "{}\\r\\nX: ", "{}\\r\\nX: y\\r\\n"])
def test_a_request_that_ends_in_its_head_asks_for_nothing(rig: Rig, cut: str) -> None:
    rig.site.pages["a.jar"] = b"a"
    script = """
import socket, sys
with socket.create_connection(("127.0.0.1", 3128), timeout=10) as mirror:
    mirror.sendall(sys.argv[1].encode().decode("unicode_escape").encode("latin-1"))
    mirror.shutdown(socket.SHUT_WR)
    print(mirror.makefile("rb").read())
"""
    head = cut.format("GET /central/a.jar HTTP/1.1")
    for whole, answer in ((head, "b''"), (head + "\\r\\n\\r\\n", None)):
        rig.heard.lines.clear()
        lock = rig.fetch(rig.plan("", command=("/usr/bin/python3", "-c", script, whole)))
        assert [one.path for one in lock.inputs] == ([] if answer else ["a.jar"])
        assert answer is None or rig.heard.lines == [answer]


def web_page(handler: BaseHTTPRequestHandler) -> None:
    answer_with(handler, b"<html>Please log in</html>", {"Content-Type": "text/html; charset=utf-8"})


def cut_file(handler: BaseHTTPRequestHandler) -> None:
    answer_with(
        handler, b"half of it", {"X-Checksum-SHA1": hashlib.sha1(b"half of it, and half").hexdigest()}
    )


def part_of_it(handler: BaseHTTPRequestHandler) -> None:
    answer_with(handler, b"half", {"Content-Range": "bytes 0-3/10"}, status=206)


def not_modified(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(304)
    handler.end_headers()


def answer_with(
    handler: BaseHTTPRequestHandler, body: bytes, headers: dict[str, str], *, status: int = 200
) -> None:
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize("page", [web_page, cut_file, part_of_it, not_modified])
def test_what_is_no_answer_to_the_request_is_no_input_also_for_a_build_that_goes_on(
    rig: Rig, page: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    """Else its output is compared, and what a network on the way did is logged as `different`."""
    rig.site.pages["a.jar"] = page
    lack = rig.lacks(rig.plan("get central/a.jar || echo without"))
    assert lack.reason == "upstream-failed"
    assert "central/a.jar" in str(lack)


def test_a_file_is_taken_that_its_header_vouches_for_and_a_page_that_is_asked_for(rig: Rig) -> None:
    said = {"X-Checksum-SHA1": hashlib.sha1(b"jar").hexdigest().upper(), "Content-Type": "text/html"}
    rig.site.pages["index.html"] = lambda handler: answer_with(handler, b"jar", said)
    lock = rig.fetch(rig.plan("get central/index.html"))
    assert [one.path for one in lock.inputs] == ["index.html"]


def test_a_cache_that_cannot_be_written_is_no_upstream_that_failed(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"a"
    lock = rig.fetch(rig.plan("get central/a.jar"))
    (one,) = lock.inputs
    place = rig.cache.inputs.path(one.sha256)
    place.unlink()
    place.parent.rmdir()
    place.parent.touch()  # where its folder has to be
    lack = rig.lacks(rig.plan("get central/a.jar"), lock)
    assert lack.reason == "storage-failed"
    assert str(rig.cache.inputs.folder) in str(lack)
    assert rig.site.asked.count("a.jar") == 2  # not tried again and again


def test_folder_and_file_of_one_name_are_refused(rig: Rig) -> None:
    rig.site.pages |= {"a": b"file", "a/b": b"below"}
    failed = rig.fails(rig.plan("get central/a; get central/a/b"))
    assert (failed.phase, failed.failure) == ("fetch", "refused-input")
    assert "both a file and a folder" in failed.detail


def test_socket_of_one_job_is_closed_to_others(rig: Rig) -> None:
    seen: list[int] = []

    class Watching:
        def started(self, phase: str) -> None:
            pass

        def fetched(self, upstream: str, path: str, size: int) -> None:
            pass

        def line(self, text: str) -> None:
            (found,) = rig.config.work.glob("job-*/mirror/socket")
            seen.extend((found.stat().st_mode & 0o777, found.stat().st_uid))

    rig.heard = Watching()  # type: ignore[assignment]
    rig.fetch(rig.plan("echo now"))
    assert seen[0] == 0o600
    assert seen[1] in rig.config.uids


def test_double_slash_and_strange_requests_name_no_other_host(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"a"
    said = ask(
        rig, "GET //other.example.org/a.jar", "GET other.example.org:80", "GET *", "CONNECT a:443", "X /"
    )
    assert set(said) <= {"400", "403", "405"}
    assert rig.site.asked == []


def test_smuggled_requests_and_endless_heads_are_refused(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"a"
    script = r"""
import socket
def ask(data):
    with socket.create_connection(("127.0.0.1", 3128), timeout=10) as mirror:
        try:
            mirror.sendall(data)
            answer = mirror.makefile("rb").read()
        except OSError:  # hung up on us
            answer = b"HTTP/1.1 hung-up"
    print(answer.count(b"HTTP/1.1"), answer.split()[1].decode())
inner = b"GET /central/a.jar HTTP/1.1\r\nHost: x\r\n\r\n"
start = b"GET /central/b.jar HTTP/1.1\r\nHost: x\r\n"
ask(start + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner)
ask(start + b"Content-Length: %d\r\n\r\n" % len(inner) + inner)
ask(start + b"Content-Length: 0\r\nTransfer-Encoding: identity\r\n\r\n" + inner)
ask(start + b"X: y\r\n" * 1000 + b"\r\n")
ask(b"GET /central/" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n")
"""
    rig.fetch(rig.plan("", command=("/usr/bin/python3", "-c", script)))
    assert rig.heard.lines[:3] == ["1 400"] * 3
    assert {line.split()[1] for line in rig.heard.lines[3:]} <= {"431", "414", "hung-up"}
    assert rig.site.asked == []


def test_more_connections_than_processes_do_not_silence_the_mirror(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"a"
    script = """
import socket, urllib.request
idle = [socket.create_connection(("127.0.0.1", 3128), timeout=10) for _ in range(100)]
for one in idle:
    one.close()
while True:
    try:
        print(urllib.request.urlopen("http://127.0.0.1:3128/central/a.jar", timeout=15).read())
        break
    except OSError:  # hung up on while the threads of the others still end: an answer, not a silence
        pass
"""
    limits = Limits(wall_seconds=20, processes=40)
    rig.fetch(rig.plan("", command=("/usr/bin/python3", "-c", script), limits=limits))
    assert rig.heard.lines == ["b'a'"]


def test_checksums_follow_from_the_bytes_that_were_given(rig: Rig) -> None:
    rig.site.pages |= {"a.jar": b"a", "a.jar.sha1": b"wrong", "b.jar.sha1": b"of b", "a.jar.md5": b"old"}
    script = """
import urllib.request
def get(path):
    return urllib.request.urlopen("http://127.0.0.1:3128/central/" + path)
print(get("a.jar").headers["X-Checksum-SHA1"])
for path in ("a.jar.sha1", "b.jar.sha1", "a.jar.md5"):
    print(get(path).read().decode())
"""
    lock = rig.fetch(rig.plan("", command=("/usr/bin/python3", "-c", script)))
    sha1 = hashlib.sha1(b"a").hexdigest()
    assert rig.heard.lines == [sha1, sha1, "of b", "old"]
    assert rig.site.asked == ["a.jar", "b.jar.sha1", "a.jar.md5"]
    assert [one.path for one in lock.inputs] == ["a.jar"]


@pytest.mark.parametrize(("page", "is_lack"), [(503, True), (429, True), (cut_off, True), (403, False)])
def test_command_that_went_on_without_a_file_says_nothing_about_the_package(
    rig: Rig, page: object, is_lack: bool
) -> None:
    rig.site.pages |= {"a.jar": page, "a.jar.sha1": 503}
    plan = rig.plan("get central/a.jar || true")
    if is_lack:
        assert rig.lacks(plan).reason == "upstream-failed"
    else:
        assert rig.fetch(plan).inputs == ()
    assert rig.fetch(rig.plan("get central/a.jar.sha1 || true")).inputs == ()


def test_published_file_in_a_fetched_tool_is_refused(rig: Rig) -> None:
    tool = rig.folder / "tool"
    (tool / "lib").mkdir(parents=True)
    (tool / "lib" / "own.jar").write_bytes(zipped(("inner.jar", PUBLISHED)))
    plan = rig.plan("true", binds=(Bind(tool, "/tool", fetched=True),), forbidden=FORBIDDEN)
    failed = rig.fails(plan)
    assert (failed.phase, failed.failure) == ("fetch", "refused-input")
    assert "lib/own.jar" in failed.detail


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([("a.jar", 1 << 52)], "too-large"),
        ([("a.jar", 600), ("b.jar", 600)], "too-large"),
        ([(f"{number}.jar", 1) for number in range(6)], "too-large"),
        ([("g/maven-metadata-central.xml", 1)], "refused-input"),
    ],
)
def test_somebody_else_s_lock_keeps_to_the_limits_of_fetch(
    rig: Rig, inputs: list[tuple[str, int]], reason: str
) -> None:
    lock = InputLock(tuple(LockedInput("central", path, "00" * 32, size) for path, size in inputs))
    limits = Limits(wall_seconds=20, fetch_files=5, fetch_bytes=1000)
    failed = rig.fails(rig.plan("true", limits=limits), lock)
    assert (failed.phase, failed.failure) == ("fetch", reason)
    assert rig.site.asked == []


def test_lock_that_lies_about_a_size_is_refused(rig: Rig) -> None:
    rig.site.pages["a.jar"] = b"abc"
    one = LockedInput("central", "a.jar", hashlib.sha256(b"abc").hexdigest(), 4)
    with pytest.raises(DefinitionError, match="4 bytes, and it has 3"):
        rig.build(rig.plan("true"), InputLock((one,)))
