"""Control: every frame of the past is equally likely to be remembered.

Reservoir sampling (Vitter 1985) over the frames before the newest: each gets a random number when
it arrives, and those with the lowest leave. Seeded by the frame, so a replay forgets the same.
"""
import random
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
class RandomEviction(MemoryPolicy):
    any_slots: ClassVar[bool] = True
    budget: int = 512   # tokens
    seed: int = 0

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)

    def after_prefill(self, cache: KVCache) -> None:
        excess = len(cache) - self.budget
        if excess <= 0:
            return
        frames, counts = frame_sizes(cache)
        past = sorted(zip(frames[:-1], counts[:-1], strict=True), key=lambda f: self._luck(f[0]))
        gone = set()
        for frame, count in past:
            if excess <= 0:
                break
            gone.add(frame)
            excess -= count
        drop_frames(cache, gone)

    def _luck(self, frame: int) -> float:
        return random.Random(self.seed * 1_000_003 + frame).random()
