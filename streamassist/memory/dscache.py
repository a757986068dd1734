"""DSCache: history in one cache, and the newest frames read anew without it."""
from dataclasses import dataclass, field

import torch

from streamassist.cache import KVCache
from streamassist.memory.base import (
    MAX_TOKENS,
    MemoryPolicy,
    check_setting,
    drop_frames,
    frame_sizes,
    oldest_until,
)
from streamassist.types import VisualTokens


@dataclass
class DSCache(MemoryPolicy):
    """DSCache, arXiv 2605.01858: what a model says about now suffers from history its keys were
    computed on. So the last 4 frames' visual tokens are kept, and a question prefills them again
    on the prompt alone; its cache is the prompt, the past from the stream's cache (strided), and
    these instant frames, at contiguous positions.

    Unlike the paper the newest frame has no higher resolution. Our inference: the stride thins out
    the past as the budget fills (frames off it leave first), where the paper strides at the
    question; both parts share one budget.
    """

    budget: int = 512   # tokens, past and instant together
    recent: int = 4     # frames read anew
    stride: int = 2     # of the past every so many frames stay
    _last: list[VisualTokens] = field(init=False, repr=False)
    _off: set[int] = field(init=False, repr=False)   # frames in the cache that are off the stride
    _seen: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)
        check_setting(self, "recent", 1, 1000)
        check_setting(self, "stride", 1, 1000)
        self.reset()

    def reset(self) -> None:
        self._last, self._off, self._seen = [], set(), 0

    def observe(self, tokens: VisualTokens, cache: KVCache) -> None:
        self._last = [*self._last, tokens][-self.recent :]
        if self._seen % self.stride:
            self._off.add(tokens.frame)
        self._seen += 1

    def after_prefill(self, cache: KVCache) -> None:
        excess = len(cache) - self.budget
        if excess <= 0:
            return
        frames, counts = frame_sizes(cache)
        self._off &= set(frames)
        past = frames[: -self.recent]
        off, on = [f for f in past if f in self._off], [f for f in past if f not in self._off]
        leaving = [*off, *on, *frames[len(past) :]]
        size = dict(zip(frames, counts, strict=True))
        drop_frames(cache, oldest_until(leaving, [size[f] for f in leaving], excess))

    def before_answer(self, cache: KVCache, question: str) -> KVCache:
        held = set(cache.frames())
        instant = [tokens for tokens in self._last if tokens.frame in held]
        if not instant:
            return cache
        answer = cache.opening()
        for tokens in instant:
            self.model.forward(self.model.frame_chunk(tokens, answer.next_position), answer)
        past = ~torch.isin(cache.used().frame, torch.tensor([t.frame for t in instant]))
        past[: cache.num_pinned] = False
        answer.insert(cache.copy_out(past.nonzero()[:, 0]))
        return answer
