"""Session: questions, remarks, rules, faults, forgetting; all with the scripted model."""
import json

import pytest

from desk import BLUE, GREEN, RED, WHITE, Desk
from models.fake import FakeLLM
from streamassist.config import Config
from streamassist.errors import StreamAssistError
from streamassist.faults import MAX_FAULTS
from streamassist.speaker import MAX_WAITING
from streamassist.types import (
    AddRule,
    Alert,
    Answer,
    Configure,
    Failed,
    Forget,
    Forgotten,
    Interrupt,
    NewStream,
    Notice,
    Query,
    Remark,
    RemoveRule,
    ReplyStarted,
    Rules,
    TextDelta,
)


def test_an_answer_streams_word_by_word_and_says_what_it_rests_on():
    desk = Desk()
    desk.watch(RED, RED, RED)
    desk.submit(Query("What do you see?"))
    desk.talk()
    answer = desk.of(Answer)[0]
    assert answer.text == "I see a dark red picture." and answer.question == "What do you see?"
    assert "".join(d.text for d in desk.of(TextDelta)) == answer.text
    assert len(desk.of(TextDelta)) > 2 and len(desk.of(ReplyStarted)) == 1
    assert answer.span == (0.0, 1.0) and answer.evidence == [{"t": 1.0, "frame": 2}]
    assert answer.first_word_ms is not None and not answer.interrupted


def test_questions_are_answered_in_order():
    desk = Desk(FakeLLM(answers={"one": "First.", "two": "Second."}))
    desk.watch(RED)
    for text in ("one", "two", "one"):
        desk.submit(Query(text))
    desk.talk()
    assert [a.text for a in desk.of(Answer)] == ["First.", "Second.", "First."]


def test_a_question_before_the_first_frame_waits_for_it():
    desk = Desk()
    desk.submit(Query("What?"))
    desk.talk()
    assert not desk.of(Answer) and "no picture yet" in desk.of(Notice)[0].text
    desk.watch(GREEN)
    desk.talk()
    assert desk.of(Answer)[0].text == "I see a dark green picture."


def test_an_interrupt_keeps_what_was_said():
    desk = Desk()
    desk.watch(RED)
    desk.submit(Query("What?"))
    desk.talk(2)
    desk.submit(Interrupt())
    answer = desk.of(Answer)[0]
    assert answer.interrupted and answer.text == "I see a dark"
    assert not desk.session.busy and desk.session.engine.turn is None


def test_remarks_come_with_news_and_not_without():
    desk = Desk()
    desk.watch(*[RED] * 20)
    assert [r.text for r in desk.of(Remark)] == ["I see a dark red picture."]
    desk.watch(*[BLUE] * 20)
    assert [r.text for r in desk.of(Remark)][1:] == ["I see a dark blue picture."]


def test_a_remark_yields_to_a_question():
    desk = Desk()
    desk.watch(*[RED] * 7, talk=False)
    desk.session.advance(desk.now)   # the remark has begun
    assert desk.session.busy and not desk.of(Remark)
    desk.submit(Query("What?"))
    desk.talk()
    assert not desk.of(Remark) and len(desk.of(Answer)) == 1


def test_commentary_can_be_switched_off_and_the_threshold_moved():
    desk = Desk()
    desk.submit(Configure(commentary=False, threshold=0.3))
    desk.watch(*[RED] * 20)
    assert not desk.of(Remark) and desk.session.timing.gate.threshold == 0.3
    with pytest.raises(StreamAssistError, match="between 0 and 1"):
        desk.submit(Configure(threshold=7.0))


def test_a_remark_that_came_too_late_is_made_again():
    """A slow moment: nothing is said about a picture older than the limit, but it is not lost."""
    desk = Desk()
    while not desk.session.busy:
        desk.watch(RED, talk=False)
    desk.session.advance(desk.now)   # begins the remark
    while desk.session.speaker.speaking:
        desk.session.advance(desk.now + 60)
    assert not desk.of(Remark)
    desk.watch(*[RED] * 4)
    assert [r.text for r in desk.of(Remark)] == ["I see a dark red picture."]


