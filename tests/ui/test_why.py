"""Quietness in the page: why it spoke or not, thumbs, how many remarks, holding while one types."""
import re

import pytest
from playwright.sync_api import Locator, Page, expect

from fake_backend import seen
from served import Served, wait_for
from streamassist.types import Answer, Configure, Forgotten, Note, Rate, Remark, Why

pytestmark = pytest.mark.browser

GIST = re.compile(r"now 0\.\d\d, at most 0\.\d\d, line at 0\.70; (spoke|did not)")
NEXT_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def question(page: Page) -> Locator:
    return page.get_by_label("Your question")


def test_the_reasons_are_reached_and_opened_by_keyboard(page: Page) -> None:
    expect(page.locator("#sa-why-gist")).to_contain_text(":")
    page.locator("#sa-why > summary").focus()
    page.keyboard.press("Enter")
    rows = page.locator("#sa-why-list li")
    expect(rows.nth(1)).to_be_visible()
    expect(rows.first).to_contain_text(" to 0:0")
    first = rows.last.locator("summary")
    first.focus()
    page.keyboard.press("Enter")
    signals = rows.last.locator(".signals")
    for words in ("2 pictures", "urge to speak", "motion in the picture", "not known"):
        expect(signals).to_contain_text(words)
    expect(signals.locator(".meter")).to_have_count(4)
    assert all(float(bar.get_attribute("aria-label").split()[0]) <= 1
               for bar in signals.locator(".meter").all())
    curve = page.locator("#sa-why-curve")
    expect(curve).to_have_attribute("role", "img")
    expect(curve).to_have_attribute("aria-label", GIST)
    assert page.evaluate("""() => {
        const canvas = document.querySelector('#sa-why-curve');
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.some((value) => value > 0);
    }"""), "nothing was drawn"


def test_the_reasons_stay_few_and_come_back_after_a_reload(page: Page, served: Served) -> None:
    backend = served.backend
    backend.why_s = 1e9
    for i in range(80):
        backend.emit(Why(float(i), 1000.0 + i, i - 1.0, "silent", f"reason {i}", 2, 0.3, 0.7))
    rows = page.locator("#sa-why-list li")
    expect(rows.first).to_contain_text("reason 79")
    expect(rows).to_have_count(60)
    expect(page.locator("#sa-why-gist")).to_have_text("Stayed silent: reason 79")
    page.reload()
    expect(rows).to_have_count(60)
    expect(rows.last).to_contain_text("reason 20")
    backend.emit(Forgotten(*backend.now, since=70.0))
    expect(rows).to_have_count(50)
    expect(rows.first).to_contain_text("reason 69")
    backend.emit(Forgotten(*backend.now))
    expect(page.locator("#sa-why-list")).to_have_text("Reasons come with the first pictures.")


def test_thumbs_are_sent_and_answered(page: Page, served: Served) -> None:
    remark = page.locator("#sa-lane .remark").first
    expect(remark).to_contain_text("Why: something new is in view")
    t = next(e.t for e in served.backend._told if isinstance(e, Remark))
    up = remark.get_by_role("button", name="Good: say more of this")
    down = remark.get_by_role("button", name="Not worth it: say less")
    expect(up).to_have_attribute("aria-pressed", "false")
    up.click()
    wait_for(lambda: Rate(t, True) in served.backend.commands)
    expect(up).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#sa-feed .notice")).to_contain_text("from 0.65 on")
    expect(page.locator("#sa-urge-text")).to_contain_text("of 0.65")
    down.focus()
    page.keyboard.press("Enter")
    wait_for(lambda: Rate(t, False) in served.backend.commands)
    expect(up).to_have_attribute("aria-pressed", "false")
    expect(down).to_have_attribute("aria-pressed", "true")


def test_so_many_remarks_a_minute(page: Page, served: Served) -> None:
    most = page.get_by_label("Remarks at most")
    expect(most).to_have_value("6")
    most.select_option("2 a minute")
    wait_for(lambda: Configure(remarks_per_minute=2.0) in served.backend.commands)
    most.evaluate("select => select.blur()")
    expect(most).to_have_value("2")
    served.backend.remarks_per_minute = 4.0
    expect(most).to_have_value("4")
    expect(most.locator("option:checked")).to_have_text("4 a minute")
    served.backend.remarks_per_minute = 5.0
    expect(most).to_have_value("5")
    expect(most.locator("option")).to_have_count(6)


def test_while_one_types_the_assistant_is_told(page: Page, served: Served) -> None:
    typing = served.backend.typing
    question(page).press_sequentially("What")
    wait_for(lambda: typing == [True])
    page.keyboard.press("Enter")
    wait_for(lambda: typing == [True, False])
    question(page).press_sequentially("and then", delay=300)       # longer than 2 s
    wait_for(lambda: typing[2:] == [True, True])
    question(page).blur()
    wait_for(lambda: typing[2:] == [True, True, False])
    question(page).press_sequentially("?")
    wait_for(lambda: typing[5:] == [True, False], seconds=6)       # it was left lying


def test_notes_and_what_an_answer_used_are_small_lines(page: Page, served: Served) -> None:
    backend = served.backend
    backend.emit(Note(9.0, 1009.0, 3.0, "A ball went <b>left</b>."))
    backend.emit(Answer(*backend.now, "It is red.", "What colour?", 1.0, 10.0, seen(0.5), 1, False,
                        None, 0.1, 0, ["Looked closer at the ball."]))
    note = page.locator("#sa-feed .note")
    expect(note).to_have_text("Note to itself, 0:03 to 0:09: A ball went <b>left</b>.")
    expect(page.locator("#sa-feed .used")).to_have_text("Looked closer at the ball.")
    page.reload()
    expect(note).to_have_count(1)
    backend.emit(Forgotten(*backend.now, since=2.0))
    expect(note).to_have_count(0)


def test_the_newest_stays_in_view_when_the_feed_gets_smaller(page: Page, served: Served) -> None:
    """Only who scrolls back is left where he is."""
    backend = served.backend
    for i in range(12):
        backend.emit(Note(1.0 + i, 1000.0 + i, i, f"note {i} " * 12))
    feed = page.locator("#sa-feed")
    expect(page.locator("#sa-feed .note")).to_have_count(12)
    feed.evaluate("feed => { feed.scrollTop -= 20; }")
    page.evaluate(NEXT_FRAMES)
    feed.evaluate("feed => { feed.scrollTop += 20; feed.style.flex = '0 0 150px'; }")
    page.evaluate(NEXT_FRAMES)
    backend.emit(Note(99.0, 1099.0, 98.0, "the last"))
    expect(page.locator("#sa-feed .note").last).to_be_in_viewport()
    feed.evaluate("feed => { feed.scrollTop -= 300; }")
    place = feed.evaluate("feed => feed.scrollTop")
    page.evaluate(NEXT_FRAMES)
    backend.emit(Note(100.0, 1100.0, 99.0, "not in view"))
    expect(page.locator("#sa-feed .note")).to_have_count(14)
    assert feed.evaluate("feed => feed.scrollTop") == place
