"""The page served on a free port of this machine, and a client that speaks its protocol."""
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from websockets.sync.client import ClientConnection, connect

from fake_backend import FakeBackend
from streamassist.config import ServerConfig
from ui.server import create_app, listen, make_server
from ui.uploads import Uploads

HEADER = struct.Struct(">Bd")
WAIT_S = 10.0


@dataclass(frozen=True)
class Served:
    """`backend` is the scripted one, where the page is served from this process."""

    port: int
    token: str
    backend: FakeBackend | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def socket(self, token: str | None = None, path: str = "/live",
               **headers: str) -> Iterator[ClientConnection]:
        """A connection to the endpoint, with the right token unless another is given."""
        token = self.token if token is None else token
        uri = f"ws://127.0.0.1:{self.port}{path}?token={token}"
        with connect(uri, additional_headers=headers, proxy=None, max_queue=None,
                     max_size=None) as socket:
            yield socket

    @contextmanager
    def page(self, page_id: str = "page-1", clock_ahead_s: float = 0.0) -> Iterator["Client"]:
        with self.socket() as socket:
            yield Client(socket, page_id, clock_ahead_s)


class Client:
    """A page without a browser."""

    def __init__(self, socket: ClientConnection, page_id: str, clock_ahead_s: float):
        self.socket = socket
        self.send("hello", id=page_id, now=time.time() + clock_ahead_s)
        self.hello = json.loads(socket.recv(WAIT_S))

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def send_picture(self, jpeg: bytes, taken_at: float | None = None, kind: int = 1) -> None:
        self.socket.send(HEADER.pack(kind, time.time() if taken_at is None else taken_at) + jpeg)

    def until(self, *kinds: str, seconds: float = WAIT_S) -> list[dict[str, Any]]:
        """The text messages up to and with the first of one of these kinds."""
        lines, deadline = [], time.monotonic() + seconds
        while not lines or lines[-1]["type"] not in kinds:
            item = self.socket.recv(max(0.01, deadline - time.monotonic()))
            if isinstance(item, str):
                lines.append(json.loads(item))
        return lines

    def picture(self) -> tuple[float, bytes]:
        """The next picture from the server: (pts, JPEG)."""
        deadline = time.monotonic() + WAIT_S
        while True:
            item = self.socket.recv(max(0.01, deadline - time.monotonic()))
            if isinstance(item, bytes):
                _, pts = HEADER.unpack_from(item)
                return pts, item[HEADER.size:]


@contextmanager
def serving(backend: FakeBackend, config: ServerConfig | None = None,
            uploads: Uploads | None = None, port: int = 17860,
            **options: Any) -> Iterator[Served]:
    config = config or ServerConfig()
    with ThreadPoolExecutor(1) as elsewhere:      # playwright keeps an event loop in this thread
        app = elsewhere.submit(create_app, backend, config, uploads=uploads, **options).result()
    bound = listen("127.0.0.1", port)
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    with backend:
        thread.start()
        wait_for(lambda: server.started)
        try:
            yield Served(bound.getsockname()[1], app.state.token, backend)
        finally:
            server.should_exit = True
            thread.join(10)
            bound.close()


def wait_for(is_true: Callable[[], Any], seconds: float = WAIT_S) -> None:
    """Fail unless it becomes true; for what another thread does."""
    deadline = time.monotonic() + seconds
    waiting = threading.Event()
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        waiting.wait(0.02)
