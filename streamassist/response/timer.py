"""Speak every so often (StreamingClaw's time goals, arXiv 2603.22120); a control for others."""
from dataclasses import dataclass, field
from typing import ClassVar

from streamassist.config import check_range
from streamassist.response.base import ResponsePolicy
from streamassist.types import FrameSignals


@dataclass
class Timer(ResponsePolicy):
    period_s: float = 30.0
    hi: ClassVar[float] = 0.5
    looks_first: ClassVar[bool] = False
    _due: float | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_range("The response setting period_s", self.period_s, 0.1, 86400)

    def score(self, signals: FrameSignals) -> float:
        if self._due is None:
            self._due = signals.t + self.period_s
        return float(signals.t >= self._due)

    def on_spoken(self, t: float) -> None:
        """The beat stays; what was missed is not made up for."""
        missed = (t - self._due) // self.period_s if self._due is not None else 0
        self._due = (t if self._due is None else self._due) + self.period_s * (max(0, missed) + 1)

    def reset(self) -> None:
        self._due = None
