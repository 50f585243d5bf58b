"""What Fetch records: every file that the build was given, where it came from, and what it was not given.

One Recorder serves all connections of one Fetch. It decides (is this upstream, path, file allowed?), asks the
upstream at most once per path, and keeps the answers; HTTP is `mirror.py`'s business.
"""

import hashlib
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from touchplate.base.errors import (
    FetchError,
    ResponseTooLargeError,
    StorageError,
    UpstreamError,
    WrongDigestError,
)
from touchplate.base.http import AddressRules, HTTPClient, HTTPLimits
from touchplate.base.upstreams import Upstream, resolve_upstream
from touchplate.builder.cache import Cache
from touchplate.builder.errors import (
    UPSTREAM_FAILED,
    DefinitionError,
    FailureReason,
    HostLack,
    PhaseFailed,
    RefusedInputError,
    TooMuchError,
    storage_lack,
)
from touchplate.builder.inputs.answer import AnswerFinder
from touchplate.builder.inputs.lock import (
    InputLock,
    LockedInput,
    check_input_path,
    is_checksum,
    is_metadata,
    make_lock,
    pinned_inputs,
)
from touchplate.builder.inputs.replay import NotServedError, locate, refuse_method
from touchplate.builder.inputs.upstream_client import (
    AccountsError,
    CredentialsError,
    UpstreamClient,
    check_answer,
)
from touchplate.builder.plan import BuildPlan, Progress
from touchplate.builder.process import Outcome
from touchplate.builder.sandbox.workspace import BEYOND

CLIENTS = 64
"""Connections that the build may hold at once, and so threads of the mirror; more wait."""

LOCKED_CLIENTS = 8
"""Files of a lock fetched at one time; as many as browsers ask of one host."""

ASKS_PER_FILE = 4
"""Distinct paths asked per input allowed: a repository build asks for up to two checksums each, and for
files that are in another upstream."""

TRIES = 3
"""Requests for one file before its upstream counts as down."""

PAUSE_SECONDS = 0.25
"""Before the second try; doubled before each later one."""

CHECKSUM_BYTES = 4096
"""Largest checksum file; real ones hold up to 128 hex digits and a file name."""

SHOWN = 5
"""Refused or missing paths that a failure names."""

_SAFE_IN_PATH = "/~:@!$&'()*+,;="  # RFC 3986 3.3 pchar, beside what quote leaves alone
_MISSING = (404, 410)
_PASSING = (408, 425, 429)  # of the 400s: too slow, too early, too many at once


@dataclass(frozen=True)
class Answer:
    """What the build is told: an HTTP status; for 200 a cached file or, without `sha256`, the `body`."""

    status: int
    body: bytes = b""
    sha256: str = ""
    size: int = 0
    sha1: str = ""


def is_passing(status: int) -> bool:
    """Whether a status other than 200 is no answer to what was asked (206, 304, 500); a refusal is one."""
    return not 400 <= status < 500 or status in _PASSING


def _told(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode())


class _ClosedError(Exception):
    """The phase is over; a download that still runs is given up."""


class UpstreamClients:
    """One HTTP client per upstream, with the addresses that this upstream may have."""

    def __init__(self, upstreams: tuple[Upstream, ...]) -> None:
        limits = HTTPLimits(idle_connections=CLIENTS)
        self.upstreams = {one.name: _resolved(one) for one in upstreams}
        self._clients = {one.name: HTTPClient(_rules(one), limits) for one in self.upstreams.values()}
        self._asking = {
            one.name: UpstreamClient(one, self._clients[one.name]) for one in self.upstreams.values()
        }

    def client(self, name: str) -> UpstreamClient:
        return self._asking[name]

    def url(self, name: str, path: str) -> str:
        """The address of a (plain, decoded) path."""
        return self.upstreams[name].url.rstrip("/") + "/" + quote(path, safe=_SAFE_IN_PATH)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


