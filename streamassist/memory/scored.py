"""Memories that give every slot a score and keep the best: each layer its own, all equally many."""
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.memory.base import MAX_TOKENS, MemoryPolicy, check_setting, drop_since
from streamassist.slots import Layout
from streamassist.types import Role


@dataclass
class Scored(MemoryPolicy):
    """A selection makes room for `chunk` frames at once, but frees at most half of the budget; so
    it is paid for once in a while. The newest frame always stays whole."""

    budget: int = 512   # tokens, the prompt not counted
    chunk: int = 8      # frames from one selection to the next

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)
        check_setting(self, "chunk", 1, 1000)

    def after_prefill(self, cache: KVCache) -> None:
        if len(cache) <= self.budget:
            return
        size = newest(cache)
        free = min((self.chunk - 1) * size, self.budget // 2)
        room = max(self.budget - free, size)
        if len(cache) > room:
            self.compress(cache, room)

    def compress(self, cache: KVCache, room: int) -> Tensor:
        """Keep `room` slots; returns the places (L, room) they had."""
        index = self.choose(cache, room).cpu()
        cache.keep_by_layer(index)
        cache.renumber(ranks=True)
        return index

    def choose(self, cache: KVCache, room: int) -> Tensor:
        """(L, room) places of the slots to keep, ascending; room is less than len(cache)."""
        raise NotImplementedError


@dataclass
class Tracked(Scored):
    """Knows of every slot which of the stream's tokens it holds, wherever it stands by now.

    arrival: (P, T) how many tokens came before it; place: (P, T) its place in its frame, counted
    from the end, so that wrapper tokens of varying length do not shift it.
    """

    _arrival: Tensor = field(init=False, repr=False)
    _place: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reset()

    def reset(self) -> None:
        self._arrival = self._place = torch.zeros(1, 0, dtype=torch.int64)

    def forget(self, cache: KVCache, since: float) -> None:
        drop_since(cache, since)
        size = len(cache)   # what was forgotten stood at the end
        self._arrival, self._place = self._arrival[:, :size], self._place[:, :size]

    def after_prefill(self, cache: KVCache) -> None:
        self._arrive(cache)
        super().after_prefill(cache)

    def compress(self, cache: KVCache, room: int) -> Tensor:
        index = super().compress(cache, room)
        whole = len(index), self._arrival.shape[1]
        self._arrival = self._arrival.expand(whole).gather(1, index)
        self._place = self._place.expand(whole).gather(1, index)
        return index

    def _arrive(self, cache: KVCache) -> None:
        """Count the newest frame in. Slots that left behind our back were the oldest."""
        planes, known = self._arrival.shape
        count = max(newest(cache), len(cache) - known)
        first = known - (len(cache) - count)
        start = int(self._arrival[0, -1]) + 1 if known else 0
        new = torch.arange(count).expand(planes, -1)
        self._arrival = torch.cat((self._arrival[:, first:], new + start), 1)
        self._place = torch.cat((self._place[:, first:], new.flip(1)), 1)


def newest(cache: KVCache, tokens: int = 0) -> int:
    """How many slots the newest frames take that fit into so many tokens, at least one frame.

    They are the last slots of the cache, in every layer. Frames are counted as large as the newest:
    what little is left of old ones would fit otherwise.
    """
    used = cache.used()
    visual = (used.role == Role.VISUAL).nonzero()[:, 0]
    frame = used.frame[visual]
    starts = visual[frame != frame.roll(1)]
    if not len(starts):   # no frame, or one alone
        return cache.size - int(visual[0]) if len(visual) else 0
    size = cache.size - int(starts[-1])
    sizes = cache.size - starts[-max(1, tokens // size) :]
    fitting = sizes[sizes <= tokens]
    return int(fitting[0]) if len(fitting) else size


def last_slots(cache: KVCache, count: int) -> Tensor:
    """(len(cache),) bool: the last `count` slots."""
    return torch.arange(len(cache)) >= len(cache) - count


def mask_of(index: Tensor, total: int) -> Tensor:
    """(..., K) places -> (..., total) bool."""
    mask = torch.zeros(*index.shape[:-1], total, dtype=torch.bool, device=index.device)
    return mask.scatter_(-1, index, True)


def by_layer(slots: Tensor, cache: KVCache) -> Tensor:
    """A fact of the unpinned slots, (P, T) or (T,), for each layer: (L, T)."""
    return slots.expand(cache.num_layers, -1).contiguous()


def refill(cache: KVCache, index: Tensor, raw: Tensor, value: Tensor) -> None:
    """Have slots hold merged content. index: (L, C) unpinned places; raw, value: (L, Hk, C, D)."""
    where = (index + cache.num_pinned).to(cache.device)[:, None, :, None].expand(raw.shape)
    cache.raw.scatter_(2, where, raw.to(cache.dtype))
    cache.value.scatter_(2, where, value.to(cache.dtype))
    slots = cache.in_use()
    cache.place(Layout(slots.position, slots.base, slots.span), every=True)
