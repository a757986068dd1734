"""ReSV: tokens of the past in clusters of like hash codes, as many as a question needs."""
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamassist.memory.base import check_setting
from streamassist.memory.retrieval import Retrieval
from streamassist.memory.store import Page
from streamassist.scoring import relevance, top_slots
from streamassist.slots import Block

BITS = 32


@dataclass
class ReSV(Retrieval):
    """ReSV of V-Rex, arXiv 2512.12284: in each layer a key joins the closest cluster whose 32-bit
    code (signs on random hyperplanes) differs from its own in fewer than 7 bits, or opens one. A
    question weighs each cluster by exp(mean key's score) times its size, and recalls the heaviest
    until they have 0.3 of all weight: few tokens when it is sure, many when it is not.

    Our inference: raw keys are hashed, all heads of a layer together; the score is the mean over
    the heads, scaled as in attention; every layer recalls as many tokens as the layers want on
    average, within the budget; used for questions only, where the paper also prefills frames so.
    """

    threshold: float = 0.3   # share of the weight
    differ: int = 7          # bits from which two codes are no longer alike
    _codes: Tensor = field(init=False, repr=False)   # (L, C, BITS) +-1, of a cluster's first key
    _sizes: Tensor = field(init=False, repr=False)   # (L, C) members, 0 where a row is free

    def __post_init__(self) -> None:
        check_setting(self, "threshold", 0, 1)
        check_setting(self, "differ", 1, BITS)
        super().__post_init__()

    def reset(self) -> None:
        super().reset()
        self._codes, self._sizes = torch.empty(0, 0, BITS), torch.empty(0, 0, dtype=torch.int64)

    # ------------------------------------------------------------ clusters

    def describe(self, block: Block) -> Tensor:
        """(L, N) the cluster that each of the block's tokens joins."""
        codes = hashed(block.raw.float().cpu().transpose(1, 2).flatten(2))
        self._make_room(*codes.shape[:2])
        likeness = codes @ self._codes.mT
        likeness.masked_fill_(self._sizes[:, None] == 0, -torch.inf)
        best, cluster = likeness.max(-1)
        lone = ~self._alike(best)
        cluster = torch.where(lone, self._opened(codes, lone), cluster)
        self._sizes.scatter_add_(1, cluster, torch.ones_like(cluster))
        return cluster

    def _alike(self, product: Tensor) -> Tensor:
        """Codes with this dot product differ in (BITS - product) / 2 bits."""
        return product > BITS - 2 * self.differ

    def _opened(self, codes: Tensor, lone: Tensor) -> Tensor:
        """(L, N) new clusters for the lone tokens: of those alike, the first opens one."""
        near = self._alike(codes @ codes.mT) & lone[:, None]
        first = lone.clone()
        for n in range(1, codes.shape[1]):
            first[:, n] &= ~(near[:, n, :n] & first[:, :n]).any(1)
        opener = (near & first[:, None]).int().argmax(-1)
        free = (self._sizes == 0).float().topk(codes.shape[1]).indices
        place = free.gather(1, first.cumsum(1).sub(1).clamp(min=0))
        layer, token = first.nonzero(as_tuple=True)
        self._codes[layer, place[layer, token]] = codes[layer, token]
        return place.gather(1, opener)

    def _make_room(self, layers: int, count: int) -> None:
        """Have `count` free rows in every layer; no more clusters than stored tokens are in use."""
        rows = self._sizes.shape[1]
        if rows and rows - int((self._sizes > 0).sum(1).max()) >= count:
            return
        extra = max(count, rows)
        room = self._codes.new_zeros(layers, extra, BITS)
        self._codes = torch.cat((self._codes.reshape(layers, rows, BITS), room), 1)
        sizes = self._sizes.reshape(layers, rows)
        self._sizes = torch.cat((sizes, sizes.new_zeros(layers, extra)), 1)

    def forgotten(self, pages: list[Page]) -> None:
        for page in pages:
            self._sizes.scatter_add_(1, page.key, torch.full_like(page.key, -1))

    # ------------------------------------------------------------ answering

    def choose(self, queries: Tensor, room: int) -> tuple[Tensor, Tensor]:
        cluster = torch.cat([page.key for page in self._store.pages], 1)
        heads, dim = queries.shape[1], queries.shape[3]
        logits = relevance(queries, self._store.raw)[:, self._store.order()] / heads
        total = torch.zeros(self._sizes.shape).scatter_add(1, cluster, logits / math.sqrt(dim))
        weight = self._weigh(total / self._sizes.clamp(min=1))
        count = min(room, len(self._store), self._wanted(weight))
        score = weight.gather(1, cluster)
        return score, top_slots(score, count)

    def _weigh(self, logits: Tensor) -> Tensor:
        """(L, C) logits of the mean keys -> weights, 0 where there is no cluster."""
        logits = logits.masked_fill(self._sizes == 0, -torch.inf)
        return (logits - logits.amax(1, keepdim=True)).exp() * self._sizes

    def _wanted(self, weight: Tensor) -> int:
        """Tokens in the heaviest clusters up to the threshold, the mean over the layers."""
        weight, order = weight.sort(dim=1, descending=True)
        before = weight.cumsum(1) - weight
        taken = (before <= self.threshold * weight.sum(1, keepdim=True)) & (weight > 0)
        return math.ceil(float((self._sizes.gather(1, order) * taken).sum(1).float().mean()))


def hashed(keys: Tensor) -> Tensor:
    """(..., F) -> (..., BITS) of +-1: the sides of fixed random hyperplanes."""
    draw = torch.Generator().manual_seed(0)
    planes = torch.randn(keys.shape[-1], BITS, generator=draw)
    return (keys @ planes >= 0).float() * 2 - 1