def _resolved(upstream: Upstream) -> Upstream:
    try:
        return resolve_upstream(upstream)
    except UpstreamError as error:
        raise HostLack(f"upstream {upstream.name!r}: {error}", reason="no-upstream") from error


def _rules(upstream: Upstream) -> AddressRules:
    """Which addresses this upstream may have. No request of the build can name another host.

    Private addresses are refused where only a name server vouches for them. With https the certificate proves
    that the named host answers, wherever it stands (a company's mirror); a loopback name means just that.
    Archives for apt are asked by http everywhere, mirrors of companies too, and apt checks their signatures.
    """
    parts = urlsplit(upstream.url)
    host = parts.hostname or ""
    if host in ("localhost", "127.0.0.1", "::1"):
        return AddressRules.parse(["127.0.0.0/8", "::1/128"])
    is_vouched_for = parts.scheme == "https" or upstream.ecosystem == "apt"
    return AddressRules(hosts=frozenset({host})) if is_vouched_for else AddressRules()


class Recorder:
    """Answers the requests of one Fetch. Called by the mirror's threads; all state is under `_lock`."""

    def __init__(self, plan: BuildPlan, cache: Cache, progress: Progress) -> None:
        self.ready = threading.Event()
        """Set when the bridge's trial request has come all the way."""
        self._plan = plan
        self._cache = cache
        self._progress = progress
        self._clients = UpstreamClients(plan.upstreams)
        self._finder = AnswerFinder(plan.forbidden.digests, cache.contents)
        self._looker = ThreadPoolExecutor(1, "looker")
        self._looks: list[Future[None]] = []  # under _lock
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str], Future[Answer]] = {}
        self._inputs: dict[tuple[str, str], LockedInput] = {}
        self._total_bytes = 0
        self._refused: list[str] = []
        self._missing: list[tuple[str, str]] = []
        self._trouble: list[tuple[str, bool]] = []
        """What an upstream did not answer, and whether it could have been an input."""
        self._unanswered: list[str] = []
        """Files that an upstream still sent, or had yet to send, when the phase was over."""
        self._failed: PhaseFailed | HostLack | None = None

    def ask(self, target: str) -> Answer:
        """Answer GET for a request target as it came over the wire."""
        if self._plan.proxied:
            return self._ask_proxied(target)
        if not target.startswith("/") or "?" in target or "#" in target:
            return self.refuse(
                400, f"{target[:200]!r}: a plain path without a query is all this mirror answers"
            )
        try:
            path = unquote_to_bytes(target[1:]).decode()
            check_input_path(path)
        except (UnicodeDecodeError, DefinitionError):
            return self.refuse(400, f"{target[:200]!r} is not a plain path")
        name, _, path = path.partition("/")
        if name not in self._clients.upstreams or not path:
            return self.refuse(403, f"{target[:200]!r}: no upstream of this build is called {name[:80]!r}")
        return self._once(name, path)

    def _ask_proxied(self, target: str) -> Answer:
        try:
            name, path = locate(target, self._plan.proxied)
            check_input_path(path)
        except NotServedError as refused:
            return self.refuse(refused.status, str(refused))
        except DefinitionError as error:
            return self.refuse(400, str(error))
        return self._once(name, path)

    def refuse_method(self, method: str, target: str) -> Answer:
        """Refuse a request that is neither GET nor HEAD."""
        if self._plan.proxied:
            refused = refuse_method(method, target)
            return self.refuse(refused.status, str(refused))
        return self.refuse(405, f"{method[:20]} {target[:200]!r}: this mirror answers GET and HEAD only")

    def refuse(self, status: int, text: str) -> Answer:
        """Note and refuse a request that nothing will be asked upstream for."""
        with self._lock:
            if len(self._refused) < self._asks:
                self._refused.append(text)
        return _told(status, text)

    def stop_word(self) -> str:
        """For the sandbox: "refused" as soon as nothing can make this Fetch good any more."""
        return "refused" if self._failed is not None else ""

    @property
    def inputs(self) -> tuple[LockedInput, ...]:
        """What was given so far."""
        with self._lock:
            return tuple(self._inputs.values())

    def close(self) -> None:
        """Give up downloads that still run. Call it before waiting for the mirror's threads."""
        with self._lock:
            answers = self._answers.items()
            self._unanswered = [f"{name}/{path}" for (name, path), answer in answers if not answer.done()]
        self._closed.set()
        self._clients.close()

    def finish(self, outcome: Outcome) -> InputLock:
        """The lock, after the command has ended. Raises what stood in its way.

        A command that failed although everything it asked for was given is not a failure of Fetch: Build
        will run it again and say so.
        """
        self._looker.shutdown(cancel_futures=self._failed is not None or bool(outcome.stopped))
        for look in self._looks:
            if not look.cancelled():
                look.result()  # raises what nobody has foreseen
        if self._failed is not None:
            self._failed.log = outcome.log
            raise self._failed
        if not self.ready.is_set() and outcome.stopped not in BEYOND:
            raise HostLack("the bridge to the mirror does not work here", reason="no-bridge", log=outcome.log)
        # A command that went on without a file may make another output than with it.
        failed = outcome.exit_code or outcome.stopped
        if trouble := [text for text, is_input in self._trouble if is_input or failed]:
            what = "; ".join(trouble[:SHOWN])
            raise HostLack(f"an upstream did not answer: {what}", reason=UPSTREAM_FAILED, log=outcome.log)
        if outcome.stopped == "timeout" and self._unanswered:
            # The build may have done nothing but wait for it.
            what = "; ".join(self._unanswered[:SHOWN])
            raise HostLack(
                f"an upstream was still sending when the time of the phase was over: {what}",
                reason=UPSTREAM_FAILED,
                log=outcome.log,
            )
        if outcome.exit_code and not outcome.stopped and (lacking := self._lacking()):
            detail = f"exit code {outcome.exit_code} after not being given {lacking}"
            raise PhaseFailed("fetch", "exit-status", detail, log=outcome.log)
        try:
            return make_lock(dict.fromkeys([*pinned_inputs(self._plan.pinned), *self._inputs.values()]))
        except DefinitionError as error:
            raise PhaseFailed("fetch", "refused-input", str(error), log=outcome.log) from error

    def _lacking(self) -> str:
        given = {path for _, path in self._inputs}
        missing = [f"{name}/{path} (404)" for name, path in self._missing if path not in given]
        return "; ".join([*self._refused, *missing][:SHOWN])

    @property
    def _asks(self) -> int:
        return ASKS_PER_FILE * self._plan.limits.fetch_files

    def _once(self, name: str, path: str) -> Answer:
        """Ask upstream once per path, however often and at whatever time the build asks."""
        key = (name, path)
        with self._lock:
            future = self._answers.get(key)
            first = future is None
            if future is None:
                if len(self._answers) >= self._asks:
                    return self._fail("too-large", f"more than {self._asks} different files were asked for")
                future = self._answers[key] = Future()
        if first:
            try:
                future.set_result(self._answer(name, path))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()

    def _answer(self, name: str, path: str) -> Answer:
        if (name, path) in self._plan.forbidden.paths:
            # Refused before it is asked for: the answer is not even in our cache because of this build.
            return self._fail(
                "refused-input", f"{name}/{path} is the published file that the build has to make"
            )
        try:
            answer = self._ask_upstream(name, path)
        except _ClosedError:
            return _told(503, "the phase is over")
        except ResponseTooLargeError:
            return self._fail("too-large", f"{name}/{path} is larger than all inputs together may be")
        except StorageError as error:
            return self._lack(storage_lack(f"cannot keep {name}/{path}", self._cache.inputs.folder, error))
        except AccountsError as error:
            return self.refuse(403, f"{name}/{path}: {error}")
        except FetchError as error:
            return self._note_trouble(path, f"{name}/{path}: {error}")
        return self._record(name, path, answer) if answer.status == 200 else answer

    def _ask_upstream(self, name: str, path: str) -> Answer:
        """Fetch into the cache, with retries. Raises FetchError, StorageError, _ClosedError."""
        for tried in range(1, TRIES + 1):
            try:
                answer = self._ask_upstream_once(name, path)
                if answer.status < 500 or tried == TRIES:
                    break
            except (ResponseTooLargeError, StorageError, CredentialsError, AccountsError):
                raise
            except FetchError:
                if tried == TRIES:
                    raise
            if self._closed.wait(PAUSE_SECONDS * 2 ** (tried - 1)):
                raise _ClosedError
        if answer.status in _MISSING:
            with self._lock:
                if not is_checksum(path):
                    self._missing.append((name, path))
            return _told(404, f"{name}/{path}: not found")
        if answer.status != 200:
            passing = is_passing(answer.status)
            return self._note_trouble(path, f"{name}/{path}: status {answer.status}", passing=passing)
        return answer

    def _ask_upstream_once(self, name: str, path: str) -> Answer:
        if is_checksum(path):
            return self._ask_checksum(name, path)
        sha1 = hashlib.sha1(usedforsecurity=False)
        with self._cache.inputs.writer() as writer:

            def take(chunk: bytes) -> None:
                if self._closed.is_set():
                    raise _ClosedError
                writer.write(chunk)
                sha1.update(chunk)

            url, limit = self._clients.url(name, path), self._plan.limits.fetch_bytes
            response = self._clients.client(name).stream(url, take, max_bytes=limit)
            if response.status != 200:
                return Answer(response.status)
            if not self._plan.named_by_digest:
                check_answer(response, path, sha1.hexdigest)
            stored = writer.commit()
            return Answer(200, sha256=stored.sha256, size=stored.size, sha1=sha1.hexdigest())

    def _ask_checksum(self, name: str, path: str) -> Answer:
        """Checksums are not inputs: passed on and not kept, or made from the bytes that the build was given,
        as Build makes them.
        """
        if sha1 := self._known_sha1(name, path):
            return Answer(200, sha1.encode())
        try:
            response = self._clients.client(name).get(self._clients.url(name, path), max_bytes=CHECKSUM_BYTES)
        except ResponseTooLargeError:
            return _told(404, f"{name}/{path} is too large for a checksum")
        return Answer(response.status, response.body if response.status == 200 else b"")

    def _known_sha1(self, name: str, path: str) -> str:
        with self._lock:
            given = self._answers.get((name, path.removesuffix(".sha1"))) if path.endswith(".sha1") else None
        if given is None or not given.done() or given.exception() is not None:
            return ""
        return given.result().sha1

    def _record(self, name: str, path: str, answer: Answer) -> Answer:
        """Take a fetched file into the lock, unless it may not be an input."""
        limits = self._plan.limits
        if is_checksum(path):
            return answer
        if is_metadata(path) and not self._plan.allow_metadata:
            why = "changes from day to day; name exact versions, or let the definition allow metadata"
            return self._fail("refused-input", f"{name}/{path} {why}")
        with self._lock:
            self._looks.append(self._looker.submit(self._look_through, name, path, answer.sha256))
            self._inputs[name, path] = LockedInput(name, path, answer.sha256, answer.size)
            self._total_bytes += answer.size
            files, total = len(self._inputs), self._total_bytes
        if files > limits.fetch_files:
            return self._fail("too-large", f"more than {limits.fetch_files} inputs were fetched")
        if total > limits.fetch_bytes:
            return self._fail("too-large", f"more than {limits.fetch_bytes} bytes of inputs were fetched")
        self._progress.fetched(name, path, answer.size)
        return answer

    def _look_through(self, name: str, path: str, sha256: str) -> None:
        """Beside the build, which has the file already: of what it does in Fetch, nothing stays."""
        if self._failed is not None:
            return
        try:
            check_input(self._finder, self._cache, sha256, self._plan.forbidden.digests, just_hashed=True)
        except RefusedInputError as error:
            self._fail("refused-input", f"{name}/{path} {error}")
        except HostLack as lack:
            self._lack(lack)

    def _fail(self, reason: FailureReason, detail: str) -> Answer:
        if self._failed is None:
            self._failed = PhaseFailed("fetch", reason, detail)
        return _told(403, detail)

    def _lack(self, lack: HostLack) -> Answer:
        if self._failed is None:
            self._failed = lack
        return _told(503, str(lack))

    def _note_trouble(self, path: str, text: str, *, passing: bool = True) -> Answer:
        # Other refusals depend on what was asked, so a build that needs none of it is not held up by them.
        with self._lock:
            self._trouble.append((text, passing and not is_checksum(path)))
        return _told(502, text)


