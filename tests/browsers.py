"""A real Chromium for tests: found, started with a made-up camera, and watched for complaints."""
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, Playwright, expect

from conftest import absent
from served import Served

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
CAMERA_FRAMES = 40

REMEMBER_SOCKETS = """
  window.sockets = [];
  window.WebSocket = class extends WebSocket {
    constructor(...given) { super(...given); sockets.push(this); }
  };
"""


def chromium() -> str:
    """The path of the browser; skips (fails with CI=true) where there is none."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        absent("Chromium (apt-get install chromium)")
    return str(found)


def make_camera(folder: Path) -> Path:
    """A film for Chromium's fake camera: 320 x 240, the bar moves, so that no two frames agree."""
    path = folder / "camera.mjpeg"
    with path.open("wb") as film:
        for i in range(CAMERA_FRAMES):
            image = Image.new("RGB", (320, 240), (30, 40, 90))
            ImageDraw.Draw(image).rectangle((i * 7, 60, i * 7 + 30, 180), fill=(240, 220, 60))
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=85)
            film.write(buffer.getvalue())
    return path


def camera_flags(film: Path) -> list[str]:
    return ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={film}"]


@contextmanager
def browser(driver: Playwright, *flags: str) -> Iterator[Browser]:
    running = driver.chromium.launch(executable_path=chromium(), args=[*FLAGS, *flags])
    try:
        yield running
    finally:
        running.close()


class Complaints:
    """What a page said in its console, what failed, and which addresses it asked for."""

    def __init__(self, page: Page):
        self.errors: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda m: m.type in ("error", "warning") and self.errors.append(m.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))


class opened:
    """A tab with the page in it; on the way out its console must be free of errors."""

    def __init__(self, chrome: Browser, served: Served, **context):
        self.context = chrome.new_context(**{"permissions": ["camera"], **context})
        self.served = served

    def __enter__(self) -> Page:
        page = self.context.new_page()
        page.add_init_script(REMEMBER_SOCKETS)
        self.complaints = Complaints(page)
        page.goto(self.served.url)
        expect(page.locator("#sa-link")).to_have_attribute("data-state", "on")
        return page

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.complaints.errors == []
            hosts = {urlsplit(url).hostname for url in self.complaints.asked}
            assert hosts <= {"127.0.0.1", None}, f"calls left this machine: {hosts}"
