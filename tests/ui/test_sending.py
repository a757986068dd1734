"""Sending what the model uses: the protocol, and a real page that skips what stands still."""
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, expect

import app
from browsers import browser, camera_flags, opened
from fake_backend import FakeBackend, drawing
from served import HEADER, Client, Served, serving, wait_for
from streamassist.config import Config
from streamassist.live import Live
from streamassist.types import AddRule
from streamassist.worker import Worker
from ui import hub as hub_module
from ui.outbox import Outbox
from ui.sender import Plan, Sender

SAME = 3


class Watcher(FakeBackend):
    """Uses 120 pixels and 2 pictures a second, and keeps what it was shown."""

    frame_side, fps = 120, 2.0

    def __init__(self, **given: object):
        super().__init__(remark_s=1e9, **given)
        self.shown: list[tuple[float, bytes]] = []

    def offer_jpeg(self, jpeg: bytes, captured_at: float) -> None:
        super().offer_jpeg(jpeg, captured_at)
        self.shown.append((captured_at, jpeg))


def fresh(shown: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Those that came as a picture, without those that stood for the one before."""
    pairs = zip([(0.0, b""), *shown], shown, strict=False)
    return [new for old, new in pairs if new[1] is not old[1]]


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(Watcher()) as served:
        yield served


def filming(page: Client) -> Client:
    page.send("source", spec="browser", label="camera")
    page.until("source")
    return page


def settled(page: Client) -> None:
    """All that was sent before has been read."""
    page.send("dance")
    page.until("refused")


# ---------------------------------------------------------------- protocol

def test_a_page_learns_at_once_what_the_model_uses(served: Served) -> None:
    with served.page() as page:
        asked = page.hello["send"]
    assert asked == {"type": "send", "side": 240, "fps": 4.0, "quality": 0.8, "refresh_s": 1.0,
                     "why": ""}


def test_a_plan_can_be_laid_down() -> None:
    with serving(Watcher(), plan=Plan(480, 5.0, refresh_s=0.0)) as served:
        with served.page() as page:
            assert filming(page).hello["send"]["side"] == 480
            for _ in range(10):
                page.send("sending", seconds=5, late=10)
            settled(page)


def test_same_stands_for_the_picture_before_at_its_own_time(served: Served) -> None:
    with served.page() as page:
        page.send_picture(b"", kind=SAME)
        filming(page).send_picture(b"", kind=SAME)
        settled(page)
        assert not served.backend.shown, "there was no picture yet"
        page.send_picture(drawing(1.0))
        page.until("ack")
        page.send_picture(b"", kind=SAME)
        settled(page)
    (first, jpeg), (second, again) = served.backend.shown
    assert again is jpeg and first < second < first + 5


def test_same_is_believed_only_of_the_page_that_films(served: Served) -> None:
    with served.page("first") as first, served.page("second") as second:
        filming(first).send_picture(drawing(1.0))
        first.until("ack")
        second.send_picture(b"", kind=SAME)
        settled(second)
    assert len(served.backend.shown) == 1


def test_what_was_forgotten_does_not_come_back_as_the_same(served: Served) -> None:
    with served.page() as page:
        filming(page).send_picture(drawing(1.0))
        page.until("ack")
        page.send("forget")
        page.send_picture(b"", kind=SAME)
        settled(page)
    assert len(served.backend.shown) == 1


def test_an_old_picture_does_not_stand_for_the_present_for_ever() -> None:
    backend = Watcher()
    hub = hub_module.Hub(backend)
    page = hub_module.Page("page", Outbox.__new__(Outbox))
    hub.open_source("browser", page, "camera")
    hub.film(page, drawing(1.0), 100.0)
    for later in (104.9, 105.1, 200.0):
        hub.film_same(page, later)
    assert [t for t, _ in backend.shown] == [100.0, 104.9]


def test_reports_of_trouble_are_answered_with_a_smaller_plan(served: Served) -> None:
    with served.page("other") as other, served.page("mine") as mine:
        filming(mine)
        for page in (other, mine):
            for _ in range(3):
                page.send("sending", seconds=1, sent=1, late=3, round_trip_s=0.8)
        asked = mine.until("send")[-1]
        other.send("dance")
        assert "send" not in {line["type"] for line in other.until("refused")}
    assert asked["fps"] < 4.0 and asked["why"] == "slow connection"


@pytest.mark.parametrize("numbers", [
    '"sent": NaN', '"sent": "4"', '"late": -1', '"seconds": 1e999', '"bytes": null',
    '"round_trip_s": []', '"same": true', '"sent": 1%s' % ("0" * 400),
])
def test_a_report_with_bad_numbers_is_refused(served: Served, numbers: str) -> None:
    with served.page() as page:
        page.socket.send('{"type": "sending", ' + numbers + "}")
        refusal = page.until("refused")[-1]
        page.socket.send(HEADER.pack(SAME, float("nan")))
        settled(page)
    assert refusal["text"] == "The page's count of its pictures is unreadable; reload it."


# ---------------------------------------------------------------- a page with a real camera

def film(path: Path, count: int, moving: bool) -> Path:
    """640 x 480 for Chromium's fake camera: a scene with the noise of a sensor, and a square that
    stays, or is nowhere twice."""
    dice = np.random.default_rng(1)
    columns = np.linspace(40, 200, 640)[None, :, None]
    with path.open("wb") as out:
        for i in range(count):
            image = np.repeat(columns, 480, 0) + dice.normal(0, 4, (480, 640, 3))
            x = 600 * i // count if moving else 300
            image[200:240, x:x + 40] = (220, 60, 40)
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return path


@pytest.fixture(scope="module")
def still(driver: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = film(tmp_path_factory.mktemp("still") / "camera.mjpeg", 30, moving=False)
    with browser(driver, *camera_flags(path)) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def moving(driver: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = film(tmp_path_factory.mktemp("moving") / "camera.mjpeg", 60, moving=True)
    with browser(driver, *camera_flags(path)) as chrome:
        yield chrome


def watch(page: Page, backend: Watcher, seconds: float) -> list[tuple[float, bytes]]:
    """What is shown to the assistant in so many seconds, after the first picture."""
    page.get_by_role("button", name="Camera").click()
    wait_for(lambda: len(backend.shown) > 1)
    start, began = len(backend.shown), backend.shown[-1][0]
    wait_for(lambda: backend.shown[-1][0] - began >= seconds, 3 * seconds)
    return backend.shown[start:]


def picture(shown: tuple[float, bytes]) -> Image.Image:
    return Image.open(io.BytesIO(shown[1]))


@pytest.mark.browser
def test_a_still_picture_is_sent_once_a_second_and_watched_all_the_same(
    still: Browser, served: Served
) -> None:
    with opened(still, served) as page:
        shown = watch(page, served.backend, 6.0)
        expect(page.locator("#sa-sending")).to_have_text(re.compile(
            r"^sending (0\.[5-9]|1\.[0-4]) pictures/s, 320 × 240 px, \d+ kB/s"
            r" · ([5-8]\d) % unchanged, \d+ late$"), timeout=8000)
        assert page.locator("#sa-sending").evaluate("e => !e.closest('[aria-live], [role=status]')")
    assert 3 <= len(fresh(shown)) <= 8
    assert len(shown) >= 0.6 * 4 * 6.0, "the assistant was not told that time went by"
    gaps = np.diff([t for t, _ in shown])
    assert gaps.min() > 0 and gaps.max() < 1.5


@pytest.mark.browser
def test_a_moving_picture_is_sent_at_the_rate_that_is_wanted(
    moving: Browser, served: Served
) -> None:
    with opened(moving, served) as page:
        shown = watch(page, served.backend, 5.0)
        expect(page.locator("#sa-sending")).to_contain_text(" 0 % unchanged", timeout=8000)
    assert len(fresh(shown)) == len(shown), "something that moves was taken for unchanged"
    assert 0.7 * 4 <= len(shown) / 5.0 <= 1.3 * 4
    assert {picture(one).size for one in shown} == {(320, 240)}


@pytest.mark.browser
def test_a_new_plan_changes_size_quality_and_rate(
    moving: Browser, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Plan(120, 8.0, 0.3, 1.0, "slow connection")
    backend = served.backend
    with opened(moving, served) as page:
        before = watch(page, backend, 1.0)
        monkeypatch.setattr(Sender, "heard", lambda *_: small)
        wait_for(lambda: picture(backend.shown[-1]).size == (160, 120))
        start, began = len(backend.shown), backend.shown[-1][0]
        wait_for(lambda: backend.shown[-1][0] - began >= 2.5)
        after = backend.shown[start:]
        expect(page.locator("#sa-sending")).to_contain_text("held back: slow connection")
    coarse, fine = (sum(picture(some[-1]).quantization[0]) for some in (after, before))
    assert coarse > 2 * fine, "the quality stayed"
    assert len(after) / 2.5 > 1.3 * 4, "the rate stayed"
    assert len(after[-1][1]) < len(before[-1][1]) / 3


@pytest.mark.browser
def test_numbers_that_are_none_are_told_and_change_nothing(moving: Browser, served: Served) -> None:
    with opened(moving, served) as page:
        watch(page, served.backend, 0.5)
        page.evaluate("""() => sockets.at(-1).onmessage({ data: JSON.stringify(
            { type: "send", side: null, fps: "9", quality: -1, refresh_s: 1 }) })""")
        expect(page.locator("#sa-trouble")).to_contain_text("no possible size or rate")
        start = len(served.backend.shown)
        wait_for(lambda: len(served.backend.shown) > start + 3)
    assert picture(served.backend.shown[-1]).size == (320, 240)


@pytest.mark.browser
def test_after_a_lost_connection_a_whole_picture_comes_first(
    still: Browser, served: Served
) -> None:
    with opened(still, served) as page:
        watch(page, served.backend, 0.5)
        page.evaluate("sockets.at(-1).close()")
        page.wait_for_function("sockets.length > 1 && sockets.at(-1).readyState === 1")
        start = len(served.backend.shown)
        wait_for(lambda: len(served.backend.shown) > start + 4)
        after = served.backend.shown[start:]
    assert after[0][1] is not served.backend.shown[start - 1][1]
    assert len(fresh(after)) < len(after)


@pytest.mark.browser
def test_rules_are_checked_at_the_full_rate_on_a_picture_that_stands_still(still: Browser) -> None:
    """The real assistant: skipped pictures are watched, so that an alert comes as soon."""
    made = app.build(Config(model="fake", response="on_query"))
    live = Assistant(Worker(made.make_session, made.config, made.clock), made.clock, "fake", "")
    assert (live.frame_side, live.fps) == (288, 2.0)
    with serving(live) as served, opened(still, served) as page:
        live.submit(AddRule("Tell me when it is dark."))
        page.get_by_role("button", name="Camera").click()
        wait_for(lambda: live.worker.session.frames_used)
        used, began = live.worker.session.frames_used, live.worker.now()
        wait_for(lambda: live.worker.now() - began > 4.0)
        rate = (live.worker.session.frames_used - used) / (live.worker.now() - began)
        expect(page.locator("#sa-feed .alert")).to_have_count(1)
    assert rate > 1.5, "the model should look twice a second"


class Assistant(Live):
    """Runs while the block lasts, with no source."""

    def __enter__(self) -> "Assistant":
        self.start("none")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
