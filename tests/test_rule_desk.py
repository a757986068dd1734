"""Watch rules as a user meets them: set, changed, tried on the past, kept over a restart."""
import pytest

from app import make_timing
from desk import BLUE, GREEN, RED, WHITE, Desk, frame
from streamassist.config import Config
from streamassist.errors import StreamAssistError
from streamassist.rule_desk import MOST_PICTURES, MOST_TRIALS
from streamassist.rules import RuleStore
from streamassist.session import Session
from streamassist.types import (
    AddRule,
    Alert,
    Answer,
    EditRule,
    Forget,
    Notice,
    Query,
    RemoveRule,
    Rules,
    RuleTried,
    TryRule,
)

QUIET = Config(response="on_query")


def desk_with(*rules: str) -> Desk:
    desk = Desk(config=QUIET)
    for rule in rules:
        desk.submit(AddRule(rule))
    return desk


def view(desk: Desk) -> list[dict]:
    return desk.of(Rules)[-1].rules


# ---------------------------------------------------------------- what the words say

def test_what_was_understood_is_told_back():
    desk = desk_with("Urgent: tell me once when there is a green picture for 1 second, with a "
                     "sound")
    told = desk.of(Notice)[-1].text
    assert "green picture" in told and "once" in told and "1 s" in told
    desk.watch(*[RED] * 3, *[GREEN] * 8, *[RED] * 30, *[GREEN] * 8)
    (alert,) = desk.of(Alert)
    assert (alert.severity, alert.actions) == ("urgent", ["sound"])
    assert alert.t == 2.5 and alert.evidence == [{"t": 2.5, "frame": 5}]
    assert desk.session.rules.view()[0]["done"]


def test_a_reminder_comes_at_its_time_and_one_that_asks_is_answered():
    desk = desk_with("in 12 seconds remind me to look at the oven", "every 10 seconds tell me what "
                     "you see")
    desk.watch(*[RED] * 50)
    desk.talk()
    times = [(a.rule_id, a.t) for a in desk.of(Alert)]
    assert (1, 12.0) in times and [t for i, t in times if i == 2] == [10.0, 20.0]
    assert all(a.evidence == [] for a in desk.of(Alert))
    assert [a.text for a in desk.of(Answer)] == ["I see a dark red picture."] * 2


def test_changes_are_checked_and_shown():
    desk = desk_with("Tell me when there is a green picture")
    desk.submit(EditRule(1, {"dwell_s": 2, "severity": "info"}, None))
    assert (view(desk)[0]["dwell_s"], view(desk)[0]["severity"]) == (2.0, "info")
    for wrong in ({"dwell_s": -1}, {"severity": "loud"}, {"colour": "red"}, {"once": 3}):
        with pytest.raises(StreamAssistError):
            desk.submit(EditRule(1, wrong, None))
    with pytest.raises(StreamAssistError, match="no rule number 9"):
        desk.submit(EditRule(9, {}, None))
    desk.submit(EditRule(1, {"dwell_s": 0}, 5.0))
    desk.watch(*[GREEN] * 8)
    assert not desk.of(Alert) and desk.session.rules.view()[0]["state"] == "snoozed"
    desk.watch(*[GREEN] * 8)
    assert len(desk.of(Alert)) == 1


def test_an_alert_storm_is_held_back_and_counted():
    rules = [f"Tell me when there is a green picture {i}" for i in range(12)]
    desk = desk_with(*rules)
    desk.watch(RED, *[GREEN] * 6)
    assert len(desk.of(Alert)) == 6
    assert any("held back" in n.text for n in desk.of(Notice))


# ---------------------------------------------------------------- on the past

