"""Many rules: turns, budgets, storms of alerts, failing and slow probes, a covered camera."""
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamassist.errors import StreamAssistError
from streamassist.rules import MAX_RULES, RuleBook
from streamassist.rules.book import ALERTS, REFILL_S

YES, NO = 0.9, 0.1


def book_of(*texts: str, **options) -> RuleBook:
    book = RuleBook(**{"per_frame": MAX_RULES} | options)
    for text in texts:
        book.add(text, 0.0)
    return book


def always(score: float):
    return lambda condition: score


# ---------------------------------------------------------------- the list

def test_there_is_a_limit_and_removal():
    book = RuleBook()
    rules = [book.add(f"thing {i}", 0.0) for i in range(MAX_RULES)]
    with pytest.raises(StreamAssistError, match="remove one"):
        book.add("one more", 0.0)
    book.remove(rules[0].id)
    assert book.add("one more", 0.0).id == MAX_RULES + 1
    with pytest.raises(StreamAssistError, match="no rule"):
        book.remove(rules[0].id)


@pytest.mark.parametrize("text", ["", "   ", "Tell me when  ", "word " * 61, "x" * 10_000])
def test_absurd_rules_are_refused_in_a_sentence(text):
    with pytest.raises(StreamAssistError, match="rule"):
        RuleBook().add(text, 0.0)


def test_the_same_rule_twice_is_refused_unless_the_first_is_done():
    book = book_of("Tell me when a dog appears", "in 5 minutes remind me to stir")
    with pytest.raises(StreamAssistError, match='a rule for "A DOG appears" already'):
        book.add("please alert me if A DOG appears!", 1.0)
    book.add("in 10 minutes remind me to stir", 0.0)
    book.check(300, always(NO))
    done = book.rules[1]
    again = book.add("in 5 minutes remind me to stir", 300.0)
    assert done.done and done not in book.rules and again in book.rules


def test_editing_changes_all_or_nothing():
    book = book_of("a dog appears")
    (rule,) = book.rules
    for changes, snooze_s in (({"dwell_s": 2}, 1e9), ({"dwell_s": -2}, 60)):
        with pytest.raises(StreamAssistError):
            book.edit(rule.id, changes, snooze_s)
        assert rule.dwell_s == 0 and rule.snoozed_until is None
    assert book.edit(rule.id, {"dwell_s": 2}, 60, t=10.0) is rule
    assert rule.dwell_s == 2 and rule.snoozed_until == 70
    book.edit(rule.id, {}, 0)
    assert rule.state == "watching"
    with pytest.raises(StreamAssistError, match="no rule number 99"):
        book.edit(99, {})


def test_rules_of_an_earlier_run_are_taken_up():
    old = book_of("urgently tell me once when a dog sits for 2 s between 9:00 and 17:00 by voice",
                  "in 5 minutes remind me to stir", "a cat appears")
    old.check(100.0, always(YES), wall=time.mktime((2026, 6, 15, 12, 0, 0, 0, 0, -1)))
    old.edit(3, {"threshold": 0.8, "only_if_changed": True}, snooze_s=50)
    new = RuleBook()
    assert new.load([rule.row() for rule in old.rules]) == 0
    unlike = ("since", "last_checked", "last_fired", "score", "snoozed_until", "state")
    for before, after in zip(old.view(), new.view(), strict=True):
        same = before.keys() - set(unlike)
        assert {name: before[name] for name in same - {"check_interval_s", "next_check_s"}} == {
            name: after[name] for name in same - {"check_interval_s", "next_check_s"}
        }
    assert new.rules[1].view()["next_check_s"] == 200 and new.rules[2].snoozed_until == 50
    assert new.add("a bird", 0.0).id == 4


@pytest.mark.parametrize("spoil", [
    {"id": "x"}, {"text": None, "condition": ""}, {"threshold": 7}, {"schedule": "?"}, {"id": 1},
    {"actions": [1]}, {"due_in_s": float("nan")}, {"snooze_left_s": float("inf")}, {"fired": None},
    {"condition": "x" * 10_000},
])
def test_rows_that_are_none_are_counted_and_the_others_kept(spoil):
    rows = [rule.row() for rule in book_of("a dog", "every minute remind me to blink").rules]
    book = RuleBook()
    assert book.load([rows[0], {**rows[1], **spoil}, {}]) == 2
    assert [rule.id for rule in book.rules] == [1]
    assert book.load(rows[1:]) == 0 and book.add("a bird", 0.0).id == 3


# ---------------------------------------------------------------- turns

