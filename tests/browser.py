"""A page in a real Chromium, driven over its DevTools protocol: the browser's own clock runs, so media play as they do for people."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DEADLINE_S = 60.0
"""How long a condition may take; a busy machine is no failure."""
_POLL_S = 0.05
_FLAGS = (
    "--headless", "--remote-debugging-port=0", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
)  # fmt: skip


class Page:
    """One page of a running browser."""

    def __init__(self, socket: ClientConnection, session: str):
        self._socket, self._session, self._number = socket, session, 0

    def evaluate(self, script: str) -> Any:
        """Value of a script, a promise's included; raises `AssertionError` with what the script threw."""
        answer = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"].get("exception", answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Ask until the script's value is true; raises `AssertionError` after the deadline."""
        _wait_for(lambda: self.evaluate(condition), condition)

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG. The window grows to the page's height: videos outside of it are not painted."""
        size = self.command("Page.getLayoutMetrics")["cssContentSize"]
        self.resize(size["width"], size["height"])
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))

    def resize(self, width_px: int, height_px: int) -> None:
        """Give the window another size."""
        self.command("Emulation.setDeviceMetricsOverride", width=width_px, height=height_px, deviceScaleFactor=1, mobile=False)

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command and its result; events are passed over."""
        self._number += 1
        return _command(self._socket, self._number, method, parameters, self._session)


@contextmanager
def open_page(url: str, width_px: int, height_px: int = 1200) -> Iterator[Page]:
    """Open `url` in a browser of its own, wait until it is loaded; afterwards no process and no file of the browser is left, also on failure."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile, _browser(Path(profile)) as address:
        # The greatest message is a screenshot; a proxy of the environment has no business on loopback.
        with connect(address, max_size=None, proxy=None, open_timeout=DEADLINE_S, ping_interval=None) as socket:
            target = _command(socket, 1, "Target.createTarget", {"url": "about:blank"})["targetId"]
            page = Page(socket, _command(socket, 2, "Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])
            page.resize(width_px, height_px)
            page.command("Emulation.setScrollbarsHidden", hidden=True)
            page.command("Page.navigate", url=url)
            page.wait_until(f"location.href !== 'about:blank' && document.readyState === 'complete' && innerWidth === {width_px}")
            yield page


@contextmanager
def _browser(profile: Path) -> Iterator[str]:
    """Start a browser; the value is the address of its DevTools."""
    process = subprocess.Popen([CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        told = profile / "DevToolsActivePort"
        _wait_for(lambda: process.poll() is not None or (told.is_file() and len(told.read_text().splitlines()) == 2), "the browser's DevTools")
        assert process.poll() is None, f"the browser ended with exit code {process.returncode}"
        port, place = told.read_text().splitlines()
        yield f"ws://127.0.0.1:{port}{place}"
    finally:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    """Kill the browser with its helpers, some of which leave its process group."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    for helper in family:
        try:
            helper.kill()
        except psutil.NoSuchProcess:
            pass
    process.wait()
    psutil.wait_procs(family, timeout=DEADLINE_S)


def _command(socket: ClientConnection, number: int, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
    socket.send(json.dumps({"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}))
    deadline = time.monotonic() + 2 * DEADLINE_S
    while True:
        answer = json.loads(socket.recv(timeout=max(0.0, deadline - time.monotonic())))
        if answer.get("id") == number and answer.get("sessionId") == session:
            assert "error" not in answer, f"{method}: {answer['error']}"
            return answer["result"]


def _wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(_POLL_S)
