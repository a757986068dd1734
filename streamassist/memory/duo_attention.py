"""DuoAttention: some attention heads look far back and keep the past, the rest only what is recent.

arXiv 2410.10819, sections 2.2 and 2.3. The paper learns a gate for each key head and keeps the full
past for the chosen ones. Here, without training (our inference): while the cache fills, the
attention that each frame's queries pay to what lies between sink and recent part is measured, and
the half of the *layers* that pays most keeps the past at even distances; the others keep the sink
and what is recent. By layer and not by head, since all heads of a layer share their slots; the past
is thinned, since the budget is fixed and all layers hold equally many slots.
"""
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import MAX_TOKENS, MemoryPolicy, check_setting
from streamassist.memory.units import keep_units, to_free, unit_size
from streamassist.scoring import attention_mass


@dataclass
class DuoAttention(MemoryPolicy):
    frame_queries: ClassVar[bool] = True
    budget: int = 512     # tokens
    sink: int = 16        # tokens
    recent: int = 128     # tokens that the layers looking back keep whole
    share: float = 0.5    # of the layers look back
    chunk: int = 4        # frames made room for at a time
    _far: Tensor | None = field(default=None, init=False, repr=False)   # (L,) attention, summed
    _back: Tensor | None = field(default=None, init=False, repr=False)  # (L,) bool: looks back

    def __post_init__(self) -> None:
        check_setting(self, "budget", 3, MAX_TOKENS)
        check_setting(self, "sink", 1, self.budget - 2)
        check_setting(self, "recent", 1, self.budget - self.sink - 1)
        check_setting(self, "share", 0, 1)
        check_setting(self, "chunk", 1, 100)

    def reset(self) -> None:
        self._far = self._back = None

    def after_prefill(self, cache: KVCache) -> None:
        if not len(cache):
            return
        if self._back is None:
            self._measure(cache)
        if len(cache) > self.budget:
            self._shrink(cache)

    def _measure(self, cache: KVCache) -> None:
        """Add the newest frame's attention to what lies between sink and recent part."""
        start = cache.next_position - self.queries.shape[2]
        mass = attention_mass(cache, self.queries, start).mean(1).cpu()
        far = mass[:, self.sink : max(self.sink, len(cache) - self.recent)].sum(1)
        self._far = far if self._far is None else self._far + far

    def _shrink(self, cache: KVCache) -> None:
        if self._back is None:
            self._back = torch.zeros(cache.num_layers, dtype=torch.bool)
            count = round(self.share * cache.num_layers)
            self._back[self._far.argsort(descending=True, stable=True)[:count]] = True
        size = unit_size(cache)
        free = to_free(cache, size, self.budget, self.chunk)
        if not free:
            return
        count = len(cache) // size
        sink = min(-(-self.sink // size), count - free - 1)
        near = torch.cat((torch.arange(sink), torch.arange(sink + free, count)))
        rows = near.expand(cache.num_layers, -1)
        if self._back.any():
            plane = int(self._back.nonzero()[0, 0])   # all layers that look back hold the same
            ends = -1 - size * torch.arange(count).flip(0)
            pts = cache.used(plane).pts[ends].tolist()
            recent = min(-(-self.recent // size), count - sink - free)
            spread = torch.tensor(evenly(pts, free, sink, max(1, recent)))
            rows = torch.where(self._back[:, None], spread, rows)
        keep_units(cache, rows, size)


def evenly(pts: list[float], free: int, sink: int, recent: int) -> list[int]:
    """Places left after `free` of them went, each time the one whose neighbours in time are
    closest; the first `sink` and the last `recent` stay."""
    left = list(range(len(pts)))
    for _ in range(free):
        middle = range(sink, len(left) - recent)
        gaps = [pts[left[min(i + 1, len(left) - 1)]] - pts[left[max(i - 1, 0)]] for i in middle]
        del left[sink + gaps.index(min(gaps))]
    return left
