"""Files of one address never answer for another, whatever their digest."""

import hashlib
from pathlib import Path

import pytest
from tests.base.support import running
from tests.builder.mavenparts import publish, served

from touchplate.base.durable import DigestFolder
from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.upstreams import Upstream
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.inputs.repository import Repositories, Repository

EVIL = b"another's sources"
DIGEST = hashlib.sha256(EVIL).hexdigest()
JAR = hashlib.sha1(b"jar").hexdigest()


def test_stored_file_is_that_of_its_own_address_only(tmp_path: Path) -> None:
    """Else a definition could name an honest address with the digest of other bytes, and the provenance
    would say that they are what is published there."""
    publish(tmp_path / "up", "evil/1/evil-sources.jar", EVIL)
    publish(tmp_path / "up", "good/1/good-sources.jar", b"good")
    with served(tmp_path / "up") as url, HTTPClient(AddressRules.parse(hosts=["127.0.0.1"])) as client:
        upstream = Upstream("central", "maven", "central", url)
        repository = Repository(upstream, client, DigestFolder(tmp_path / "store"))
        assert repository.need_exact("evil/1/evil-sources.jar", DIGEST).data == EVIL
        with pytest.raises(DefinitionError, match=r"good-sources\.jar has sha256"):
            repository.need_exact("good/1/good-sources.jar", DIGEST)
        with pytest.raises(DefinitionError, match="has no file"):
            repository.need_exact("good/2/good-sources.jar", DIGEST)
        mirror = Upstream("mirror", "maven", "other", f"{url}/none")
        other = Repository(mirror, client, DigestFolder(tmp_path / "store"))
        with pytest.raises(DefinitionError, match="has no file"):
            other.need_exact("evil/1/evil-sources.jar", DIGEST)


def test_stored_file_is_not_asked_for_again(tmp_path: Path) -> None:
    publish(tmp_path / "up", "a.jar", EVIL)
    with served(tmp_path / "up") as url, HTTPClient(AddressRules.parse(hosts=["127.0.0.1"])) as client:
        upstream = Upstream("central", "maven", "central", url)
        repository = Repository(upstream, client, DigestFolder(tmp_path / "store"))
        repository.need_exact("a.jar", DIGEST)
        (tmp_path / "up/a.jar").unlink()
        assert repository.need_exact("a.jar", DIGEST).data == EVIL
        with pytest.raises(DefinitionError, match="has no file"):  # the control
            Repository(upstream, client, DigestFolder(tmp_path / "new")).need_exact("a.jar", DIGEST)


@pytest.mark.parametrize(
    "headers",
    [{"Content_Type": "text/html"}, {"X_Checksum_SHA1": hashlib.sha1(b"the whole jar").hexdigest()}],
)
def test_what_cannot_be_the_published_file_is_a_lack_of_the_host(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    """Else it is compared, and a network's login page or a cut file is logged as `different`."""
    with running() as server, HTTPClient(AddressRules.parse(hosts=["127.0.0.1"])) as client:
        server.actions["/up/a.jar"] = lambda handler: handler.reply(200, b"not the jar", **headers)
        server.actions["/up/b.jar"] = lambda handler: handler.reply(200, b"jar", X_Checksum_SHA1=JAR)
        upstream = Upstream("central", "maven", "central", server.url("/up"))
        repository = Repository(upstream, client, DigestFolder(tmp_path / "store"))
        with pytest.raises(HostLack, match=r"'central' cannot be read: .*a\.jar"):
            repository.need("a.jar")
        assert repository.need("b.jar").data == b"jar"


def test_upstream_that_is_not_configured_is_named_as_it_is_to_be_given() -> None:
    with pytest.raises(HostLack, match=r"--upstream NAME=URL,identity=hub\.example,ecosystem=oci$"):
        Repositories(()).of_identity("hub.example", "oci")
