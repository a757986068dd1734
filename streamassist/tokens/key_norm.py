"""QuickVideo's prefill pruning: of a frame the slots with the smallest keys stay in the cache.

QuickPrefill, arXiv 2505.16175: after each layer the visual tokens of smallest L2 key norm are kept
(a ratio of 0.5), positions unchanged; text stays. Our inference: one choice for all layers, by the
mean of the norms, each against its layer's mean, so that every memory policy can go on from it.
"""
from dataclasses import dataclass
from typing import ClassVar

import torch

from streamassist.cache import KVCache
from streamassist.scoring import top_slots
from streamassist.tokens.base import TokenReducer, check_setting, count_of
from streamassist.types import Chunk


@dataclass
class KeyNorm(TokenReducer):
    edits_cache: ClassVar[bool] = True
    share: float = 0.5   # of a frame's tokens

    def __post_init__(self) -> None:
        check_setting(self, "share", 0.01, 1)

    def after_prefill(self, cache: KVCache, chunk: Chunk) -> None:
        rows = chunk.positions.shape[1]
        keys = cache.raw[:, :, cache.size - rows : cache.size].float()
        norms = keys.norm(dim=-1).mean(1)[:, chunk.visual_at.to(keys.device)]   # (L, N)
        small = -(norms / norms.mean(1, keepdim=True).clamp_min(1e-12)).mean(0).cpu()
        gone = torch.ones(len(small), dtype=torch.bool)
        gone[top_slots(small, count_of(self.share, len(small)))] = False
        mask = torch.ones(len(cache), dtype=torch.bool)   # the words around the picture stay
        mask[len(cache) - rows + chunk.visual_at[gone]] = False
        cache.keep(mask)
