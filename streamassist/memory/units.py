"""Selections that differ by layer, in units of a frame's slots, so that all layers stay equal.

Unit 0 is the oldest; a unit is as many slots as the newest frame has. Where all frames are equally
large, units are frames; where not, the units before the newest frame may cut across frames.
"""
import torch
from torch import Tensor

from streamassist.cache import KVCache


def unit_size(cache: KVCache) -> int:
    """Slots of the newest frame."""
    frame = cache.used().frame[cache.num_pinned :]
    return int((frame == frame[-1]).sum())


def to_free(cache: KVCache, size: int, budget: int, chunk: int) -> int:
    """How many units to let go: none within the budget, else enough that `chunk` frames pass until
    it is full again; the newest unit always stays."""
    excess = len(cache) - budget
    if excess <= 0:
        return 0
    return min(-(-excess // size) + chunk - 1, len(cache) // size - 1)


def keep_units(cache: KVCache, units: Tensor, size: int) -> None:
    """Keep these units (L, K), ascending in each row, and what is older than unit 0."""
    older = len(cache) % size
    slots = (units[:, :, None] * size + torch.arange(size) + older).flatten(1)
    head = torch.arange(older).expand(len(units), -1)
    cache.keep_by_layer(torch.cat((head, slots), 1))
    cache.renumber(ranks=True)