def test_rules_take_turns():
    book, asked = RuleBook(per_frame=2), []
    for i in range(5):
        book.add(f"thing {i} appears", 0.0)
    for frame in range(5):
        book.check(frame / 2, lambda s: asked.append(s) or 0.0)
    assert len(asked) == 10 and {asked.count(s) for s in asked} == {2}


def test_resting_rules_take_no_turns():
    book, asked = book_of(*(f"thing {i}" for i in range(6)), per_frame=1), []
    book.add("every minute remind me to blink", 0.0)
    book.edit(1, {"schedule": "09:00-10:00"})
    book.edit(2, {}, snooze_s=1000)
    book.edit(3, {"once": True})
    midnight = time.mktime((2026, 6, 15, 0, 0, 0, 0, 0, -1))
    for frame in range(40):
        book.check(frame / 2, lambda s: asked.append(s) or YES, wall=midnight)
    assert asked.count("Thing 2") == 1 and not {"Thing 0", "Thing 1", "Blink"} & set(asked)
    assert {asked.count(f"Thing {i}") for i in (3, 4, 5)} == {13}


def test_each_rule_says_how_often_it_is_checked():
    book = book_of(*(f"thing {i}" for i in range(10)), per_frame=1)
    for frame in range(41):
        book.check(frame / 2, always(NO))
    book.check(1000.0, always(NO))     # a pause does not make the camera slow
    assert book.check_interval_s == pytest.approx(5.0, rel=0.5)
    for frame in range(60):
        book.check(1000.5 + frame / 2, always(NO), per_frame=2)
    assert book.check_interval_s == pytest.approx(2.5, abs=0.01)
    due = sorted(view["next_check_s"] for view in book.view())
    assert due[0] == pytest.approx(0.5, abs=0.01) and due[-1] == pytest.approx(2.5, abs=0.01)


def test_several_are_asked_in_one_pass():
    book, passes = book_of("a", "b", "c", per_frame=2), []

    def probe_many(conditions):
        passes.append(conditions)
        return [YES if condition == "B" else NO for condition in conditions]

    fired = [rule for t in range(3) for rule in book.check(t, None, probe_many=probe_many)]
    assert passes == [["A", "B"], ["C", "A"], ["B", "C"]]
    assert [rule.condition for rule in fired] == ["B"]


# ---------------------------------------------------------------- probes that fail

@pytest.mark.parametrize("together", [False, True])
def test_a_probe_out_of_time_is_counted_and_asked_again(together):
    book = book_of("Tell me when a dog sits for 2 seconds")
    scores = iter([YES, YES, TimeoutError(), None, YES, YES])

    def probe(_):
        score = next(scores)
        if isinstance(score, Exception):
            raise score
        return score

    many = (lambda conditions: [probe(c) for c in conditions]) if together else None
    fired = [t for t in range(6) if book.check(t, probe, probe_many=many)]
    assert fired == [4] and book.view()[0]["timeouts"] == 2 and not book.take_broken()


def test_a_rule_at_which_the_model_fails_twice_is_set_aside():
    book = book_of("a dog", "trouble", "a cat")

    def probe(condition):
        if condition == "Trouble":
            raise RuntimeError("no")
        return YES

    with pytest.raises(RuntimeError):
        book.check(0, probe)
    assert {rule.condition for rule in book.check(1, probe)} == {"A dog", "A cat"}
    assert book.check(2, probe) == []      # no third time
    assert [rule.condition for rule in book.take_broken()] == ["Trouble"]
    assert not book.take_broken() and len(book.rules) == 2


def test_after_a_failed_pass_each_is_asked_alone_and_only_the_culprit_goes():
    book = book_of("a dog", "trouble", "a cat")

    def probe_many(conditions):
        if "Trouble" in conditions:
            raise RuntimeError("no")
        return [NO for _ in conditions]

    with pytest.raises(RuntimeError):
        book.check(0, None, probe_many=probe_many)
    book.check(1, lambda condition: probe_many([condition])[0], probe_many=probe_many)
    assert [rule.condition for rule in book.take_broken()] == ["Trouble"]
    assert book.check(2, None, probe_many=probe_many) == []
    assert [rule.faults for rule in book.rules] == [0, 0]


def test_a_pass_with_too_few_answers_is_a_fault():
    with pytest.raises(ValueError, match="1 scores for 2 rules"):
        book_of("a", "b").check(0, None, probe_many=lambda conditions: [NO])


# ---------------------------------------------------------------- storms

