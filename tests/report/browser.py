"""A headless Chromium over the WebDriver protocol, with the standard library alone."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

INSTALLED = shutil.which("chromium") is not None and shutil.which("chromedriver") is not None
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
]


class Browser:
    """`with Browser() as page: page.open(path); page.run("return document.title")`.

    width, height: of the window, in pixels. arguments: further switches of Chromium.
    """

    def __init__(self, width: int = 1000, height: int = 900, *arguments: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.arguments = [*_ARGUMENTS, f"--window-size={width},{height}", *arguments]

    def __enter__(self) -> Browser:
        # a folder of its own with a short name: Chromium puts a Unix socket there, whose path may hold 107 bytes
        self.folder = tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(
            ["chromedriver", f"--port={self.port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": self.folder.name, "HOME": self.folder.name},
        )
        try:
            self._wait()
            options = {"args": [*self.arguments, f"--user-data-dir={self.folder.name}/profile"]}
            capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        except BaseException:
            self._stop()
            raise
        self.session = f"/session/{made['sessionId']}"
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", self.session)
        finally:
            self._stop()

    def open(self, path: Path) -> None:
        self._call("POST", f"{self.session}/url", {"url": path.resolve().as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        return self._call("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def wait_for(self, script: str, *arguments: Any, seconds: float = 10) -> None:
        """Until `script` returns something true."""
        end = time.monotonic() + seconds
        while not self.run(script, *arguments):
            assert time.monotonic() < end, f"not within {seconds:g} s: {script}"
            time.sleep(0.05)

    def press(self, keys: str) -> None:
        """Keys pressed one after the other where the focus is (WebDriver's codes: \\ue004 is Tab)."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call(
            "POST", f"{self.session}/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": steps}]}
        )

    def look(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """As on a screen of that size (below 500 pixels, a phone's), in the light or in the dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        self.devtools("Emulation.setEmulatedMedia", features=scheme)

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._call("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def console(self) -> list[str]:
        found = self._call("POST", f"{self.session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in found if entry["level"] in ("SEVERE", "WARNING")]

    def picture(self) -> str:
        """A PNG in base64."""
        return self._call("GET", f"{self.session}/screenshot")

    def _wait(self) -> None:
        for _ in range(200):
            try:
                self._call("GET", "/status")
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("chromedriver does not respond")

    def _stop(self) -> None:
        self.driver.terminate()
        self.driver.wait()
        self.folder.cleanup()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read())["value"]
        except urllib.error.HTTPError as error:
            details = json.loads(error.read())["value"]
            raise RuntimeError(f"{method} {path}: {details['error']}: {details['message']}") from None
