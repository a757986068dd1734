"""Em-Garde: the request becomes a visual cue; fire when its similarity jumps between segments.

Published: cues parsed once, a multimodal embedder, segments of 2 s, a jump of more than 0.04. Ours
has no embedder: the cue is the rule's condition, its similarity the likelihood of the cue's words
as a caption (our inference), of which a segment's mean is compared with the mean of the one before.
"""
from dataclasses import dataclass, field
from typing import ClassVar

from streamassist.config import check_range
from streamassist.response.base import GoalPolicy
from streamassist.types import FrameSignals


@dataclass
class CueJump(GoalPolicy):
    segment_s: float = 2.0
    jump: float = 0.04
    hi: ClassVar[float] = 0.5   # at the published jump, see `score`
    _past: dict[int, list[tuple[float, float]]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        check_range("The setting segment_s", self.segment_s, 0.1, 3600)
        check_range("The setting jump", self.jump, 0.0001, 1)

    def wants(self, goal: int, signals: FrameSignals) -> frozenset[str]:
        return frozenset({"relevance"})

    def score(self, goal: int, signals: FrameSignals) -> float:
        """The jump over twice the published one, at most 1; 0 before there are two segments."""
        since, t = signals.t - 2 * self.segment_s, signals.t
        past = [seen for seen in self._past.get(goal, []) if seen[0] > since]
        self._past[goal] = past = [*past, (t, signals.relevance[goal])]
        split = t - self.segment_s
        now = [value for at, value in past if at > split]
        before = [value for at, value in past if at <= split]
        if not before:
            return 0.0
        jump = sum(now) / len(now) - sum(before) / len(before)
        return min(1.0, max(0.0, jump / (2 * self.jump)))

    def drop(self, goal: int) -> None:
        self._past.pop(goal, None)

    def reset(self) -> None:
        self._past.clear()
