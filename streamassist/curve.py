"""Where the path of a stream's features moves and bends more than it usually does.

CurveStream, arXiv 2603.19571: the saliency of a frame is its motion 1 - cos(F_t, F_t-1) plus 0.2
times the curvature 1 - cos of the last two steps, judged by running mean and deviation.
"""
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

CURVATURE = 0.2   # weight beside motion, from the paper
STILL = 1e-6      # a shorter step is none; the least deviation


@dataclass
class CurveMeter:
    """decay: of the running mean and variance; the paper states none (our inference)."""

    decay: float = 0.9
    looks: list[Tensor] = field(default_factory=list)   # of the last three frames, (F,) each
    mean: float | None = None
    variance: float = 0.0

    def deviations(self, look: Tensor) -> float | None:
        """How far above the running mean this frame's saliency is; None for the first two."""
        self.looks = [*self.looks[-2:], look]
        if len(self.looks) < 3:
            return None
        score = saliency(*self.looks)
        mean = score if self.mean is None else self.mean
        self.mean = mean + (1 - self.decay) * (score - mean)
        off = score - self.mean
        self.variance += (1 - self.decay) * (off * off - self.variance)
        return off / max(self.variance**0.5, STILL)


def saliency(first: Tensor, second: Tensor, third: Tensor) -> float:
    """Motion and curvature at the third of three looks (F,); what stands still does not bend."""
    motion = 1 - F.cosine_similarity(second, third, dim=0)
    before, now = second - first, third - second
    still = min(before.norm(), now.norm()) < STILL
    bend = 0.0 if still else 1 - F.cosine_similarity(before, now, dim=0)
    return float(motion + CURVATURE * bend)
