"""A browser without a window, driven by Chromium's DevTools protocol."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
LOADED = 30  # seconds that a page may take
# What a page may ask for: itself, and what it carries within.
OWN = ("file:", "data:", "about:")


class Page:
    """A tab of the browser, and all that it complained of or asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, (method, answer)
        return dict(answer["result"])

    def open(self, path: Path, *, width: int = 1280, dark: bool = False) -> None:
        """Show a file in a window of that width."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.complaints.clear()
        self.requests.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def picture(self, *, whole: bool = False) -> bytes:
        """Return what is seen as a PNG, or the whole page."""
        answer = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole
        )
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """Return the page as it is printed."""
        answer = self.call("Page.printToPDF", printBackground=True)
        return base64.b64decode(answer["data"])

    def _next(self) -> dict[str, Any]:
        event = dict(json.loads(self._socket.recv(timeout=LOADED)))
        parameters = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded":
                self.complaints.append(parameters["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters))
            case "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if not url.startswith(OWN):
                    self.requests.append(url)
        return event


def tab_of(address: str) -> str:
    """Return the address of a browser's first tab."""
    with connect(address, max_size=None) as socket:
        socket.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
        targets = json.loads(socket.recv(timeout=LOADED))["result"]["targetInfos"]
    tab = next(target["targetId"] for target in targets if target["type"] == "page")
    return re.sub(r"/devtools/.*", f"/devtools/page/{tab}", address)


@contextmanager
def browser() -> Iterator[Page]:
    """Yield a tab of a new browser.

    Raises:
        FileNotFoundError: if there is no browser on this machine.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        msg = "the page's tests need a browser: install Debian's package chromium"
        raise FileNotFoundError(msg)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu"),
            *(
                "--no-first-run",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
            ),
            *("--disable-dev-shm-usage", "--disable-extensions", "about:blank"),
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            limit = time.monotonic() + LOADED
            address = None
            while address is None and time.monotonic() < limit:
                address = re.search(r"ws://\S+", process.stderr.readline())
            assert address is not None, "the browser did not start"
            with connect(tab_of(address[0]), max_size=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait()
