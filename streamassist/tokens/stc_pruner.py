"""STC's pruner: the tokens least like what was seen before and like their own frame are read.

arXiv 2512.00891. Two anchors: the mean of all frames so far, and the mean of this one. `gaussian`,
the released default, sums Gaussian kernels of the distances to both on the half of the channels
that varies least; `dual_anchor`, the paper's formula, adds the two cosine distances. 60 to 64 of
196 tokens are kept there.
"""
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.config import one_of
from streamassist.scoring import top_slots
from streamassist.tokens.base import TokenReducer, check_setting, count_of
from streamassist.types import VisualTokens
from streamassist.visual import rows_of

WIDTHS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)


@dataclass
class STCPruner(TokenReducer):
    score: str = "gaussian"   # or dual_anchor
    share: float = 0.31       # of each frame's tokens
    past: float = 0.5         # weight of the memory in dual_anchor
    _memory: Tensor | None = field(default=None, init=False, repr=False)   # (D,)
    _count: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        one_of("The token setting score", self.score, ("gaussian", "dual_anchor"))
        check_setting(self, "share", 0.01, 1)
        check_setting(self, "past", 0, 1)

    def reduce(self, tokens: VisualTokens, image: np.ndarray) -> VisualTokens:
        rows = tokens.embeds.float()
        mean = rows.mean(0)
        memory = mean if self._memory is None else self._memory
        scores = self._unlike(rows, mean, memory)
        self._count += 1
        self._memory = memory + (mean - memory) / self._count
        count = count_of(self.share, len(rows))
        self.news = count / len(rows)
        if count == len(rows):
            return tokens
        return rows_of(tokens, top_slots(scores, count))

    def _unlike(self, rows: Tensor, mean: Tensor, memory: Tensor) -> Tensor:
        """(N,) higher for what is unlike both anchors."""
        if self.score == "dual_anchor":
            far = [1 - F.cosine_similarity(rows, anchor[None], dim=-1) for anchor in (memory, mean)]
            return self.past * far[0] + (1 - self.past) * far[1]
        calm = rows.var(0, correction=0).topk(max(1, rows.shape[1] // 2), largest=False).indices
        return -sum(kernel(rows[:, calm], anchor[calm]) for anchor in (memory, mean))


def kernel(rows: Tensor, anchor: Tensor) -> Tensor:
    """(N,) sum of Gaussians of several widths of the distances from rows (N, D) to one (D,)."""
    apart = (F.normalize(rows, dim=-1) - F.normalize(anchor, dim=-1)).square().sum(-1)
    return torch.stack([torch.exp(-apart / (2 * width)) for width in WIDTHS]).sum(0)
