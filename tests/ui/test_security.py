"""Who may not come in: foreign pages, wrong tokens, no password, unknown hosts, back doors."""
import asyncio
import http.client
import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed

from fake_backend import FakeBackend
from served import Served, serving, wait_for
from streamassist.config import ServerConfig
from streamassist.errors import StreamAssistError
from ui.guard import FOREIGN_ORIGIN, WRONG_TOKEN
from ui.server import address, listen, serve
from ui.uploads import MAX_FILES, Uploads


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(FakeBackend(), uploads=Uploads(max_bytes=1000)) as served:
        yield served


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    with serving(FakeBackend(), ServerConfig(token="open sesame")) as served:
        yield served


def ask(served: Served, path: str, method: str = "GET", body: bytes | None = None,
        **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, names)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def close_code(served: Served, token: str | None = None, **headers: str) -> int:
    with served.socket(token, **headers) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(5)
    return closed.value.rcvd.code


def test_the_page_carries_the_token(served: Served) -> None:
    response, content = ask(served, "/")
    assert response.status == 200 and served.token.encode() in content
    assert len(served.token) >= 40


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_wrong_token_closes_the_socket(served: Served, token: str) -> None:
    assert close_code(served, token) == WRONG_TOKEN


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_foreign_page_is_refused_everywhere(served: Served, origin: str) -> None:
    assert close_code(served, Origin=origin) == FOREIGN_ORIGIN
    path = f"/upload?token={served.token}&name=x.mp4"
    assert ask(served, path, "POST", b"x", Origin=origin)[0].status == 403
    assert ask(served, "/", Origin=origin)[0].status == 403


def test_our_own_origin_is_welcome(served: Served) -> None:
    assert ask(served, "/", Origin=served.url)[0].status == 200
    with served.socket(Origin=served.url) as socket:
        socket.send('{"type": "hello", "id": "x", "now": 0}')
        assert '"hello"' in socket.recv(5)


def test_a_name_that_is_not_ours_is_refused(served: Served) -> None:
    """DNS rebinding: an attacker's name that points at 127.0.0.1."""
    assert ask(served, "/", Host="evil.example")[0].status == 403
    assert ask(served, "/", Host=f"localhost:{served.port}")[0].status == 200


@pytest.mark.parametrize("path, method", [
    ("/gradio_api/upload", "POST"), ("/gradio_api/file=/etc/passwd", "GET"), ("/monitoring", "GET"),
    ("/gradio_api/proxy=http://127.0.0.1/", "GET"), ("/gradio_api/vibe-edit", "POST"),
    ("/gradio_api/queue/join", "POST"), ("/page/../server.py", "GET"), ("/docs", "GET"),
    ("/config", "POST"), ("/live", "GET"),
])
def test_what_the_page_does_not_need_is_shut(served: Served, path: str, method: str) -> None:
    assert ask(served, path, method)[0].status in (404, 405)


def test_every_answer_has_the_security_headers(served: Served) -> None:
    for path in ("/", "/page/live.js", "/nothing"):
        headers = ask(served, path)[0].headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "http:" not in headers["Content-Security-Policy"].replace("http://", "")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_pictures_need_the_token(served: Served) -> None:
    assert ask(served, "/thumb?frame=0&token=x")[0].status == 401
    response, jpeg = ask(served, f"/thumb?frame=0&token={served.token}")
    assert response.status == 200 and jpeg.startswith(b"\xff\xd8")
    assert response.headers["Cache-Control"] == "no-store"
    assert ask(served, f"/thumb?frame=999999999&token={served.token}")[0].status == 404


def test_an_uploaded_file_can_be_opened_and_only_that(served: Served) -> None:
    response, content = ask(served, f"/upload?token={served.token}&name=a.mp4", "POST", b"film")
    spec = re.search(rb'"spec":\s*"(file:[^"]+)"', content)[1].decode()
    assert response.status == 200
    with served.page() as page:
        page.send("source", spec=spec)
        wait_for(lambda: served.backend.opened)
    path = served.backend.opened[-1].removeprefix("file:")
    assert path.endswith(".mp4") and Path(path).read_bytes() == b"film"


