"""The last N frames and nothing else: the baseline every memory method must beat.

SimpleStream, arXiv 2604.02317. Unlike the paper, the frames are not prefilled again for every
question: their keys stay in the cache and only close up.
"""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.cache import KVCache
from streamassist.memory.base import MemoryPolicy, check_setting, drop_frames

MAX_FRAMES = 10_000


@dataclass
class LastN(MemoryPolicy):
    any_slots: ClassVar[bool] = True
    frames: int = 4

    def __post_init__(self) -> None:
        check_setting(self, "frames", 1, MAX_FRAMES)

    def after_prefill(self, cache: KVCache) -> None:
        drop_frames(cache, set(cache.frames()[: -self.frames]))
