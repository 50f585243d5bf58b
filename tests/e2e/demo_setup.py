"""Keys, configuration files and the Maven client of the demo."""

import hashlib
import os
import re
import shlex
import stat
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

from tests.e2e.demo_world import (
    CACHE,
    GROUP_PATH,
    OPERATORS,
    ORIGIN,
    ROOT,
    Answer,
    StepFailedError,
    World,
    expect,
)

from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.upstreams import maven_central

MAVEN = "3.9.11"
MAVEN_SHA256 = "0d7125e8c91097b36edb990ea5934e6c68b4440eef4ea96510a0f6815e7eeadb"
MAVEN_BYTES = 16 * 1024 * 1024  # the distribution is 9 MB

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId><artifactId>app</artifactId><version>1</version>
  <properties>
    <maven.compiler.source>17</maven.compiler.source>
    <maven.compiler.target>17</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <dependencies>
    <dependency>
      <groupId>org.apache.commons</groupId><artifactId>commons-lang3</artifactId><version>3.17.0</version>
    </dependency>
  </dependencies>
</project>
"""
JAVA = """\
import org.apache.commons.lang3.StringUtils;

public class App {
    public static void main(String[] args) {
        System.out.println(StringUtils.capitalize("touchplate"));
    }
}
"""


def keygen(world: World, role: str, name: str, *extra: str) -> Path:
    """Make a key with the command that users have; its path. The public half stands beside it."""
    path = world.folder / "keys" / name
    path.parent.mkdir(exist_ok=True)
    answer = world.run(world.touchplate, "keygen", "--for", role, "--out", path, *extra)
    expect(answer.code == 0, f"keygen --for {role} failed: {answer.last_words}")
    mode = stat.S_IMODE(path.stat().st_mode)
    expect(mode == 0o600, f"the private key {name} has mode {mode:o}, not 600")
    return path


def make_keys(world: World) -> None:
    keygen(world, "log", "log.key", "--name", ORIGIN)
    if world.sabotage == "log-key-swapped":
        keygen(world, "log", "other-log.key", "--name", ORIGIN)
    keygen(world, "recorder", "recorder.key")
    for name in ("one.key", "two.key", "stranger.key"):
        keygen(world, "rebuilder", name)


def public(world: World, name: str) -> str:
    """A public key that keygen wrote beside its private one."""
    return (world.folder / "keys" / name).read_text(encoding="utf-8")


def blocks(world: World) -> str:
    """Who may write (admission list) and who is believed (trust file): here the same three keys."""
    parts = [
        f'[[rebuilder]]\noperator = "{operator}"\nbuilder = "{operator}/touchplate/bubblewrap/v1"\n'
        f'key = """{public(world, key)}"""\necosystems = ["maven"]\n'
        for operator, key in zip(OPERATORS, ("one.pem", "two.pem"), strict=True)
    ]
    recorder = public(world, "recorder.pem")
    parts.append(
        f'[[recorder]]\noperator = "https://node.example"\nkey = """{recorder}"""\necosystems = ["maven"]\n'
    )
    return "\n".join(parts)


def trust_text(world: World, log_key: str) -> str:
    policy = f"log {public(world, log_key).strip()}\\nquorum none\\n"
    return (
        f'[log]\npolicy = "{policy}"\n\n[levels.reproduced]\noperators = 2\n'
        "# sources-jar is the weaker claim: the jar is what its published sources compile to.\n"
        'sources = ["vcs", "source-release", "sources-jar"]\n\n' + blocks(world)
    )


def write_configuration(world: World, mirror_url: str) -> None:
    """The node's TOML with the demo's rules, both lists, and a second upstream that will lie."""
    served_by = "other-log" if world.sabotage == "log-key-swapped" else "log"
    enforce = "observe" if world.sabotage == "gate-off" else "enforce"
    (world.evidence).mkdir(exist_ok=True)
    world.write("admission.toml", blocks(world))
    world.write("node-trust.toml", trust_text(world, served_by + ".pub"))
    world.write("evidence/trust.toml", trust_text(world, "log.pub"))
    token = world.write("keys/worker.token", "demo-worker-" + os.urandom(16).hex() + "\n")
    token.chmod(0o600)
    world.write(
        "node.toml",
        f"""
        data = "node"
        [http]
        listen = "127.0.0.1:{world.port}"
        public_url = "{world.url}"
        [log]
        origin = "{ORIGIN}"
        key = "file:keys/{served_by}.key"
        admission = "admission.toml"
        storage = "{world.storage}"
        {world.store}
        [recorder]
        operator = "https://node.example"
        key = "file:keys/recorder.key"
        [evidence]
        token = "file:keys/worker.token"
        [[upstream]]
        name = "central"
        ecosystem = "maven"
        identity = "central"
        url = "auto"
        record = true
        [[upstream]]
        name = "mirror"
        ecosystem = "maven"
        identity = "central"
        url = "{mirror_url}"
        record = false
        allow_private = true
        [gate]
        trust = "node-trust.toml"
        [[gate.rule]]
        package = "pkg:maven/org.apache.commons/commons-lang3@3.17.0"
        need = ["reproduced"]
        enforce = "{enforce}"
        [[gate.rule]]
        package = "pkg:maven/org.apache.commons/commons-lang3@3.18.0"
        need = ["reproduced"]
        enforce = "{enforce}"
        [[gate.rule]]
        need = ["recorded"]
        enforce = "enforce"
        """,
    )


def maven_home() -> Path:
    """Maven 3.9.11, fetched as an artifact from the upstream, by digest; unpacked once into the cache."""
    home = CACHE / f"apache-maven-{MAVEN}"
    if (home / "bin" / "mvn").exists():
        return home
    CACHE.mkdir(parents=True, exist_ok=True)
    url = f"{maven_central().rstrip('/')}/org/apache/maven/apache-maven/{MAVEN}/apache-maven-{MAVEN}-bin.zip"
    archive = CACHE / f"apache-maven-{MAVEN}-bin.zip"
    rules = AddressRules(
        hosts=frozenset({str(urlsplit(url).hostname)})
    )  # named by the operator, so wherever it is
    with HTTPClient(rules) as client:
        archive.write_bytes(client.get(url, max_bytes=MAVEN_BYTES).body)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != MAVEN_SHA256:
        archive.unlink()
        raise StepFailedError(f"the Maven distribution has sha256 {digest}, not {MAVEN_SHA256}")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(CACHE)
    (home / "bin" / "mvn").chmod(0o755)
    archive.unlink()
    return home


def write_client(world: World) -> None:
    """A small Maven project whose only way out is the node: mirrorOf *."""
    world.write("client/pom.xml", POM)
    world.write("client/src/main/java/App.java", JAVA)
    world.write(
        "client/settings.xml",
        f"""
        <settings><mirrors><mirror>
          <id>touchplate</id><mirrorOf>*</mirrorOf><url>{world.url}/maven/central</url>
        </mirror></mirrors></settings>
        """,
    )


def mvn(world: World, *goals: str) -> Answer:
    """Run the real client: own settings, own (at first empty) local repository, a bare environment."""
    client = world.folder / "client"
    java = os.environ.get("JAVA_HOME", "")
    environment = [f"PATH={os.environ['PATH']}", f"HOME={client}", "LANG=C.UTF-8"]
    environment += [f"JAVA_HOME={java}"] if java else []
    return world.run(
        "env", "-i", *environment, maven_home() / "bin" / "mvn", "-B", "-ntp",
        "-s", client / "settings.xml", "-gs", client / "settings.xml",
        f"-Dmaven.repo.local={client / 'repository'}", f"-Duser.home={client}", *goals,
        cwd=client,
    )  # fmt: skip


def readme_command(start: str) -> list[str]:
    """The words of the one command in README's shell blocks that begins with `start`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks_found = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks_found).replace("\\\n", " ").splitlines()
    found = [line for line in lines if line.startswith(start)]
    if len(found) != 1:
        raise StepFailedError(
            f"README should show one command that starts with {start!r}, it shows {len(found)}"
        )
    return shlex.split(found[0])


def jar_path(version: str, suffix: str = "") -> str:
    return f"{GROUP_PATH}/{version}/commons-lang3-{version}.jar{suffix}"
