"""Watch rules in the page, in a real Chromium: setting, changing, trying them, and their alerts."""
import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from browsers import opened
from fake_backend import FakeBackend, row_of, seen
from served import Served, wait_for
from streamassist.types import (
    AddRule,
    Alert,
    Command,
    EditRule,
    Forgotten,
    Interrupt,
    RemoveRule,
    Rules,
    RuleTried,
    TryRule,
)

pytestmark = pytest.mark.browser

LISTEN = """() => {
    window.tones = 0;
    window.said = [];
    const {prototype} = AudioScheduledSourceNode;
    const start = prototype.start;
    prototype.start = function (...given) { tones += 1; return start.apply(this, given); };
    speechSynthesis.speak = (spoken) => said.push(spoken.text);
}"""


def submitted(served: Served, command: Command) -> None:
    wait_for(lambda: command in served.backend.commands)


def add_rule(page: Page, served: Served, text: str = "a dog appears") -> tuple[Locator, int]:
    """Its row and its number."""
    page.get_by_label("Tell me when", exact=True).fill(text)
    page.get_by_role("button", name="Add").click()
    row = page.locator("#sa-rules li")
    expect(row).to_have_count(1)
    submitted(served, AddRule(f"Tell me when {text}"))
    return row, served.backend.rules()[0]["id"]


def alert(backend: FakeBackend, severity: str, *actions: str, text: str = "A dog.") -> None:
    backend.emit(Alert(*backend.now, f"Tell me: {severity}", 0.0, text, 1, 0.9,
                       seen(0.5), severity, list(actions)))


def loaded(page: Page, selector: str) -> None:
    wait_for(lambda: page.evaluate("""(selector) => {
        const images = [...document.querySelectorAll(selector + ' img')];
        return images.length > 0 && images.every(image => image.naturalWidth > 0);
    }""", selector))