def test_a_rule_alerts_once_while_it_holds():
    desk = Desk(config=Config(response="on_query"))
    desk.submit(AddRule("Tell me when there is a green picture"))
    desk.watch(*[RED] * 6, *[GREEN] * 30)
    (alert,) = desk.of(Alert)
    assert alert.rule == "Tell me when there is a green picture"
    assert alert.t == 4.0 and alert.evidence == [{"t": 4.0, "frame": 8}] and alert.score > 0.9
    desk.submit(RemoveRule(alert.rule_id))
    assert desk.of(Rules)[-1].rules == []


def test_a_typed_rule_becomes_a_rule():
    desk = Desk(config=Config(response="on_query"))
    desk.watch(RED)
    desk.submit(Query("Tell me when you see a blue picture"))
    desk.watch(RED, RED, BLUE, BLUE, BLUE)
    assert len(desk.of(Alert)) == 1 and not desk.of(Answer)


def test_rules_are_checked_while_an_answer_is_given():
    desk = Desk(FakeLLM(answers={"long": "word " * 60}), Config(response="on_query"))
    desk.submit(AddRule("a green picture"))
    desk.watch(RED)
    desk.submit(Query("long"))
    desk.watch(RED, GREEN, GREEN, GREEN)
    assert len(desk.of(Alert)) == 1 and not desk.of(Answer)
    desk.talk(400)
    assert desk.of(Answer)[0].text.startswith("word word")


@pytest.mark.parametrize("text, words", [("", "empty"), ("   ", "empty"), ("x" * 2001, "longer")])
def test_bad_questions_are_refused(text, words):
    with pytest.raises(StreamAssistError, match=words):
        Desk().submit(Query(text))


def test_too_many_questions_are_refused_at_the_door_and_none_is_lost():
    desk = Desk()
    desk.watch(RED)
    for i in range(MAX_WAITING):
        desk.submit(Query(f"What {i}?"))
    with pytest.raises(StreamAssistError, match="waiting already"):
        desk.submit(Query("one more"))
    desk.talk(1000)
    assert len(desk.of(Answer)) == MAX_WAITING


def test_a_fault_keeps_text_rules_transcript_and_recent_frames():
    desk = Desk(config=Config(response="on_query"))
    desk.submit(AddRule("a green picture"))
    desk.watch(RED, RED)
    desk.submit(Query("What?"))
    desk.talk(3)
    desk.model.fail_at = {desk.model.forwards + 1}
    with pytest.raises(RuntimeError) as failed:
        desk.talk(1)
    assert desk.session.recover(failed.value, desk.now)
    broken = desk.of(Answer)[0]
    assert broken.interrupted and broken.text == "I see a dark red"
    assert "restarted" in desk.of(Failed)[0].text and not desk.of(Failed)[0].fatal
    assert desk.session.engine.cache.frames() == [0, 1]     # prefilled again
    desk.submit(Query("And now?"))
    desk.watch(GREEN, GREEN, GREEN)   # a rule is confirmed by two more frames
    desk.talk()
    assert desk.of(Answer)[-1].text.endswith("green picture.") and len(desk.of(Alert)) == 1


def test_more_than_three_faults_a_minute_stop_the_model():
    desk = Desk()
    desk.watch(RED)
    results = []
    for _ in range(MAX_FAULTS + 1):
        desk.clock.now += 5
        results.append(desk.session.recover(RuntimeError("again"), desk.now))
    assert results == [True] * MAX_FAULTS + [False]
    assert desk.of(Failed)[-1].fatal and "restart the program" in desk.of(Failed)[-1].text


def test_faults_far_apart_never_stop_it():
    desk = Desk()
    desk.watch(RED)
    for _ in range(10):
        desk.clock.now += 61
        assert desk.session.recover(RuntimeError("once"), desk.now)


def test_forget_leaves_nothing():
    desk = Desk()
    desk.submit(AddRule("a green picture"))
    desk.watch(RED, WHITE)
    desk.submit(Query("What?"))
    desk.talk()
    desk.submit(Forget(rules=True))
    session = desk.session
    assert session.history() == [] and session.archive.get(0) is None
    assert len(session.engine.cache) == 0 and not session.frames_held
    assert not session.engine.cache.value[:, :, session.engine.cache.num_pinned :].any()
    assert session.rules.view() == [] and desk.of(Forgotten)


