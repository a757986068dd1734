"""One rule: when it fires, what it takes to fire again, its settings, reminders, the clock."""
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamassist.errors import StreamAssistError
from streamassist.rules.rule import SETTINGS, Rule

YES, NO = 0.9, 0.1


def rule_of(text: str = "Tell me when a dog appears", **settings) -> Rule:
    rule = Rule.of(1, text, 0.0)
    rule.edit(settings)
    return rule


def fired_at(rule: Rule, *scores: tuple[float, float], **more) -> list[float]:
    """The times, of (t, score) in turn, at which it fires."""
    return [t for t, score in scores if rule.check(score, t, **more)]


def wall_at(hour: int, minute: int = 0) -> float:
    """Unix time at that moment of a day, local time."""
    return time.mktime((2026, 6, 15, hour, minute, 0, 0, 0, -1))


def test_fires_at_once_and_again_only_after_it_was_false():
    rule = Rule(1, "Tell me when a dog appears", 0.0)
    scores = [0.9, 0.9, 0.9, 0.1, 0.9, 0.1] + [0.1] * 20 + [0.9]
    fired = [rule.check(score, i / 2) for i, score in enumerate(scores)]
    assert [i for i, f in enumerate(fired) if f] == [0, 26]   # frame 4 is within the cooldown
    assert rule.fired == 2 and rule.last_checked == 13.0 and rule.last_fired == 13.0


def test_a_score_between_release_and_threshold_does_not_make_it_ready_again():
    rule = rule_of(cooldown_s=1)
    assert fired_at(rule, (0, YES), (5, 0.6), (6, YES), (7, 0.4), (8, YES)) == [0, 8]


def test_dwell_in_seconds():
    rule = Rule(1, "A dog appears", 0.0, dwell_s=1.0)
    fired = [rule.check(s, i / 2) for i, s in enumerate([0.9, 0.9, 0.1, 0.9, 0.9, 0.9])]
    assert fired == [False, False, False, False, False, True]


def test_while_the_dwell_is_not_reached_it_is_holding():
    rule = rule_of("Tell me when a dog sits for 3 seconds")
    states = []
    for t in range(6):
        rule.check(YES if t else NO, t)
        states.append(rule.state)
    assert states == ["watching"] + ["holding"] * 5 and rule.last_fired == 4


def test_a_gap_in_the_stream_is_not_taken_for_holding():
    """Seen at 0.5 s steps, then nothing for ten minutes: who knows what was meanwhile."""
    rule = rule_of("Tell me when a dog sits for 10 seconds")
    before = [(t / 2, YES) for t in range(11)]
    after = [(600 + t / 2, YES) for t in range(20)]
    (fired,) = fired_at(rule, *before, *after)
    assert 602 < fired < 605


def test_slow_turns_are_no_gap():
    rule = rule_of("Tell me when a dog sits for 60 seconds")
    assert fired_at(rule, *[(25.0 * i, YES) for i in range(5)]) == [75.0]


def test_once_is_once():
    rule = rule_of("Tell me once when a dog appears")
    assert fired_at(rule, (0, YES), (60, NO), (61, YES)) == [0]
    assert rule.done and rule.view()["state"] == "done" and rule.view()["next_check_s"] is None
    rule.edit({"once": True})    # once more
    assert fired_at(rule, (70, NO), (71, YES), (90, NO), (91, YES)) == [71]


def test_only_if_changed():
    rule = rule_of(only_if_changed=True, cooldown_s=1)
    assert rule.check(YES, 0, view_change=0.0)                # the first alert needs no change
    assert fired_at(rule, (10, NO), (11, YES), view_change=0.29) == []
    assert fired_at(rule, (12, YES), view_change=0.3) == [12]


def test_a_probe_that_was_not_done_says_nothing():
    rule = rule_of("Tell me when a dog sits for 2 seconds")
    scores = [(0, YES), (1, None), (2, float("nan")), (3, YES)]
    assert fired_at(rule, *scores) == [3]
    assert rule.timeouts == 2 and rule.last_score == YES
    assert fired_at(rule, (4, None), (20, None), (21, YES)) == []   # still not ready again
    assert rule.last_checked == 21


# ---------------------------------------------------------------- hours and snoozing

def test_outside_its_hours_it_rests():
    rule = rule_of("Tell me when a dog appears between 22:00 and 6:00")
    assert not rule.check(YES, 0, wall_at(12)) and rule.last_checked is None
    assert rule.state == "outside its hours"
    assert rule.check(YES, 1, wall_at(23)) and rule.view()["schedule"] == "22:00 and 06:00"
    rule.check(NO, 60, wall_at(5, 59))
    assert not rule.check(YES, 61, wall_at(6))


def test_the_wall_clock_may_jump_without_a_storm():
    rule = rule_of("Tell me when a dog appears between 9:00 and 17:00")
    walls = [wall_at(10), wall_at(3), wall_at(12), -5.0, 1e300, None, wall_at(10)]
    fired = [rule.check(YES, t / 2, wall) for t, wall in enumerate(walls)]
    assert sum(fired) == 1 and fired[0]


def test_snoozed_and_woken():
    rule = rule_of(cooldown_s=1)
    rule.snooze(60)
    assert fired_at(rule, (0, YES), (59, YES), (60, YES)) == [60]
    rule.check(NO, 70)
    rule.snooze(60)
    assert rule.state == "snoozed" and rule.view()["snoozed_until"] == 130
    rule.snooze(0)
    assert rule.check(YES, 71)
    with pytest.raises(StreamAssistError, match="between 0 s and 168 h"):
        rule.snooze(-1)


# ---------------------------------------------------------------- reminders

