"""The yes/no probe: the model is asked whether it holds now, P(yes) / (P(yes) + P(no)).

For watch rules the condition is asked, many in one pass over one cache (StreamingClaw polls so,
arXiv 2603.22120); for remarks, whether something new has happened.
"""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.response.base import GoalPolicy, ResponsePolicy
from streamassist.types import FrameSignals


@dataclass
class YesNo(ResponsePolicy):
    hi: ClassVar[float] = 0.5

    def wants(self, signals: FrameSignals) -> frozenset[str]:
        return frozenset({"p_news"})

    def score(self, signals: FrameSignals) -> float:
        return signals.p_news or 0.0


@dataclass
class GoalYesNo(GoalPolicy):
    """alone: by the newest frame alone, where what has just left the picture says nothing more;
    false: by all that is in memory, for what takes more than one frame to see."""

    alone: bool = True
    hi: ClassVar[float] = 0.8       # both chosen with nano on the dev part (docs/timing.md)
    held_s: ClassVar[float] = 1.0   # at 2 fps, confirmed by two more frames

    def wants(self, goal: int, signals: FrameSignals) -> frozenset[str]:
        return frozenset({self._signal})

    def score(self, goal: int, signals: FrameSignals) -> float:
        return getattr(signals, self._signal)[goal]

    @property
    def _signal(self) -> str:
        return "p_now" if self.alone else "p_yes"
