"""Who may talk to the page: host and origin checks, the password, and headers for every answer.

Another web page in the same browser must not reach the camera or the answers: its Origin is
foreign, it cannot read the token inside our page, and a name of its own that points at this
machine (DNS rebinding) is not a host we answer to.
"""
import asyncio
import hmac
import html
import secrets
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamassist.config import ServerConfig

WRONG_TOKEN, FOREIGN_ORIGIN = 4401, 4403
COOKIE = "streamassist"
WRONG_PASSWORD_WAIT_S = 1.0

# What the page asks of Gradio. Its other routes (uploads, proxies, its own editor) are shut.
GRADIO_PATHS = ("/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/")
GRADIO_FILES = frozenset({
    "/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json",
    "/gradio_api/startup-events", "/gradio_api/info", "/gradio_api/app_id", "/gradio_api/theme.css",
})
OWN_PATHS = ("/page/",)
OWN_FILES = frozenset({"/live", "/thumb", "/upload", "/login"})
POST_PATHS = frozenset({"/upload", "/login"})


class Keys:
    """The token inside the page (new at every start) and the password, if one is set."""

    def __init__(self, config: ServerConfig):
        self.token = secrets.token_urlsafe(32)
        self.password = config.token
        self._hosts = {"127.0.0.1", "localhost", "::1", config.host.lower()}

    @property
    def cookie(self) -> str:
        """Proves that the password was given, without being it."""
        return hmac.new((self.password or "").encode(), b"streamassist page", sha256).hexdigest()

    def is_password(self, given: str) -> bool:
        return bool(self.password) and _same(given, self.password or "")

    def is_token(self, request: HTTPConnection) -> bool:
        return _same(request.query_params.get("token", ""), self.token)

    def is_logged_in(self, request: HTTPConnection) -> bool:
        return not self.password or _same(request.cookies.get(COOKIE, ""), self.cookie)

    def is_known_host(self, request: HTTPConnection) -> bool:
        """With a password any name will do: the cookie is bound to the name it was set for."""
        host = _host("//" + request.headers.get("host", ""))
        return bool(host and self.password) or host in self._hosts

    def refuse_socket(self, socket: HTTPConnection) -> int | None:
        """The close code for a socket that may not come in."""
        if not (is_own_origin(socket) and self.is_known_host(socket)):
            return FOREIGN_ORIGIN
        if not (self.is_token(socket) and self.is_logged_in(socket)):
            return WRONG_TOKEN
        return None


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())


def _host(address: str) -> str | None:
    """The host an address names; None for one that is no address."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def is_own_origin(request: HTTPConnection) -> bool:
    """No Origin at all is a program, not a web page; it still needs the token."""
    origin = request.headers.get("origin")
    host = request.headers.get("host", "").lower()
    return origin is None or bool(_host(origin)) and urlsplit(origin).netloc.lower() == host


class Guard:
    """ASGI middleware in front of everything but the socket's own checks."""

    def __init__(self, app: ASGIApp, keys: Keys):
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = self._refuse(request) or await self._log_in(request) or self.app
        await answer(scope, receive, _with_headers(send, request.headers.get("host", "")))

    def _refuse(self, request: Request) -> Response | None:
        path = request.url.path
        if not self.keys.is_known_host(request):
            return PlainTextResponse("Open this page as http://localhost or by its address.", 403)
        if not is_own_origin(request):
            return PlainTextResponse("Requests from other web pages are refused.", 403)
        known = path in GRADIO_FILES | OWN_FILES or path.startswith(GRADIO_PATHS + OWN_PATHS)
        if not known:
            return PlainTextResponse("There is nothing here; open the page at /.", 404)
        if request.method not in ("GET", "HEAD") and path not in POST_PATHS:
            return PlainTextResponse("This address can only be read.", 405)
        return None

    async def _log_in(self, request: Request) -> Response | None:
        """The password form, or the cookie for who gave the password; None for who has it."""
        given = request.query_params.get("token") if request.url.path == "/" else None
        if request.url.path == "/login" and request.method == "POST":
            body = await _small_body(request)
            given = parse_qs(body.decode(errors="replace")).get("token", [""])[0]
        if given and self.keys.is_password(given):
            return self._welcome(request)
        if self.keys.is_logged_in(request):
            return RedirectResponse("/", 303) if request.url.path == "/login" else None
        if given:
            await asyncio.sleep(WRONG_PASSWORD_WAIT_S)
        return _form("That was not the password." if given else "")

    def _welcome(self, request: Request) -> Response:
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, self.keys.cookie, httponly=True, samesite="strict", secure=secure)
        return answer


async def _small_body(request: Request, limit: int = 4096) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            return b""
    return body


def _form(complaint: str) -> Response:
    page = (Path(__file__).parent / "static" / "login.html").read_text(encoding="utf-8")
    return HTMLResponse(page.replace("{complaint}", html.escape(complaint)), 401)


def _with_headers(send: Send, host: str) -> Send:
    """Gradio compiles its templates in the page, hence unsafe-inline and unsafe-eval."""
    policy = (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        f"media-src 'self' blob:; worker-src 'self'; connect-src 'self' ws://{host} wss://{host}; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = policy
            headers["X-Content-Type-Options"] = "nosniff"
            headers["Referrer-Policy"] = "no-referrer"
            headers["Permissions-Policy"] = "geolocation=(), payment=(), usb=()"
            headers["Cross-Origin-Opener-Policy"] = "same-origin"
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sender
