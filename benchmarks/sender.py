"""What does the page send? `python -m benchmarks.sender [--quick]`

Bytes and pictures a second from a real headless Chromium whose camera plays a film: a clip that
moves, and one picture of it with the noise of a sensor. Before: 5 pictures a second, 640 pixels,
all of them sent. After: what the model uses, unchanged pictures skipped. What moves must arrive at
the rate that is asked for, with nothing skipped; what stands still must cost a fifth or less.
"""
import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import Outcome, Sheet, main, parser_of
from models.nano.adapter import Nano
from streamassist.clock import RealClock
from streamassist.config import Config, ServerConfig
from streamassist.errors import StreamAssistError
from streamassist.frames import jpeg
from streamassist.live import Live
from streamassist.sample import sample_clip
from streamassist.video import open_video
from streamassist.worker import Worker
from ui.sender import Plan, best_plan
from ui.server import create_app, listen, make_server

BEFORE = Plan(side=480, fps=5.0, quality=0.8, refresh_s=0.0)   # 640 x 480, each one sent
CLIP = "cat_piano"            # 4:3 and by a hand-held camera; else the bundled sample
FILM_FPS = 30                 # at which Chromium plays a film of JPEGs
SIZE = (640, 480)
FILM_S, NOISE = 6, 3.0        # seconds, before it begins anew; grey levels
SECONDS, QUICK_SECONDS = 20.0, 4.0
STARTS_WITHIN_S = 30.0
LEAST_RATE, MOST_STILL = 0.85, 0.2
PORT = 23860
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream", "--disable-background-networking",
]


@dataclass
class Arrivals:
    """What came within the time that is measured. A skipped picture stands for the one before."""

    sent: int = 0
    same: int = 0
    bytes: int = 0
    last: bytes = field(default=b"", repr=False)
    counting: bool = False

    def add(self, picture: bytes) -> None:
        is_same, self.last = picture is self.last, picture
        if self.counting:
            self.same += is_same
            self.sent += not is_same
            self.bytes += 0 if is_same else len(picture)


class Counting(Live):
    """The assistant around the scripted model, which takes no time; asks for what nano uses."""

    frame_side = Nano.frame_side

    def __init__(self) -> None:
        import app

        made = app.build(Config(model="fake"))
        super().__init__(Worker(made.make_session, made.config, RealClock()), RealClock(), "", "")
        self.arrivals = Arrivals()

    def offer_jpeg(self, data: bytes, captured_at: float) -> None:
        self.arrivals.add(data)
        super().offer_jpeg(data, captured_at)


@contextmanager
def serving(backend: Counting, plan: Plan | None) -> Iterator[str]:
    """The address of the page; `plan` None: it adapts."""
    with ThreadPoolExecutor(1) as elsewhere:   # playwright keeps an event loop in this thread
        app = elsewhere.submit(create_app, backend, ServerConfig(), plan=plan).result()
    bound = listen("127.0.0.1", PORT)
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    backend.start("none")
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        bound.close()
        backend.stop()


# ---------------------------------------------------------------- films

def shots(args: argparse.Namespace) -> list[np.ndarray]:
    """The first seconds of a clip, (480, 640, 3) uint8 each, at half the rate of the film."""
    path = args.clips / f"{CLIP}.mp4"
    video = open_video(path if path.is_file() else sample_clip())
    taken = islice(video.frames(FILM_FPS / 2), FILM_S * FILM_FPS // 2)
    return [np.asarray(Image.fromarray(image).resize(SIZE)) for image, _ in taken]


def noisy(image: np.ndarray) -> Iterator[np.ndarray]:
    """A second of a camera that looks at a picture."""
    dice = np.random.default_rng(0)
    for _ in range(FILM_FPS):
        yield (image + dice.normal(0, NOISE, image.shape)).clip(0, 255).astype(np.uint8)


def write(path: Path, images: Iterator[np.ndarray]) -> Path:
    with path.open("wb") as film:
        for image in images:
            film.write(jpeg(image, quality=92))
    return path


# ---------------------------------------------------------------- the page

def filmed(browser: Any, plan: Plan | None, seconds: float) -> dict[str, Any]:
    """A row of the table: one page films for so many seconds."""
    backend = Counting()
    with serving(backend, plan) as url:
        context = browser.new_context(permissions=["camera"])
        page = context.new_page()
        page.goto(url)
        page.locator("#sa-link[data-state=on]").wait_for()
        page.get_by_role("button", name="Camera").click()
        arrivals = backend.arrivals
        await_first(arrivals)
        arrivals.counting, began = True, time.monotonic()
        page.wait_for_timeout(1000 * seconds)
        arrivals.counting, spent = False, time.monotonic() - began
        told = page.locator("#sa-sending").text_content()
        context.close()
    return {"bytes_per_s": arrivals.bytes / spent, "sent_per_s": arrivals.sent / spent,
            "same_per_s": arrivals.same / spent, "page_says": told}


def await_first(arrivals: Arrivals) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while not arrivals.last:
        if time.monotonic() > deadline:
            raise StreamAssistError("The page sent no picture; look at it in a browser.")
        time.sleep(0.05)


def measured(film: Path, seconds: float) -> dict[str, dict[str, Any]]:
    """{"before": row, "after": row} in one browser whose camera plays the film."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if not path:
        raise StreamAssistError("There is no Chromium here; apt-get install chromium.")
    flags = [*FLAGS, f"--use-file-for-fake-video-capture={film}"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)
        try:
            plans = {"before": BEFORE, "after": None}
            return {name: filmed(browser, plan, seconds) for name, plan in plans.items()}
        finally:
            browser.close()


def measure(args: argparse.Namespace, sheet: Sheet) -> Outcome:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    seconds, rows = QUICK_SECONDS if args.quick else SECONDS, {}
    images = shots(args)
    films = {"moving": chain.from_iterable(repeat(image, 2) for image in images),
             "still": noisy(images[0])}
    with tempfile.TemporaryDirectory() as folder:
        for name, film in films.items():
            rows[name] = measured(write(Path(folder) / f"{name}.mjpeg", film), seconds)
            for when, row in rows[name].items():
                sheet.row(f"{name:6} {when:6} {row['bytes_per_s'] / 1000:6.1f} kB/s, "
                          f"{row['sent_per_s']:.1f} sent and {row['same_per_s']:.1f} unchanged a "
                          f"second; the page: {row['page_says']}")
    return judged(rows)


def judged(rows: dict[str, dict[str, dict[str, Any]]]) -> Outcome:
    shares = {name: row["after"]["bytes_per_s"] / max(1.0, row["before"]["bytes_per_s"])
              for name, row in rows.items()}
    moving = rows["moving"]["after"]
    wanted = best_plan(Nano.frame_side, Config().engine.fps).fps
    ok = (moving["sent_per_s"] >= LEAST_RATE * wanted and not moving["same_per_s"]
          and shares["moving"] < 1 and shares["still"] <= MOST_STILL)
    text = "; ".join(
        f"{name}: {row['before']['bytes_per_s'] / 1000:.0f} kB/s before, "
        f"{row['after']['bytes_per_s'] / 1000:.0f} after ({100 * shares[name]:.0f} %)"
        for name, row in rows.items()
    )
    return Outcome(text, {"rows": rows, "shares": shares}, ok, {"clip": CLIP})


def command(argv: Sequence[str] | None = None) -> int:
    return main(parser_of(__doc__), measure, argv)


if __name__ == "__main__":
    sys.exit(command())
