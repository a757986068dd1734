"""LaCache: each layer keeps a different slice of the past, like the rungs of a ladder.

arXiv 2507.14204: when the cache is full, of each group of G tokens layer i keeps a run of A from
offset i mod (G - A + 1); G = 1 + ceil((L - span) / (span - overlap)), A = ceil(span / (span -
overlap)), at most G. A cursor goes from old to new and starts again at the recent part, so what is
old has been thinned often. Our inference: frames in the place of tokens; as many groups as the new
frames need; a span of at most half the layers, and G at least A + 1, so that a ladder of few layers
has two rungs; the first and the newest frames are spared.
"""
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import MAX_TOKENS, MemoryPolicy, check_setting
from streamassist.memory.units import keep_units, to_free, unit_size


@dataclass
class LaCache(MemoryPolicy):
    budget: int = 512   # tokens
    span: int = 16      # layers
    overlap: int = 0    # layers
    sink: int = 1       # frames at the start that stay
    recent: int = 4     # frames at the end that stay
    chunk: int = 4      # frames made room for at a time
    _cursor: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)
        check_setting(self, "span", 1, 1000)
        check_setting(self, "overlap", 0, self.span - 1)
        check_setting(self, "sink", 0, 1000)
        check_setting(self, "recent", 1, 1000)
        check_setting(self, "chunk", 1, 100)

    def reset(self) -> None:
        self._cursor = 0

    def after_prefill(self, cache: KVCache) -> None:
        if len(cache) <= self.budget:
            return
        size = unit_size(cache)
        free = to_free(cache, size, self.budget, self.chunk)
        units = torch.arange(len(cache) // size).expand(cache.num_layers, -1)
        left = units.shape[1] - free
        while units.shape[1] > left:
            units = self._thin(units, units.shape[1] - left)
        if free:
            keep_units(cache, units, size)

    def _thin(self, units: Tensor, most: int) -> Tensor:
        """Drop at most `most` of one group's units (L, U) in every layer, the same number in each;
        the oldest unit where the ladder does not fit between the first and the newest."""
        group, run = self.rungs(len(units))
        count = units.shape[1]
        sink = min(self.sink, max(0, count - 2))
        if self._cursor < sink or self._cursor + group > count - self.recent:
            self._cursor = sink
        if self._cursor + group > count - self.recent or group - run > most:
            group, run = 1, 0   # no room for a rung, or it would let go more than is needed
        offset = torch.arange(len(units)) % (group - run + 1)
        start = self._cursor
        kept = start + offset[:, None] + torch.arange(run)
        tail = torch.arange(start + group, count).expand(len(units), -1)
        kept = torch.cat((torch.arange(start).expand(len(units), -1), kept, tail), 1)
        self._cursor = start + run
        return units.gather(1, kept)

    def rungs(self, layers: int) -> tuple[int, int]:
        """(G, A): of G neighbouring frames a layer keeps A."""
        span = min(self.span, math.ceil(layers / 2))
        step = span - min(self.overlap, span - 1)
        run = math.ceil(span / step)
        return max(1 + math.ceil((layers - span) / step), run + 1), run
