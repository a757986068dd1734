"""When to speak: after each frame the signals, the watch rules, and whether to comment, and why.

The engine is handed in each time, since a fault replaces it. Nothing here talks: rules that come
true are returned as alerts, a remark that is due as a decision.
"""
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from streamassist.config import GateConfig, check_range
from streamassist.engine import Change, Engine, distance
from streamassist.motion import MotionMeter
from streamassist.response.base import GoalPolicy, ResponsePolicy
from streamassist.response.gate import Gate
from streamassist.response.trace import Stretch, WhyLog
from streamassist.rules import Rule, RuleBook
from streamassist.senses import Senses
from streamassist.types import Decision, Frame, FrameSignals

RULES_AT_ONCE = 4                     # asked in one pass; more take turns
STEP, LEAST, MOST = 0.05, 0.1, 0.95   # of a threshold, at a thumb up or down
HELD_S = 30.0                         # "is speaking" of a page that was never heard of again
SAME = 0.5                            # cosine above which a token repeats the one before it

Sink = Callable[[dict[str, Any]], None]   # takes the lines of a trace


@dataclass
class Moment:
    """What goes on around a frame."""

    lag_s: float = 0.0
    user_speaking: bool = False
    assistant_speaking: bool = False
    pending_query: str | None = None
    wall: float = 0.0


@dataclass
class Verdict:
    """What a frame led to."""

    decision: Decision
    alerts: list[Rule] = field(default_factory=list)
    ended: Stretch | None = None   # of the log


class Meter:
    """All that is free to know of a frame, after the engine took it."""

    def __init__(self) -> None:
        self._motion = MotionMeter()
        self._view: torch.Tensor | None = None

    @property
    def covered(self) -> bool:
        """Does the newest picture show nothing?"""
        return self._motion.covered

    def read(
        self, frame: Frame, change: Change, engine: Engine, moment: Moment
    ) -> FrameSignals:
        before, self._view = self._view, engine.view
        return FrameSignals(
            t=frame.pts, frame=frame.index, change=change.change, novelty=change.novelty,
            motion=self._motion.update(frame.image), dropped=repeated(before, self._view),
            p_silence=change.p_silence, choice=choice_of(engine), news=change.news,
            user_speaking=moment.user_speaking, assistant_speaking=moment.assistant_speaking,
            pending_query=moment.pending_query, lag_s=moment.lag_s,
        )


