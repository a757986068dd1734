"""VideoLLM-online (LIVE, arXiv 2406.11816): a token after each frame says whether to stay silent.

The published rule: the probability of the silence token counts as 0 below 0.725, then the likeliest
token is taken; so the model speaks when silence is less likely than that. The score is the
probability of anything else. Models with tokens of their own for "speak" and "delegate" (JoyAI-VL's
and MiniCPM-o's duplex contracts) are read the same way, silence against the others.
"""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.response.base import ResponsePolicy
from streamassist.types import FrameSignals


@dataclass
class Interval(ResponsePolicy):
    needs: ClassVar[frozenset[str]] = frozenset({"silent"})
    hi: ClassVar[float] = 1 - 0.725

    def score(self, signals: FrameSignals) -> float:
        return 1.0 - signals.choice.get("silent", 1.0)
