"""The page in a real Chromium: what a person sees and presses, with a scripted assistant."""
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browsers import opened
from fake_backend import ANSWER
from served import Served, wait_for
from streamassist.types import Forget, Interrupt, Query

pytestmark = pytest.mark.browser


def painted(page: Page, selector: str) -> int:
    """The sum of a canvas's colours, read from a small copy."""
    return page.evaluate("""(selector) => {
        const copy = new OffscreenCanvas(16, 9).getContext('2d', {willReadFrequently: true});
        copy.drawImage(document.querySelector(selector), 0, 0, 16, 9);
        const {data} = copy.getImageData(0, 0, 16, 9);
        return data.reduce((sum, value, i) => i % 4 === 3 ? sum : sum + value, 0);
    }""", selector)


def test_the_sample_is_shown_and_described_without_a_click(page: Page) -> None:
    expect(page.locator("#sa-lane .remark").first).to_contain_text("The ball is at mark")
    expect(page.locator("#sa-caption")).to_contain_text("The ball is at mark")
    expect(page.get_by_role("button", name="Sample")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#sa-empty")).to_be_hidden()
    assert painted(page, "#sa-preview") > 0
    first = page.locator("#sa-preview").get_attribute("data-pts")
    expect(page.locator("#sa-preview")).not_to_have_attribute("data-pts", first or "")
    expect(page.locator("#sa-stats")).to_contain_text("25.0 fps")


def test_an_answer_streams_with_its_proof_and_its_freshness(page: Page, served: Served) -> None:
    page.evaluate("""() => {
        window.lengths = new Set();
        const feed = document.querySelector('#sa-feed');
        const note = () => lengths.add(feed.querySelector('.words')?.textContent.length);
        new MutationObserver(note).observe(feed, {childList: true, subtree: true});
    }""")
    page.get_by_label("Your question").fill("What rolls?")
    page.keyboard.press("Enter")
    turn = page.locator("#sa-feed .turn")
    expect(turn.locator(".asked")).to_contain_text("What rolls?")
    expect(turn.locator(".answer")).to_have_attribute("aria-busy", "false")
    expect(turn.locator(".words")).to_have_text(ANSWER)
    for part in ("saw 0:00 to", "newest frame 0.4 s old", "3 frames dropped", "first word 180 ms"):
        expect(turn.locator(".fresh")).to_contain_text(part)
    assert len(page.evaluate("[...lengths]")) > 4, "the answer came in one piece"
    expect(turn.locator(".thumbs img")).to_have_count(4)
    wait_for(lambda: page.evaluate(
        "[...document.querySelectorAll('#sa-feed .thumbs img')].every(i => i.naturalWidth > 0)"))
    turn.get_by_role("button", name="Ask this again").click()
    expect(turn).to_have_count(2)
    assert served.backend.commands == [Query("What rolls?")] * 2


def test_a_picture_that_stands_still_tells_its_age(page: Page, served: Served) -> None:
    expect(page.locator("#sa-lane .remark").first).to_be_visible()
    expect(page.locator("#sa-clock")).not_to_contain_text("old")
    served.backend.frozen_at = 1.0
    expect(page.locator("#sa-clock")).to_contain_text("this picture is", timeout=15_000)
    served.backend.frozen_at = None
    expect(page.locator("#sa-clock")).not_to_contain_text("old")


def test_text_is_never_read_as_markup(page: Page) -> None:
    page.get_by_label("Your question").fill("<img src=x onerror=alert(1)><b>bold</b>")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#sa-feed .asked")).to_contain_text("<b>bold</b>")
    expect(page.locator("#sa-feed .asked b, #sa-feed .asked img")).to_have_count(0)


def test_the_camera_is_filmed_shown_and_let_go(page: Page, served: Served) -> None:
    backend = served.backend
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("#sa-capture")).to_have_text("Camera on")
    expect(page.locator("#sa-own")).to_be_visible()
    wait_for(lambda: len(backend.jpegs) >= 10)
    times = [taken_at for taken_at, _ in backend.jpegs]
    assert 2 < (len(times) - 1) / (times[-1] - times[0]) < 7, "asked for 4 pictures a second"
    assert backend.newest.startswith(b"\xff\xd8") and backend.opened == ["browser"]
    page.get_by_role("button", name="Pause", exact=False).first.click()
    expect(page.locator("#sa-capture")).to_be_hidden()
    held = page.evaluate("document.querySelector('#sa-own').srcObject")
    assert held is None, "the camera's light stays on"
    expect(page.get_by_role("button", name="Paused. Start again")).to_be_visible()
    before = len(backend.jpegs)
    page.get_by_role("button", name="Paused. Start again").click()
    expect(page.locator("#sa-capture")).to_be_visible()
    wait_for(lambda: len(backend.jpegs) > before + 3)
    assert backend.opened == ["browser"], "the pause must not begin a new stream"
    page.get_by_role("button", name="Sample").click()
    expect(page.locator("#sa-capture")).to_be_hidden()
    expect(page.locator("#sa-preview")).to_be_visible()


