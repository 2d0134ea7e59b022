"""A headless Chromium, driven through chromedriver by the W3C WebDriver protocol: a few calls of JSON over HTTP."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# Root has no sandbox, and a container little shared memory.
OPTIONS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1600,1200"]
CONTROL, ENTER = "\ue009", "\ue007"


class Browser:
    """One window."""

    def __init__(self, port: int, session: str) -> None:
        self.port = port
        self.session = session

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One command of the protocol; returns its value.

        Raises:
            LookupError: the browser refused it; with its words.
        """
        return _call(self.port, method, f"/session/{self.session}{path}", body)

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("POST", "/url", {"url": url})

    def text(self) -> str:
        """All that the page shows."""
        return self.call("POST", "/execute/sync", {"script": "return document.body.innerText", "args": []})

    def find(self, xpath: str) -> list[str]:
        """Elements that can be seen."""
        found = self.call("POST", "/elements", {"using": "xpath", "value": xpath})
        return [each[ELEMENT] for each in found if self.call("GET", f"/element/{each[ELEMENT]}/displayed")]

    def click(self, xpath: str) -> None:
        """Click the first that can be seen, once there is one that lets itself be clicked."""

        def clicked() -> bool:
            for element in self.find(xpath):
                with suppress(LookupError):
                    self.call("POST", f"/element/{element}/click", {})
                    return True
            return False

        self.wait_for(clicked, xpath)

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 180) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(LookupError):
                if condition():
                    return
            assert time.monotonic() < deadline, f"waited in vain for {what}; the page shows:\n{self.text()[:3000]}"
            time.sleep(0.5)

    def wait_for_text(self, text: str, seconds: float = 180) -> None:
        """Wait until the page shows a text."""
        self.wait_for(lambda: text in self.text(), repr(text), seconds)

    def screenshot(self, path: Path) -> None:
        """A picture of the window."""
        path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium with an empty profile, closed at the end.

    Raises:
        FileNotFoundError: chromium or chromedriver is not installed.
    """
    driver = shutil.which("chromedriver")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if driver is None or program is None:
        raise FileNotFoundError("chromium and chromedriver: on Debian, apt-get install chromium chromium-driver")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError, HTTPException, LookupError):
                if _call(port, "GET", "/status")["ready"]:
                    break
            assert time.monotonic() < deadline, "chromedriver does not start"
            time.sleep(0.2)
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"binary": program, "args": OPTIONS}}
        made = _call(port, "POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        window = Browser(port, made["sessionId"])
        try:
            yield window
        finally:
            with suppress(LookupError, OSError):
                window.call("DELETE", "")
    finally:
        process.terminate()
        process.wait(timeout=30)


def _call(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        sent = json.dumps(body).encode() if body is not None else None
        connection.request(method, path, body=sent, headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        value = json.loads(answer.read())["value"]
        if answer.status != 200:
            raise LookupError(f"{value['error']}: {value['message'][:500]}")
        return value
    finally:
        connection.close()
