"""Slow-Fast: the newest frames sharp, older ones as a small map.

After the Slow-Fast video MLLM, which is trained for it; the imitation without training: the last
few frames are read whole, and a frame that gets older is pooled to a few cells in the cache: raw
keys and values of the slots in a cell become their mean, which stands where the first of them
stood (our inference; keys are averaged before rotation).
"""
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.scoring import frame_means
from streamassist.slots import Block
from streamassist.tokens.base import TokenReducer, check_setting
from streamassist.types import Chunk
from streamassist.visual import places_of


@dataclass
class SlowFast(TokenReducer):
    edits_cache: ClassVar[bool] = True
    sharp: int = 4    # newest frames that stay whole
    side: int = 2     # cells of an older frame, each way
    _whole: deque[tuple[int, Tensor]] = field(default_factory=deque, init=False, repr=False)

    def __post_init__(self) -> None:
        check_setting(self, "sharp", 1, 1000)
        check_setting(self, "side", 1, 100)

    def after_prefill(self, cache: KVCache, chunk: Chunk) -> None:
        cells = torch.full((chunk.positions.shape[1],), -1)   # -1: words around the picture
        _, rows, columns = chunk.visual.grid
        at = places_of(chunk.visual) % (rows * columns)
        height, width = min(self.side, rows), min(self.side, columns)
        row, column = at // columns * height // rows, at % columns * width // columns
        cells[chunk.visual_at] = row * width + column
        self._whole.append((chunk.frame, cells))
        while len(self._whole) > self.sharp:
            self._pool(cache, *self._whole.popleft())

    def _pool(self, cache: KVCache, frame: int, cells: Tensor) -> None:
        mine = (cache.used().frame[cache.num_pinned :] == frame).nonzero()[:, 0]
        if len(mine) != len(cells):   # the memory policy has taken it, or some of it
            return
        picture = mine[cells >= 0]
        seen = cells[cells >= 0]
        block = cache.copy_out(picture + cache.num_pinned)
        present, raw = frame_means(block.raw, seen)
        if len(present) == len(seen):
            return
        value = frame_means(block.value, seen)[1]
        first = torch.stack([(seen == cell).nonzero()[0, 0] for cell in present])
        small = Block(raw.to(block.raw.dtype), value.to(block.value.dtype),
                      block.slots.select(first))
        mask = torch.ones(len(cache), dtype=torch.bool)
        mask[picture] = False
        cache.keep(mask)
        cache.insert(small)
