"""Every response policy: the contract they share, and an example of each worked out by hand."""
from copy import deepcopy
from dataclasses import fields, replace

import numpy as np
import pytest

from streamassist.config import make_method
from streamassist.errors import StreamAssistError
from streamassist.response import GOALS, METHODS
from streamassist.response.cue_jump import CueJump
from streamassist.response.drop_valley import DropValley
from streamassist.response.flag_head import FlagHead
from streamassist.response.interval import Interval
from streamassist.response.mmduet import ScoreSum, TwoHeads
from streamassist.response.sved import SVeD
from streamassist.response.timer import Timer
from streamassist.types import FrameSignals

COSTLY = {"p_first", "p_no_reply", "p_news", "ppl_ratio"}
OF_GOALS = {"p_yes", "p_now", "p_graph", "relevance"}


def stream(count: int = 60, seed: int = 0, goal: int = 3) -> list[FrameSignals]:
    """Any signals, at 2 fps."""
    rng = np.random.default_rng(seed)

    def at(i: int) -> FrameSignals:
        return FrameSignals(
            t=i / 2, frame=i, change=rng.random(), novelty=rng.random(), motion=rng.random(),
            dropped=rng.random() if i else None, p_silence=rng.random(),
            choice={"silent": rng.random()}, p_first=rng.random(), p_no_reply=rng.random(),
            p_news=rng.random(), ppl_ratio=rng.uniform(0.9, 1.2), p_yes={goal: rng.random()},
            p_now={goal: rng.random()},
            p_graph={goal: rng.random()}, relevance={goal: rng.random()},
        )

    return [at(i) for i in range(count)]


def scores(policy, signals) -> list[float]:
    out = []
    for one in signals:
        out.append(policy.score(one))
        if out[-1] > policy.hi:
            policy.on_spoken(one.t)
    return out


def state(policy) -> dict:
    """All its fields; those with a plain default are only in the class until they are set."""
    return deepcopy({f.name: getattr(policy, f.name) for f in fields(policy)})


def quiet(t: float = 0.0, **given) -> FrameSignals:
    return replace(FrameSignals(t=t, frame=int(2 * t), novelty=0.0), **given)


# ---------------------------------------------------------------- the contract

@pytest.mark.parametrize("name", METHODS)
def test_scores_are_shares_and_follow_from_the_signals(name):
    policy, again = METHODS[name](), METHODS[name]()
    first, second = scores(policy, stream()), scores(again, stream())
    assert first == second and all(0 <= score <= 1 for score in first)
    assert all(policy.wants(s) <= COSTLY for s in stream())


@pytest.mark.parametrize("name", METHODS)
def test_what_comes_later_changes_no_score(name):
    whole, cut = METHODS[name](), METHODS[name]()
    other = stream(30) + stream(30, seed=9)[15:]
    assert scores(whole, other)[:30] == scores(cut, stream(30))


@pytest.mark.parametrize("name", METHODS)
def test_reset_leaves_nothing(name):
    policy = METHODS[name]()
    begun = state(policy)
    scores(policy, stream())
    policy.reset()
    assert state(policy) == begun


@pytest.mark.parametrize("name", METHODS)
def test_nothing_measured_yet_is_bearable(name):
    score = METHODS[name]().score(FrameSignals(t=0.0, frame=0))
    assert 0 <= score <= 1


@pytest.mark.parametrize("name", METHODS)
def test_state_is_bounded(name):
    policy = METHODS[name]()
    for i in range(5000):
        policy.score(FrameSignals(t=i / 2, frame=i, p_silence=(i % 7) / 7, change=0.0))
    held = [v for v in state(policy).values() if hasattr(v, "__len__") and not isinstance(v, str)]
    assert all(len(v) < 100 for v in held)


