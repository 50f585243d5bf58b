"""A headless Chromium, spoken to through its DevTools protocol on a pipe: no driver, no port, no library.

https://chromedevtools.github.io/devtools-protocol/ describes the messages: JSON objects, a zero byte
after each.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ANSWER_SECONDS = 60.0  # one message on a busy machine; a first start is the slowest
READ_BYTES = 1 << 20
MAX_HEIGHT = 12_000  # pixels of a picture: the longest page here has a third of that

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root, where its sandbox refuses; it is shown our own pages only
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # it may reach this machine and nothing else
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """The browser's program, where this machine has it (Debian: package `chromium`)."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class BrowserError(Exception):
    """The browser did not do what it was told."""


class Page:
    """One tab. `errors` are what its console said since the last `open`."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.statuses: dict[str, int] = {}
        self._loaded = False

    def attach(self) -> None:
        """Make the tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def look(self, width: int, scheme: str) -> None:
        """From now on, a screen of `width` pixels and a person who prefers `scheme`, or paper for `print`."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        media, colours = ("print", "light") if scheme == "print" else ("", scheme)
        features = [{"name": "prefers-color-scheme", "value": colours}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def open(self, url: str) -> int:
        """Load a page to its end; the status that it was answered with."""
        self.errors.clear()
        self.statuses.clear()
        self._loaded = False
        failed = self.call("Page.navigate", url=url).get("errorText")
        if failed:
            raise BrowserError(f"{url}: {failed}")
        self._until(lambda: self._loaded)
        return self.statuses.get(url, 0)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page. It needs no permission of the page's policy."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"])[:500])
        return answer["result"].get("value")

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], MAX_HEIGHT), "scale": 1}
        answer = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command, and its result."""
        self._number += 1
        number = self._number
        message: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._commands, data) :]
        answer: dict[str, Any] = {}
        self._until(lambda: bool(answer), number, answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _until(self, done: Any, number: int = 0, answer: dict[str, Any] | None = None) -> None:
        end = time.monotonic() + ANSWER_SECONDS
        while not done():
            message = self._next(end)
            if message.get("id") == number and number and answer is not None:
                answer.update(message)
            else:
                self._note(message)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            read = os.read(self._answers, READ_BYTES) if ready else b""
            if not read:
                raise BrowserError(
                    "chromium " + ("ended" if ready else f"said nothing for {ANSWER_SECONDS:.0f} s")
                )
            self._buffer += read
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.responseReceived":
                self.statuses[parameters["response"]["url"]] = parameters["response"]["status"]
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                entry = parameters["entry"]
                self.errors.append(f"{entry.get('source')}: {entry.get('text')} {entry.get('url', '')}")
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                self.errors.append(str(parameters)[:300])
            case _:
                pass


@contextmanager
def browser(program: str) -> Iterator[Page]:
    """A started browser with one tab; ended, and its profile removed, at the end."""
    with tempfile.TemporaryDirectory(prefix="touchplate-chromium-", ignore_cleanup_errors=True) as profile:
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        # The protocol wants its ends at 3 and 4 exactly; bash moves them there in the child.
        script = f'exec "$@" 3<&{to_read} 4>&{from_write}'
        child = subprocess.Popen(
            ["bash", "-c", script, "bash", program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(to_read, from_write),
        )
        os.close(to_read)
        os.close(from_write)
        try:
            page = Page(to_write, from_read)
            page.attach()
            yield page
        finally:
            os.close(to_write)  # it ends when its commands do
            os.close(from_read)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
