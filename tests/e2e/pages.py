"""Look at every page in a real browser: a node with entries of every kind, each page at two widths, in
both colour schemes, and as it is printed. Pictures go to build/pages/.

Checked of each: the status, nothing wider than the screen, no error in the console, nothing fetched from
elsewhere, no script, a contrast of at least 4.5 between every text and what lies behind it (WCAG 2.2, 1.4.3),
headings without gaps, a language, heads of columns that say so, and that a keyboard reaches what scrolls.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.api.support import Upstream, running_upstream
from tests.e2e import pages_data as data
from tests.e2e.chromium import BrowserError, Page, browser, find_chromium
from tests.e2e.demo_world import ROOT, say

PAPER = 794  # pixels of a page of A4 at 96 to the inch, as browsers print
LOOKS = ((1200, "light"), (1200, "dark"), (380, "light"), (380, "dark"), (PAPER, "print"))
OUT = ROOT / "build" / "pages"
CHECKS = Path(__file__).with_name("page_checks.js")
LEAST_CONTRAST = 4.5
START_SECONDS = 60
SHOWN_MISTAKES = 3


@dataclass(frozen=True)
class View:
    """A page to look at. `shows`: words that it must hold."""

    name: str
    path: str
    shows: str
    status: int = 200


def package(release: data.Release) -> str:
    return "/packages/" + quote(str(release.purl.package), safe=":/@")


def artifact(content: bytes) -> str:
    return f"/artifacts/{data.sha256(content)}"


def why(release: data.Release, tail: str = "") -> str:
    return f"/why/maven/central/{release.path}{tail}"


VIEWS = (
    View("start", "/", "Newest verified"),
    View("package-verified", package(data.VERIFIED), "Rebuild history"),
    View("package-contradicted", package(data.CONTRADICTED), "contradicted"),
    View("package-conflict", package(data.CONFLICT), "Different bytes under one name"),
    View("package-hostile", package(data.HOSTILE), "Rebuild history"),
    View("package-all-versions", "/packages/pkg:maven/org.example.text/text-tools", "1.9.0"),
    View("artifact-verified", artifact(data.VERIFIED.published), "2 of 2 operators"),
    View("artifact-one-operator", artifact(data.HALF.published), "1 of 2 operators"),
    View("artifact-weak-source", artifact(data.WEAK.published), "1 more from sources-jar only"),
    View("artifact-contradicted", artifact(data.CONTRADICTED.published), "contradicted"),
    View(
        "artifact-not-published",
        artifact(data.CONTRADICTED.other),
        "Nobody says that these bytes were published",
    ),
    View("artifact-not-built", artifact(data.NOT_BUILT.published), "Information only"),
    View("artifact-recorded", artifact(data.RECORDED.published), "Records of first sight"),
    View("artifact-stranger", artifact(data.REFUSED.published), "Entries that do not count"),
    View("artifact-hostile", artifact(data.HOSTILE.published), "different"),
    View("why-served", why(data.VERIFIED), "everything that its rule asks for"),
    View("why-one-operator", why(data.HALF), "One more rebuilder of another operator"),
    View("why-weak-source", why(data.WEAK), "which this policy does not count"),
    View("why-different", why(data.DIFFERENT), "got different bytes"),
    View("why-not-built", why(data.NOT_BUILT), "could not build it"),
    View("why-stranger", why(data.REFUSED), "not in this node's trust file"),
    View("why-too-young", why(data.FRESH), "old enough"),
    View("why-warned", why(data.WARNED), "served with a warning"),
    View("why-observed", why(data.WATCHED), "only observes"),
    View("why-changed", why(data.CHANGED), "Treat this as an incident"),
    View("why-renamed", why(data.RENAMED), "speaks of these very bytes"),
    View("why-unseen", why(data.OLDER), "never fetched"),
    View("why-checksum", why(data.VERIFIED, ".sha1"), "computed by this node"),
    View(
        "why-metadata",
        "/why/maven/central/org/example/text/text-tools/maven-metadata.xml",
        "made by this node",
    ),
    View(
        "why-wrong-name",
        "/why/maven/central/org/example/text/text-tools/1.12.0/other-1.jar",
        "one package",
        404,
    ),
    View("problem", "/artifacts/0000", "no sha256", 400),
)


@contextlib.contextmanager
def running_process(config: Path) -> Iterator[str]:
    """`touchplate serve` as users start it; its address."""
    command = [str(Path(sys.executable).with_name("touchplate")), "serve", "--config", str(config)]
    with (config.parent / "node.log").open("wb") as log:
        node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    assert node.stdout is not None
    watchdog = threading.Timer(START_SECONDS, node.kill)
    watchdog.start()
    try:
        line = node.stdout.readline().decode()
        watchdog.cancel()
        if "http://" not in line:
            raise BrowserError(f"the node did not start:\n{(config.parent / 'node.log').read_text()[-2000:]}")
        yield line.split()[-1]
    finally:
        watchdog.cancel()
        node.terminate()
        try:
            node.wait(30)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
        node.stdout.close()


def request(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> int:
    """One request; its status."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(urllib.request.Request(url, body, headers, method=method), timeout=60) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            error.read()
            return int(error.code)