@pytest.mark.parametrize("body, words", [(b"", "empty"), (b"x" * 1001, "larger than")])
def test_a_bad_upload_is_refused_with_a_sentence(served: Served, body: bytes, words: str) -> None:
    response, content = ask(served, f"/upload?token={served.token}&name=a.mp4", "POST", body)
    assert response.status == 400 and words in content.decode()
    assert ask(served, "/upload?token=x&name=a.mp4", "POST", b"film")[0].status == 401


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("trouble, words", [
    (OSError(28, "No space left on device"), "disk of the server is full"),
    (OSError(30, "Read-only file system"), "could not store"),
])
def test_a_full_disk_is_said_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, trouble: OSError, words: str
) -> None:
    def fail(*_: object) -> None:
        raise trouble

    uploads = Uploads()
    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(StreamAssistError, match=words):
        asyncio.run(uploads.save("a.mp4", _pieces(b"x")))
    uploads.close()


def test_uploads_are_bounded_and_gone_in_the_end() -> None:
    uploads = Uploads(max_bytes=4)
    keys = [asyncio.run(uploads.save("a.mp4", _pieces(b"x"))) for _ in range(MAX_FILES + 1)]
    folder = uploads.path(keys[-1]).parent
    with pytest.raises(StreamAssistError, match="choose it again"):
        uploads.path(keys[0])
    with pytest.raises(StreamAssistError, match="larger"):
        asyncio.run(uploads.save("a.mp4", _pieces(b"xxx", b"xxx")))
    assert len(list(folder.iterdir())) == MAX_FILES
    uploads.close()
    assert not folder.exists()


def test_with_a_password_nothing_comes_before_it(
    locked: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.guard.WRONG_PASSWORD_WAIT_S", 0.0)
    response, form = ask(locked, "/")
    assert response.status == 401 and b"password" in form and locked.token.encode() not in form
    picture = f"/thumb?frame=0&token={locked.token}"
    for path in ("/config", picture, "/page/live.js", "/?token=wrong"):
        assert ask(locked, path)[0].status == 401
    assert close_code(locked) == WRONG_TOKEN


@pytest.mark.parametrize("way", ["address", "form"])
def test_the_password_opens_the_page_by_a_cookie(locked: Served, way: str) -> None:
    body = urlencode({"token": "open sesame"}).encode()
    if way == "address":
        response, _ = ask(locked, "/?token=open%20sesame")
    else:
        response, _ = ask(locked, "/login", "POST", body)
    cookie = response.headers["Set-Cookie"]
    assert response.status == 303 and response.headers["Location"] == "/"
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower() and "sesame" not in cookie
    pair = cookie.partition(";")[0]
    response, content = ask(locked, "/", Cookie=pair)
    assert response.status == 200 and locked.token.encode() in content
    with locked.socket(Cookie=pair) as socket:
        socket.send('{"type": "hello", "id": "x", "now": 0}')
        assert '"hello"' in socket.recv(5)


def test_the_command_line_is_told_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve` itself, stopped as soon as it runs."""
    import ui.server

    class Stopped(uvicorn.Server):
        def run(self, sockets: list[socket.socket]) -> None:
            self.should_exit = True
            super().run(sockets)

    told: list[str] = []
    monkeypatch.setattr(ui.server.uvicorn, "Server", Stopped)
    serve(FakeBackend(), ServerConfig(port=19860), told.append)
    assert re.fullmatch(r"http://127\.0\.0\.1:198\d\d", told[0])


def test_a_taken_port_gives_the_next_one() -> None:
    with listen("127.0.0.1", 18860) as first, listen("127.0.0.1", 18860) as second:
        ports = first.getsockname()[1], second.getsockname()[1]
        assert ports[1] > ports[0] >= 18860
        assert address(second, ServerConfig()) == f"http://127.0.0.1:{ports[1]}"
    with pytest.raises(StreamAssistError, match="--host"):
        listen("203.0.113.7", 18860)
