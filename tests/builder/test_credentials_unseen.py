"""Builds that look for the credentials of an upstream, and the same look where it finds them."""

import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.builder.sandboxes import Rig
from tests.builder.test_upstream_client import BASIC, PASSWORD, write_secret

from touchplate.builder.inputs.lock import format_lock
from touchplate.builder.plan import BuildPlan

# All that a build can read of its surroundings, and all that the mirror says, as one text on its output.
LOOK = r"""
import glob, http.client, os, pathlib, sys
def show(what):
    sys.stdout.write(what.encode("unicode_escape").decode() + "\n")
show(repr(dict(os.environ)))
for pattern in ("/proc/[0-9]*/environ", "/proc/[0-9]*/cmdline", "/proc/self/mountinfo", "/build/**",
                "/etc/**", "/home/**", "/root/**", "/tmp/**", "/run/**",
                os.path.expanduser("~/.m2/**"), *sys.argv[2:]):
    for name in glob.glob(pattern, recursive=True, include_hidden=True):
        try:
            if os.path.isfile(name):
                show(name + " " + pathlib.Path(name).read_bytes()[:100_000].decode("latin-1"))
        except OSError:
            pass
for path in sys.argv[1].split(","):
    mirror = http.client.HTTPConnection("127.0.0.1", 3128)
    mirror.request("GET", "/central/" + path, headers={"Authorization": "Basic bWU6b3RoZXI="})
    answer = mirror.getresponse()
    show(repr(answer.getheaders()) + repr(answer.status) + answer.read().decode("latin-1"))
    mirror.close()
"""
PATHS = "a.jar,missing.jar,denied.jar,broken.jar,v2/users/authenticate"


def demand(handler: BaseHTTPRequestHandler) -> None:
    """A file for who has the password; and headers that repeat it, as no server should."""
    allowed = handler.headers.get("Authorization") == BASIC
    status = {"a.jar": 200, "denied.jar": 403, "broken.jar": 400, "elsewhere.jar": 302}
    status |= {"authenticate": 200}
    code = status.get(handler.path.rsplit("/", 1)[1], 404) if allowed else 401
    echo = f"{handler.headers.get('Authorization')} {PASSWORD}"
    body = b"jar" if handler.path.endswith("a.jar") else echo.encode()
    handler.send_response(code)
    for name in ("Set-Cookie", "X-Echo", "Content-Type", "ETag"):
        handler.send_header(name, echo)
    if code == 401:
        handler.send_header("WWW-Authenticate", f'Basic realm="{PASSWORD}"')
    if code == 302:
        handler.send_header("Location", f"http://localhost:1/?{PASSWORD}")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def looking(rig: Rig, secret_folder: Path, *more: str) -> BuildPlan:
    secret = write_secret(secret_folder, f"me:{PASSWORD}")
    for path in PATHS.split(","):
        rig.site.pages[path] = demand
    plan = rig.plan("", command=("/usr/bin/python3", "-c", LOOK, PATHS, *more))
    return replace(plan, upstreams=(replace(plan.upstreams[0], credentials=secret),))


def seen(text: str) -> bool:
    return PASSWORD in text or BASIC.removeprefix("Basic ") in text


def test_a_build_that_looks_everywhere_finds_no_credentials(rig: Rig, tmp_path: Path) -> None:
    """The password stands in the upstream's headers, errors and challenges, and in a file of this host."""
    plan = looking(rig, tmp_path, str(tmp_path / "*"), f"/proc/*/root{tmp_path}/*")
    lock = rig.fetch(plan)
    text = "\n".join(rig.heard.lines)
    assert "200jar" in text, text[-2000:]  # the upstream did demand it, and was given it
    assert [one["authorization"] for one in rig.site.headers] == [BASIC] * len(rig.site.headers)
    assert "v2/users/authenticate" not in rig.site.asked
    assert not seen(text)
    assert not seen(format_lock(lock).decode())
    assert not seen(json.dumps([repr(plan), str(lock)]))
    assert not seen(repr(rig.heard.inputs))


def test_an_upstream_that_sends_elsewhere_with_the_password_in_the_address_tells_no_build(
    rig: Rig, tmp_path: Path
) -> None:
    plan = looking(rig, tmp_path)
    rig.site.pages["elsewhere.jar"] = demand
    lack = rig.lacks(replace(plan, command=(*plan.command[:3], "elsewhere.jar")))
    assert "redirects to another host" in str(lack)
    assert not seen(str(lack) + lack.log.decode() + "\n".join(rig.heard.lines))


@pytest.mark.parametrize("way", ["environment", "file", "body"])
def test_the_same_look_finds_them_where_they_are(rig: Rig, tmp_path: Path, way: str) -> None:
    """The control: else the test above might look at nothing."""
    plan = looking(rig, tmp_path)
    if way == "environment":
        plan = replace(plan, command=("/usr/bin/env", f"LEAK={PASSWORD}", *plan.command))
    elif way == "file":
        (rig.source / "settings.xml").write_text(PASSWORD)
        plan = looking(rig, tmp_path, "**")
    else:
        rig.site.pages["b.jar"] = f"me:{PASSWORD}".encode()
        command = (*plan.command[:3], f"b.jar,{PATHS}")
        plan = replace(plan, command=command)
    rig.fetch(plan)
    assert seen("\n".join(rig.heard.lines))


def test_a_wrong_password_is_a_lack_of_the_host_and_nothing_of_the_package(rig: Rig, tmp_path: Path) -> None:
    """Also when the build goes on without the file."""
    secret = write_secret(tmp_path, f"me:{PASSWORD}-no-more")
    rig.site.pages["a.jar"] = demand
    for script in ("get central/a.jar", "get central/a.jar || true"):
        plan = rig.plan(script)
        plan = replace(plan, upstreams=(replace(plan.upstreams[0], credentials=secret),))
        lack = rig.lacks(plan)
        assert lack.reason == "upstream-failed"
        assert "upstream 'central' refuses the credentials" in str(lack)
        assert not seen(str(lack) + lack.log.decode() + "\n".join(rig.heard.lines))
    assert rig.site.asked == ["a.jar"] * 2  # one try each: more could lock the account


def test_an_open_file_of_credentials_stops_the_build_before_it_starts(rig: Rig, tmp_path: Path) -> None:
    secret = write_secret(tmp_path, f"me:{PASSWORD}", 0o644)
    plan = rig.plan("get central/a.jar")
    lack = rig.lacks(replace(plan, upstreams=(replace(plan.upstreams[0], credentials=secret),)))
    assert "chmod 600" in str(lack)
    assert rig.site.asked == []