@pytest.mark.parametrize("memory", ["full", "last_n", "recall:budget=16,recent=2"])
def test_forget_the_last_seconds_leaves_what_was_before(memory):
    """Frames at 0, 0.5, ... 3.5 s: the last second takes those from 2.5 s on."""
    desk = Desk(config=Config(response="on_query", memory=memory))
    desk.watch(RED, WHITE, RED, WHITE)
    desk.submit(Query("What?"))
    desk.talk()
    desk.watch(GREEN, GREEN, BLUE, BLUE)
    desk.submit(Query("And now?"))
    desk.talk()
    session = desk.session
    desk.submit(Forget(minutes=1 / 60))
    assert [e["question"] for e in session.history()] == ["What?"]
    assert session.archive.get(4) and not any(session.archive.get(i) for i in (5, 6, 7))
    cache = session.engine.cache
    assert max(cache.frames(), default=0) <= 4
    assert not cache.value[:, :, cache.size :].any() and not cache.raw[:, :, cache.size :].any()
    pages = session.engine.memory._store.pages().values() if "recall" in memory else ()
    assert all(page.last < 2.5 for page in pages) and bool(pages) == ("recall" in memory)
    assert desk.of(Forgotten)[-1].since == 2.5
    desk.watch(RED)
    assert cache.frames()[-1] == 8


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_senseless_minutes_to_forget_are_refused(minutes):
    desk = Desk()
    desk.watch(RED)
    with pytest.raises(StreamAssistError, match="how many minutes"):
        desk.submit(Forget(minutes=minutes))


def test_a_new_stream_keeps_the_transcript_and_rules_but_not_the_pictures():
    desk = Desk(config=Config(response="on_query"))
    desk.submit(AddRule("a green picture"))
    desk.watch(RED)
    desk.submit(Query("What?"))
    desk.talk()
    desk.submit(NewStream())
    assert [a.text for a in desk.of(Answer)] and desk.session.history()
    assert len(desk.session.engine.cache) == 0 and len(desk.session.rules.rules) == 1
    desk.count = 0
    desk.watch(GREEN, GREEN, GREEN)
    assert len(desk.of(Alert)) == 1


def test_every_event_is_a_json_line():
    desk = Desk()
    desk.submit(AddRule("a red picture"))
    desk.watch(*[RED] * 10)
    desk.submit(Query("What?"))
    desk.talk()
    types = {json.loads(json.dumps(e.line()))["type"] for e in desk.events}
    assert {"alert", "remark", "answer", "text_delta", "reply_started", "rules", "notice"} <= types


def test_a_question_at_which_the_model_fails_is_closed_and_not_asked_again():
    desk = Desk()
    desk.watch(RED)
    desk.submit(Query("please fail"))
    with pytest.raises(RuntimeError) as failed:
        desk.talk(1)
    assert desk.session.recover(failed.value, desk.now)
    (lost,) = desk.of(Answer)
    assert lost.question == "please fail" and lost.interrupted and not lost.text
    assert not desk.session.busy


def test_a_rule_at_which_the_model_always_fails_is_set_aside(monkeypatch):
    desk = Desk(config=Config(response="on_query"))
    desk.submit(AddRule("a green picture"))
    desk.submit(AddRule("something impossible"))
    real = desk.model.yes_no_ids

    def yes_no_ids(statement):
        if "impossible" in statement:
            raise RuntimeError("no")
        return real(statement)

    monkeypatch.setattr(desk.model, "yes_no_ids", yes_no_ids)
    with pytest.raises(RuntimeError) as failed:
        desk.watch(RED, RED, RED)
    assert desk.session.recover(failed.value, desk.now)
    desk.watch(RED, RED, RED, GREEN, GREEN, GREEN)
    assert [r["text"] for r in desk.of(Rules)[-1].rules] == ["a green picture"]
    assert len(desk.of(Alert)) == 1 and "cannot be checked" in desk.of(Notice)[-1].text
