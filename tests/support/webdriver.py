"""A headless browser, driven through the WebDriver protocol with the standard library alone.

Needs `chromium` and `chromedriver` (Debian: apt install chromium chromium-driver).
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_DEADLINE_S = 60.0


class Browser:
    """One page of it."""

    def __init__(self, port: int, path: str = "/session") -> None:
        self._port = port
        self._path = path

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send one command of the protocol; returns its value."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_DEADLINE_S)
        try:
            connection.request(method, self._path + path, None if body is None else json.dumps(body))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(f"{value['error']}: {value['message']}")
        return value

    def resize(self, width: int, height: int, dark: bool = False) -> None:
        """Lay out the page for a screen of that size."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        for cmd, params in (
            ("Emulation.setDeviceMetricsOverride", screen),
            ("Emulation.setEmulatedMedia", {"features": scheme}),
        ):
            self.call("POST", "/goog/cdp/execute", {"cmd": cmd, "params": params})

    def open(self, url: str) -> None:
        """Open a URL."""
        self.call("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """The return value of a script."""
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true; it is evaluated at each animation frame."""
        script = (
            "const done = arguments[0], until = Date.now() + 20000;"
            f"(function look() {{ if ({condition}) done(true); else if (Date.now() > until) done(false);"
            " else setTimeout(look, 20); })();"
        )
        assert self.call("POST", "/execute/async", {"script": script, "args": []}), condition

    def complaints(self) -> list[str]:
        """The messages on the console."""
        return [entry["message"] for entry in self.call("POST", "/se/log", {"type": "browser"})]

    def picture(self, path: str) -> None:
        """Save a screenshot."""
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("GET", "/screenshot")))


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser, or the test is skipped."""
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no browser here (Debian: apt install chromium chromium-driver)")
    environ = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    process, port = _start(driver, environ)
    try:
        page = Browser(port)
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
        ]
        options = {"binary": program, "args": arguments}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = page.call("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        page = Browser(port, f"/session/{session['sessionId']}")
        page.call("POST", "/timeouts", {"script": 30_000})
        try:
            yield page
        finally:
            page.call("DELETE", "")
    finally:
        _end(process)


def _start(driver: str, environ: dict[str, str]) -> tuple[subprocess.Popen[str], int]:
    """The driver and its port. It chooses one port for IPv4 and IPv6, and ends when one of the two has it in use."""
    said = ""
    for _ in range(5):
        process = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
        )
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.search(r"started successfully on port (\d+)", line):
                return process, int(match[1])
            said += line
        _end(process)
    raise AssertionError(f"chromedriver did not start: {said}")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
