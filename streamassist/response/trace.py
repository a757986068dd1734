"""Why it spoke or stayed silent: what was decided at each frame, kept in short and replayable.

A trace is lines of signals and decisions; the same policy and gate over the same signals decide the
same (`redecide`), which is how a decision can be questioned afterwards.
"""
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from streamassist.response.base import ResponsePolicy
from streamassist.response.gate import Gate
from streamassist.types import Decision, FrameSignals

STRETCHES = 400      # kept for pages
LONGEST_S = 30.0     # a stretch of the same decision is told at least so often
SHOWN = (
    "change", "novelty", "motion", "dropped", "news", "p_silence", "p_first", "p_no_reply",
    "p_news", "ppl_ratio", "lag_s",
)


@dataclass
class Stretch:
    """Frames one after the other at which the same was decided for the same reason."""

    since: float
    t: float
    action: str
    reason: str
    threshold: float
    frames: int = 0
    score: float = -1.0
    signals: dict[str, Any] = field(default_factory=dict)   # of its strongest frame

    def take(self, signals: FrameSignals, decision: Decision) -> None:
        self.t, self.frames = signals.t, self.frames + 1
        if decision.score > self.score:
            self.score, self.signals = decision.score, shown(signals)

    def line(self) -> dict[str, Any]:
        return {**asdict(self), "score": round(self.score, 3)}


class WhyLog:
    """The last stretches, oldest first."""

    def __init__(self) -> None:
        self.stretches: deque[Stretch] = deque(maxlen=STRETCHES)

    def take(
        self, signals: FrameSignals, decision: Decision, threshold: float
    ) -> Stretch | None:
        """Note a frame; returns a stretch that has ended with it."""
        now, ended = self.stretches[-1] if self.stretches else None, None
        same = now and (now.action, now.reason, now.threshold) == (
            decision.action, decision.reason, threshold
        )
        if not same or signals.t - now.since >= LONGEST_S or signals.t < now.t:
            ended = now
            now = Stretch(signals.t, signals.t, decision.action, decision.reason, threshold)
            self.stretches.append(now)
        now.take(signals, decision)
        return ended

    def forget(self, since: float) -> None:
        self.stretches = deque((s for s in self.stretches if s.t < since), maxlen=STRETCHES)

    def clear(self) -> None:
        self.stretches.clear()


def shown(signals: FrameSignals) -> dict[str, Any]:
    """What a person may want to see of the signals."""
    values = {name: getattr(signals, name) for name in SHOWN} | signals.choice
    told = {name: round(value, 3) for name, value in values.items() if value is not None}
    return {**told, "user_speaking": signals.user_speaking}


def redecide(
    lines: Iterable[dict[str, Any]], policy: ResponsePolicy, gate: Gate
) -> Iterator[Decision]:
    """Decide again over the lines of a trace: {"signals": ...} for a frame, {"said": text, "t": t}
    or {"withheld": true} for what became of a decision to speak."""
    for line in lines:
        if "signals" in line:
            signals = FrameSignals(**line["signals"])
            yield gate.decide(signals, policy.score(signals))
        elif "said" in line:
            gate.spoken(line["said"], line["t"])
            policy.on_spoken(line["t"])
        elif line.get("withheld"):
            gate.withheld()
        else:   # what the user has set
            gate.threshold = line.get("threshold", gate.threshold)
            gate.refill_s = line.get("refill_s", gate.refill_s)
