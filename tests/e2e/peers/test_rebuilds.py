"""The main job over four peers: two operators really rebuild a release, each tells another peer, a third one
serves it to a real Maven after the upstream is gone, and a reader checks it by a quorum of all four."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.go_programs import program
from tests.conformance.readers import ask_fsck
from tests.conformance.sigstore_demo import Evidence, read_keys, write_questions
from tests.conformance.sigstore_go import run_checker
from tests.e2e.demo_setup import maven_home
from tests.e2e.peers.network import Network, Node, running_network, with_cosigners
from tests.e2e.peers.relay import Relay, running_relay
from tests.verify.support import OPERATOR_A, OPERATOR_B, statement_signer

from touchplate.base.environment import read_environment
from touchplate.log.peers.engine import EngineMissingError, install_engine
from touchplate.verify.cli import main
from touchplate.verify.keys import format_private_pem, format_public_pem

pytestmark = pytest.mark.slow

GROUP, NAME, VERSION = "org.apache.commons", "commons-csv", "1.12.0"
PACKAGE = f"pkg:maven/{GROUP}/{NAME}@{VERSION}?type=jar"
JAR = f"{GROUP.replace('.', '/')}/{NAME}/{VERSION}/{NAME}-{VERSION}.jar"
SHA256 = "e11a33d65e5f2e92769c0b13c548e0c2da01e37c1581417ea3fd7d5d9474fee6"
SECONDS = 900  # one rebuild, or one run of Maven, on a busy machine
RULES = f"""
[[gate.rule]]
package = "pkg:maven/{GROUP}/{NAME}@{VERSION}"
need = ["reproduced"]
[[gate.rule]]
need = ["recorded"]
"""
LEVELS = 'sources = ["vcs", "source-release", "sources-jar"]'
POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId><artifactId>app</artifactId><version>1</version>
  <properties>
    <maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <dependencies><dependency>
    <groupId>{GROUP}</groupId><artifactId>{NAME}</artifactId><version>{VERSION}</version>
  </dependency></dependencies>
</project>
"""
JAVA = """\
public class App {
    public static void main(String[] args) {
        System.out.println(org.apache.commons.csv.CSVFormat.DEFAULT);
    }
}
"""


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    with running_relay() as made:
        yield made


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, relay: Relay) -> Iterator[Network]:
    try:
        install_engine()
    except EngineMissingError as error:
        if read_environment().is_ci:
            raise
        pytest.skip(f"no engine: {error}")
    folder = tmp_path_factory.mktemp("peers")
    with running_network(folder, relay.url, rules=RULES, levels=LEVELS) as made:
        yield made