def test_a_screen_or_another_page_takes_over(chrome: Browser, page: Page, served: Served) -> None:
    page.get_by_role("button", name="Camera").click()
    wait_for(lambda: served.backend.jpegs)
    with opened(chrome, served) as other:
        wait_for(lambda: painted(other, "#sa-preview") > 0)
        expect(other.get_by_role("button", name="Camera")).to_have_attribute("aria-pressed", "true")
        other.get_by_role("button", name="Camera").click()
        expect(other.locator("#sa-capture")).to_be_visible()
        expect(page.locator("#sa-capture")).to_be_hidden()


def test_keys_start_type_and_stop(page: Page, served: Served) -> None:
    page.locator("#sa-picture").click()
    page.keyboard.press("Space")
    wait_for(lambda: served.backend.sources["paused"])
    expect(page.locator("#sa-pause")).to_contain_text("Start")
    page.keyboard.press("Space")
    wait_for(lambda: not served.backend.sources["paused"])
    page.keyboard.press("t")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.keyboard.type("a t b")
    expect(page.get_by_label("Your question")).to_have_value("a t b")
    assert not served.backend.sources["paused"]
    page.keyboard.press("Escape")
    wait_for(lambda: Interrupt() in served.backend.commands)


def test_stop_speaking_ends_the_answer(page: Page, served: Served) -> None:
    served.backend.word_s = 0.5
    page.get_by_label("Your question").fill("What rolls?")
    page.keyboard.press("Enter")
    expect(page.locator("#sa-feed .words")).to_contain_text("A red")
    page.get_by_role("button", name="Stop speaking").click()
    expect(page.locator("#sa-feed .fresh").first).to_contain_text("stopped")
    assert page.locator("#sa-feed .words").inner_text() != ANSWER


def test_rules_alerts_and_their_removal(page: Page) -> None:
    expect(page.locator(".sa-rules")).to_contain_text("Not a safety device")
    page.get_by_label("Tell me when", exact=True).fill("a dog appears")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#sa-feed .alert")).to_contain_text("Tell me when a dog appears")
    page.reload()
    expect(page.locator("#sa-rules li")).to_have_count(1)
    page.get_by_role("button", name="Remove the rule").click()
    expect(page.locator("#sa-rules li")).to_have_count(0)


def test_commentary_and_threshold_are_set(page: Page, served: Served) -> None:
    page.get_by_role("switch", name="Speak up by itself").click()
    wait_for(lambda: not served.backend.commentary)
    slider = page.get_by_label("Urge to speak")
    slider.focus()
    slider.press("ArrowLeft")
    wait_for(lambda: served.backend.threshold == pytest.approx(0.69))
    slider.evaluate("slider => slider.blur()")
    expect(page.locator("#sa-urge-text")).to_contain_text("of 0.69")


