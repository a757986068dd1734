"""InfiniteVGGT's rolling memory: keys that look like the average leave."""
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import check_setting
from streamassist.memory.scored import Scored, by_layer, last_slots, newest
from streamassist.scoring import top_slots


@dataclass
class InfiniteVGGT(Scored):
    """InfiniteVGGT, arXiv 2601.02281, section 3: the first frame stays for good; of the others, the
    tokens stay whose normalised key is least like the mean of the normalised keys. No attention is
    needed. Made for 3-D geometry; for a language model (our inference) keys are raw, since rotated
    ones differ by their positions, the newest frames stay too, each layer selects by the mean over
    its key heads, and all layers have equal budgets (the paper: by the diversity of each).
    """

    recent: float = 0.25   # share of the budget for the newest frames

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting(self, "recent", 0, 1)

    def choose(self, cache: KVCache, room: int) -> Tensor:
        window = newest(cache, min(room, int(self.recent * self.budget)))
        first = cache.used().frame[cache.num_pinned :] == cache.frames()[0]
        first = by_layer(first, cache)
        return top_slots(
            -likeness(cache, ~first), room, first | last_slots(cache, window)
        )


def likeness(cache: KVCache, counted: Tensor) -> Tensor:
    """(L, T) cosine of each raw key with the mean of the normalised keys that are `counted` (L, T),
    in its head; the mean over heads."""
    keys = F.normalize(cache.raw[:, :, cache.num_pinned : cache.size].float(), dim=-1)
    mean = (keys * counted.to(keys.device)[:, None, :, None]).sum(2, keepdim=True)
    return F.cosine_similarity(keys, mean, dim=-1).mean(1)