@pytest.fixture(scope="module")
def operators() -> Iterator[Path]:
    """Where the operators work: builds run under uids of their own, which must be able to enter. What was
    fetched for the first one's build is there for the second's; each builds for himself."""
    folder = Path(tempfile.mkdtemp(prefix="touchplate-peers-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def rebuild(node: Node, data: Path, operator: str, key: str) -> dict[str, object]:
    """One operator rebuilds the release and submits to one peer; what the command answers."""
    keys = data / f"{key}.key"
    keys.write_bytes(format_private_pem(statement_signer(key)))
    keys.chmod(0o600)
    done = subprocess.run(
        [
            Path(sys.executable).with_name("touchplate"), "rebuild", PACKAGE, "--json", "--data", data,
            "--key", keys, "--operator", operator, "--log", f"{node.url}/log",
            "--evidence", f"{node.url}/builder/evidence", "--token", f"file:{node.folder / 'worker.token'}",
        ],
        stdout=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
    )  # fmt: skip
    answer: dict[str, object] = json.loads(done.stdout)
    assert (done.returncode, answer.get("result")) == (0, "identical"), answer
    return answer


def mvn_compile(node: Node, folder: Path) -> tuple[int, str, Path]:
    """A real Maven with an empty repository of its own, for which there is nobody but this node."""
    source = folder / "src/main/java/App.java"
    source.parent.mkdir(parents=True)
    source.write_text(JAVA)
    (folder / "pom.xml").write_text(POM)
    mirror = f"<id>t</id><mirrorOf>*</mirrorOf><url>{node.url}/maven/central</url>"
    settings = folder / "settings.xml"
    settings.write_text(f"<settings><mirrors><mirror>{mirror}</mirror></mirrors></settings>")
    repository = folder / "repository"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    done = subprocess.run(
        [
            maven_home() / "bin/mvn", "-B", "-ntp", "-s", settings, "-gs", settings,
            f"-Dmaven.repo.local={repository}", f"-Duser.home={folder}", "compile",
        ],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(errors="replace"), repository / JAR


def test_two_rebuilds_told_to_two_peers_are_one_verdict_at_a_third(
    network: Network, operators: Path, tmp_path: Path
) -> None:
    a, b, d = (network.nodes[name] for name in "abd")
    rebuild(a, operators, OPERATOR_A, "rebuilder-a")
    network.await_agreement()
    status, body = d.get(f"/maven/central/{JAR}")
    assert (status, b"1 of 2 operators" in body) == (403, True), body
    rebuild(b, operators, OPERATOR_B, "rebuilder-b")
    network.await_agreement()
    # The first to serve it is a, from the upstream; Maven's own plugins come this way, too.
    code, output, jar = mvn_compile(a, tmp_path / "client")
    assert code == 0, output[-3000:]
    assert jar.exists()


def test_a_third_peer_serves_maven_after_the_upstream_is_gone(
    network: Network, relay: Relay, tmp_path: Path
) -> None:
    relay.is_off = True
    c = network.nodes["c"]
    assert not blob_of(c).exists()
    before = len(relay.asked)
    code, output, jar = mvn_compile(c, tmp_path / "client")
    assert code == 0, output[-3000:]
    assert jar.read_bytes() == blob_of(c).read_bytes()
    assert len(relay.asked) == before
    assert f"sha256:{SHA256} came from the peer a" in c.output()
    # Blobs are for peers, which sign what they ask; what none of them holds, nobody has.
    assert network.nodes["a"].get(f"/log/peers/blobs/{SHA256}")[0] == 403
    assert c.get(f"/maven/central/{JAR.replace(VERSION, '1.11.0')}")[0] == 502


def blob_of(node: Node) -> Path:
    return node.folder / "data/blobs" / SHA256[:2] / SHA256


def test_a_reader_takes_the_third_peers_word_with_a_quorum_of_all_and_not_with_two(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, bundle = network.nodes["c"].get(f"/maven/central/{JAR}.touchplate.json")
    assert status == 200, bundle
    file = tmp_path / "lib.jar"
    shutil.copy(blob_of(network.nodes["c"]), file)
    beside = tmp_path / "lib.jar.touchplate.json"
    beside.write_bytes(bundle)
    trust = network.write_trust(tmp_path / "reader.toml", 3)
    command = ["verify", str(file), "--trust", str(trust), "--json", "--package", PACKAGE]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["checkpoint"]["cosigners"]) >= 3
    assert "reproduced" in report["levels"]
    assert {row["operator"] for row in report["operators"]} >= {OPERATOR_A, OPERATOR_B}
    beside.write_bytes(with_cosigners(bundle, 2))
    assert main(command) == 1
    assert json.loads(capsys.readouterr().out)["reason"] == "quorum"


def test_sigstores_verifier_takes_the_bundles_of_the_third_peer(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And refuses them changed, without a log entry, for other keys. It checks one log signature and no
    quorum."""
    checker, c = program("sigstore"), network.nodes["c"]
    trust = network.write_trust(tmp_path / "reader.toml", 3)
    assert main(["trust", "export", "--sigstore", "--trust", str(trust)]) == 0
    root = json.loads(capsys.readouterr().out)
    assert len(root["tlogs"]) == 4
    entries = json.loads(c.get(f"/maven/central/{JAR}.touchplate.json")[1])["entries"]
    bundles = {}
    for index in [entry["index"] for entry in entries]:
        status, body = c.get(f"/api/v1/artifacts/{SHA256}/sigstore/{index}.json")
        assert status == 200, body
        bundles[index] = json.loads(body)
    signers = ("rebuilder-a", "rebuilder-b", "recorder")
    pems = {name: format_public_pem(statement_signer(name).key) for name in signers}
    path = write_questions(Evidence(bundles, root, SHA256, read_keys(pems)), tmp_path)
    verdicts = run_checker(checker, path)
    expected = {case["name"]: case["expect"] for case in json.loads(path.read_text())}
    assert {name: verdicts[name].got for name in expected} == expected
    assert len(bundles) >= 3  # two rebuilds and the first sight
    assert set(expected.values()) == {"ok", "refused"}


def test_tesseras_fsck_finds_the_tiles_of_every_peer_whole(network: Network, tmp_path: Path) -> None:
    fsck = program("fsck")
    for card in network.cards:
        words = ask_fsck(fsck, f"{network.nodes[card.name].url}/log", card.log_key, tmp_path)
        assert words.good, words.text


def test_nothing_is_lost_and_all_agree(network: Network) -> None:
    network.check_agreement()
    for node in network.nodes.values():
        assert node.stop() == 0, node.output()[-2000:]
        assert "Traceback" not in node.output()
