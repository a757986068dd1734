"""A local server that answers as an OpenAI-compatible one does, or misbehaves as told."""
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

LONGEST_S = 60.0


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), json.loads(body)))
        try:
            self.server.script(self)
        except OSError:
            self.server.hung_up.set()
        self.close_connection = True

    def log_message(self, *args) -> None:
        pass

    # ------------------------------------------------------------ what scripts say

    def begin(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def line(self, text: str | bytes) -> None:
        self.wfile.write((text.encode() if isinstance(text, str) else text) + b"\n\n")
        self.wfile.flush()

    def words(self, *pieces: str, end: bool = True) -> None:
        self.begin()
        for piece in pieces:
            self.line("data: " + json.dumps({"choices": [{"delta": {"content": piece}}]}))
        if end:
            self.line("data: [DONE]")

    def wait(self) -> None:
        """Until the other side hangs up or `Server.release` is set."""
        self.connection.settimeout(0.02)
        for _ in range(int(LONGEST_S / 0.02)):
            if self.server.release.is_set():
                return
            try:
                if not self.connection.recv(1):
                    raise ConnectionError
            except TimeoutError:
                continue


Script = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    """`requests`: (path, headers, body) of each; `hung_up` is set when a client leaves early;
    `calls`: connections."""

    daemon_threads = True

    def __init__(self, script: Script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.requests, self.calls = script, [], 0
        self.hung_up, self.release = Event(), Event()

    def verify_request(self, *_) -> bool:
        self.calls += 1
        return True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


def say(*pieces: str, end: bool = True) -> Script:
    return lambda handler: handler.words(*pieces, end=end)


def hang(handler: Handler) -> None:
    """Take the question and say nothing."""
    handler.begin()
    handler.wait()


def refuse(status: int, **headers: str) -> Script:
    return lambda handler: handler.begin(status, **headers)


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    server = Server(script)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
