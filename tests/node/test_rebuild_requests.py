"""Refusals that ask for a rebuild: the real queue behind a whole node, by requests of each adapter."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.api.conan.support import ConanWorld, conan_world
from tests.api.docker.support import ImageWorld, image_world
from tests.api.support import JAR, Answer, World, call, world
from tests.conan_packages import make_package, make_recipe
from tests.images import make_image, make_index
from tests.verify.cases import comparison, provenance, second
from tests.verify.support import PUBLISHED

from touchplate.api.docker.layout import image_purl
from touchplate.builder.definitions.path import definition_path
from touchplate.builder.queue.jobs import Job, QueueLimits
from touchplate.node import rebuilds
from touchplate.verify.purl import parse_purl

ASKER, WORKER, ADMIN = "an-askers-token-of-tests", "a-workers-token-of-tests", "an-admins-token-of-tests"
PACKAGE = "pkg:maven/org.example/lib@1.0?type=jar"
PATH = f"/maven/central/{JAR}"
QUEUE = """
[queue]
{lines}
[[queue.token]]
name = "ci"
token = "file:ask.token"
scopes = ["ask"]
[[queue.token]]
name = "shed"
token = "file:work.token"
scopes = ["work"]
[[queue.token]]
name = "boss"
token = "file:admin.token"
scopes = ["admin"]
"""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes do not depend on how busy this machine is."""
    monkeypatch.setattr(rebuilds, "WAIT_SECONDS", 60.0)


def rules(mode: str, lines: str = "") -> str:
    """Everything has to be reproduced, and those whom `mode` names ask for it."""
    rule = f'[[gate.rule]]\nneed = ["reproduced"]\nrebuild = "{mode}"\n'
    return rule + QUEUE.format(lines=lines)


