"""What the page says and keeps when something goes wrong, in a real Chromium."""
import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from browsers import browser, opened
from fake_backend import ANSWER, FakeBackend
from served import Served, serving, wait_for
from streamassist.config import ServerConfig
from streamassist.types import Failed
from ui.outbox import Outbox

pytestmark = pytest.mark.browser

NOTE_LINK_STATES = """() => {
    const link = document.getElementById("sa-link");
    window.states = [];
    new MutationObserver(() => states.push(link.dataset.state))
        .observe(link, { attributeFilter: ["data-state"] });
}"""


def test_a_dead_network_camera_is_told_and_the_stream_goes_on(page: Page, served: Served) -> None:
    page.get_by_role("button", name="Network").click()
    page.get_by_label("Address of a network camera").fill("rtsp://127.0.0.1:1/x")
    page.get_by_role("button", name="Watch").click()
    expect(page.locator("#sa-trouble")).to_contain_text("does not answer")
    expect(page.get_by_role("button", name="Sample")).to_have_attribute("aria-pressed", "true")
    count = page.locator("#sa-lane .remark").count()
    expect(page.locator("#sa-lane .remark").nth(count)).to_be_visible()


def test_a_failure_of_the_model_is_told_and_the_talk_stays(page: Page, served: Served) -> None:
    page.get_by_label("Your question").fill("What rolls?")
    page.keyboard.press("Enter")
    expect(page.locator("#sa-feed .fresh")).to_be_visible()
    served.backend.emit(Failed(*served.backend.now, "The model stumbled; it was started again."))
    expect(page.locator("#sa-feed .failed")).to_contain_text("started again")
    expect(page.locator("#sa-feed .words")).to_have_text(ANSWER)


def test_a_lost_connection_comes_back_with_the_past(page: Page) -> None:
    page.get_by_label("Your question").fill("What rolls?")
    page.keyboard.press("Enter")
    expect(page.locator("#sa-feed .fresh")).to_be_visible()
    page.evaluate(NOTE_LINK_STATES)                       # "wait" may be gone before one looks
    page.evaluate("sockets.at(-1).close()")
    page.wait_for_function("states.join() === 'wait,on'")
    expect(page.locator("#sa-feed .words")).to_have_text(ANSWER)
    expect(page.locator("#sa-feed .turn")).to_have_count(1)


def test_a_server_started_again_is_found_again(chrome: Browser) -> None:
    """Its token is another one, so the page fetches itself anew."""
    page = chrome.new_page()
    with serving(FakeBackend()) as first:
        page.goto(first.url)
        expect(page.locator("#sa-lane .remark").first).to_be_visible()
    expect(page.locator("#sa-link")).to_have_attribute("data-state", "wait")
    with serving(FakeBackend(remark_s=1e9), port=first.port) as second:
        assert second.port == first.port and second.token != first.token
        expect(page.locator("#sa-lane .remark")).to_have_count(0, timeout=15_000)
        expect(page.locator("#sa-link")).to_have_attribute("data-state", "on", timeout=15_000)
    page.close()


@pytest.mark.parametrize("flags, words", [
    (["--use-fake-device-for-media-stream"], "Allow it by the sign in the address bar"),
    (["--use-fake-ui-for-media-stream"], "No camera was found"),
])
def test_without_a_camera_the_page_says_how_to_mend_it(
    driver: Playwright, served: Served, flags: list[str], words: str
) -> None:
    with browser(driver, *flags) as chrome, opened(chrome, served, permissions=[]) as page:
        page.get_by_role("button", name="Camera").click()
        expect(page.locator("#sa-trouble")).to_contain_text(words)
        expect(page.get_by_role("button", name="Sample")).to_have_attribute("aria-pressed", "true")
        assert not served.backend.opened


def test_a_camera_that_breaks_off_while_it_starts_is_told(page: Page, served: Served) -> None:
    page.evaluate("""() => {
        HTMLMediaElement.prototype.play = async function () {
            this.srcObject.getTracks().forEach((track) => track.stop());
        };
    }""")
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("#sa-trouble")).to_contain_text("stopped while it was starting")
    expect(page.locator("#sa-capture")).to_be_hidden()
    expect(page.get_by_role("button", name="Sample")).to_have_attribute("aria-pressed", "true")
    assert not served.backend.opened


def test_one_acknowledgement_may_stand_for_two_pictures(
    page: Page, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the newest that waits is sent, so the page goes by its number."""
    put = Outbox.put_newest

    def every_other(outbox: Outbox, slot: str, item: dict) -> None:
        if slot != "ack" or item["received"] % 2 == 0:
            put(outbox, slot, item)

    monkeypatch.setattr(Outbox, "put_newest", every_other)
    page.get_by_role("button", name="Camera").click()
    wait_for(lambda: len(served.backend.jpegs) > 8)


def test_plain_http_from_elsewhere_is_explained(driver: Playwright) -> None:
    """A name that is not localhost is no secure context, so browsers hide the camera there."""
    config = ServerConfig(host="0.0.0.0", token="sesame")
    with serving(FakeBackend(), config) as served, \
            browser(driver, "--host-resolver-rules=MAP house.test 127.0.0.1") as chrome:
        page = chrome.new_page()
        page.goto(f"http://house.test:{served.port}/?token=sesame")
        expect(page.locator("#sa-link")).to_have_attribute("data-state", "on")
        assert "sesame" not in page.url
        page.get_by_role("button", name="Camera").click()
        expect(page.locator("#sa-trouble")).to_contain_text("ssh -L")
