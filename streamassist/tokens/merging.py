"""Token merging over time and inside a frame, after TempMe.

TempMe (arXiv 2409.01156) merges like tokens of neighbouring frames, then those of a frame, with
ToMe's bipartite matching (2210.09461), in layers of an encoder it tunes. Our inference, training-
free, causal and in front of the language model: what is most like a token of the frame before, at
any place, was read with that frame and is left out; then the most alike pairs inside the frame
become their mean, weighted by how many tokens each stands for.
"""
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.scoring import top_slots
from streamassist.tokens.base import TokenReducer, check_setting, count_of
from streamassist.types import VisualTokens
from streamassist.visual import rows_of


@dataclass
class Merging(TokenReducer):
    share: float = 0.3     # of a frame's tokens
    across: float = 0.5    # of what goes, goes for being like the frame before
    _before: Tensor | None = field(default=None, init=False, repr=False)   # (N, D), unit rows

    def __post_init__(self) -> None:
        check_setting(self, "share", 0.01, 1)
        check_setting(self, "across", 0, 1)

    def reduce(self, tokens: VisualTokens, image: np.ndarray) -> VisualTokens:
        rows = F.normalize(tokens.embeds.float(), dim=-1)
        before, self._before = self._before, rows
        count, self.news = count_of(self.share, len(rows)), 1.0
        if before is not None and before.shape[1] == rows.shape[1]:
            unlike = 1 - (rows @ before.T).amax(1)
            self.news = float(unlike.clamp(0, 1).mean())
            left = len(rows) - round(self.across * (len(rows) - count))
            if left < len(rows):
                tokens = rows_of(tokens, top_slots(unlike, left))
        weight = torch.ones(len(tokens.embeds), 1, device=rows.device)
        while len(tokens.embeds) > count:
            tokens, weight = _once(tokens, weight, len(tokens.embeds) - count)
        return tokens


def _once(tokens: VisualTokens, weight: Tensor, most: int) -> tuple[VisualTokens, Tensor]:
    """One round of matching: of every second row the most alike, at most `most`, are merged into
    the row between them that they are most like."""
    total = len(tokens.embeds)
    rows = F.normalize(tokens.embeds.float(), dim=-1)
    ones, others = torch.arange(0, total, 2), torch.arange(1, total, 2)
    best = (rows[ones] @ rows[others].T).max(1)
    goes = best.values.topk(min(most, len(ones))).indices
    gone, into = ones[goes.cpu()], others[best.indices[goes].cpu()]
    sums = weight.index_add(0, into.to(weight.device), weight[gone.to(weight.device)])

    def mean(level: Tensor) -> Tensor:
        heavy = level.float() * weight
        heavy = heavy.index_add(0, into.to(heavy.device), heavy[gone.to(heavy.device)])
        return (heavy / sums).to(level.dtype)

    stays = torch.ones(total, dtype=torch.bool).index_fill(0, gone, False).nonzero()[:, 0]
    merged = replace(tokens, embeds=mean(tokens.embeds),
                     deepstack=tuple(map(mean, tokens.deepstack)))
    return rows_of(merged, stays), sums[stays.to(sums.device)]
