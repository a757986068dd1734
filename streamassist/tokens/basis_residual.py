"""CausalMem's residual as a reducer: the tokens that a running basis explains worst are read.

arXiv 2606.25658 (its memory is `memory/causal_mem.py`). The rest of a frame becomes one mean
background token, which stands at the place of the first of them. Our inference: the choice is made
before the language model and for good.
"""
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from streamassist.basis import RunningBasis
from streamassist.scoring import top_slots
from streamassist.tokens.base import TokenReducer, check_setting, count_of
from streamassist.types import VisualTokens
from streamassist.visual import rows_of


@dataclass
class BasisResidual(TokenReducer):
    share: float = 0.3    # of a frame's tokens, the background token included
    rank: int = 256       # directions of the basis
    _basis: RunningBasis | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_setting(self, "share", 0.01, 1)
        check_setting(self, "rank", 1, 100_000)

    def reduce(self, tokens: VisualTokens, image: np.ndarray) -> VisualTokens:
        self._basis = self._basis or RunningBasis(self.rank)
        score = self._basis.novelty(tokens.embeds.float())
        count = count_of(self.share, len(score))
        self.news = min(1.0, float(score.mean()))
        if count == len(score):
            return tokens
        kept = top_slots(score, max(1, count - 1))
        if count == 1:
            return rows_of(tokens, kept)
        keep = torch.zeros_like(score, dtype=torch.bool).index_fill(0, kept, True)
        ground = int((~keep).nonzero()[0, 0])

        def with_ground(level: Tensor) -> Tensor:
            level = level.clone()
            level[ground] = level[~keep].float().mean(0).to(level.dtype)
            return level

        tokens = replace(tokens, embeds=with_ground(tokens.embeds),
                         deepstack=tuple(map(with_ground, tokens.deepstack)))
        keep[ground] = True
        return rows_of(tokens, keep.nonzero()[:, 0])
