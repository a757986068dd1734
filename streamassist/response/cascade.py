"""Our default: cheap signals at every frame, a probe only where it pays, words last.

How far the picture is from the one last spoken about costs nothing and comes first: what is near is
no news. Then the model's word for it: its flag or its silence token where it has one, which are
free as well; else its last remark is held against the frame (LiveStar's SVeD), and so is a frame
every `every_s`, since what changes slowly never passes the cheap bar. A model with a flag overlooks
slow changes; where it has been silent for `drift_s`, distance alone counts, as in change_gate.
"""
from dataclasses import dataclass, field, replace

from streamassist.config import check_range
from streamassist.response.base import NOTHING, ResponsePolicy
from streamassist.response.change_gate import ChangeGate
from streamassist.response.flag_head import FlagHead
from streamassist.response.sved import SVeD
from streamassist.types import FrameSignals

RAISED = 0.5


@dataclass
class Cascade(ResponsePolicy):
    """low: novelty below which nothing is news; alpha: SVeD's."""

    low: float = 0.25
    every_s: float = 5.0
    drift_s: float = 30.0
    alpha: float = 1.04
    _probed: float = field(default=float("-inf"), init=False, repr=False)
    _news_at: float | None = field(default=None, init=False, repr=False)
    _spoken: bool = field(default=False, init=False, repr=False)   # there is a remark to hold

    def __post_init__(self) -> None:
        check_range("The response setting low", self.low, 0, 1)
        check_range("The response setting every_s", self.every_s, 0, 3600)
        check_range("The response setting drift_s", self.drift_s, 0, 86400)
        self._change, self._flag, self._sved = ChangeGate(), FlagHead(), SVeD(self.alpha)

    def wants(self, signals: FrameSignals) -> frozenset[str]:
        due = signals.novelty >= self.low or signals.t - self._probed >= self.every_s
        open_ = self._spoken and silence_of(signals) is None
        return self._sved.wants(signals) if due and open_ else NOTHING

    def score(self, signals: FrameSignals) -> float:
        if self._news_at is None:
            self._news_at = signals.t
        settled, silence = self._change.score(signals), silence_of(signals)
        if silence is None:
            return self._probe(signals) if self._spoken else settled
        word = self._flag.score(replace(signals, p_silence=silence))
        if word >= RAISED:
            self._news_at = signals.t
        if signals.t - self._news_at >= self.drift_s:
            word = max(word, settled)
        return word if signals.novelty >= self.low else 0.0

    def _probe(self, signals: FrameSignals) -> float:
        if signals.ppl_ratio is None:
            return 0.0
        self._probed = signals.t
        return self._sved.score(signals)

    def on_spoken(self, t: float) -> None:
        self._flag.on_spoken(t)
        self._news_at, self._spoken = t, True

    def reset(self) -> None:
        self._change.reset(), self._flag.reset()
        self._probed, self._news_at, self._spoken = float("-inf"), None, False


def silence_of(signals: FrameSignals) -> float | None:
    """The model's own word that there is no news; None for one without."""
    return signals.choice.get("silent") if signals.p_silence is None else signals.p_silence