def test_a_rule_is_tried_on_what_was_seen():
    desk = desk_with()
    desk.watch(*[RED] * 20, *[GREEN] * 6, *[RED] * 20, *[GREEN] * 6, BLUE)
    size = desk.session.engine.cache.size
    desk.submit(TryRule("Tell me when there is a green picture", 10.0))
    desk.talk()
    (tried,) = desk.of(RuleTried)
    assert tried.checked == 53 and [round(x["t"]) for x in tried.times] == [10, 23]
    assert tried.condition == "There is a green picture" and not desk.of(Alert)
    assert desk.session.engine.cache.size == size and not desk.session.rules.rules


def test_only_so_many_pictures_are_looked_at_and_a_question_goes_first():
    desk = desk_with()
    desk.watch(*[RED] * 150)
    desk.submit(TryRule("Tell me when there is a green picture", 10.0))
    desk.submit(Query("What is it?"))
    desk.talk(30)
    assert desk.of(Answer) and not desk.of(RuleTried)
    desk.talk()
    assert desk.of(RuleTried)[0].checked == MOST_PICTURES and desk.of(RuleTried)[0].times == []


def test_what_cannot_be_tried_is_refused():
    desk = desk_with()
    desk.watch(RED)
    for text, minutes in (("", 5.0), ("Tell me when a dog appears", 0.0),
                          ("Tell me when a dog appears", float("nan")),
                          ("every 5 minutes tell me to drink", 5.0)):
        with pytest.raises(StreamAssistError):
            desk.submit(TryRule(text, minutes))
    for i in range(MOST_TRIALS):
        desk.submit(TryRule(f"Tell me when there is picture {i}", 5.0))
    with pytest.raises(StreamAssistError, match="moment"):
        desk.submit(TryRule("Tell me when a dog appears", 5.0))


def test_what_is_forgotten_is_not_looked_at():
    desk = desk_with()
    desk.watch(*[GREEN] * 10)
    desk.submit(TryRule("Tell me when there is a green picture", 5.0))
    desk.submit(Forget())
    desk.watch(RED)
    desk.talk()
    assert not desk.of(RuleTried)


# ---------------------------------------------------------------- over a restart

def begun(path, events) -> tuple[Session, Desk]:
    desk = Desk(config=QUIET)
    session = Session(
        desk.make_engine, make_timing(QUIET), QUIET, desk.clock, events.append, RuleStore(path)
    )
    return session, desk


def test_rules_survive_a_restart_and_one_that_is_done_stays_done(tmp_path):
    path, events = tmp_path / "rules.db", []
    session, _ = begun(path, events)
    session.submit(AddRule("Tell me once when there is a green picture"), 0.0)
    session.submit(AddRule("Tell me when there is a blue picture"), 0.0)
    session.submit(EditRule(2, {"dwell_s": 1}, None), 0.0)
    for i in range(4):
        session.observe(frame(GREEN, i))
    again, _ = begun(path, events)
    first, second = again.rules.rules
    assert first.done and second.dwell_s == 1.0 and second.since == 0.0
    again.submit(RemoveRule(1), 0.0)
    again.submit(AddRule("Tell me when there is a white picture"), 0.0)
    assert [r.id for r in begun(path, events)[0].rules.rules] == [2, 3]


def test_forgotten_rules_leave_no_bytes(tmp_path):
    path, events = tmp_path / "rules.db", []
    session, _ = begun(path, events)
    session.submit(AddRule("Tell me when my secret visitor appears"), 0.0)
    assert b"secret" in b"".join(p.read_bytes() for p in tmp_path.iterdir())
    session.submit(Forget(rules=True), 1.0)
    assert b"secret" not in b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert not begun(path, events)[0].rules.rules


def test_a_damaged_file_of_rules_is_told_and_nothing_stops(tmp_path):
    path, events = tmp_path / "rules.db", []
    path.write_bytes(b"not a database at all" * 100)
    session, _ = begun(path, events)
    session.submit(AddRule("Tell me when there is a green picture"), 0.0)
    session.observe(frame(WHITE, 0))
    assert any("rules" in e.text.lower() for e in events if isinstance(e, Notice))
    assert len(begun(path, [])[0].rules.rules) == 1