class Timing:
    """One conversation's sense of time: policies, gate, rules, and the log of reasons."""

    def __init__(
        self, response: ResponsePolicy, goals: GoalPolicy, config: GateConfig,
        sink: Sink | None = None,
    ):
        self.response, self.goals, self.sink = response, goals, sink
        self.gate = Gate(config, response.hi, response.looks_first)
        usual = {"threshold": goals.hi, "release": goals.hi / 2, "dwell_s": goals.held_s}
        self.rules = RuleBook(change=lambda before, now: distance(now, before), usual=usual)
        self.senses, self.why = Senses(), WhyLog()
        self.urge = 0.0
        self._meter = Meter()
        self._speaking_since: float | None = None

    # ------------------------------------------------------------ frames

    def after(self, frame: Frame, change: Change, engine: Engine, moment: Moment) -> Verdict:
        """Call once a frame, after the engine took it."""
        moment = replace(moment, user_speaking=self._user_speaks(frame.pts))
        signals = self._meter.read(frame, change, engine, moment)
        alerts = self._check_rules(engine, signals, moment)
        self.senses.measure(engine, signals, self.response.wants(signals))
        self.urge = self.response.score(signals)
        decision = self.gate.decide(signals, self.urge)
        if self.sink:
            self.sink({"signals": asdict(signals), "decision": asdict(decision),
                       "alerts": [rule.id for rule in alerts]})
        return Verdict(decision, alerts, self.why.take(signals, decision, self.gate.threshold))

    def _user_speaks(self, t: float) -> bool:
        since = self._speaking_since
        return since is not None and 0 <= t - since <= HELD_S

    # ------------------------------------------------------------ rules

    def _check_rules(self, engine: Engine, signals: FrameSignals, moment: Moment) -> list[Rule]:
        """Measure the rules whose turn it is; returns those that fire."""
        ids = {rule.condition: rule.id for rule in self.rules.rules}

        def ask(conditions: list[str]) -> list[float]:
            goals = {ids[condition]: condition for condition in conditions}
            wanted = {goal: self.goals.wants(goal, signals) for goal in goals}
            self.senses.ask_goals(engine, signals, wanted, goals)
            return [self.goals.score(goal, signals) for goal in goals]

        return self.rules.check(
            signals.t, lambda condition: ask([condition])[0], wall=moment.wall, view=engine.view,
            probe_many=ask, per_frame=RULES_AT_ONCE, covered=self._meter.covered,
        )

    # ------------------------------------------------------------ what the user does

    def user_speaking(self, speaking: bool, t: float) -> None:
        self._speaking_since = t if speaking else None

    def set_threshold(self, threshold: float) -> None:
        check_range("The threshold", threshold, 0, 1)
        self.gate.threshold = threshold
        if self.sink:
            self.sink({"threshold": threshold})

    def set_budget(self, remarks_per_minute: float) -> None:
        check_range("Remarks a minute", remarks_per_minute, 0.1, 60)
        self.gate.refill_s = 60 / remarks_per_minute
        if self.sink:
            self.sink({"refill_s": self.gate.refill_s})

    def rate(self, good: bool) -> str:
        """A thumb for a remark: the threshold moves a step; what to tell the user."""
        before = self.gate.threshold
        self.set_threshold(moved(before, good))
        if self.gate.threshold == before:
            return f"I am as {'talkative' if good else 'quiet'} as I get (threshold {before:.2f})."
        more = "more" if good else "less"
        return f"I will speak up {more} readily: the threshold is now {self.gate.threshold:.2f}."

    def rate_rule(self, rule: Rule, good: bool) -> str:
        """A thumb for an alert, about that rule alone."""
        if good:
            return f'Noted. "{rule.condition}" stays as it is.'
        rule.threshold = moved(rule.threshold, good)
        return f'I will be surer before I tell "{rule.condition}": {rule.threshold:.2f} is needed.'

    # ------------------------------------------------------------ what became of it

    def said(self, engine: Engine, text: str, seen_at: float, t: float) -> None:
        """A remark about the frame of time `seen_at` went out at `t`."""
        self.gate.spoken(text, t)
        self.response.on_spoken(seen_at)
        self.senses.spoken(engine, text)
        if self.sink:
            self.sink({"said": text, "t": t, "seen_at": seen_at})

    def withheld(self) -> None:
        """A remark was made and not said."""
        self.gate.withheld()
        if self.sink:
            self.sink({"withheld": True})

    # ------------------------------------------------------------ the stream

    def forget(self, since: float) -> None:
        """Frames of time `since` and later are gone; no comparison with them is left."""
        self._look_anew()
        self.why.forget(since)

    def reset(self) -> None:
        """Another stream begins."""
        self._look_anew()
        self.gate.reset()
        self.response.reset()
        self.goals.reset()
        self.rules.restart_clock()
        self.why.clear()
        self.urge = 0.0

    def _look_anew(self) -> None:
        self._meter = Meter()
        self.senses.reset()
        self._speaking_since = None


def moved(threshold: float, good: bool) -> float:
    """A step down after praise, up after blame."""
    return round(min(MOST, max(LEAST, threshold - STEP if good else threshold + STEP)), 3)


def repeated(before: torch.Tensor | None, now: torch.Tensor | None) -> float | None:
    """Share of the tokens (N, F) that equal those at their places in the frame before."""
    if before is None or now is None or before.shape != now.shape:
        return None
    alike = torch.nn.functional.cosine_similarity(now.float(), before.float(), dim=-1)
    return float((alike > SAME).float().mean())


def choice_of(engine: Engine) -> dict[str, float]:
    """How likely the model goes on with each of its tokens for "silent", "speak", "delegate"."""
    ids, logits = engine.model.choice_ids, engine.frame_logits
    if not ids or logits is None:
        return {}
    chances = logits.softmax(-1)
    return {name: float(chances[token]) for name, token in ids.items()}
