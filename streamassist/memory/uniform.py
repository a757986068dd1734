"""Control: a fixed number of tokens, spread evenly over the whole stream.

Frames at multiples of a stride are kept, and the stride doubles whenever the budget is full, so
the spacing is even at any time; the first and the newest frame always stay. No paper.
"""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.cache import KVCache
from streamassist.memory.base import (
    MAX_TOKENS,
    MemoryPolicy,
    check_setting,
    drop_frames,
    frame_sizes,
)


@dataclass
class Uniform(MemoryPolicy):
    any_slots: ClassVar[bool] = True
    budget: int = 512   # tokens

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)

    def after_prefill(self, cache: KVCache) -> None:
        frames, counts = frame_sizes(cache)
        size, stride, kept = dict(zip(frames, counts, strict=True)), 1, frames
        other = len(cache) - sum(counts)
        while other + sum(size[f] for f in kept) > self.budget and len(kept) > 1:
            stride *= 2
            kept = [f for f in frames[:-1] if (f - frames[0]) % stride == 0 and f != frames[-1]]
            kept = kept[: 0 if stride > frames[-1] else None] + [frames[-1]]
        drop_frames(cache, set(frames) - set(kept))