def test_forget_everything_asks_first(page: Page, served: Served) -> None:
    expect(page.locator("#sa-lane .remark").first).to_be_visible()
    page.get_by_role("button", name="Forget…").click()
    page.get_by_role("button", name="Keep").click()
    assert Forget() not in served.backend.commands
    served.backend.commentary = False
    page.get_by_role("button", name="Forget…").click()
    page.get_by_role("button", name="Forget", exact=True).click()
    expect(page.locator("#sa-lane .remark")).to_have_count(0)
    assert Forget() in served.backend.commands


def test_the_last_minutes_alone_can_be_forgotten(page: Page, served: Served) -> None:
    expect(page.locator("#sa-lane .remark").first).to_be_visible()
    served.backend.commentary = False
    shown = page.locator("#sa-lane .remark").count()
    page.get_by_role("button", name="Forget…").click()
    page.locator("#sa-forget-span").select_option(label="the last 30 minutes")
    page.get_by_role("button", name="Forget", exact=True).click()
    wait_for(lambda: Forget(minutes=30.0) in served.backend.commands)
    expect(page.locator("#sa-lane .remark")).to_have_count(0)
    assert shown


def test_search_hides_what_does_not_match(page: Page) -> None:
    page.get_by_label("Your question").fill("What rolls?")
    page.keyboard.press("Enter")
    expect(page.locator("#sa-feed .fresh")).to_be_visible()
    page.get_by_label("Search what was said").fill("zebra")
    expect(page.locator("#sa-feed .turn")).to_be_hidden()
    expect(page.locator("#sa-found")).to_have_text("0 found")
    page.get_by_label("Search what was said").fill("ROLLS")
    expect(page.locator("#sa-feed .turn")).to_be_visible()


def test_a_file_is_sent_and_watched(page: Page, served: Served, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"film" * 1000)
    page.locator("#sa-file").set_input_files(clip)
    expect(page.get_by_role("button", name="File")).to_have_attribute("aria-pressed", "true")
    stored = Path(served.backend.opened[-1].removeprefix("file:"))
    assert stored.read_bytes() == clip.read_bytes()


def test_a_reload_goes_on_filming_in_the_same_stream(page: Page, served: Served) -> None:
    page.get_by_role("button", name="Camera").click()
    wait_for(lambda: served.backend.jpegs)
    page.reload()
    expect(page.locator("#sa-capture")).to_be_visible()
    before = len(served.backend.jpegs)
    wait_for(lambda: len(served.backend.jpegs) > before + 3)
    assert served.backend.opened == ["browser"]


@pytest.mark.parametrize("width, scheme", [(1440, "light"), (1440, "dark"), (390, "light")])
def test_it_fits_and_follows_the_wish_for_dark(
    chrome: Browser, served: Served, width: int, scheme: str
) -> None:
    with opened(chrome, served, viewport={"width": width, "height": 844},
                color_scheme=scheme) as page:
        page.get_by_label("Your question").fill("What " + "rolls" * 40 + "?")
        page.keyboard.press("Enter")
        expect(page.locator("#sa-feed .fresh")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        channels = page.evaluate("getComputedStyle(document.querySelector('.sa-card'))"
                                 ".backgroundColor.match(/[0-9]+/g).map(Number)")
        assert (sum(channels) < 200) == (scheme == "dark")


def test_everything_that_can_be_pressed_has_a_name(page: Page) -> None:
    nameless = page.evaluate("""() => {
        const words = (e) => e?.textContent.trim();
        const named = (e) => e.ariaLabel || words(e.labels?.[0]) || words(e);
        const parts = ':is(.sa-stage, .sa-talk) :is(button, input, select, textarea)';
        return [...document.querySelectorAll(parts)].filter(e => !named(e)).map(e => e.outerHTML);
    }""")
    assert nameless == []
    expect(page.get_by_role("log", name="Questions, answers and alerts")).to_have_attribute(
        "aria-live", "polite")
