"""Our witness under transparency-dev's loadtest: fifty growing logs at once, faster and faster."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conformance.go_programs import built
from tests.conformance.witness_build import build_loadtest
from tests.log.witness.support import COSIGNER, PQ_COSIGNER
from tests.node.test_serve import Process

LOGS = 50
SUCCESS_QPS = 20
"""Updates a second after which loadtest is content. Not what our witness can do: loadtest's own throttle
loses a timer's delay with each update, so on a busy machine it never counts much more than thirty."""

SECONDS = 400


class WitnessProcess(Process):
    """`touchplate log witness`."""

    command = ("log", "witness")


def logs_of(loadtest: Path) -> list[tuple[str, str]]:
    """(origin, key) of the logs that loadtest will play: it prints them when it has no target."""
    text = subprocess.run(
        [str(loadtest), f"--log_count={LOGS}"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    found = re.findall(r"Origin: (\S+)\n(?:.*\n)*?\s+PublicKey: (\S+)", text)
    assert len(found) == LOGS, text[:500]
    return found


@contextmanager
def our_witness(folder: Path, logs: list[tuple[str, str]]) -> Iterator[str]:
    """`touchplate log witness` on a free port, with both algorithms; its URL."""
    for name, signer in (("ed25519", COSIGNER), ("mldsa44", PQ_COSIGNER)):
        path = folder / f"{name}.key"
        path.touch(0o600)
        path.write_text(signer.format() + "\n")
    tables = "".join(f'[[witness.log]]\norigin = "{origin}"\nkeys = ["{key}"]\n' for origin, key in logs)
    config = folder / "witness.toml"
    config.write_text(
        'data = "data"\n[http]\nlisten = "127.0.0.1:0"\n'
        f'[witness]\nkeys = ["file:ed25519.key", "file:mldsa44.key"]\n{tables}'
    )
    process = WitnessProcess(config)
    try:
        yield process.url()
        assert process.stop() == 0, process.lines
    finally:
        process.close()


@pytest.mark.slow
@pytest.mark.long
def test_takes_all_updates_of_fifty_logs(tmp_path: Path) -> None:
    loadtest = built(build_loadtest, "loadtest")
    logs = logs_of(loadtest)
    with our_witness(tmp_path, logs) as url:
        flags = [f"--target={url}", f"--log_count={LOGS}", "--timeout=10s", "--num_extra_sigs=3"]
        flags += [f"--success_qps={SUCCESS_QPS}", "--start_qps=10", "--logtostderr"]
        for run in ("first", "again, from where the witness is"):
            done = subprocess.run(
                [
                    str(loadtest),
                    *flags,
                    f"--success_qps={SUCCESS_QPS}",
                    "--start_qps=10",
                    "--num_extra_sigs=3",
                ],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            # Its exit code alone says little; what it writes does.
            said = done.stderr[-2000:]
            assert "Exiting successfully: QPS reached" in done.stderr, (run, said)
            assert not re.search(r"Failed to update|Witness took|asked to re-sync", done.stderr), (run, said)
            assert done.returncode == 0, (run, said)
    sys.stdout.write(f"loadtest: {done.stderr.splitlines()[-1]}\n")