def write_tokens(folder: Path) -> None:
    """The token files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, token in (("ask", ASKER), ("work", WORKER), ("admin", ADMIN)):
        path = folder / f"{name}.token"
        path.write_text(token)
        path.chmod(0o600)


@contextmanager
def maven(folder: Path, mode: str = "any", lines: str = "") -> Iterator[World]:
    """A node that refuses one jar."""
    write_tokens(folder)
    with world(folder, rules=rules(mode, lines)) as made:
        made.upstream.put(JAR, PUBLISHED)
        yield made


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def jobs(here: World) -> list[Job]:
    """What is in the queue, the newest first."""
    assert here.node.jobs is not None
    return here.node.jobs.queue.list()


def detail(answer: Answer) -> str:
    """The reason, as a Maven client prints it."""
    assert answer.status == 403
    return str(answer.json["detail"])


def test_a_refused_file_is_put_into_the_queue_and_the_refusal_says_so(tmp_path: Path) -> None:
    with maven(tmp_path) as here:
        said = detail(here.get(PATH))
        (job,) = jobs(here)
        assert (job.package, job.definition, job.state) == (PACKAGE, "", "waiting")
        assert "0 of 2 operators" in said
        assert said.endswith("; a rebuild is asked for: job 1 (touchplate jobs show 1)")


def test_the_refusal_is_the_same_but_for_the_note(tmp_path: Path) -> None:
    with maven(tmp_path / "a") as asking, maven(tmp_path / "b", "never") as other:
        asked, plain = asking.get(PATH), other.get(PATH)
        note = "; a rebuild is asked for: job 1 (touchplate jobs show 1)"
        assert asked.json == {**plain.json, "detail": plain.json["detail"] + note}
        assert asked.status == plain.status
        assert jobs(other) == []


def test_requests_for_one_file_are_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilds, "TOLD_SECONDS", 0.0)
    with maven(tmp_path) as here:
        here.get(PATH)
        for path in (PATH, f"{PATH}.sha1", f"{PATH}.touchplate.json"):
            assert "a rebuild was asked for already: job 1" in detail(here.get(path))
        assert detail(here.get(PATH, authorization=f"Bearer {ASKER}")).count("job 1 ") == 1
        assert len(jobs(here)) == 1


def test_a_flood_is_one_job_and_every_answer_is_the_gates(tmp_path: Path) -> None:
    with maven(tmp_path) as here, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: here.get(PATH), range(64)))
        assert {answer.status for answer in answers} == {403}
        assert {answer.json["reason"] for answer in answers} == {"not-reproduced"}
        assert len(jobs(here)) == 1


def test_clients_without_a_token_are_bounded_by_the_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilds, "TIRED_SECONDS", 0.0)
    with maven(tmp_path) as here:
        paths = [f"org/example/lib/{version}/lib-{version}.jar" for version in range(13)]
        for path in paths:
            here.upstream.put(path, path.encode())
        said = [detail(here.get(f"/maven/central/{path}")) for path in paths]
        assert sum("a rebuild is asked for" in one for one in said) == 10
        assert said[-1].endswith(
            "no rebuild was asked for: 10 rebuilds an hour may be asked for; try again later"
        )
        assert len(jobs(here)) == 10
        # A token is another client.
        assert "job 11 " in detail(here.get(f"/maven/central/{paths[-1]}", **bearer(ASKER)))


def test_a_client_that_had_enough_is_not_let_to_the_queue_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilds, "TOLD_SECONDS", 0.0)
    with maven(tmp_path) as here:
        paths = [f"org/example/lib/{version}/lib-{version}.jar" for version in range(11)]
        for path in paths:
            here.upstream.put(path, path.encode())
            here.get(f"/maven/central/{path}")
        # The queue would know the first one's job: it was not asked.
        assert "no rebuild was asked for: 10" in detail(here.get(f"/maven/central/{paths[0]}"))


@pytest.mark.parametrize(
    "headers",
    [
        {}, bearer("wrong-token-wrong-token"), bearer(WORKER), bearer(""), {"Authorization": "Basic !"},
        {"Authorization": "Basic " + base64.b64encode(b"ci:wrong-token-wrong-token").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
        {"Authorization": "Digest " + ASKER},
    ],
)  # fmt: skip
def test_where_a_token_is_needed_nobody_else_asks(tmp_path: Path, headers: dict[str, str]) -> None:
    with maven(tmp_path, "authenticated") as here:
        assert detail(here.get(PATH, **headers)).endswith(rebuilds.TOKENLESS)
        assert jobs(here) == []


@pytest.mark.parametrize(
    "given",
    [
        f"Bearer {ASKER}", f"bearer {ASKER}", f"Bearer {ADMIN}",
        "Basic " + base64.b64encode(f"whoever:{ASKER}".encode()).decode(),
    ],
)  # fmt: skip
def test_a_token_asks(tmp_path: Path, given: str) -> None:
    with maven(tmp_path, "authenticated") as here:
        assert "job 1 " in detail(here.get(PATH, authorization=given))
        assert len(jobs(here)) == 1


def test_a_wrong_token_where_everybody_may_ask_counts_as_none(tmp_path: Path) -> None:
    with maven(tmp_path) as here:
        assert "job 1 " in detail(here.get(PATH, **bearer("wrong-token-wrong-token")))
        with sqlite3.connect(tmp_path / "data" / "queue.sqlite") as database:
            assert database.execute("SELECT client FROM jobs").fetchall() == [("anonymous 127.0.0.1",)]
        database.close()


def test_what_the_log_says_is_different_is_not_built_again(tmp_path: Path) -> None:
    with maven(tmp_path) as here:
        here.append(comparison("rebuilder-a", "different"))
        said = detail(here.get(PATH))
        assert said.endswith("no rebuild is asked for: one gave other bytes, see index 0 of the log")
        assert jobs(here) == []


def test_one_operator_is_not_enough_and_the_next_is_asked(tmp_path: Path) -> None:
    with maven(tmp_path) as here:
        here.append(provenance())
        assert "1 of 2 operators" in detail(here.get(PATH))
        assert len(jobs(here)) == 1
        here.append(second())
        assert here.get(PATH).status == 200


def finish(here: World, result: str) -> None:
    """The one job is done, as by a worker."""
    assert here.node.jobs is not None
    queue = here.node.jobs.queue
    now = jobs(here)[0].created
    lease = queue.lease("shed/one", now)
    assert lease is not None
    queue.judge(1, lease.secret, result, now)  # type: ignore[arg-type]
    queue.sign(1, lease.secret, [b"{}"])
    queue.finish(1, lease.secret, [0], now)


@pytest.mark.parametrize("result", ["identical", "equivalent", "different"])
def test_what_was_built_is_not_built_again_by_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str
) -> None:
    monkeypatch.setattr(rebuilds, "TOLD_SECONDS", 0.0)
    with maven(tmp_path) as here:
        here.get(PATH)
        finish(here, result)
        assert detail(here.get(PATH)).endswith(f"a rebuild was made already: job 1, {result}")
        assert len(jobs(here)) == 1


def test_a_cancelled_job_is_not_opened_again_by_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilds, "TOLD_SECONDS", 0.0)
    with maven(tmp_path) as here:
        here.get(PATH)
        assert here.node.jobs is not None
        here.node.jobs.queue.cancel(1, jobs(here)[0].created)
        assert "job 1 cancelled less than a day ago" in detail(here.get(PATH))
        assert len(jobs(here)) == 1


def test_a_queue_that_is_down_changes_nothing_but_the_note(tmp_path: Path) -> None:
    with maven(tmp_path) as here:
        with sqlite3.connect(tmp_path / "data" / "queue.sqlite") as database:
            database.execute("ALTER TABLE jobs RENAME TO gone")
        for _ in range(2):
            answer = here.get(PATH)
            assert answer.json["reason"] == "not-reproduced"
            assert detail(answer).endswith(rebuilds.RESTING)
        database.close()
        here.append(provenance(), second())
        assert here.get(PATH).status == 200


def test_a_queue_that_is_slow_holds_up_no_refusal_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilds, "WAIT_SECONDS", 0.1)
    with maven(tmp_path) as here:
        with sqlite3.connect(tmp_path / "data" / "queue.sqlite", isolation_level=None) as database:
            database.execute("BEGIN IMMEDIATE")
            assert detail(here.get(PATH)).endswith(rebuilds.LATE)
            other = PATH.replace("1.0", "2.0")
            here.upstream.put(JAR.replace("1.0", "2.0"), b"two")
            assert detail(here.get(other)).endswith(rebuilds.RESTING)
            database.execute("ROLLBACK")
        database.close()


def test_a_full_queue_changes_nothing_but_the_note(tmp_path: Path) -> None:
    with maven(tmp_path) as here:
        assert here.node.jobs is not None
        queue = here.node.jobs.queue
        queue.limits = QueueLimits(open_jobs=1)
        queue.add("pkg:maven/g/a@1", "", 1)
        answer = here.get(PATH)
        assert answer.json["reason"] == "not-reproduced"
        assert "no rebuild was asked for: 1 jobs are open" in detail(answer)


def test_a_file_that_nobody_can_infer_is_not_put_into_the_queue(tmp_path: Path) -> None:
    with maven(tmp_path) as here:
        path = "org/example/lib/1.0/lib-1.0-linux.jar"
        here.upstream.put(path, b"native")
        assert detail(here.get(f"/maven/central/{path}")).endswith(rebuilds.UNDEFINED)
        assert jobs(here) == []


def test_a_snapshot_asks_for_nothing(tmp_path: Path) -> None:
    with maven(tmp_path) as here:
        path = "org/example/lib/2-SNAPSHOT/lib-2-SNAPSHOT.jar"
        here.upstream.put(path, b"today's")
        assert "rebuild" not in detail(here.get(f"/maven/central/{path}"))
        assert jobs(here) == []


def test_an_asking_token_stores_no_evidence_and_takes_no_jobs(tmp_path: Path) -> None:
    with maven(tmp_path) as here:
        here.get(PATH)
        digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        for method, path in (("POST", "jobs/lease"), ("POST", "jobs"), ("POST", "jobs/1/cancel")):
            answer = call(here.app, f"/builder/{path}", method=method, headers=bearer(ASKER), body=b"{}")
            assert answer.status == 403
        stored = call(here.app, f"/builder/evidence/{digest}", method="PUT", headers=bearer(ASKER))
        assert stored.status in (401, 403)
        assert here.get("/builder/jobs/1", **bearer(ASKER)).json["package"] == PACKAGE


@contextmanager
def conan(folder: Path, mode: str = "any") -> Iterator[ConanWorld]:
    write_tokens(folder)
    with conan_world(folder, rules=rules(mode)) as made:
        yield made


def test_a_refused_conan_package_is_asked_for_by_its_archive(tmp_path: Path) -> None:
    recipe = make_recipe()
    package = make_package(recipe)
    with conan(tmp_path) as here:
        here.remote.upload(recipe, package)
        answer = here.files(package)
        assert answer.status == 400
        assert "a rebuild is asked for: job 1 (touchplate jobs show 1)" in answer.text
        (job,) = jobs(here)
        assert f"file=conan_package.tgz&package_id={package.revision.package_id}" in job.package
        assert f"prev={package.revision.prev}" in job.package


def test_a_refused_recipe_asks_for_one_of_its_packages(tmp_path: Path) -> None:
    recipe = make_recipe()
    package = make_package(recipe)
    with conan(tmp_path) as here:
        here.remote.upload(recipe, package)
        assert "job 1 " in here.files(recipe).text
        assert here.files(package).text.count("job 1 ") == 1
        (job,) = jobs(here)
        assert f"prev={package.revision.prev}" in job.package


def test_a_recipe_without_packages_cannot_be_asked_for(tmp_path: Path) -> None:
    with conan(tmp_path) as here:
        recipe = make_recipe()
        here.remote.upload(recipe)
        answer = here.files(recipe)
        assert answer.status == 400
        assert rebuilds.UNDEFINED in answer.text
        assert jobs(here) == []


def test_a_remote_that_goes_down_in_between_changes_nothing_but_the_note(tmp_path: Path) -> None:
    with conan(tmp_path) as here:
        recipe = make_recipe()
        here.remote.upload(recipe, make_package(recipe))
        here.remote.acts[f"{recipe.revision.path}/search"] = lambda handler: handler.raw(b"")
        answer = here.files(recipe)
        assert (answer.status, "not-reproduced" in answer.text or "0 of 2" in answer.text) == (400, True)
        assert "no rebuild was asked for: upstream-" in answer.text
        assert jobs(here) == []


IMAGE = make_image("app")
ARM = make_image("arm", architecture="arm64")
BOTH = make_index({"arm64": ARM, "amd64": IMAGE})
IMAGE_URL = str(image_purl("registry.example.org", "team/app", IMAGE.hex))


def image_definition(package: str) -> dict[str, Any]:
    """A definition of an image, as an operator writes it."""
    digest = "a" * 64
    uri = f"upstream:registry.example.org/team/sources/blobs/sha256:{digest}"
    return {
        "version": 1,
        "name": "app",
        "package": package,
        "source": {"kind": "source-release", "files": [{"uri": uri, "sha256": digest, "size": 1}]},
        "tools": {"buildah": "1.28.2"},
        "image": {"containerfile": "Containerfile", "timestamp": 0, "platform": "linux/amd64"},
        "outputs": [{"path": "manifest.json", "package": package}],
    }


@contextmanager
def images(folder: Path) -> Iterator[ImageWorld]:
    """A node with one definition, of `IMAGE`."""
    write_tokens(folder)
    place = (folder / "definitions" / definition_path(parse_purl(IMAGE_URL))).with_suffix(".json")
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(image_definition(IMAGE_URL)))
    (folder / "definitions" / "broken.yaml").write_text("version: [")
    with image_world(folder, rules=rules("any", 'definitions = "definitions"')) as made:
        made.registry.push("team/app", "1", IMAGE)
        made.registry.push("team/index", "1", BOTH)
        made.registry.push("team/app", "all", BOTH)
        yield made


def test_a_refused_image_is_asked_for_by_the_operators_definition(tmp_path: Path) -> None:
    with images(tmp_path) as here:
        answer = here.get("/v2/team/app/manifests/1")
        assert answer.status == 403
        (error,) = answer.json["errors"]
        assert error["message"].endswith("a rebuild is asked for: job 1 (touchplate jobs show 1)")
        assert "job 1 " in answer.headers["warning"]
        (job,) = jobs(here)
        assert job.package == IMAGE_URL
        # Workers find the definition where they look for it.
        stored = here.node.evidence.path(job.definition).read_bytes()
        assert json.loads(stored) == image_definition(IMAGE_URL)


def test_of_an_index_the_image_with_a_definition_is_asked_for(tmp_path: Path) -> None:
    with images(tmp_path) as here:
        assert here.get("/v2/team/app/manifests/all").status == 403
        assert [job.package for job in jobs(here)] == [IMAGE_URL]


def test_an_image_without_a_definition_is_not_put_into_the_queue(tmp_path: Path) -> None:
    with images(tmp_path) as here:
        (error,) = here.get("/v2/team/index/manifests/1").json["errors"]
        assert error["message"].endswith(rebuilds.UNDEFINED)
        assert jobs(here) == []


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::2", "2001:db8::/64"), (None, "unknown"), ("a socket", "unknown"),
    ],
)  # fmt: skip
def test_an_address_of_ipv6_counts_as_its_network(address: str | None, network: str) -> None:
    assert rebuilds.network_of(address) == network
