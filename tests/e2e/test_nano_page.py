"""The whole as a user has it: app.py with nano, a real Chromium, a real clip as its camera."""
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.accept import is_right
from browsers import opened
from devtools import chrome as plain_chrome
from devtools import new_tab, tab
from e2e.whole import CITY, QUESTION, ROAD, SLOW_S, need_sample, served_by
from served import Client, Served, wait_for
from tools.running import running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.shared, pytest.mark.timeout(600)]

SLOW_MS = 1000 * SLOW_S
HIDDEN_FRAMES = 15        # 3 s of the 5 pictures a second that a page sends


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need_sample()
    with running(tmp_path_factory.mktemp("app"), "--model", "nano") as app:
        yield served_by(app)
        log = app.log.read_text()
    assert "Traceback" not in log and "ERROR" not in log, log


@pytest.fixture
def page(chrome: Browser, served: Served) -> Iterator[Page]:
    with opened(chrome, served) as page:
        yield page


def ask(page: Page) -> Locator:
    """Type the question; the turn in the page once it is answered."""
    turns = page.locator("#sa-feed .turn")
    turn = turns.nth(turns.count())
    page.get_by_label("Your question").fill(QUESTION)
    page.keyboard.press("Enter")
    expect(turn.locator(".answer")).to_have_attribute("aria-busy", "false", timeout=SLOW_MS)
    expect(turn.locator(".fresh")).to_be_visible()
    return turn


def test_the_sample_is_described_without_a_click_and_asked_about(page: Page) -> None:
    remark = page.locator("#sa-lane .remark").first
    expect(remark).to_be_visible(timeout=SLOW_MS)
    expect(page.locator("#sa-model")).to_have_text("nano")
    said = remark.locator("p").inner_text(), ask(page).locator(".words").inner_text()
    assert any(is_right(words, [CITY]) for words in said), said


def test_the_camera_is_seen_and_the_answer_streams(page: Page) -> None:
    page.evaluate("""() => {
        window.texts = new Set();
        const feed = document.querySelector('#sa-feed');
        const note = () => texts.add([...feed.querySelectorAll('.words')].at(-1)?.textContent);
        const changes = {childList: true, subtree: true, characterData: true};
        new MutationObserver(note).observe(feed, changes);
    }""")
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("#sa-capture")).to_have_text("Camera on")
    turn = ask(page)
    words = turn.locator(".words").inner_text()
    assert is_right(words, [ROAD]), words
    beginnings = {text for text in page.evaluate("[...texts]") if text and words.startswith(text)}
    assert len(beginnings) > 3, f"the answer came in one piece: {beginnings}"
    expect(turn.locator(".thumbs img").first).to_be_visible()


def test_the_camera_is_commented_on(page: Page) -> None:
    page.get_by_role("button", name="Sample").click()
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("#sa-capture")).to_have_text("Camera on")
    told = page.locator("#sa-lane .remark")
    before = told.count()
    expect(told.nth(before)).to_be_visible(timeout=SLOW_MS)
    assert told.nth(before).locator("p").inner_text().strip()


def test_a_hidden_tab_is_still_watched(served: Served, film: Path, tmp_path: Path) -> None:
    """The counters come from a page of our own, which looks on."""
    with served.page("looker-on") as looker, plain_chrome(tmp_path, film) as port, \
            tab(port, served.url) as filming:
        filming.wait_until_linked()
        filming.evaluate("document.querySelector('[data-source=camera]').click()")
        wait_until_filmed(looker)
        new_tab(port)
        wait_for(lambda: filming.hidden)
        first = newest_stats(looker)
        while (now := newest_stats(looker))["frames_seen"] < first["frames_seen"] + HIDDEN_FRAMES:
            assert now["t"] - first["t"] < 3 * HIDDEN_FRAMES / 5, "the hidden tab fell asleep"
        assert now["frames_used"] > first["frames_used"], "nano saw none of the pictures"
        assert filming.hidden


def wait_until_filmed(looker: Client) -> None:
    while True:
        source = looker.until("source", seconds=SLOW_S)[-1]
        if source["kind"] == "browser" and source["filming"]:
            return


def newest_stats(looker: Client) -> dict:
    """The next counters, those that lie unread thrown away."""
    stats = looker.until("stats", seconds=SLOW_S)[-1]
    while True:
        try:
            item = looker.socket.recv(0)
        except TimeoutError:
            return stats
        if isinstance(item, str) and (line := json.loads(item))["type"] == "stats":
            stats = line
