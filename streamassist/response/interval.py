"""VideoLLM-online (LIVE, arXiv 2406.11816): a token after each frame says whether to stay silent.

The published rule: the probability of the silence token counts as 0 below 0.725, then the likeliest
token is taken; so the model speaks when silence is less likely than that. The score is the
probability of anything else. Models with tokens of their own for "speak" and "delegate" (JoyAI-VL's
and MiniCPM-o's duplex contracts) are read the same way, silence against the others. The score
may be held for a while, which the paper does not: there one frame suffices to speak.
"""
from dataclasses import dataclass, field
from typing import ClassVar

from streamassist.config import check_range
from streamassist.response.base import ResponsePolicy
from streamassist.response.held import Held
from streamassist.types import FrameSignals


@dataclass
class Interval(ResponsePolicy):
    held_s: float = 1.5
    needs: ClassVar[frozenset[str]] = frozenset({"silent"})
    hi: ClassVar[float] = 1 - 0.725
    _held: Held = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_range("The response setting held_s", self.held_s, 0, 3600)
        self._held = Held(self.held_s)

    def score(self, signals: FrameSignals) -> float:
        return self._held.take(signals.t, 1.0 - signals.choice.get("silent", 1.0))

    def on_spoken(self, t: float) -> None:
        self._held.clear()

    def reset(self) -> None:
        self._held.clear()
