"""StreamingTOM's reduction: so many tokens a frame, shared between what moved and what stayed.

arXiv 2510.18269, the part in front of the language model: a token whose cosine with the one at its
place in the frame before is above 0.9 is static; the budget (50 of 196) is split by how many there
are of each; the most salient dynamic tokens stay, the static ones are merged to their centres by
density peaks (DPC-kNN). Our inference: without the encoder's attention a token's saliency is its
distance from the frame's mean; a merged token stands at the place of its centre.
"""
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.tokens.base import TokenReducer, check_setting, count_of
from streamassist.types import VisualTokens
from streamassist.visual import rows_of

NEIGHBOURS = 5   # of the density


@dataclass
class TOMReduction(TokenReducer):
    share: float = 0.25     # of a frame's tokens
    static: float = 0.9     # cosine from which a token counts as static
    _before: Tensor | None = field(default=None, init=False, repr=False)   # (N, D)

    def __post_init__(self) -> None:
        check_setting(self, "share", 0.01, 1)
        check_setting(self, "static", -1, 1)

    def reduce(self, tokens: VisualTokens, image: np.ndarray) -> VisualTokens:
        rows, count = tokens.embeds.float(), count_of(self.share, len(tokens.embeds))
        before, self._before = self._before, rows
        still = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        if before is not None and before.shape == rows.shape:
            still = F.cosine_similarity(rows, before, dim=-1) > self.static
        self.news = float((~still).float().mean())
        if count == len(rows):
            return tokens
        merged = min(round(count * float(still.float().mean())), int(still.sum()))
        salient = (rows - rows.mean(0)).norm(dim=1).masked_fill(still, -torch.inf)
        moving = salient.topk(count - merged).indices
        if not merged:
            return rows_of(tokens, moving.sort().values)
        places = still.nonzero()[:, 0]
        centres, owner = density_peaks(rows[places], merged)
        tokens = _merged(tokens, places, places[centres][owner])
        return rows_of(tokens, torch.cat((moving, places[centres])).sort().values)


def _merged(tokens: VisualTokens, places: Tensor, into: Tensor) -> VisualTokens:
    """Each row of `into` becomes the mean of the rows `places` that go into it."""
    def mean(level: Tensor) -> Tensor:
        total = torch.zeros_like(level, dtype=torch.float32)
        count = torch.zeros(len(level), 1, device=level.device)
        total.index_add_(0, into, level[places].float())
        count.index_add_(0, into, torch.ones(len(into), 1, device=level.device))
        return torch.where(count > 0, total / count.clamp_min(1), level.float()).to(level.dtype)

    return replace(tokens, embeds=mean(tokens.embeds), deepstack=tuple(map(mean, tokens.deepstack)))


def density_peaks(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(places of `count` centres (count,), which centre each row belongs to (N,)).

    A centre lies dense and far from what is denser (Rodriguez & Laio 2014, with the density of
    the nearest neighbours, as DPC-kNN).
    """
    apart = torch.cdist(rows, rows) / rows.shape[1] ** 0.5
    near = apart.topk(min(NEIGHBOURS + 1, len(rows)), largest=False).values
    density = torch.exp(-near.square().mean(1))
    density = density - 1e-6 * torch.arange(len(rows), device=rows.device)   # no ties
    denser = density[None] > density[:, None]
    gap = apart.masked_fill(~denser, torch.inf).amin(1)
    gap = gap.where(gap.isfinite(), apart.amax())
    centres = (density * gap).topk(count).indices.sort().values
    owner = apart[:, centres].argmin(1)
    owner[centres] = torch.arange(count, device=rows.device)
    return centres, owner
