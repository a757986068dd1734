"""Our default: cheap signals at every frame, a probe only where they leave it open, words last.

Every frame: how far the picture is from the one last spoken about, how much moves, and the model's
flag or silence token where it has one. Far and settled is news, near is none; in between the last
remark is held against the frame (LiveStar's SVeD), and so is a picture that was not probed for
`every_s`, since what changes slowly never passes the cheap bar.
"""
from dataclasses import dataclass, field

from streamassist.config import check_range
from streamassist.response.base import NOTHING, ResponsePolicy
from streamassist.response.change_gate import ChangeGate
from streamassist.response.sved import SVeD
from streamassist.types import FrameSignals


@dataclass
class Cascade(ResponsePolicy):
    """low: below it nothing is probed; alpha: SVeD's."""

    low: float = 0.25
    every_s: float = 5.0
    alpha: float = 1.04
    _probed: float = field(default=float("-inf"), init=False, repr=False)

    def __post_init__(self) -> None:
        check_range("The response setting low", self.low, 0, 1)
        check_range("The response setting every_s", self.every_s, 0, 3600)
        self._change, self._sved = ChangeGate(), SVeD(self.alpha)

    def wants(self, signals: FrameSignals) -> frozenset[str]:
        return NOTHING
