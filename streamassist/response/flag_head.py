"""Comment when the model's own flag says that the frame brings news.

A head on the hidden state of each frame's last token, trained beside the language (Proact-VL, arXiv
2603.03447; MMDuet's informative head, 2411.17991). Ours is one linear layer on the last layer's
state, trained on streams made of pictures; only models that have one can use it. The flag is held
for a while (our choice).
"""
from dataclasses import dataclass, field
from typing import ClassVar

from streamassist.config import check_range
from streamassist.response.base import ResponsePolicy
from streamassist.response.held import Held
from streamassist.types import FrameSignals


@dataclass
class FlagHead(ResponsePolicy):
    held_s: float = 1.5   # how long a raised flag still counts
    needs: ClassVar[frozenset[str]] = frozenset({"flag"})
    _held: Held = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_range("The response setting held_s", self.held_s, 0, 3600)
        self._held = Held(self.held_s)

    def score(self, signals: FrameSignals) -> float:
        news = 1.0 - (1.0 if signals.p_silence is None else signals.p_silence)
        return self._held.take(signals.t, news)

    def on_spoken(self, t: float) -> None:
        self._held.clear()

    def reset(self) -> None:
        self._held.clear()
