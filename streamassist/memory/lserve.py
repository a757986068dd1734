"""LServe: pages of the past, found by bounds on what a query could find in them."""
from dataclasses import dataclass

import torch
from torch import Tensor

from streamassist.memory.base import MAX_TOKENS, check_setting
from streamassist.memory.retrieval import Retrieval
from streamassist.slots import Block


@dataclass
class LServe(Retrieval):
    """Query-aware page selection of LServe, arXiv 2502.14866, section 3.5: pages of 64 tokens in
    logical pages of 16; of each the smallest and the largest key of every channel is kept, and
    sum_c max(q_c min_c, q_c max_c) bounds the dot product of a query with any of its keys; a page
    is worth its best logical page.

    Our inference: bounds of raw keys (the paper's are rotated, and void once a page moves); the
    mean query of the question; pages of whole frames; all heads share the sum of their bounds, so
    none is a streaming head; pages are chosen once a question, not every 4 tokens; a full store
    forgets the page most like the next one. Keys are not quantised.
    """

    page: int = 64
    logical: int = 16   # tokens

    def __post_init__(self) -> None:
        check_setting(self, "logical", 1, MAX_TOKENS)
        super().__post_init__()

    def describe(self, block: Block) -> Tensor:
        """(2, L, Hk, G, D): smallest and largest key of each logical page."""
        parts = block.raw.float().cpu().split(self.logical, dim=2)
        low = torch.stack([part.amin(2) for part in parts], 2)
        return torch.stack((low, torch.stack([part.amax(2) for part in parts], 2)))

    def rank(self, queries: Tensor) -> Tensor:
        keys = [page.key for page in self._store.pages]
        low, high = torch.cat(keys, 3)
        mean = queries.mean(2).unflatten(1, (low.shape[1], -1)).cpu()   # (L, Hk, Hq / Hk, D)
        # where q_c > 0 the larger product is with the largest key, else with the smallest
        bound = torch.einsum("lhd,lhgd->lg", mean.clamp(min=0).sum(2), high)
        bound = bound + torch.einsum("lhd,lhgd->lg", mean.clamp(max=0).sum(2), low)
        parts = bound.split([key.shape[3] for key in keys], 1)
        return torch.stack([part.amax(1) for part in parts], 1)