def test_a_typed_rule_is_not_waited_for_as_an_answer(page: Page, served: Served) -> None:
    page.get_by_label("Your question").fill("Tell me when a  dog appears")
    page.keyboard.press("Enter")
    expect(page.locator("#sa-rules li")).to_have_count(1)
    turn = page.locator("#sa-feed .turn")
    expect(turn).to_contain_text("I will tell you.")
    expect(turn.locator(".answer")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#sa-feed .waiting")).to_have_count(0)


def test_a_rule_shows_how_it_stands_and_goes_when_told(page: Page, served: Served) -> None:
    row, number = add_rule(page, served)
    expect(row).to_contain_text("Tell me when a dog appears")
    for words in ("watching", "checked", "about every 2 s", "told once", "Warning"):
        expect(row).to_contain_text(words)
    loaded(page, "#sa-rules .shot")
    expect(row.locator(".meter")).to_have_attribute("aria-label", re.compile(r"0\.\d\d of 0\.70"))
    row.get_by_role("button", name="Snooze 10 min").click()
    submitted(served, EditRule(number, {}, 600.0))
    expect(row).to_contain_text("snoozed, 10 minutes left")
    row.get_by_role("button", name="Wake").click()
    submitted(served, EditRule(number, {}, 0.0))
    expect(row).not_to_contain_text("snoozed")
    row.get_by_role("button", name="Remove the rule").focus()
    page.keyboard.press("Enter")
    submitted(served, RemoveRule(number))
    expect(row).to_have_count(0)
    expect(page.get_by_label("Tell me when", exact=True)).to_be_focused()


def test_a_rule_is_changed_by_keyboard_and_only_what_changed_is_sent(
    page: Page, served: Served
) -> None:
    row, number = add_rule(page, served)
    row.get_by_role("button", name="Change").focus()
    page.keyboard.press("Enter")
    expect(row.get_by_label("Must hold for")).to_be_focused()
    row.get_by_label("Must hold for").fill("3")
    row.get_by_role("combobox", name="Tell me").select_option("once, then stop")
    row.get_by_label("Again only if").check()
    row.get_by_label("How serious").select_option("Urgent")
    row.get_by_label("words said aloud").check()
    bar = row.locator(".meter")
    score = bar.get_attribute("aria-label")
    expect(bar).not_to_have_attribute("aria-label", score)      # newer rows came meanwhile
    row.get_by_label("Only from").fill("22:00")
    row.get_by_role("button", name="Save").click()
    assert row.locator("input:invalid").count() == 1, "half a span of time was taken"
    row.get_by_label("Only until").fill("06:00")
    page.keyboard.press("Enter")
    submitted(served, EditRule(number, {
        "dwell_s": 3, "once": True, "only_if_changed": True, "severity": "urgent",
        "schedule": "22:00-06:00", "actions": ["speech"],
    }))
    expect(row.get_by_role("button", name="Change")).to_be_focused()
    expect(row).to_contain_text("only between 22:00 and 06:00")
    expect(row.locator(".severity")).to_have_text("Urgent")
    row.get_by_role("button", name="Change").click()
    expect(row.get_by_label("Must hold for")).to_have_value("3")
    expect(row.get_by_label("Only until")).to_have_value("06:00")
    row.get_by_label("Wait between alerts").fill("99")
    page.keyboard.press("Escape")
    expect(row.locator("form")).to_have_count(0)
    changes = [c for c in served.backend.commands if isinstance(c, EditRule | Interrupt)]
    assert len(changes) == 1, "leaving the form changed something"


def test_a_rule_is_tried_on_the_past(chrome: Browser, page: Page, served: Served) -> None:
    tried, box = page.locator("#sa-tried"), page.get_by_label("Tell me when", exact=True)
    with opened(chrome, served) as other:
        box.fill("a dog appears")
        page.get_by_role("button", name="Try on the past").click()
        submitted(served, TryRule("Tell me when a dog appears", 10.0))
        expect(tried).to_contain_text("Would have fired 3 times in the last")
        expect(tried.locator("figcaption")).to_have_count(3)
        loaded(page, "#sa-tried")
        expect(other.locator("#sa-tried")).to_be_hidden()
    expect(box).to_have_value("a dog appears")
    box.fill("nothing happens")
    page.get_by_role("button", name="Try on the past").click()
    expect(tried).to_contain_text("Would not have fired")
    expect(tried).to_contain_text("pictures were looked at")
    expect(tried.locator("img")).to_have_count(0)
    page.get_by_role("button", name="Close this result").click()
    expect(tried).to_be_hidden()
    assert not served.backend.rules(), "trying set a rule"


def test_many_firings_are_cut_and_forgetting_takes_them_away(
    page: Page, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = served.backend
    many = [{"t": 0.5, "frame": 1, "score": 0.9}] * 40
    monkeypatch.setattr(backend, "_try", lambda command: backend.emit(
        RuleTried(*backend.now, command.text, "A dog appears", 0.0, 60, many)))
    add_rule(page, served)
    loaded(page, "#sa-rules .shot")
    page.get_by_label("Tell me when", exact=True).fill("a dog appears")
    page.get_by_role("button", name="Try on the past").click()
    expect(page.locator("#sa-tried")).to_contain_text("Would have fired 40 times")
    expect(page.locator("#sa-tried figure")).to_have_count(12)
    expect(page.locator("#sa-tried")).to_contain_text("and 28 more")
    backend.emit(Forgotten(*backend.now))
    expect(page.locator("#sa-tried")).to_be_hidden()
    expect(page.locator("#sa-rules img")).to_have_count(0)


def test_alerts_tell_how_serious_they_are_in_words(page: Page, served: Served) -> None:
    backend = served.backend
    for severity in ("info", "warning", "none we know"):
        alert(backend, severity)
    shown = page.locator("#sa-feed .alert")
    expect(shown).to_have_count(3)
    for item, word in zip(shown.all(), ("Information", "Warning", "Warning"), strict=True):
        expect(item.locator(".severity")).to_have_text(word)
        expect(item.locator(".severity use")).to_have_count(1)
    expect(page.locator("#sa-alert-live")).to_be_empty()
    alert(backend, "urgent", text="Someone fell.")
    expect(page.locator("#sa-alert-live")).to_contain_text("Urgent")
    expect(page.locator("#sa-alert-live")).to_contain_text("Someone fell.")
    expect(page.locator("#sa-alert-live")).to_have_attribute("role", "alert")
    colours = {item.evaluate("item => getComputedStyle(item).borderLeftColor")
               for item in page.locator("#sa-feed .alert").all()}
    assert len(colours) == 3


def test_alerts_sound_and_are_said_unless_muted(page: Page, served: Served) -> None:
    page.evaluate(LISTEN)
    alert(served.backend, "info", "speech")
    page.wait_for_function("said.length === 1")
    assert page.evaluate("said[0]") == "Information. A dog."
    alert(served.backend, "warning", "sound")
    expect(page.locator("#sa-trouble")).to_contain_text("once you pressed something")
    page.locator("#sa-picture").click()          # from now on sound is allowed
    alert(served.backend, "warning", "sound")
    page.wait_for_function("tones === 2")
    page.keyboard.press("m")
    mute = page.locator("#sa-mute")
    expect(mute).to_have_attribute("aria-pressed", "true")
    expect(mute).to_contain_text("Muted")
    expect(page.locator("#sa-told")).to_contain_text("Muted")
    alert(served.backend, "urgent", "sound", "speech")
    expect(page.locator("#sa-feed .alert.urgent")).to_be_visible()
    assert page.evaluate("[tones, said.length]") == [2, 1]
    page.reload()
    expect(mute).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Your question").fill("a film")
    page.keyboard.press("m")
    expect(mute).to_have_attribute("aria-pressed", "true")
    mute.click()
    expect(mute).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#sa-told")).to_contain_text("Sound is on")


def test_many_long_rules_and_rules_of_little_fit_a_narrow_page(
    chrome: Browser, served: Served
) -> None:
    rules = [{**row_of(i, "x" * 300, 0.0), "state": "outside its hours", "severity": "urgent",
              "snoozed_until": 9e9, "fired": 10**6} for i in range(70)]
    rules[0] = {"id": 0, "text": "Tell me when a dog appears"}      # of an older assistant
    rules[1] |= {"kind": "time", "every_s": 600.0, "snoozed_until": None, "next_check_s": 300.0}
    with opened(chrome, served, viewport={"width": 390, "height": 844}) as page:
        served.backend.emit(Rules(*served.backend.now, rules))
        rows = page.locator("#sa-rules li")
        expect(rows).to_have_count(60)
        expect(rows.first).to_contain_text("watching · not checked yet")
        expect(rows.nth(1)).to_contain_text("every 10 minutes · next in 5 minutes")
        expect(rows.nth(1).locator(".meter")).to_be_hidden()
        rows.nth(2).get_by_role("button", name="Change").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        cut = page.evaluate("""() => [...document.querySelectorAll('#sa-rules *')]
            .filter((part) => part.getBoundingClientRect().right > innerWidth).length""")
        assert cut == 0
