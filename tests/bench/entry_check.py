"""The check of one signed entry, as admission does it and as a peer does it with another peer's.

CPU of this thread, beside the signature alone, which is all that OpenSSL does of it: the ratio holds on any
machine, busy or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.bench.add import envelope
from tests.bench.harness import Row, check, median
from tests.verify.support import OPERATOR_A, make_comparison, sign, statement_signer

from touchplate.log.admission import Admission
from touchplate.log.peers.checks import check_packed
from touchplate.verify.entry import make_entry, pack_entry
from touchplate.verify.names import format_builder
from touchplate.verify.purl import maven_purl
from touchplate.verify.trust import AdmissionList, TrustedKey

ENTRIES = 400
ROUNDS = 15
SIGNER = "rebuilder-a"

T = TypeVar("T")


def entry_check(entries: int = ENTRIES, rounds: int = ROUNDS) -> list[Row]:
    """Provenances and comparisons, each about a package version of its own."""
    provenances = [envelope(number) for number in range(entries)]
    comparisons = [_comparison(number) for number in range(entries)]
    return [
        *_rows("provenance", provenances, rounds),
        *_rows("comparison", comparisons, rounds),
    ]


def _rows(kind: str, envelopes: Sequence[bytes], rounds: int) -> list[Row]:
    key = statement_signer(SIGNER).key
    builder = format_builder(OPERATOR_A, "bubblewrap")
    listed = TrustedKey("rebuilder", OPERATOR_A, builder, key, ("maven",))
    admission = Admission(AdmissionList((listed,)), lambda: 0)
    entries = [make_entry(one, key.spki) for one in envelopes]
    packed = [pack_entry(one) for one in entries]
    signed = [(one.signature, one.pae) for one in entries]
    admitted = [admission.admit(one).packed for one in envelopes]
    check(admitted == packed, "admission packed other entries")
    check([check_packed(one).entry.packed for one in packed] == packed, "a peer took other entries")
    times: dict[str, list[float]] = {"admission": [], "peer": [], "signature": []}
    for _ in range(rounds):
        times["signature"].append(_spent(lambda both: key.verify(*both), signed))
        times["admission"].append(_spent(admission.admit, envelopes))
        times["peer"].append(_spent(check_packed, packed))
    alone = median(times["signature"])
    kib = sum(map(len, envelopes)) / len(envelopes) / 1024
    return [
        Row(
            f"one {kind} of {kib:.1f} KiB checked, {who}",
            f"{median(times[who]):.0f} us",
            f"{alone:.0f} us",
            median(times[who]) / alone,
            None,
            f"peer: the signature alone; ratio {median(times[who]) / alone:.2f}; "
            f"best {min(times[who]):.0f} us beside {min(times['signature']):.0f} us",
        )
        for who in ("admission", "peer")
    ]


def _comparison(number: int) -> bytes:
    purl = maven_purl("org.example", "lib", f"1.0.{number}")
    return sign(make_comparison("different", b"%d" % number, uri=purl), statement_signer(SIGNER)).envelope


def _spent(work: Callable[[T], object], items: Sequence[T]) -> float:
    """CPU microseconds of this thread for one item."""
    began = time.thread_time()
    for item in items:
        work(item)
    return (time.thread_time() - began) / len(items) * 1e6
