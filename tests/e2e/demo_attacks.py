"""What must be refused, each with its reason: a flipped byte, a wrong version, a forged entry."""

import base64
import json

from tests.e2e.demo_setup import jar_path
from tests.e2e.demo_world import JAR, OTHER_VERSION, PACKAGE, ROOT, World, as_json, expect

from touchplate.verify.dsse import parse_envelope, sign_envelope
from touchplate.verify.keys import load_signer

REFUSED = 1  # exit code of `touchplate verify`


def flipped_byte(world: World) -> str:
    data = bytearray((world.evidence / JAR).read_bytes())
    data[len(data) // 2] ^= 1
    flipped = world.folder / "flipped.jar"
    flipped.write_bytes(bytes(data))
    return verify_refuses(world, str(flipped), PACKAGE, "wrong-digest")


def wrong_version(world: World) -> str:
    """The right bytes under a name they were not rebuilt for: refused by the verifier and by the gate."""
    line = verify_refuses(world, str(world.evidence / JAR), OTHER_VERSION, "wrong-package")
    through = world.get(f"/maven/mirror/{jar_path('3.18.0')}")
    expect(through.code == 403, f"the gate answered {through.code} for a mirror that lies")
    detail = str(as_json(through).get("detail"))
    expect("3.17.0" in detail, f"the gate's reason does not name what the bytes are: {detail}")
    return f"{line}\ngate: 403 {detail}"


def forged_entry(world: World) -> str:
    """Operator one's statement, signed anew and properly, by a key that nobody admitted."""
    bundle = json.loads((world.evidence / f"{JAR}.touchplate.json").read_text(encoding="utf-8"))
    payload = parse_envelope(base64.b64decode(bundle["entries"][0]["envelope"])).payload
    stranger = load_signer((world.folder / "keys" / "stranger.key").read_bytes(), None)
    answer = world.post("/log/add", sign_envelope(payload, stranger))
    expect(answer.code == 403, f"the log answered {answer.code} to an unknown key: {answer.text[:300]}")
    problem = as_json(answer)
    expect(problem.get("reason") == "unknown-key", f"refused for another reason: {answer.text[:300]}")
    return f"log: 403 {problem['reason']}: {problem.get('detail')}"


def verify_refuses(world: World, file: str, package: str, reason: str) -> str:
    """`touchplate verify` in the base install, without network, must refuse with exactly this reason."""
    command: list[str] = [str(world.auditor), "verify", file, "--trust", str(world.evidence / "trust.toml")]
    command += ["--bundle", str(world.evidence / f"{JAR}.touchplate.json"), "--package", package]
    answer = world.run(*world.offline(*command, "--json"), cwd=ROOT)
    expect(answer.code == REFUSED, f"verify ended with {answer.code}: {answer.last_words}")
    report = as_json(answer)
    expect(report.get("reason") == reason, f"verify refused for {report.get('reason')!r}, not {reason!r}")
    shown = world.run(*world.offline(*command), cwd=ROOT)
    why = [line.strip() for line in shown.told.splitlines() if line.strip()]
    return "; ".join(why[:2])
