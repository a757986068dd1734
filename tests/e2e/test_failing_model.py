"""The model fails in the middle of it all: the page says so, and nothing of the user's is lost."""
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from browsers import opened
from e2e.whole import need_sample, served_by
from tools.running import running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.shared, pytest.mark.timeout(600)]

WAIT_MS = 30_000


@pytest.fixture
def page(chrome: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    need_sample()
    with running(tmp_path_factory.mktemp("app"), "--model", "fake") as app, \
            opened(chrome, served_by(app)) as page:
        yield page


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")


def expect_answers(page: Page, count: int) -> None:
    expect(page.locator("#sa-feed .fresh:has-text('saw')")).to_have_count(count, timeout=WAIT_MS)


def test_after_a_failure_the_talk_and_the_rules_are_there_and_go_on(page: Page) -> None:
    page.get_by_label("Tell me when", exact=True).fill("a grey zebra appears")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#sa-rules li")).to_contain_text("A grey zebra appears")
    ask(page, "What do you see?")
    expect_answers(page, 1)
    ask(page, "please fail")
    failed = page.locator("#sa-feed .failed")
    expect(failed).to_contain_text("was restarted. Your conversation and rules", timeout=WAIT_MS)
    ask(page, "And what is there now?")
    expect(page.locator("#sa-feed .words").last).to_contain_text("I see a", timeout=WAIT_MS)
    page.reload()
    expect(failed).to_have_count(1)
    for said in ("What do you see?", "And what is there now?"):
        expect(page.locator("#sa-feed .asked", has_text=said)).to_be_visible()
    expect(page.locator("#sa-rules li")).to_contain_text("A grey zebra appears")