def fill(url: str, upstream: Upstream) -> None:
    """Evidence, entries, then what clients ask for: so that both ways into the log are taken."""
    for name, content in data.EVIDENCE.items():
        if name != "sandbox-report":
            request(
                f"{url}/builder/evidence/{data.sha256(content)}", "PUT", content,
                Authorization="Bearer a-token-of-tests",
            )  # fmt: skip
    for entry in data.entries():
        status = request(f"{url}/log/add", "POST", entry.envelope)
        if status != 200:
            raise BrowserError(f"the log did not take an entry: {status}")
    for release in data.FETCHED:
        upstream.put(release.path, release.published)
        request(f"{url}/maven/central/{release.path}")
    upstream.put(data.CHANGED.path, b"other bytes than everybody got until now\n")
    request(f"{url}/maven/central/{data.CHANGED.path}")
    upstream.put(data.RENAMED.path, data.VERIFIED.published)
    request(f"{url}/maven/central/{data.RENAMED.path}")


def look(page: Page, url: str, view: View, name: str) -> list[str]:
    """What is wrong with one page as it is set now; its picture is kept."""
    status = page.open(url + view.path)
    found: dict[str, Any] = page.evaluate(CHECKS.read_text())
    page.picture(OUT / f"{name}.png")
    text = str(page.evaluate("document.body.innerText"))
    # A page that is answered with an error is said to be one in the console, too.
    errors = [line for line in page.errors if str(view.status) not in line or view.status == 200]
    mistakes = {
        f"status {status}, not {view.status}": status != view.status,
        f"does not show {view.shows!r}": view.shows not in text,
        f"{found['overflow']} pixels wider than the screen: {found['wide']}": found["overflow"] > 0
        or found["wide"],
        f"console: {errors[:SHOWN_MISTAKES]}": errors,
        f"contrast below {LEAST_CONTRAST}: {found['faint'][:SHOWN_MISTAKES]}": found["faint"],
        f"{found['headings']} first headings": found["headings"] != 1,
        f"headings of a level that was skipped: {found['skipped']}": found["skipped"],
        f"language {found['language']!r}": found["language"] != "en",
        f"{found['unscoped']} heads of columns without a scope": found["unscoped"],
        f"ids used twice: {found['twice']}": found["twice"],
        f"{found['stuck']} boxes that only a mouse can scroll": found["stuck"],
        f"{found['astray']} links to nothing on the page": found["astray"],
        f"{found['scripts']} scripts or frames": found["scripts"],
        f"fetched from elsewhere: {found['foreign']}": found["foreign"],
        f"{found['unnamed']} links or fields without a name": found["unnamed"],
        "nothing to read": found["texts"] < SHOWN_MISTAKES,
    }
    return [text for text, is_wrong in mistakes.items() if is_wrong]


BAD_PAGE = b"""<!doctype html><html><head><title>bad</title></head><body><h1>one</h1><h1>two</h1>
<p style="color: #999; background: #fff">faint</p><p style="width: 5000px">wide</p><a href="/nowhere"></a>
<h4 id="x">deep</h4><table id="x"><tr><th>head</th></tr></table><a href="#gone">gone</a>
<pre tabindex="-1" style="overflow-x: auto; width: 50px">a line that is longer than its box</pre>
<p>A third text.</p><script>console.error("loud")</script></body></html>"""
BAD = (
    "pixels wider", "console", "contrast", "first headings", "skipped", "language", "scope", "used twice",
    "only a mouse", "links to nothing", "scripts", "without a name", "does not show",
)  # fmt: skip


def check_the_checks(page: Page, upstream: Upstream) -> None:
    """A page that is wrong in every way must be found wrong in every way: else the checks check nothing."""
    upstream.act("bad.html", lambda handler: handler.reply(200, BAD_PAGE, Content_Type="text/html"))
    page.look(380, "light")
    mistakes = look(page, upstream.url, View("bad", "/bad.html", "words that it does not hold"), "bad")
    missed = [word for word in BAD if not any(word in mistake for mistake in mistakes)]
    (OUT / "bad.png").unlink()
    if missed:
        raise BrowserError(f"the checks do not see: {', '.join(missed)}; they see {mistakes}")


def look_at_all(page: Page, url: str, views: tuple[View, ...]) -> int:
    """Every page in every look; how many of them have mistakes."""
    wrong = 0
    for width, scheme in LOOKS:
        page.look(width, scheme)
        for view in views:
            name = f"{view.name}-{width}-{scheme}"
            mistakes = look(page, url, view, name)
            wrong += bool(mistakes)
            for mistake in mistakes:
                say(f"  {name}: {mistake}")
        so_far = "looked at" if not wrong else f"{wrong} with mistakes so far"
        say(f"{len(views)} pages at {width} px, {scheme}: {so_far}")
    return wrong


def main(words: list[str]) -> int:
    """Look at the pages whose name holds one of `words`; at all without any."""
    program = find_chromium()
    if program is None:
        say("pages: SKIPPED, there is no chromium on this machine (Debian: apt-get install chromium)")
        return 1 if os.environ.get("CI") == "true" else 0
    views = tuple(view for view in VIEWS if not words or any(word in view.name for word in words))
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder, running_upstream() as upstream:
        config = data.write_world(Path(folder) / "node", upstream.url)
        with running_process(config) as url:
            fill(url, upstream)
            with browser(program) as page:
                check_the_checks(page, upstream)
                wrong = look_at_all(page, url, views)
    say(f"pages: {wrong} with mistakes" if wrong else f"pages: ok, pictures are in {OUT.relative_to(ROOT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
