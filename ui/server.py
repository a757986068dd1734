"""The web server: our own routes first, then Gradio's page, behind one guard."""
import asyncio
import errno
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, WebSocket
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from streamassist.config import ServerConfig
from streamassist.errors import StreamAssistError
from ui.guard import Guard, Keys
from ui.hub import Backend, Hub
from ui.sender import Plan, Sender, best_plan
from ui.stream import MAX_MESSAGE, Speech, serve_page
from ui.uploads import Uploads

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
PORTS_TO_TRY = 20


def create_app(backend: Backend, config: ServerConfig, *, plan: Plan | None = None,
               speech: Speech | None = None, uploads: Uploads | None = None) -> FastAPI:
    """The whole application; not to be called inside an event loop.

    `plan`: what a page sends of its camera, whatever comes; without it, what the model uses, and
    less while that is too much. `speech` takes (PCM16 at 16 kHz, Unix time), and without it the
    page shows no microphone.
    """
    keys, hub, files = Keys(config), Hub(backend), uploads or Uploads()
    uses = (getattr(backend, name, None) for name in ("frame_side", "fps"))
    asked = plan or best_plan(*uses)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        hub.close()
        files.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.token, app.state.hub = keys.token, hub
    _add_routes(app, backend, keys, files)

    @app.websocket("/live")
    async def live(websocket: WebSocket) -> None:
        sender = Sender(asked, fixed=plan is not None)
        await serve_page(websocket, hub, files, keys, sender, speech)

    app.mount("/page", StaticFiles(directory=STATIC), name="page")
    app.add_middleware(Guard, keys=keys)
    return _mount_page(app, keys.token)


def _mount_page(app: FastAPI, token: str) -> FastAPI:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")   # read when gradio is imported
    import gradio as gr

    from ui.page import build_page, page_options

    async def mount() -> FastAPI:
        return gr.mount_gradio_app(app, build_page(token), path="/", **page_options())

    return asyncio.run(mount())     # with no loop running, Gradio opens some and never closes them


def _add_routes(app: FastAPI, backend: Backend, keys: Keys, files: Uploads) -> None:
    def refusal(request: Request) -> Response | None:
        if keys.is_token(request):
            return None
        return PlainTextResponse("The page is older than the server; reload it.", 401)

    @app.post("/upload")
    async def upload(request: Request, name: str = "") -> Response:
        if refused := refusal(request):
            return refused
        try:
            _check_length(request, files.max_bytes)
            key = await files.save(name, request.stream())
        except StreamAssistError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"spec": f"file:{key}"})

    @app.get("/thumb")
    async def thumb(request: Request, frame: int) -> Response:
        if refused := refusal(request):
            return refused
        jpeg = await asyncio.to_thread(backend.thumbnail, frame)
        if jpeg is None:
            return PlainTextResponse("That picture is not held any more.", 404)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


def _check_length(request: Request, limit: int) -> None:
    """Refuse before the bytes come, where the browser said how many there will be."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise StreamAssistError(f"The file is larger than {limit >> 20} MB; choose a shorter clip.")


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to `port` or the next free one; bound here so that nobody takes it first."""
    for candidate in range(port, min(port + PORTS_TO_TRY, 65536)):
        try:
            return socket.create_server((host, candidate), family=_family(host))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise StreamAssistError(
                    f"The server cannot listen on {host} ({error.strerror}); "
                    "choose an address of this machine with --host."
                ) from error
    raise StreamAssistError(
        f"No port from {port} to {candidate} is free; choose another with --port."
    )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def address(bound: socket.socket, config: ServerConfig) -> str:
    """The address to open, with the password left out."""
    name = f"[{config.host}]" if ":" in config.host else config.host
    shown = {"0.0.0.0": socket.gethostname(), "[::]": socket.gethostname()}.get(name, name)
    return f"http://{shown}:{bound.getsockname()[1]}"


def tell(url: str) -> None:
    sys.stdout.write(f"Open {url} in your browser. Ctrl-C ends it.\n")
    sys.stdout.flush()


def serve(backend: Backend, config: ServerConfig, on_ready: Callable[[str], None] = tell) -> None:
    """Run until interrupted. `on_ready` gets the address, which already takes connections."""
    with listen(config.host, config.port) as bound:
        app = create_app(backend, config)
        on_ready(address(bound, config))
        make_server(app).run(sockets=[bound])


def make_server(app: FastAPI) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(
        app, log_level="warning", ws="websockets-sansio", ws_max_size=MAX_MESSAGE,
        timeout_graceful_shutdown=2,
    ))
