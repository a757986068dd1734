"""MMDuet (arXiv 2411.17991): an informative head and a relevance head on each frame.

For captions the informative scores add up and the model speaks at a sum of 2, for questions it
speaks where informative and relevance together pass 0.3 to 0.6. Without their heads (the spec's
proxies): informative is the model's own flag where it has one, else the change of the features;
relevance is the likelihood of the condition as a caption.
"""
from dataclasses import dataclass, field
from typing import ClassVar

from streamassist.config import check_range
from streamassist.response.base import GoalPolicy, ResponsePolicy
from streamassist.types import FrameSignals


def informative(signals: FrameSignals) -> float:
    return signals.change if signals.p_silence is None else 1.0 - signals.p_silence


@dataclass
class ScoreSum(ResponsePolicy):
    """The sum starts anew when a remark was made; the score is its share of `enough`."""

    enough: float = 2.0
    hi: ClassVar[float] = 1.0
    _sum: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        check_range("The response setting enough", self.enough, 0.01, 1000)

    def score(self, signals: FrameSignals) -> float:
        self._sum = min(self.enough, self._sum + informative(signals))
        return self._sum / self.enough

    def on_spoken(self, t: float) -> None:
        self._sum = 0.0

    def reset(self) -> None:
        self._sum = 0.0


@dataclass
class TwoHeads(GoalPolicy):
    hi: ClassVar[float] = 0.3   # their 0.6 of a sum of two

    def wants(self, goal: int, signals: FrameSignals) -> frozenset[str]:
        return frozenset({"relevance"})

    def score(self, goal: int, signals: FrameSignals) -> float:
        return (informative(signals) + signals.relevance[goal]) / 2