def test_fifty_rules_that_come_true_at_once_make_no_storm_and_none_is_lost():
    book = book_of(*(f"thing {i}" for i in range(MAX_RULES - 1)), "urgently tell me if it burns")
    first = book.check(0.0, always(YES))
    assert len(first) == ALERTS and first[0].severity == "urgent"
    assert book.take_suppressed() == MAX_RULES - ALERTS
    later = [rule for s in range(1, 442) for rule in book.check(float(s), always(YES))]
    assert book.take_suppressed() == 0                     # told once
    assert len(first + later) == len(set(first + later)) == MAX_RULES
    assert all(a.last_fired - b.last_fired >= REFILL_S - 1e-6
               for a, b in zip(later[1:], later, strict=False))


def test_a_rule_told_once_is_not_spent_on_an_alert_that_was_held_back():
    book = book_of(*(f"thing {i}" for i in range(ALERTS)), "tell me once when it burns")
    book.check(0, always(YES))
    assert not book.rules[-1].done
    assert book.check(10, always(YES)) == [book.rules[-1]] and book.rules[-1].done


def test_reminders_all_due_after_a_jump_make_no_storm():
    book = book_of(*(f"every minute remind me of thing {i}" for i in range(20)))
    told = [len(book.check(86_400.0 + s, always(NO))) for s in range(60)]
    assert told[0] == ALERTS and sum(told) <= ALERTS + 60 / REFILL_S


STEPS = st.one_of(
    st.sampled_from([0.5, 1.0, 0.0, -0.5, 30.0, 1e6, -1e6, float("nan")]), st.floats(-100, 100)
)


@settings(deadline=None)
@given(st.lists(st.tuples(STEPS, st.lists(st.floats(0, 1), min_size=8, max_size=8)), max_size=60))
def test_never_more_alerts_than_the_buckets_hold(frames):
    """Whatever the scores and the clock do: each frame adds at most one alert to the first few, and
    no more than one for every `REFILL_S` that went by; no rule fires within its cooldown."""
    book = book_of(*(f"thing {i}" for i in range(6)), "every 10 seconds remind me to go",
                   "tell me once if it burns")
    for rule in book.rules[:3]:
        rule.edit({"cooldown_s": 1})
    t, room, quiet = 0.0, float(ALERTS), {}
    for step, scores in frames:
        t_before, t = t, t + step if step == step else t
        passed = max(0.0, t - t_before)
        room = min(float(ALERTS), room + min(1.0, passed / REFILL_S))
        given_scores = iter(scores)
        fired = book.check(t if step == step else step, lambda _, s=given_scores: next(s))
        quiet = {rule: left - passed for rule, left in quiet.items()}
        assert len(fired) <= room + 1e-9 and len(fired) == len(set(fired))
        assert all(quiet.get(rule, 0.0) < 1e-6 for rule in fired if rule.kind == "event")
        quiet |= {rule: rule.cooldown_s for rule in fired}
        room -= len(fired)
    assert sum(rule.fired for rule in book.rules if rule.once) <= 1


# ---------------------------------------------------------------- the view

def test_only_if_changed_compares_with_the_view_of_the_last_alert():
    compared = []

    def change(before, now):
        compared.append((before, now))
        return abs(now - before)

    book = book_of("again only if changed: a dog appears", change=change)
    views = {0: 0.1, 20: 0.1, 40: 0.3, 60: 0.5, 80: 0.6}
    fired = []
    for t, view in views.items():
        fired += [t for _ in book.check(t, always(YES), view=view)]
        book.check(t + 10, always(NO), view=view)
    assert fired == [0, 60]
    assert (0.1, 0.3) in compared and (0.5, 0.6) in compared and (0.3, 0.5) not in compared


def test_nothing_is_asked_of_a_covered_camera_and_uncovering_makes_no_storm():
    book = book_of("it is dark", "the room is empty for 3 seconds", "every minute remind me to go")
    told = [rule.condition for t in range(5) for rule in book.check(t, always(YES))]
    assert told == ["It is dark", "The room is empty"]
    asked = []
    for t in range(5, 60):
        assert not book.check(t, lambda c: asked.append(c) or NO, covered=True)
    assert not asked
    assert {view["state"] for view in book.view()[:2]} == {"the camera seems to be covered"}
    assert [r.condition for r in book.check(60, always(NO), covered=True)] == ["Go"]
    assert not [rule for t in range(61, 100) for rule in book.check(t, always(YES))]
    assert {view["state"] for view in book.view()[:2]} == {"holding"}


def test_a_new_stream_starts_anew_but_the_room_for_alerts_does_not():
    book = book_of(*(f"thing {i}" for i in range(ALERTS)))
    assert len(book.check(500, always(YES))) == ALERTS
    book.restart_clock()
    assert book.check(0, always(YES)) == [] and book.take_suppressed() == ALERTS
    assert len(book.check(REFILL_S, always(YES))) == 1