@pytest.mark.parametrize("name", GOALS)
def test_goals_score_in_shares_each_for_itself(name):
    alone, beside = GOALS[name](), GOALS[name]()
    for one in stream():
        assert alone.wants(3, one) and alone.wants(3, one) <= OF_GOALS
        value = alone.score(3, one)
        assert 0 <= value <= 1
        both = replace(one, p_yes=one.p_yes | {4: 0.9}, p_now=one.p_now | {4: 0.9},
                       p_graph=one.p_graph | {4: 0.9}, relevance=one.relevance | {4: 0.9})
        beside.score(4, both)
        assert beside.score(3, both) == value
    for policy in (alone, beside):
        policy.drop(3), policy.drop(4), policy.drop(99)
    assert state(alone) == state(GOALS[name]()) == state(beside)


@pytest.mark.parametrize("spec", [
    "sved:alpha=1.0", "drop_valley:window_s=0", "score_sum:enough=0", "timer:period_s=-1",
    "cascade:low=2", "interval:held_s=-1", "flag_head:held_s=-1", "change_gate:settled=7",
])
def test_absurd_settings_are_refused_in_a_sentence(spec):
    with pytest.raises(StreamAssistError, match="must be between"):
        make_method("response", spec, METHODS)


# ---------------------------------------------------------------- by hand

def test_interval_is_what_is_not_silence():
    assert Interval().score(quiet(choice={"silent": 0.7, "speak": 0.2})) == pytest.approx(0.3)
    assert Interval().score(quiet()) == 0.0
    assert Interval.hi == pytest.approx(0.275)   # speaks when silence is below 0.725


def test_sved_is_half_at_its_ratio_and_full_at_twice_the_excess():
    policy = SVeD(alpha=1.04)
    ratios = (0.9, 1.0, 1.02, 1.04, 1.08, 2.0)
    told = [policy.score(quiet(ppl_ratio=r)) for r in ratios]
    assert told == pytest.approx([0, 0, 0.25, 0.5, 1, 1])


def test_drop_valley_halves_what_is_no_valley():
    policy = DropValley(window_s=2.0, held_s=0.5)
    kept = [0.2, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1]
    told = [policy.score(quiet(i / 2, dropped=1 - k)) for i, k in enumerate(kept)]
    assert told == pytest.approx([0.2, 0.6, 0.6, 0.05, 0.05, 0.05, 0.05])


def test_score_sum_adds_up_and_starts_anew():
    policy = ScoreSum(enough=2.0)
    told = [policy.score(quiet(p_silence=0.2)) for _ in range(4)]
    assert told == pytest.approx([0.4, 0.8, 1.0, 1.0])
    policy.on_spoken(2.0)
    assert policy.score(quiet(change=0.5)) == pytest.approx(0.25)   # without a flag: the change


def test_two_heads_is_the_mean_of_news_and_relevance():
    assert TwoHeads().score(1, quiet(p_silence=0.4, relevance={1: 0.2})) == pytest.approx(0.4)


def test_cue_jump_compares_two_segments():
    policy = CueJump(segment_s=1.0, jump=0.1)
    told = [policy.score(1, quiet(i / 2, relevance={1: r}))
            for i, r in enumerate([0.2, 0.2, 0.2, 0.4, 0.4, 0.4])]
    assert told == pytest.approx([0, 0, 0, 0.5, 1.0, 0.5])


def test_timer_keeps_its_beat_and_makes_up_for_nothing():
    policy = Timer(period_s=10.0)
    told = []
    for t in range(0, 60):
        if policy.score(quiet(float(t))):
            told.append(t)
            policy.on_spoken(float(t))
    assert told == [10, 20, 30, 40, 50]
    policy.on_spoken(95.0)
    assert [t for t in (96, 99, 100) if policy.score(quiet(float(t)))] == [100]


def test_flag_is_held_for_the_gate():
    policy = FlagHead(held_s=1.0)
    told = [policy.score(quiet(i / 2, p_silence=p)) for i, p in enumerate([0.1, 1, 1, 1, 1])]
    assert told == pytest.approx([0.9, 0.9, 0.9, 0.0, 0.0])
