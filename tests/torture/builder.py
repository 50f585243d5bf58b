"""The builder's part of the series: `touchplate rebuild`, killed on its way from an empty folder to the log.

The sandbox is the real one, the build a script of a few lines; the log and the evidence store are a real node
that lives through the whole series and remembers everything.
"""

import contextlib
import json
import random
import shutil
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.api.support import write_node
from tests.builder.mavenparts import manifest, pom, publish, zip_bytes
from tests.builder.rebuildparts import CONTENT, scene, scripted
from tests.simkeys import ORIGIN, solo_policy
from tests.torture.oracle import LOST, Finding, Promises, check_digests, check_node, leftovers, read_log
from tests.torture.points import BUILDER, READER
from tests.torture.process import Kill, Launcher, Run, SeriesError
from tests.torture.results import Results
from tests.torture.series import Series, Undisturbed, passed_by
from tests.verify.support import OPERATOR_A, statement_signer

from touchplate.builder.attestation.outbox import Outbox
from touchplate.verify.client import LogClient
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.entry import parse_packed
from touchplate.verify.keys import format_private_pem
from touchplate.verify.statements import Provenance, parse_predicate, parse_statement

LIB = "org/example/lib/1/lib-1.txt"
INFERRED = "pkg:maven/org.example/inferred@1.0?type=jar"

DIGEST_FOLDERS = ("downloads", "evidence", "cache/inputs", "cache/outputs")
_DIGEST = f"tmp/{'ab' * 16}.tmp"
_PARCEL = f".00000000000000000001-00000000.json.{'ab' * 8}.tmp"
KEPT = (f"definitions/.demo.json.{'ab' * 8}.tmp",)
RESTS = (
    *(f"{store}/{_DIGEST}" for store in DIGEST_FOLDERS),
    *(f"{place}/{_PARCEL}" for place in ("outbox", "outbox/done", "outbox/refused")),
    *(f"{place}{'ab' * 8}/files/half" for place in ("work/job-", "tree-")),
    f"locks/.{'ab' * 32}.json.{'ab' * 8}.tmp",
)
"""What a crash may leave in each folder that a rebuild opens."""


@dataclass
class Scenario(Undisturbed):
    """One call of `touchplate rebuild`: its options, its exit code, and what crashed runs left before it."""

    name: str
    options: Sequence[str]
    code: int = 0
    rests: Sequence[str] = ()


