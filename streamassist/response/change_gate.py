"""Comment when the picture has changed since the last remark.

Training-free and causal. `novelty` (distance to the frame last spoken about) says whether there is
news; a frame in the middle of fast `motion` is waited out, because a blurred picture describes
badly. The idea of change as a trigger is TimeChat-Online's (arXiv 2504.17343); comparing
with the frame last spoken about and the settling rule are ours.
"""
from dataclasses import dataclass, field

from streamassist.config import check_range
from streamassist.response.base import ResponsePolicy
from streamassist.types import FrameSignals


@dataclass
class ChangeGate(ResponsePolicy):
    settled: float = 0.5      # of the picture's cells; more than these moving is waited out
    patience_s: float = 2.0   # but not longer than this
    _moving_since: float | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_range("The response setting settled", self.settled, 0, 1)
        check_range("The response setting patience_s", self.patience_s, 0, 3600)

    def score(self, signals: FrameSignals) -> float:
        if signals.motion <= self.settled:
            self._moving_since = None
            return signals.novelty
        if self._moving_since is None:
            self._moving_since = signals.t
        waited = signals.t - self._moving_since >= self.patience_s
        return signals.novelty if waited else min(signals.novelty, 0.5)

    def reset(self) -> None:
        self._moving_since = None
