"""Attention sinks: keep the head of the stream and its newest frames, forget the middle.

StreamingLLM, arXiv 2309.17453, section 3.2. For video (our inference): the pinned prompt and the
first frames are the sink, and whole frames leave, never parts of one.
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
    oldest_until,
)


@dataclass
class AttentionSinks(MemoryPolicy):
    any_slots: ClassVar[bool] = True
    sink_frames: int = 1
    budget: int = 512   # tokens, the sink included, the prompt not

    def __post_init__(self) -> None:
        check_setting(self, "sink_frames", 0, MAX_TOKENS)
        check_setting(self, "budget", 1, MAX_TOKENS)

    def after_prefill(self, cache: KVCache) -> None:
        excess = len(cache) - self.budget
        if excess > 0:
            frames, counts = frame_sizes(cache)
            sink = min(self.sink_frames, len(frames) - 1)
            drop_frames(cache, oldest_until(frames[sink:], counts[sink:], excess))