class BuilderSeries(Series):
    """Runs the scenarios of the builder, one kill at a time, each in a data folder of its own."""

    points = (*BUILDER, *READER)

    def __init__(self, folder: Path, launcher: Launcher, results: Results) -> None:
        super().__init__(folder, launcher, results)
        self._promises = Promises()
        self._checking = threading.Lock()  # the client and the promises are one thread's at a time
        self.scenarios: list[Scenario] = []

    @contextlib.contextmanager
    def opened(self) -> Iterator["BuilderSeries"]:
        """With a repository, a node for the log and the evidence, and keys."""
        config = write_node(self._folder / "node", "http://127.0.0.1:1/repository")
        self._data = config.parent / "data"
        with scene() as one:
            self._scene = one
            node = self._launcher.start(["serve", "--config", str(config)], {"node": self._data})
            url = node.url()
            if url is None:
                raise SeriesError(f"the node did not start: {node.err()}")
            try:
                self._url = url
                self._client = LogClient(f"{url}/log", solo_policy(), self._folder / "observer" / "head")
                self.scenarios = self._make_scenarios(config.parent)
                # Entry 0 and 1, which the last scenario repeats.
                for scenario in self.scenarios:
                    self.run(scenario, None)
                yield self
            finally:
                code = node.stop()
            found = [] if code == 0 else [Finding(LOST, f"the node ended with {code}: {node.err()[-1000:]}")]
            found += self._check_noted()
            found += check_node(self._data, config.parent / "trust.toml", self._promises)
            self._results.note(node.hits(), None)
            self._results.report("the node of the builders, at its end", found)

    def _make_scenarios(self, folder: Path) -> list[Scenario]:
        one = self._scene
        publish(one.repository, LIB, CONTENT)
        definition = folder / "definition.json"
        definition.write_bytes(scripted(one, f"jar(get({LIB!r}))").data)
        jar = zip_bytes({"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 9")})
        for name, content in (
            ("inferred-1.0.jar", jar),
            ("inferred-1.0.pom", pom("inferred")),
            ("inferred-1.0-sources.jar", zip_bytes({"A.java": b"class A {}"})),
        ):
            publish(one.repository, f"org/example/inferred/1.0/{name}", content)
        keys = {}
        for name in ("rebuilder-a", "recorder"):
            keys[name] = folder / f"{name}.pem"
            keys[name].write_bytes(format_private_pem(statement_signer(name)))
            keys[name].chmod(0o600)
        server = ("--log", f"{self._url}/log", "--evidence", f"{self._url}/builder/evidence")
        sending = (*server, "--token", f"file:{folder / 'worker.token'}", "--operator", OPERATOR_A)
        scripted_build = ("--definition", str(definition), *sending, "--key")
        return [
            Scenario("first rebuild", (*scripted_build, str(keys["rebuilder-a"]))),
            Scenario("next rebuild", (*scripted_build, str(keys["rebuilder-a"])), rests=RESTS),
            # With a key that the log knows, but not as a rebuilder's: else nothing would be built.
            Scenario("refused rebuild", (*scripted_build, str(keys["recorder"])), code=2),
            Scenario("inferred rebuild", (INFERRED,), code=2, rests=KEPT),  # no JDK 9 is on Debian 12
            Scenario("first inferred rebuild", (INFERRED,), code=2),
            Scenario("repeated rebuild", ("--from", "0", *server, "--trust", str(folder / "trust.toml"))),
        ]

    def load(self, rounds: int, chooser: random.Random) -> None:
        """One folder, killed at random moments of rebuilds; what was stored is in the log at the end."""
        data = self._scene.repository.parent / f"load-{next(self._numbers):04d}"
        scenario = self.scenarios[0]
        stored: dict[str, tuple[bytes, ...]] = {}
        for _ in range(rounds):
            run = self._start(scenario, data, data)
            timer = threading.Timer(chooser.uniform(0.05, 1.5), run.kill)
            timer.start()
            run.wait()
            timer.join()
            self._results.note(run.hits(), None)
            stored |= _parcels(data)
            self._results.note_random()
        run = self._start(scenario, data, data)
        found = [] if run.wait() == 0 else [Finding(LOST, f"the next run ended with {run.code}: {run.err()}")]
        with self._checking:
            found += self._check(scenario, data, stored)
        self._results.report("rebuilds killed at random", found)
        shutil.rmtree(data)

    def run(self, scenario: Scenario, kill: Kill | None) -> bool:
        """One rebuild that ends at `kill`, the same call after it, and the oracle. Whether it ended there."""
        number = next(self._numbers)
        data = self._scene.repository.parent / f"data-{number:04d}"
        state = data.with_name(f"state-{number:04d}")
        _leave_rests(data, scenario.rests)
        reached, stored = False, {}
        found: list[Finding] = []
        if kill is not None:
            run = self._start(scenario, data, state, kill)
            run.wait()
            reached = self._results.note(run.hits(), kill)
            stored = _parcels(data)
            # Before the next run could mend it: what has its name is whole.
            found += [one for folder in DIGEST_FOLDERS for one in check_digests(data / folder)]
            found += judge_end(run, kill, scenario.code, reached=reached)
        started = time.monotonic()
        run = self._start(scenario, data, state)
        run.wait()
        self._results.note(run.hits(), None)
        if kill is None:
            scenario.passed.update(passed_by(run.hits()))
            scenario.seconds = time.monotonic() - started
        if run.code != scenario.code or not run.is_explained():
            found.append(Finding(LOST, f"the next run ended with {run.code}: {run.err()[-1000:]}"))
        with self._checking:
            found += self._check(scenario, data, stored)
            if (head := state / f"head-{ORIGIN}").exists():
                self._promises.checkpoints.add(head.read_bytes())
        self._results.report(f"{scenario.name}, {kill}", found)
        shutil.rmtree(data)
        shutil.rmtree(state, ignore_errors=True)
        return reached

    def _start(self, scenario: Scenario, data: Path, state: Path, kill: Kill | None = None) -> Run:
        argv = ["rebuild", *scenario.options, "--data", str(data), "--upstream", self._scene.url]
        if "--from" in scenario.options:
            argv += ["--state", str(state)]
        return self._launcher.start([*argv, "--quiet"], {"builder": data, "state": state}, kill)

    def _check(
        self, scenario: Scenario, data: Path, stored: dict[str, tuple[bytes, ...]]
    ) -> Iterator[Finding]:
        checkpoint = self._client.checkpoint()
        self._promises.checkpoints.add(checkpoint.note.encode())
        logged = Counter(entry.envelope for _, entry in self._client.entries(0))
        outbox = Outbox(data / "outbox")
        is_refused = scenario.name == "refused rebuild"
        for parcel in outbox.waiting():
            yield Finding(LOST, f"parcel {parcel.name} still waits")
        for name, envelopes in {**stored, **_parcels(data)}.items():
            times = [logged[envelope] for envelope in envelopes]
            if times != [0 if is_refused else 1] * len(envelopes):
                yield Finding(LOST, f"the envelopes of parcel {name} are in the log {times} times")
        for path in (data / "outbox" / "done").glob("*.json"):
            note = json.loads(path.read_bytes())
            for envelope, index in zip(_parcels(data)[path.name], note["indexes"], strict=True):
                self._promises.answered(envelope, int(index))
        yield from self._check_evidence(logged)
        for folder in DIGEST_FOLDERS:
            yield from check_digests(data / folder)
        yield from (Finding(LOST, f"room: {path} is left over") for path in leftovers(data))

    def _check_noted(self) -> Iterator[Finding]:
        """Nothing is in the log that no outbox has noted: that was sent before it was stored, or lost."""
        for index, packed in enumerate(read_log(self._data)):
            if self._promises.entries.get(parse_packed(packed).envelope) != index:
                yield Finding(LOST, f"entry {index} is in the log, and no outbox has a note of it")

    def _check_evidence(self, logged: Counter[bytes]) -> Iterator[Finding]:
        """Everything that a provenance names can be fetched."""
        for envelope in logged:
            predicate = parse_predicate(parse_statement(parse_envelope(envelope).payload))
            if isinstance(predicate, Provenance):
                named = [predicate.one(kind).digests["sha256"] for kind in ("definition", "input-lock")]
                for sha256 in (*named, *predicate.byproducts.values()):
                    if not (self._data / "evidence" / sha256[:2] / sha256).is_file():
                        yield Finding(LOST, f"evidence {sha256}, which the log names, is not held")


def _parcels(data: Path) -> dict[str, tuple[bytes, ...]]:
    """The envelopes of every parcel that is on disk whole, by its name."""
    found = {}
    for path in (data / "outbox").rglob("*.json"):
        if not path.name.startswith("."):
            value = json.loads(path.read_bytes())
            found[path.name] = tuple(b64decode(text) for text in value["envelopes"])
    return found


def _leave_rests(data: Path, rests: Sequence[str]) -> None:
    """Files as crashed runs may have left them."""
    for rest in rests:
        path = data / rest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")


def judge_end(run: Run, kill: Kill, code: int, *, reached: bool) -> Iterator[Finding]:
    """A killed process was killed; one that met an error went on without what failed, or said so in one
    line; one that did not come to the point ended as always."""
    if not reached:
        if run.code != code:
            yield Finding(LOST, f"it ended with {run.code} before its point: {run.err()[-1500:]}")
    elif kill.is_end:
        if run.code != -9:
            yield Finding(LOST, f"the process should have been killed and ended with {run.code}")
    elif not run.is_explained():
        yield Finding(LOST, f"it ended with {run.code} and no clear error: {run.err()[-1500:]}")
