"""Differential Token Drop: what equals the token at its place in the frame before is not read.

TimeChat-Online, arXiv 2504.17343. A token is dropped whose distance to the one before is below the
threshold: the cosine distance of the encoder's rows (the paper's tau is one minus ours: 0.5 there
drops about 45 %, 0.25, our 0.75, about 85 %), or the mean difference of the pixels in its cell, 0
to 1; or the highest share of a frame is kept, whatever the distances are. The first frame is whole.
"""
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.token_similarity import token_similarity
from streamassist.config import one_of
from streamassist.scoring import top_slots
from streamassist.tokens.base import TokenReducer, check_setting, count_of
from streamassist.types import VisualTokens
from streamassist.visual import rows_of


@dataclass
class TemporalDrop(TokenReducer):
    """The comparison is always with the whole frame before, so a slow drift is never read: our
    addition is that every so many frames one is read whole."""

    by: str = "feature"      # or pixel
    threshold: float = 0.5   # of the distance; 0 drops nothing
    share: float = 0.0       # of each frame kept, in place of the threshold; 0: by threshold
    refresh: int = 30        # frames; 0: never
    reach: int = 0           # cells aside that a token may have moved (by feature; our addition)
    _before: Tensor | None = field(default=None, init=False, repr=False)   # rows or picture
    _since: int = field(default=0, init=False, repr=False)                 # the last whole frame

    def __post_init__(self) -> None:
        one_of("The token setting by", self.by, ("feature", "pixel"))
        check_setting(self, "threshold", 0, 2)
        check_setting(self, "share", 0, 1)
        check_setting(self, "refresh", 0, 1_000_000)
        check_setting(self, "reach", 0, 100)

    def reduce(self, tokens: VisualTokens, image: np.ndarray) -> VisualTokens:
        distance = self._distance(tokens, image)
        self._since += 1
        if distance is None or (self.refresh and self._since >= self.refresh):
            self._since, self.news = 0, 1.0
            return tokens
        if self.share:
            kept = top_slots(distance, count_of(self.share, len(distance)))
        else:
            kept = (distance >= self.threshold).nonzero()[:, 0]
        self.news = len(kept) / len(distance)
        if len(kept) == len(distance):
            return tokens
        return rows_of(tokens, kept if len(kept) else top_slots(distance, 1))

    def _distance(self, tokens: VisualTokens, image: np.ndarray) -> Tensor | None:
        """(N,) of each token to the one at its place before; None without one to compare with."""
        now = tokens.embeds.float() if self.by == "feature" else torch.from_numpy(image.copy())
        before, self._before = self._before, now
        if before is None or before.shape != now.shape:
            return None
        if self.by == "feature":
            return (1 - token_similarity(now, before, *tokens.grid[1:], self.reach)).clamp_min(0)
        apart = (now.float() - before.float()).abs().mean(-1)[None, None] / 255
        cells = F.adaptive_avg_pool2d(apart, tokens.grid[1:]).flatten()
        return cells.repeat(tokens.grid[0]).to(tokens.embeds.device)
