"""A verifier at work: a key, a trust file, one published file, and `touchplate vsa` on all of them."""

from dataclasses import dataclass
from pathlib import Path

from tests.verify.bundles import make_bundle
from tests.verify.cases import recorder_block, trust_text
from tests.verify.support import LIB, PUBLISHED, statement_signer

from touchplate.verify import cli
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.entry import Entry
from touchplate.verify.keys import format_private_pem
from touchplate.verify.predicates.summary import Summary, parse_summary
from touchplate.verify.statements import parse_statement

VERIFIER = "https://verify.example.org"
POLICY_URI = "https://verify.example.org/policies/strict"


@dataclass
class Desk:
    """A verifier with a key, a trust file and one file; entries come in a bundle beside it, or from a log."""

    folder: Path

    def run(self, *arguments: str, artifact: bool = True) -> int:
        return cli.main(self.command(*arguments, artifact=artifact))

    def command(self, *arguments: str, artifact: bool = True) -> list[str]:
        given = ["--artifact", str(self.file)] if artifact else []
        fixed = ["--trust", str(self.trust), "--package", str(LIB), "--key", str(self.key)]
        named = ["--verifier", VERIFIER, "--policy-uri", POLICY_URI]
        return ["vsa", *given, *fixed, *named, *arguments]

    def made(self, *arguments: str, artifact: bool = True, code: int = 0) -> Summary:
        out = self.folder / f"vsa-{len(list(self.folder.iterdir()))}.json"
        assert self.run("--out", str(out), *arguments, artifact=artifact) == code
        self.envelope = out.read_bytes()
        return parse_summary(parse_statement(parse_envelope(self.envelope).payload).predicate)

    def check(self, *arguments: str) -> int:
        (self.folder / "last.json").write_bytes(self.envelope)
        reader = self.folder / "reader.toml"
        block = recorder_block(VERIFIER, "verifier").replace("[[recorder]]", "[[verifier]]")
        reader.write_text(trust_text(blocks=[block]))
        fixed = ["--trust", str(reader), "--package", str(LIB), "--artifact", str(self.file)]
        return cli.main(["vsa", "check", str(self.folder / "last.json"), *fixed, *arguments])

    def bundle(self, *entries: Entry, data: bytes = PUBLISHED) -> None:
        (self.folder / "lib-1.0.jar.touchplate.json").write_bytes(make_bundle(entries, data))

    @property
    def file(self) -> Path:
        return self.folder / "lib-1.0.jar"

    @property
    def trust(self) -> Path:
        return self.folder / "trust.toml"

    @property
    def key(self) -> Path:
        return self.folder / "verifier.key"


def open_desk(folder: Path) -> Desk:
    """A desk in an empty folder, without evidence yet."""
    desk = Desk(folder)
    desk.file.write_bytes(PUBLISHED)
    desk.trust.write_text(trust_text())
    desk.key.write_bytes(format_private_pem(statement_signer("verifier")))
    desk.key.chmod(0o600)
    return desk
