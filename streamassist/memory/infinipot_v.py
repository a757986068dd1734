"""InfiniPot-V: old tokens stay that differ from what is seen now, or whose values are large."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import check_setting
from streamassist.memory.scored import Tracked, by_layer, last_slots, mask_of, newest
from streamassist.scoring import frame_means, top_slots

POOLING = (7, 5, 3, 1)   # width over which value norms are averaged, for each quarter of the layers


@dataclass
class InfiniPotV(Tracked):
    """InfiniPot-V, arXiv 2506.15745, section 4: the newest quarter always stays; half of the budget
    goes to the old tokens of lowest temporal redundancy (TaR: minus the mean cosine of a token's
    key with the keys at the same patch of the newest frames), the rest to the largest value norms
    (VaN), averaged over 7, 5, 3, 1 neighbours in the four quarters of the layers. The paper selects
    for each key head, and keeps the original positions.

    Our inference: each layer selects, by the mean over its key heads; the quarter is one of the
    budget in tokens, in whole frames; keys are compared raw; a patch that no new frame has counts
    as cosine 0; neighbours are the slots next to it; positions are closed up.
    """

    recent: float = 0.25     # share of the budget for the newest frames
    temporal: float = 0.5    # share of the budget chosen by TaR

    def __post_init__(self) -> None:
        check_setting(self, "recent", 0, 1)
        check_setting(self, "temporal", 0, 1)
        super().__post_init__()

    def choose(self, cache: KVCache, room: int) -> Tensor:
        window = newest(cache, min(room, int(self.recent * self.budget)))
        count = min(room, window + round(self.temporal * self.budget))
        unlike = top_slots(-self._redundancy(cache, window), count, last_slots(cache, window))
        return top_slots(value_norms(cache), room, mask_of(unlike, len(cache)))

    def _redundancy(self, cache: KVCache, window: int) -> Tensor:
        """(L, T) mean cosine of each raw key with those at its place in the last `window` slots."""
        part = slice(cache.num_pinned, cache.size)
        keys = F.normalize(cache.raw[:, :, part].float(), dim=-1)
        same = (self._arrival == self._arrival[0]).all(0) & last_slots(cache, window)
        places, means = frame_means(keys[:, :, same.to(keys.device)], self._place[0, same])
        mine = by_layer(self._place, cache)
        index = torch.searchsorted(places, mine).clamp(max=len(places) - 1)
        there = (places[index] == mine).to(keys.device)
        where = index.to(keys.device)[:, None, :, None].expand(keys.shape)
        return (keys * means.gather(2, where)).sum(-1).mean(1) * there


def value_norms(cache: KVCache) -> Tensor:
    """(L, T) length of each value, the mean over heads, averaged along the slots by `POOLING`."""
    norms = cache.value[:, :, cache.num_pinned : cache.size].float().norm(dim=-1).mean(1)
    quarter = torch.arange(len(norms)) * len(POOLING) // len(norms)
    for number in quarter.unique().tolist():
        rows, width = norms[quarter == number], POOLING[number]
        norms[quarter == number] = F.avg_pool1d(
            rows, width, stride=1, padding=width // 2, count_include_pad=False
        )
    return norms
