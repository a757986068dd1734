"""The shared gate and the policies before it."""
import pytest

from app import build
from models.fake import FakeLLM
from streamassist.config import Config, GateConfig
from streamassist.errors import StreamAssistError
from streamassist.response import METHODS, ChangeGate
from streamassist.response.gate import Gate, similarity
from streamassist.types import FrameSignals


def signals(t: float, **kw) -> FrameSignals:
    return FrameSignals(t=t, frame=int(2 * t), **kw)


def actions(gate: Gate, scores: list[float], start: float = 10.0, **kw) -> list[str]:
    """Decisions at 2 fps; a decision to speak is carried out at once."""
    gate.decide(signals(0.0), 0.0)
    out = []
    for i, score in enumerate(scores):
        t = start + i / 2
        action = gate.decide(signals(t, **({"novelty": score} | kw)), score).action
        if action == "speak":
            gate.spoken(f"remark {i} about thing {i}", t)
        out.append(action)
    return out


def test_needs_two_of_three():
    assert actions(Gate(GateConfig()), [0.9, 0.1, 0.9]) == ["silent", "silent", "speak"]
    assert "speak" not in actions(Gate(GateConfig()), [0.9, 0.1, 0.1, 0.9, 0.1, 0.1])


def test_speaks_once_about_a_lasting_state():
    gate = Gate(GateConfig(rearm_novelty=2.0))
    assert actions(gate, [0.9] * 100).count("speak") == 1


def test_rearms_when_calm_returns():
    gate = Gate(GateConfig(rearm_novelty=2.0))
    assert actions(gate, [0.9] * 3 + [0.1] * 10 + [0.9] * 3).count("speak") == 2


def test_the_bucket_bounds_remarks_per_minute():
    gate = Gate(GateConfig())
    said = actions(gate, [0.9] * 240)   # two minutes of constant news
    assert said.count("speak") <= 2 + 12
    gaps = [i for i, a in enumerate(said) if a == "speak"]
    assert min(b - a for a, b in zip(gaps, gaps[1:], strict=False)) >= 6   # 3 s refractory


def test_start_is_silent():
    gate = Gate(GateConfig())
    early = [gate.decide(signals(i / 2), 1.0).action for i in range(6)]
    assert set(early) == {"silent"} and gate.decide(signals(3.0), 1.0).action == "speak"


@pytest.mark.parametrize("kw, reason", [
    ({"user_speaking": True}, "the user is speaking"),
    ({"assistant_speaking": True}, "an answer is being given"),
    ({"pending_query": "what?"}, "a question waits"),
    ({"lag_s": 2.0}, "too far behind the picture"),
])
def test_reasons_for_silence(kw, reason):
    gate = Gate(GateConfig())
    gate.decide(signals(0.0), 0.0)
    for t in (10.0, 10.5):
        decision = gate.decide(signals(t, **kw), 0.9)
    assert decision.action == "silent" and decision.reason == reason


def test_repeats_and_staleness():
    gate = Gate(GateConfig())
    gate.decide(signals(0.0), 0.0)
    gate.spoken("A dog runs on the grass.", 1.0)
    assert gate.repeats("a dog runs on the grass.") and not gate.repeats("Two men play chess.")
    assert gate.stale(1.0, 4.5) and not gate.stale(1.0, 3.5)
    assert similarity("a b c", "a b c") == 1.0


def test_change_gate_waits_out_motion_but_not_for_ever():
    policy = ChangeGate(settled=0.5, patience_s=2.0)
    moving = [policy.score(signals(t / 2, motion=0.9, novelty=0.9)) for t in range(8)]
    assert moving[:4] == [0.5] * 4 and moving[4:] == [0.9] * 4
    assert policy.score(signals(4.0, motion=0.1, novelty=0.8)) == 0.8


@pytest.mark.parametrize("name", METHODS)
def test_every_policy_is_causal_and_replays(name):
    """The same prefix gives the same scores, whatever comes later."""
    news = [0.1, 0.9, 0.2, 0.8, 0.8, 0.05, 1.0, 0.4]
    def run(values):
        policy = METHODS[name]()
        return [policy.score(signals(i / 2, motion=v, novelty=v)) for i, v in enumerate(values)]
    assert run(news)[:5] == run(news[:5]) and run(news) == run(news)
    assert all(0 <= score <= 1 for score in run(news))


# ---------------------------------------------------------------- the model's own flag

def test_a_raised_flag_is_held_so_that_the_gate_can_confirm_it():
    policy, flags = METHODS["flag_head"](held_s=1.0), [0.1, 0.9, 0.2, 0.3, 0.1]
    scores = [policy.score(signals(i / 2, p_silence=1 - flag)) for i, flag in enumerate(flags)]
    assert scores == pytest.approx([0.1, 0.9, 0.9, 0.9, 0.3])


def test_the_flag_is_lowered_once_it_was_spoken_about():
    policy = METHODS["flag_head"]()
    assert policy.score(signals(0.0, p_silence=0.1)) == pytest.approx(0.9)
    policy.on_spoken(0.0)
    assert policy.score(signals(0.5, p_silence=0.8)) == pytest.approx(0.2)
    policy.reset()
    assert policy.score(signals(1.0)) == 0   # a model that says nothing about it


def test_a_model_without_a_flag_is_told_before_it_watches(monkeypatch):
    monkeypatch.setattr("models.load", lambda *_, **__: (FakeLLM(), "for a test"))
    with pytest.raises(StreamAssistError, match="--response change_gate"):
        build(Config(response="flag_head"))
