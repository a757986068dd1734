"""What rules in plain words mean, what is told back, what is refused."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamassist.errors import StreamAssistError
from streamassist.rules import Parsed, condition_of, is_rule, parse
from streamassist.rules.times import LIMITS, hours_of, minute_of, within


@pytest.mark.parametrize("text, condition", [
    ("Tell me when a dog appears.", "A dog appears"),
    ("please let me know if the kettle boils", "The kettle boils"),
    ("Alert me as soon as somebody is at the door!", "Somebody is at the door"),
    ("Watch out for a red car", "There is a red car"),
    ("when you see a cat", "There is a cat"),
    ("A man waves", "A man waves"),
    ("Could you tell me once the lights go off?", "The lights go off"),
    ("If the kettle boils, please tell me", "The kettle boils"),
])
def test_condition(text, condition):
    assert condition_of(text) == parse(text).condition == condition


@pytest.mark.parametrize("text, rule", [
    ("Tell me when a dog appears", True),
    ("Tell me every time a car passes", True),
    ("Every time a car passes, let me know", True),
    ("Urgent: tell me if there is smoke", True),
    ("Between 10 pm and 6 am tell me when somebody is in the yard", True),
    ("every 30 seconds remind me to look at the oven", True),
    ("in 5 minutes tell me to check the oven", True),
    ("remind me to turn the steak in 90 seconds", True),
    ("Every minute, how many people are there?", True),
    ("What is the dog doing?", False),
    ("Tell me what you see", False),
    ("When did the man leave?", False),
    ("What happened in the last 5 minutes?", False),
    ("What happened between 9 am and 5 pm?", False),
    ("In 5 minutes, what will happen?", False),
    ("Tell me in minutes how long it took", False),
    ("Did it bark only once?", False),
])
def test_which_questions_are_rules(text, rule):
    assert is_rule(text) is rule


@pytest.mark.parametrize("text, sentence", [
    ("Tell me when a dog appears for 10 seconds, only once, between 9 am and 5 pm",
     "Watching for: A dog appears; once; held for 10 s; between 09:00 and 17:00."),
    ("Tell me every time a car passes", "Watching for: A car passes."),
    ("Tell me once when a dog appears", "Watching for: A dog appears; once."),
    ("Tell me when two cars pass at once", "Watching for: Two cars pass at once."),
    ("if the baby has been crying for 10 seconds",
     "Watching for: The baby is crying; held for 10 s."),
    ("tell me if the taps have been running for more than a minute",
     "Watching for: The taps are running; held for 1 min."),
    ("tell me when he rings for a second time", "Watching for: He rings for a second time."),
    ("Tell me when a dog appears, at most every 2 minutes",
     "Watching for: A dog appears; at most every 2 min."),
    ("Tell me when a dog appears, not more than once an hour",
     "Watching for: A dog appears; at most every 1 h."),
    ("every 5 minutes tell me when a bus stops",
     "Watching for: A bus stops; at most every 5 min."),
    ("Tell me if somebody is in the yard from 22:00 to 6:00",
     "Watching for: Somebody is in the yard; between 22:00 and 06:00."),
    ("Tell me when there are between 2 and 5 people",
     "Watching for: There are between 2 and 5 people."),
    ("Tell me when the counter goes from 2 to 5",
     "Watching for: The counter goes from 2 to 5."),
    ("Urgent: tell me if there is smoke, with a sound, say it aloud and call the webhook",
     "Watching for: There is smoke; urgent; with a sound; said aloud; sent to the webhook."),
    ("Urgently tell me aloud when a child is near the pool",
     "Watching for: A child is near the pool; urgent; said aloud."),
    ("FYI: a cat comes in, again only if it changed",
     "Watching for: A cat comes in; again only if the view changed; info."),
    ("every 30 seconds remind me to look at the oven", "Every 30 s: Look at the oven."),
    ("remind me every 10 minutes between 9 am and 5 pm to drink",
     "Every 10 min: Drink; between 09:00 and 17:00."),
    ("in 5 minutes tell me to stir for 10 seconds", "In 5 min: Stir for 10 seconds."),
    ("remind me in half an hour that the bread is ready", "In 30 min: The bread is ready."),
    ("every 2 minutes tell me if the oven is on", "Every 2 min: Tell me whether the oven is on."),
    ("every minute describe what you see", "Every 1 min: Describe what you see."),
])
def test_what_was_understood_is_told_back(text, sentence):
    assert parse(text).sentence() == sentence


def test_the_parts_of_a_rule():
    text = "tell me when it rains for 1.5 minutes, at most every 2 h, with a beep, from 10 pm to 6"
    assert parse(text) == Parsed(
        "It rains", dwell_s=90.0, cooldown_s=7200.0, schedule=(1320, 360), actions=("sound",)
    )
    timer = parse("urgently remind me in a couple of minutes to leave")
    assert timer == Parsed("Leave", "time", in_s=120.0, once=True, severity="urgent")


@pytest.mark.parametrize("text, asks", [
    ("in 5 minutes tell me what you see", True), ("every minute count the people", True),
    ("in 5 minutes remind me to count the people", False),
    ("in 5 minutes tell me to check the oven", False),
])
def test_reminders_and_questions_for_later_are_told_apart(text, asks):
    assert parse(text).asks is asks


# ---------------------------------------------------------------- refused

@pytest.mark.parametrize("text, words", [
    ("", "needs words"), ("   ", "needs words"), ("Tell me when  ", "needs words"),
    ("?!,;", "needs words"), ("\x00", "needs words"), ("every minute remind me to", "needs words"),
    ("only once", "needs words"), ("word " * 61, "too long"), ("x" * 10_000, "too long"),
    ("remind me to leave", "Say when"),
    ("Tell me once every time a dog appears", "once"),
    ("Tell me when a dog appears, only once, at most every hour", "leave one of the two"),
    ("every minute remind me once only to drink", "leave out"),
    ("in 5 minutes tell me when the dog barks", "do not go together"),
    ("every minute remind me in 5 minutes to drink", "two times"),
    ("every 30 seconds in 5 minutes remind me to blink", "two times"),
    ("Tell me when it rains for 10 seconds for 20 seconds", "two lengths of time"),
    ("urgently tell me when it rains, for information", "two severities"),
    ("Tell me when it rains between 9 and 10 am, between 2 and 3 pm", "two times of day"),
    ("Tell me when it rains between 9 and 9", "same time"),
    ("Tell me when it rains between 9 and 5", "morning or evening"),
    ("Tell me when it rains between 25:00 and 26:00", "no time of day"),
    ("Tell me when it rains between 9:75 and 10:00", "no time of day"),
    ("Tell me when it rains for 20 minutes between 9:00 and 9:10", "Nothing can hold for 20 min"),
    ("Tell me when it rains for 2 days", "between 0 s and 1 h"),
    (f"Tell me when it rains for {'9' * 300} hours", "between 0 s and 1 h"),
    ("every 2 seconds remind me to blink", "between 10 s and 24 h"),
    ("in 0 seconds remind me to blink", "between 1 s and 24 h"),
])
def test_absurd_and_contradictory_rules_are_refused_in_a_sentence(text, words):
    with pytest.raises(StreamAssistError, match=words) as refused:
        parse(text)
    assert str(refused.value).endswith(".")


PIECES = st.sampled_from(
    "tell me|when|every|once|only once|in 5 minutes|every 30 seconds|for 10 seconds|at most|hour|a|"
    "between 9 am and 5 pm|from 22:00 to 6|remind me to|urgent:|with a sound|,|and|. |every time|if"
    "|call the webhook|only if it changed|between|9|12:60|pm|\ud800|\x00|ÅΩ|a dog barks|let me know"
    .split("|")
)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=600), st.lists(PIECES, max_size=14).map(" ".join)))
def test_any_text_is_understood_or_refused_in_a_sentence(text):
    assert is_rule(text) in (True, False)
    try:
        parsed = parse(text)
    except StreamAssistError:
        return
    parsed.sentence().encode()   # something that can be written
    assert any(c.isalnum() for c in parsed.condition)
    assert (parsed.kind == "time") == bool(parsed.every_s or parsed.in_s)
    for name in ("dwell_s", "cooldown_s", "every_s", "in_s"):
        value = getattr(parsed, name)
        assert value is None or LIMITS[name][1] <= value <= LIMITS[name][2]


# ---------------------------------------------------------------- hours of the day

@pytest.mark.parametrize("text, hours", [
    ("09:00-17:00", (540, 1020)), ("9 am to 5 pm", (540, 1020)), ("9 to 5 pm", (540, 1020)),
    ("9 and 11 pm", (1260, 1380)), ("10 pm to 6", (1320, 360)), ("10 to 2 am", (1320, 120)),
    ("noon until 1:30 pm", (720, 810)), ("10 p.m. till midnight", (1320, 0)),
    ("12 am - 12 pm", (0, 720)), ("22:00 to 24:00", (1320, 0)), ("8.15 to 17", (495, 1020)),
])
def test_hours_as_people_write_them(text, hours):
    assert hours_of(text) == hours


@pytest.mark.parametrize("text", ["nine to five", "9", "13 pm to 2 pm", "-1 to 5", "9-17-20"])
def test_what_are_no_hours(text):
    with pytest.raises(StreamAssistError, match="time of day|Write the hours"):
        hours_of(text)


@settings(deadline=None)
@given(st.integers(0, 1439), st.integers(0, 1439), st.floats(0, 4e9))
def test_hours_may_go_over_midnight(begin, end, wall):
    inside = (minute_of(wall) - begin) % 1440 < (end - begin) % 1440
    assert begin == end or within((begin, end), wall) is inside


@pytest.mark.parametrize("wall", [None, float("nan"), float("inf"), 1e300, -1e300])
def test_an_unknown_time_lies_within_all_hours(wall):
    assert within((540, 541), wall)
