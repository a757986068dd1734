"""CurveStream: frames where the stream moves or bends stay, the more salient ones sharp.

arXiv 2603.19571. The saliency of a frame is its motion 1 - cos(F_t, F_t-1) plus 0.2 times the
curvature 1 - cos of the last two steps; frames above running mean + `sharp` deviations stay whole,
those above mean + `mild` deviations at half the side, others are forgotten. First in, first out.
"""
from dataclasses import dataclass, field

from torch import Tensor

from streamassist.curve import CurveMeter
from streamassist.memory.banks import TokenBank, half, shrink, with_newest, within
from streamassist.memory.base import check_setting
from streamassist.types import VisualTokens


@dataclass
class CurveStream(TokenBank):
    """Our inference, for the paper states no constants: decay, mild and sharp; the feature is the
    mean of the encoder's rows in place of DINOv2's; the first two frames, which have no curvature,
    stay; the queue is bounded in tokens instead of 20 frames."""

    decay: float = 0.9
    mild: float = 0.0
    sharp: float = 0.5
    _held: list[VisualTokens] = field(default_factory=list, init=False, repr=False)
    _curve: CurveMeter | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "decay", 0, 1)
        check_setting(self, "mild", -10, 10)
        check_setting(self, "sharp", -10, 10)

    def take(self, tokens: VisualTokens, look: Tensor) -> None:
        self._curve = self._curve or CurveMeter(self.decay)
        deviations = self._curve.deviations(look)
        self._held = within([*self._held, tokens], self.budget)[:-1]
        _, height, width = tokens.grid
        if deviations is None or deviations >= self.sharp:
            self._held.append(tokens)
        elif deviations >= self.mild:
            self._held.append(shrink(tokens, half(height), half(width)))

    def chosen(self, question: str) -> list[VisualTokens]:
        return with_newest(self._held, self._newest)
