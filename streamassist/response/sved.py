"""SVeD (LiveStar, arXiv 2511.05299): speak when the last remark no longer explains what is seen.

The last remark is a hypothesis; its perplexity on the newest frame is compared with the one it was
made for, and 1.03 to 1.04 times that is too much. Their score as the spec puts it: 0.5 at that
ratio, 1 at twice the excess. The hypothesis is measured anew when the frame it was made for has
left memory (our inference: eviction alone raises perplexity).
"""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.config import check_range
from streamassist.response.base import ResponsePolicy
from streamassist.types import FrameSignals


@dataclass
class SVeD(ResponsePolicy):
    alpha: float = 1.04
    hi: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        check_range("The response setting alpha", self.alpha, 1.0001, 100)

    def wants(self, signals: FrameSignals) -> frozenset[str]:
        return frozenset({"ppl_ratio"})

    def score(self, signals: FrameSignals) -> float:
        ratio = 1.0 if signals.ppl_ratio is None else signals.ppl_ratio
        return min(1.0, max(0.0, (ratio - 1) / (2 * (self.alpha - 1))))
