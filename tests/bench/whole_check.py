"""The whole numbered check (steps 0 to 7) of a proof bundle with four entries and three cosignatures."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.bench.harness import Goal, Row, check, percentile
from tests.simkeys import log_signer, verifier_key, witness_signer
from tests.verify.bundles import make_bundle
from tests.verify.cases import trust_text
from tests.verify.support import (
    LIB,
    OPERATOR_A,
    OPERATOR_B,
    PUBLISHED,
    make_comparison,
    make_provenance,
    make_record,
    sign,
    statement_signer,
)

from touchplate.verify.check import LevelsMissingError, Report, check_bundle, digest_file
from touchplate.verify.reading import read_at_most
from touchplate.verify.trust import load_trust

WITNESSES = ("w1.example.org", "w2.example.org", "w3.example.org")
ROUNDS = 400
WARM_UP = 20
GOAL = Goal("<", 5, " ms")
COSIGNED = 1_800_000_000


def whole_check(rounds: int = ROUNDS) -> list[Row]:
    """Each round is what `touchplate verify` does after it started: the trust file is read and parsed (step
    0), the file hashed, the bundle checked against both."""
    cpu, wall = [], []
    with tempfile.TemporaryDirectory() as folder:
        trust, bundle, file = write_case(Path(folder))
        for number in range(rounds + WARM_UP):
            began, used = time.perf_counter(), time.thread_time()
            report = check_once(trust, bundle, file)
            used, began = time.thread_time() - used, time.perf_counter() - began
            check(report.levels.reproduced and report.levels.recorded, "a good bundle did not verify")
            check(not report.warnings, f"an entry counted for nothing: {report.warnings}")
            if number >= WARM_UP:
                cpu.append(used * 1000)
                wall.append(began * 1000)
        refuses_another_file(trust, bundle, file)
    p50 = percentile(cpu, 0.5)
    ours = f"{p50:.2f} ms"
    note = f"CPU; p99 {percentile(cpu, 0.99):.2f} ms; wall p50 {percentile(wall, 0.5):.2f} ms"
    return [Row("whole check of 4 entries, 3 cosignatures, p50", ours, "", p50, GOAL, note)]


def write_case(folder: Path) -> tuple[Path, Path, Path]:
    """Trust file, bundle and jar: a record, two operators' provenances, a comparison; all witnesses
    needed."""
    a, b = statement_signer("rebuilder-a"), statement_signer("rebuilder-b")
    provenance = sign(make_provenance(operator=OPERATOR_A), a)
    entries = [
        sign(make_record(), statement_signer("recorder")),
        provenance,
        sign(make_comparison(provenance=provenance.identity.hex()), a),
        sign(make_provenance(operator=OPERATOR_B), b),
    ]
    signers = [log_signer(), *(witness_signer(name) for name in WITNESSES)]
    lines = [f"log {verifier_key(log_signer())}"]
    lines += [f"witness w{n} {verifier_key(witness_signer(name))}" for n, name in enumerate(WITNESSES)]
    lines += ["group all-of-them all w0 w1 w2", "quorum all-of-them", ""]
    trust, bundle, file = folder / "trust.toml", folder / "bundle.json", folder / "lib-1.0.jar"
    trust.write_text(trust_text(policy="\n".join(lines)))
    bundle.write_bytes(make_bundle(entries, signers=signers, time=COSIGNED))
    file.write_bytes(PUBLISHED)
    return trust, bundle, file


def check_once(trust: Path, bundle: Path, file: Path) -> Report:
    """Steps 0 to 7 from files."""
    believed = load_trust(trust)
    with file.open("rb") as stream:
        digests = digest_file(stream)
    data = read_at_most(bundle, 4 * 1024 * 1024)
    return check_bundle(data, digests, LIB, believed, now=COSIGNED + 60, need=("recorded", "reproduced"))


def refuses_another_file(trust: Path, bundle: Path, file: Path) -> None:
    """The same check says no where it must."""
    file.write_bytes(PUBLISHED + b"x")
    try:
        check_once(trust, bundle, file)
    except LevelsMissingError:
        return
    except Exception as error:
        check(
            getattr(error, "step", None) == 2, f"another file was refused otherwise than at step 2: {error}"
        )
        return
    check(False, "another file verified")
