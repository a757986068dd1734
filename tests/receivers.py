"""Receivers of webhooks on this machine: each connection gets what the test has written for it."""
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from streamassist.clock import ManualClock
from streamassist.webhook import Webhook

CERTIFICATE = Path(__file__).with_name("self_signed.pem")
WAIT_S = 10.0
SECRET = "a secret of the tests"
ALERT = {"text": "A dog appears", "score": 0.9}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def status(code: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {code} Something", *headers, "Content-Length: 0", "", ""]
    return "\r\n".join(lines).encode()


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]      # names in lower case
    body: bytes
    at: float                    # time.monotonic()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """`replies` in turn, then `OK`: bytes to send, or what is done with the connection, such as
    holding it open until `over` is set."""

    replies: list[bytes | Callable[[socket.socket], None]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    tls: bool = False
    host: str = "127.0.0.1"
    greeting: bytes = b""        # sent before anything is read
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}/alerts"

    def hang(self, _: socket.socket) -> None:
        """Accepted, and never answered."""
        self.over.wait(WAIT_S)

    def drip(self, connection: socket.socket) -> None:
        """An answer that comes byte by byte and has no end."""
        while not self.over.wait(0.02):
            connection.sendall(b"H")

    def serve(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while not self.over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:      # closed, or nobody called
                continue
            self.connections += 1
            with connection:
                try:
                    self._answer(connection, context)
                except (OSError, ValueError):  # the caller hung up, or speaks otherwise
                    continue

    def _answer(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        connection.settimeout(WAIT_S)
        connection.sendall(self.greeting)
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            self.requests.append(read(connection))
            reply = self.replies.pop(0) if self.replies else OK
            if callable(reply):
                reply(connection)
            else:
                connection.sendall(reply)


def read(connection: socket.socket) -> Request:
    with connection.makefile("rb") as lines:
        line = lines.readline().decode().strip()
        headers = {}
        while head := lines.readline().decode().strip():
            name, _, value = head.partition(": ")
            headers[name.lower()] = value
        body = lines.read(int(headers["content-length"]))
    return Request(line, headers, body, time.monotonic())


@contextmanager
def receiving(*replies, **options) -> Iterator[Receiver]:
    """A receiver on a free port, with replies to the first connections."""
    receiver = Receiver(list(replies), **options)
    context = None
    if receiver.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
    with socket.create_server((receiver.host, 0)) as listener:
        listener.settimeout(0.05)
        receiver.port = listener.getsockname()[1]
        thread = threading.Thread(target=receiver.serve, args=(listener, context), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.over.set()
            thread.join(WAIT_S)


def wait_for(is_true: Callable[[], Any], seconds: float = WAIT_S) -> None:
    """Fail unless it becomes true; for what another thread does."""
    deadline, waiting = time.monotonic() + seconds, threading.Event()
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        waiting.wait(0.01)


@contextmanager
def hooked(url: str, **options) -> Iterator[Webhook]:
    """A webhook in a hurry."""
    options = {"timeout_s": 1.0, "backoff_s": 0.02} | options
    webhook = Webhook(url, SECRET, ManualClock(1_700_000_000.0), **options)
    try:
        yield webhook
    finally:
        webhook.stop(2.0)


def settled(webhook: Webhook) -> bool:
    return not webhook.figures()["waiting"]


def deliver(url: str, payload: dict | None = None, **options) -> Webhook:
    """Send one alert and wait for what comes of it."""
    with hooked(url, **options) as webhook:
        webhook.send(ALERT if payload is None else payload)
        wait_for(partial(settled, webhook))
    return webhook
