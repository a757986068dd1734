"""TimeChat-Online (arXiv 2504.17343): speak where few visual tokens repeat the frame before.

Their scene changes are valleys of the drop ratio over a whole video, below 60 %. Causally (their
public demo looks ahead): a frame counts in full when its drop ratio is the lowest of the last
seconds, else half.
"""
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

from streamassist.config import check_range
from streamassist.response.base import ResponsePolicy
from streamassist.types import FrameSignals


@dataclass
class DropValley(ResponsePolicy):
    window_s: float = 4.0   # the lowest of so long; the gate wants two frames, so the low one holds
    held_s: float = 1.0
    hi: ClassVar[float] = 0.4   # less than 60 % dropped
    _past: deque[tuple[float, float]] = field(default_factory=deque, init=False, repr=False)

    def __post_init__(self) -> None:
        check_range("The response setting window_s", self.window_s, 0.1, 3600)
        check_range("The response setting held_s", self.held_s, 0, self.window_s)

    def score(self, signals: FrameSignals) -> float:
        kept = 1.0 if signals.dropped is None else 1.0 - signals.dropped
        self._past.append((signals.t, kept))
        while self._past[0][0] < signals.t - self.window_s:
            self._past.popleft()
        top = max(self._past, key=lambda seen: seen[1])
        return top[1] if signals.t - top[0] <= self.held_s else kept / 2

    def on_spoken(self, t: float) -> None:
        self._past.clear()

    def reset(self) -> None:
        self._past.clear()
