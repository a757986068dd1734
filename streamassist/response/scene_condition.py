"""Response-G1 (arXiv 2605.07575) without training: is there enough evidence, given scenes like it?

The request becomes an expected scene graph, each segment is put into words and a graph, the most
similar stored graphs are shown to the model, which is asked whether the condition holds. The graphs
here are words and the words between them, read off the model's own sentence about the segment by
rule (our inference; theirs are written by an 8B model).
"""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.response.base import GoalPolicy
from streamassist.types import FrameSignals


@dataclass
class SceneCondition(GoalPolicy):
    hi: ClassVar[float] = 0.5

    def wants(self, goal: int, signals: FrameSignals) -> frozenset[str]:
        return frozenset({"p_graph"})

    def score(self, goal: int, signals: FrameSignals) -> float:
        return signals.p_graph[goal]
