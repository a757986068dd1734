"""A Chromium driven by raw DevTools protocol: playwright switches the throttling of tabs off."""
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.request import Request, urlopen

from websockets.sync.client import ClientConnection, connect

from browsers import FLAGS, camera_flags, chromium
from served import wait_for


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

    def wait_until_linked(self, seconds: float = 30) -> None:
        """The page is there and connected to the server."""
        state = "document.querySelector('#sa-link')?.dataset.state"
        wait_for(lambda: self.evaluate(state) == "on", seconds)

    @property
    def hidden(self) -> bool:
        return self.evaluate("document.visibilityState") == "hidden"


@contextmanager
def tab(port: int, url: str, script: str = "") -> Iterator[Tab]:
    """A tab in front that shows `url`; `script` runs in it before the page's own."""
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
def chrome(folder: Path, film: Path) -> Iterator[int]:
    """A Chromium without playwright, whose camera plays `film`; gives its DevTools port."""
    profile = folder / "profile"
    flags = [*FLAGS, *camera_flags(film), "--headless=new", "--remote-debugging-port=0",
             f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen([chromium(), *flags], stderr=subprocess.DEVNULL)
    written = profile / "DevToolsActivePort"
    try:
        wait_for(lambda: written.is_file() and written.read_text().count("\n"), 30)
        yield int(written.read_text().split()[0])
    finally:
        process.terminate()
        process.wait(10)
