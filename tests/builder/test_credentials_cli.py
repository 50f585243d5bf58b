"""A private upstream as a person uses it: what is printed, kept and logged holds no credentials."""

import json
from pathlib import Path

import pytest
from tests.builder.loghost import log_host
from tests.builder.mavenparts import QuietHandler, publish, served
from tests.builder.rebuildparts import CONTENT, scene, scripted
from tests.builder.sandboxes import require_sandbox
from tests.builder.test_upstream_client import BASIC, PASSWORD, write_secret

from touchplate.verify.cli import main

LIB = "org/example/lib/1/lib-1.txt"
ENCODED = BASIC.removeprefix("Basic ")


class Private(QuietHandler):
    """Files for who has the password."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == BASIC:
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="private"')
        self.send_header("Content-Length", "0")
        self.end_headers()


def holders(folder: Path, *words: str) -> list[Path]:
    """Files below `folder` in which one of the words stands."""
    files = [one for one in folder.rglob("*") if one.is_file()]
    assert files
    return [one for one in files if any(word.encode() in one.read_bytes() for word in words)]


def test_nothing_that_a_rebuild_prints_keeps_or_logs_holds_the_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_sandbox()
    secret = write_secret(tmp_path, f"me:{PASSWORD}\n").path
    with scene() as one, log_host(tmp_path / "host") as host, served(one.repository, Private) as url:
        publish(one.repository, LIB, CONTENT)
        definition = tmp_path / "definition.json"
        definition.write_bytes(scripted(one, f"jar(get({LIB!r}))").data)
        data = one.workshop.data.parent / "private"
        asked = ["rebuild", "--data", str(data), "--definition", str(definition), "--json", "--verbose"]
        capsys.readouterr()

        assert main([*asked, "--upstream", f"central={url}"]) == 2
        refused = capsys.readouterr().err
        assert "give --upstream central=…,credentials=file:PATH" in refused

        upstream = ["--upstream", f"central={url},credentials=file:{secret}"]
        assert main([*asked, *upstream, *host.signing]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)["result"] == "identical"
        assert len(list(host.service.entries_after(0))) == 2

        write_secret(tmp_path, f"me:{PASSWORD}-old\n")
        fresh = ["--refetch", *upstream, *host.signing]
        assert main([*asked, *fresh]) == 2
        wrong = capsys.readouterr()
        assert "upstream 'central' refuses the credentials" in wrong.err
        assert len(list(host.service.entries_after(0))) == 2

        for text in (refused, printed.out, printed.err, wrong.out, wrong.err):
            assert PASSWORD not in text
            assert ENCODED not in text
        assert holders(data, PASSWORD, ENCODED, "bWU6") == []
        assert holders(tmp_path, PASSWORD, ENCODED) == [
            secret
        ]  # the control: it finds the file of the person