def ticks(rule: Rule, *times: float, wall: float | None = None) -> list[float]:
    """When it is due; it fires each time."""
    due = []
    for t in times:
        rule.move(t, wall)
        if rule.due():
            rule.fire()
            due.append(t)
    return due


def test_a_reminder_keeps_its_beat_and_does_not_make_up_for_missed_ticks():
    rule = Rule.of(1, "every 30 seconds remind me to drink", 100.0)
    assert ticks(rule, 100, 129.5, 130.5, 131, 159.5, 160, 1000, 1001, 1029, 1030) == [
        130.5, 160, 1000, 1030
    ]
    assert rule.view()["next_check_s"] == 30 and not rule.done


def test_a_single_reminder_comes_once_even_late():
    rule = Rule.of(1, "in 5 minutes tell me to stir", 10.0)
    assert ticks(rule, 10, 309.5, 900, 901, 1200) == [900]
    assert rule.state == "done"


def test_a_single_reminder_waits_for_its_hours_and_missed_ticks_do_not():
    single = Rule.of(1, "in 5 minutes remind me between 9 am and 5 pm to stir", 0.0)
    beat = Rule.of(2, "every 5 minutes between 9 am and 5 pm remind me to stir", 0.0)
    for rule in (single, beat):
        assert ticks(rule, 300, 1000, wall=wall_at(20)) == []
    assert ticks(single, 1001, wall=wall_at(10)) == [1001]
    assert ticks(beat, 1001, 1199, 1200, wall=wall_at(10)) == [1200]


def test_a_reminder_takes_no_scores_and_an_event_has_no_ticks():
    reminder, event = Rule.of(1, "in 5 minutes tell me to stir", 0.0), rule_of()
    assert not reminder.check(YES, 1000) and ticks(reminder, 1000) == [1000]
    assert ticks(event, 1000) == []


def test_another_stream_keeps_what_is_left_to_wait():
    reminder, event = Rule.of(1, "in 5 minutes tell me to stir", 0.0), rule_of()
    ticks(reminder, 200)
    event.check(YES, 200)
    event.snooze(50)
    for rule in (reminder, event):
        rule.restart_clock()
        assert rule.since == 0 and rule.last_checked is None and rule.last_fired is None
    assert ticks(reminder, 99, 100) == [100]
    assert fired_at(event, (49, YES), (50, YES)) == [50]    # the cooldown meant the old stream


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=40))
def test_a_clock_that_runs_back_delays_nothing(times):
    """After any jumps, what has 30 s to wait comes after 30 s of orderly time."""
    rule = Rule.of(1, "every 30 seconds remind me to drink", 0.0)
    ticks(rule, *times, float("nan"), float("inf"))
    last = times[-1] if times else 0.0
    assert len(ticks(rule, *(last + s for s in range(32)))) in (1, 2)


# ---------------------------------------------------------------- settings

@pytest.mark.parametrize("changes, words", [
    ({"colour": 1}, 'no setting "colour"; there are threshold'),
    ({"threshold": 0}, "between 0.05 and 0.99"), ({"threshold": 10 ** 400}, "between"),
    ({"threshold": float("nan")}, "must be a number"), ({"threshold": "0.5"}, "must be a number"),
    ({"dwell_s": -1}, "between 0 s and 1 h"), ({"dwell_s": True}, "must be a number"),
    ({"cooldown_s": 0}, "between 1 s and 24 h"), ({"once": 1}, "true or false"),
    ({"severity": "grave"}, "info, warning, urgent"), ({"severity": []}, "info, warning"),
    ({"actions": ["siren"]}, "sound, speech, webhook"), ({"actions": "sound"}, "list of any"),
    ({"actions": [[]]}, "list of any"), ({"schedule": "always"}, "09:00-17:00"),
    ({"schedule": [540]}, "two different times"), ({"schedule": [540, 540]}, "two different"),
    ({"schedule": [0, 1440]}, "two different"), ({"schedule": [0, 1.5]}, "two different"),
    ({"every_s": 60}, "make a new rule"), ({"threshold": 0.5, "release": 0.6}, "set both"),
])
def test_bad_settings_are_refused_and_nothing_changes(changes, words):
    rule = rule_of()
    before = rule.view()
    with pytest.raises(StreamAssistError, match=words):
        rule.edit({"dwell_s": 5, **changes})
    assert rule.view() == before


def test_settings_are_taken():
    rule = rule_of(
        threshold=0.4, dwell_s=3, cooldown_s=60, once=True, only_if_changed=True,
        severity="urgent", schedule="9 am - 5 pm", actions=["webhook", "sound", "sound"],
    )
    assert rule.release == 0.4 and rule.schedule == (540, 1020)
    assert rule.actions == ("sound", "webhook")
    assert rule.sentence() == (
        "Watching for: A dog appears; once; held for 3 s; at most every 1 min; again only if the "
        "view changed; between 09:00 and 17:00; urgent; with a sound; sent to the webhook."
    )
    rule.edit({"schedule": None, "actions": []})
    assert rule.schedule is None and rule.actions == () and rule.view()["schedule"] == ""


def test_a_reminder_can_be_moved():
    rule = Rule.of(1, "in 5 minutes tell me to stir", 0.0)
    ticks(rule, 400)
    rule.edit({"in_s": 60})
    assert ticks(rule, 459, 460, 461) == [460]


def test_the_page_is_shown_all_that_can_be_set():
    view = rule_of("Tell me when a dog appears").view(2.0)
    assert set(SETTINGS) - {"release"} <= set(view)
    for name in ("id", "text", "condition", "kind", "since", "last_checked", "next_check_s",
                 "score", "fired", "last_fired", "snoozed_until", "done", "timeouts", "state"):
        assert name in view
    assert view["next_check_s"] == 2.0 and view["kind"] == "event"
