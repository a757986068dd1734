"""A hidden tab goes on filming. By raw DevTools protocol: playwright switches throttling off."""
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

from browsers import FLAGS, camera_flags, chromium, make_camera
from fake_backend import FakeBackend
from served import serving, wait_for

pytestmark = pytest.mark.browser

WATCH_S = 4.0
WITHOUT_PROCESSOR = "delete window.MediaStreamTrackProcessor"


class Tab:
    def __init__(self, socket: ClientConnection):
        self._socket, self._numbers = socket, count(1)

    def call(self, method: str, **params: object) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(10))).get("id") != number:
            pass
        return answer["result"]

    def evaluate(self, expression: str) -> object:
        return self.call("Runtime.evaluate", expression=expression)["result"].get("value")


@contextmanager
def opened(port: int, url: str, script: str) -> Iterator[Tab]:
    target = new_tab(port)
    with connect(target["webSocketDebuggerUrl"], proxy=None, max_size=None) as socket:
        tab = Tab(socket)
        tab.call("Page.enable")
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        tab.call("Page.navigate", url=url)
        yield tab


def new_tab(port: int) -> dict:
    """An empty tab in front; the others are hidden by it."""
    request = Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT")
    with urlopen(request, timeout=10) as answer:
        target = json.load(answer)
    with urlopen(f"http://127.0.0.1:{port}/json/activate/{target['id']}", timeout=10):
        return target


@contextmanager
def chrome(folder: Path) -> Iterator[int]:
    """A Chromium without playwright; gives its DevTools port."""
    profile = folder / "profile"
    flags = [*FLAGS, *camera_flags(make_camera(folder)), "--headless=new",
             "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen([chromium(), *flags], stderr=subprocess.DEVNULL)
    written = profile / "DevToolsActivePort"
    try:
        wait_for(lambda: written.is_file() and written.read_text().count("\n"), 30)
        yield int(written.read_text().split()[0])
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("script", ["", WITHOUT_PROCESSOR], ids=["processor", "timer"])
def test_a_hidden_tab_keeps_sending_pictures(tmp_path: Path, script: str) -> None:
    with serving(FakeBackend(remark_s=1e9)) as served, chrome(tmp_path) as port, \
            opened(port, served.url, script) as tab:
        wait_for(lambda: tab.evaluate("document.querySelector('#sa-link')?.dataset.state") == "on",
                 30)
        assert tab.evaluate("'MediaStreamTrackProcessor' in window") == (not script)
        tab.evaluate("document.querySelector('[data-source=camera]').click()")
        wait_for(lambda: len(served.backend.jpegs) > 3)
        new_tab(port)
        wait_for(lambda: tab.evaluate("document.visibilityState") == "hidden")
        sizes = _sizes_after(served.backend, WATCH_S)
        assert tab.evaluate("document.visibilityState") == "hidden"
        assert len(sizes) >= 0.6 * 5 * WATCH_S, "asked for 5 pictures a second"
        assert len(set(sizes)) > 3, "the same picture was sent again and again"


def _sizes_after(backend: FakeBackend, seconds: float) -> list[int]:
    """Sizes of the pictures that arrive within `seconds` of their own clock."""
    start = len(backend.jpegs)
    began = backend.jpegs[-1][0]
    wait_for(lambda: backend.jpegs[-1][0] - began >= seconds, 3 * seconds)
    return [size for _, size in backend.jpegs[start:]]
