"""When to speak: what is sensed, why it was decided so, and that it can be decided again."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from app import make_timing
from desk import BLUE, GREEN, RED, WHITE, Desk
from models.fake import FakeLLM
from streamassist.config import Config
from streamassist.errors import StreamAssistError
from streamassist.motion import MotionMeter
from streamassist.response import GOALS, METHODS
from streamassist.response.trace import redecide
from streamassist.timing import repeated
from streamassist.types import AddRule, Alert, Configure, Notice, Rate, Remark, UserSpeaking, Why

SHOW = [RED] * 12 + [GREEN] * 12 + [BLUE] * 6 + [RED] * 3 + [WHITE] * 12


def model(response: str) -> FakeLLM:
    """One that has whatever the policy needs."""
    fake = FakeLLM()
    if "flag" in METHODS[response].needs:
        fake.p_silence = 0.1
    if "silent" in METHODS[response].needs:
        fake.choice_ids = {"silent": 7}
    return fake


def watched(response: str, colours, watch_by: str = "yes_no") -> tuple[Desk, list[dict]]:
    """A conversation, and the lines of its trace."""
    lines: list[dict] = []
    config = Config(response=response, watch_by=watch_by)
    desk = Desk(model(response), config, make_timing(config, lines.append))
    desk.submit(AddRule("Tell me when there is a green picture"))
    desk.watch(*colours)
    return desk, lines


# ---------------------------------------------------------------- causal, and again the same

@pytest.mark.parametrize("response", METHODS)
def test_what_comes_later_changes_no_decision(response):
    cut, whole = (watched(response, colours)[1] for colours in (SHOW[:20], SHOW))
    assert whole[: len(cut)] == cut and len(whole) > len(cut)


@pytest.mark.parametrize("watch_by", GOALS)
def test_what_comes_later_changes_no_alert(watch_by):
    def alerts(colours):
        return [e.t for e in watched("on_query", colours, watch_by)[0].of(Alert)]
    assert [t for t in alerts(SHOW) if t < 9] == [t for t in alerts(SHOW[:18]) if t < 9]


@pytest.mark.parametrize("response", METHODS)
def test_a_trace_is_decided_again_as_it_was(response):
    desk, lines = watched(response, SHOW)
    timing = make_timing(desk.config)
    again = redecide(lines, timing.response, timing.gate)
    told = [line["decision"] for line in lines if "decision" in line]
    assert [d.action for d in again] == [d["action"] for d in told] and len(told) == len(SHOW)


def test_a_threshold_that_was_moved_is_in_the_trace():
    lines: list[dict] = []
    config = Config()
    desk = Desk(FakeLLM(), config, make_timing(config, lines.append))
    desk.watch(*SHOW[:20])
    desk.submit(Rate(desk.of(Remark)[0].t, good=False))
    desk.submit(Configure(threshold=0.9))
    desk.watch(*SHOW[20:])
    timing = make_timing(config)
    gate = timing.gate
    again = [d.action for d in redecide(lines, timing.response, gate)]
    assert again == [x["decision"]["action"] for x in lines if "decision" in x]
    assert gate.threshold == 0.9


# ---------------------------------------------------------------- reasons

def test_every_frame_has_a_reason_in_plain_words():
    desk, _ = watched("change_gate", SHOW)
    told = desk.of(Why)
    held = desk.session.timing.why.stretches
    assert {w.action for w in told} == {"speak", "silent"} and len(told) == len(held) - 1
    assert sum(s.frames for s in held) == len(SHOW)
    assert all(w.reason and 0 <= w.score <= 1 and "novelty" in w.signals for w in told)
    assert all(a.t <= b.since for a, b in zip(held, list(held)[1:], strict=False))


@pytest.mark.parametrize("response", METHODS)
def test_the_first_look_needs_no_score(response):
    desk, _ = watched(response, [RED] * 12)
    first = desk.of(Remark)[:1]
    assert [r.t for r in first] == ([3.0] if METHODS[response].looks_first else [])
    assert all(r.reason == "a first look" for r in first)


def test_a_remark_says_why():
    desk, _ = watched("change_gate", SHOW)
    assert all(r.reason for r in desk.of(Remark)) and desk.of(Remark)


# ---------------------------------------------------------------- the user

def test_a_thumb_moves_the_threshold_a_step_and_says_so():
    desk, _ = watched("change_gate", SHOW)
    gate, t = desk.session.timing.gate, desk.of(Remark)[0].t
    before = gate.threshold
    desk.submit(Rate(t, good=False))
    assert gate.threshold == pytest.approx(before + 0.05) and "0.75" in desk.of(Notice)[-1].text
    for _ in range(20):
        desk.submit(Rate(t, good=True))
    assert gate.threshold == pytest.approx(0.1) and "talkative" in desk.of(Notice)[-1].text


def test_a_thumb_down_for_an_alert_is_about_that_rule():
    desk, _ = watched("on_query", SHOW)
    (alert,), gate = desk.of(Alert), desk.session.timing.gate.threshold
    desk.submit(Rate(alert.t, good=False))
    assert desk.session.rules.rules[0].threshold == pytest.approx(0.85)
    assert desk.session.timing.gate.threshold == gate
    with pytest.raises(StreamAssistError, match="no remark"):
        desk.submit(Rate(999.0, good=True))


def test_nothing_unasked_is_said_while_the_user_speaks():
    quiet, loud = Desk(), Desk()
    for desk in (quiet, loud):
        desk.submit(UserSpeaking(desk is quiet))
        desk.watch(*[RED] * 12)
    assert loud.of(Remark) and not quiet.of(Remark)
    quiet.submit(UserSpeaking(False))
    quiet.watch(*[RED] * 4)
    assert quiet.of(Remark)


def test_a_page_that_was_never_heard_of_again_silences_nobody_for_good():
    desk = Desk()
    desk.submit(UserSpeaking(True))
    desk.watch(*[RED] * 80)
    assert desk.of(Remark) and desk.of(Remark)[0].t > 30


def test_remarks_a_minute_are_what_was_asked_for():
    desk = Desk()
    desk.submit(Configure(remarks_per_minute=1.0))
    desk.watch(*([RED] * 10 + [GREEN] * 10 + [BLUE] * 10 + [WHITE] * 10) * 6)
    assert len(desk.of(Remark)) <= 2 + desk.now / 60 + 1
    for absurd in (0.0, 1e9, float("nan")):
        with pytest.raises(StreamAssistError):
            desk.submit(Configure(remarks_per_minute=absurd))


# ---------------------------------------------------------------- signals

def test_share_of_tokens_that_repeat():
    now = torch.eye(4)
    before = now.clone()
    before[0] = -before[0]
    assert repeated(before, now) == 0.75 and repeated(None, now) is None
    assert repeated(torch.eye(3), now) is None


def test_a_covered_camera_is_dark_all_over():
    meter, rng = MotionMeter(), np.random.default_rng(0)
    for image, covered in (
        (np.zeros((48, 64, 3), np.uint8), True),
        (rng.integers(0, 9, (48, 64, 3), np.uint8), True),
        (np.full((48, 64, 3), 90, np.uint8), False),
        (rng.integers(0, 200, (48, 64, 3), np.uint8), False),
    ):
        meter.update(image)
        assert meter.covered is covered


def test_rules_wait_while_the_camera_is_covered_and_do_not_storm_after():
    desk = Desk(config=Config(response="on_query"))
    desk.submit(AddRule("Tell me when there is a dark picture"))
    desk.watch(*[WHITE] * 4, *[(0, 0, 0)] * 20)
    assert not desk.of(Alert) and "covered" in desk.session.rules.view()[0]["state"]
    desk.watch(*[RED, RED, RED, WHITE] * 10)
    assert 1 <= len(desk.of(Alert)) <= 2   # it comes true ten times


@pytest.mark.parametrize("kind", ["p_first", "p_no_reply", "p_news", "ppl_ratio"])
def test_a_costly_signal_leaves_no_trace_in_memory(kind):
    measured, plain = Desk(), Desk()
    policy = {"p_first": "live_cc", "p_no_reply": "no_reply", "p_news": "yes_no"}
    config = Config(response=policy.get(kind, "sved"))
    measured = Desk(config=config)
    for desk in (measured, plain):
        desk.session.commentary = False
        desk.watch(*SHOW)
    ours, theirs = (d.session.engine.cache for d in (measured, plain))
    assert ours.size == theirs.size and ours.next_position == theirs.next_position
    assert torch.equal(ours.raw[:, :, : ours.size], theirs.raw[:, :, : theirs.size])


def test_the_log_is_bounded_and_forgets():
    desk, _ = watched("change_gate", SHOW)
    why = desk.session.timing.why
    why.forget(5.0)
    assert why.stretches and all(s.t < 5.0 for s in why.stretches)
    assert why.stretches.maxlen and replace(why.stretches[0]) == why.stretches[0]