def check_input(
    finder: AnswerFinder,
    cache: Cache,
    sha256: str,
    digests: frozenset[str],
    *,
    just_hashed: bool = False,
) -> None:
    """Raise RefusedInputError when a cached input is or holds a forbidden file; remembered per process.

    `just_hashed`: see `AnswerFinder.find`. What has lain in the cache is hashed before it is looked through.
    """
    if (sha256, digests) in cache.looked_through:
        return
    path: Path = cache.inputs.path(sha256)
    try:
        found = finder.find(path, sha256, just_hashed=just_hashed)
    except TooMuchError as error:
        raise RefusedInputError(f"cannot be looked through for the answer: {error}") from error
    if found is not None:
        raise RefusedInputError(f"{found}: the published file that the build has to make")
    cache.looked_through.add((sha256, digests))


def fetch_locked(lock: InputLock, upstreams: tuple[Upstream, ...], cache: Cache, progress: Progress) -> None:
    """Bring the files of a lock that are not in the cache into it, checked by their digest.

    Raises HostLack when one cannot be had any more from its upstream: that says nothing about the package.
    """
    wanted = [one for one in lock.inputs if not cache.inputs.has(one.sha256)]
    clients = UpstreamClients(upstreams)
    if lacking := {one.upstream for one in wanted} - set(clients.upstreams):
        raise HostLack(f"no upstream {sorted(lacking)!r} is configured here", reason="no-upstream")

    def fetch(one: LockedInput) -> None:
        _fetch_one(one, clients, cache)
        progress.fetched(one.upstream, one.path, one.size)

    pool = ThreadPoolExecutor(LOCKED_CLIENTS)
    try:
        for _ in pool.map(fetch, wanted):
            pass  # each result only says that it is there, or raises
    finally:
        pool.shutdown(cancel_futures=True)
        clients.close()


def _fetch_one(one: LockedInput, clients: UpstreamClients, cache: Cache) -> None:
    where = f"{one.upstream}/{one.path}"
    for tried in range(1, TRIES + 1):
        try:
            with cache.inputs.writer(expected=one.sha256) as writer:
                url = clients.url(one.upstream, one.path)
                response = clients.client(one.upstream).stream(url, writer.write, max_bytes=max(one.size, 1))
                if response.status == 200:
                    writer.commit()
                    return
                what = f"status {response.status}"
        except CredentialsError as error:
            raise HostLack(f"cannot fetch {where}: {error}", reason=error.reason) from error
        except (FetchError, WrongDigestError) as error:
            what = str(error)
        except StorageError as error:
            raise storage_lack(f"cannot keep {where}", cache.inputs.folder, error) from error
        if tried < TRIES:
            time.sleep(PAUSE_SECONDS * 2 ** (tried - 1))
    raise HostLack(f"cannot fetch {where} with sha256 {one.sha256}: {what}", reason=UPSTREAM_FAILED)
