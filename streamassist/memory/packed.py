"""Exact recent tokens and a store of older frames in few bits: what codec methods share."""
from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.codec import Packed
from streamassist.memory.base import (
    MAX_TOKENS,
    MemoryPolicy,
    check_setting,
    drop_frames,
    frame_sizes,
    oldest_until,
)
from streamassist.slots import Block, Slots, joined


@dataclass(slots=True)
class Page:
    """Whole neighbouring frames, packed. mark: what the page is found by, None without a search."""

    keys: Packed
    values: Packed
    slots: Slots
    mark: Tensor | None = None

    @property
    def bytes(self) -> int:
        mark = 0 if self.mark is None else self.mark.nbytes
        return self.keys.bytes + self.values.bytes + mark

    def decode(self) -> Block:
        return Block(self.keys.decode(), self.values.decode(), self.slots)


@dataclass
class PackedMemory(MemoryPolicy):
    """A window of exact tokens on the stream's cache; older frames are packed into a store.

    The store has as many bytes as the keys and values of budget - residual exact tokens take in
    the cache's own dtype (the cache's rotated copy of the keys and the few bytes of facts about
    each slot are counted on neither side), so a codec remembers more frames for the same bytes.
    The oldest page leaves. An answer reads the window and what fits of the store: all of it, or
    pages at even distances (our inference; the papers read everything).
    """

    budget: int = 512         # exact tokens' worth of bytes
    residual: int = 128       # exact tokens
    page: int = 32            # tokens packed together, at least; whole frames
    most_tokens: int = 2048   # an answer reads, the window included
    _pages: list[Page] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        check_setting(self, "budget", 2, MAX_TOKENS)
        check_setting(self, "residual", 1, self.budget - 1)
        check_setting(self, "page", 1, MAX_TOKENS)
        check_setting(self, "most_tokens", 1, MAX_TOKENS)

    def reset(self) -> None:
        self._pages = []

    @abstractmethod
    def pack_keys(self, keys: Tensor) -> Packed:
        """Raw keys (L, H, T, D) of a page."""

    @abstractmethod
    def pack_values(self, values: Tensor) -> Packed:
        """Values (L, H, T, D) of a page."""

    def mark(self, keys: Tensor) -> Tensor | None:
        """What a page with these raw keys (L, H, T, D) is found by."""
        return None

    def bytes(self) -> dict[str, int]:
        return {**super().bytes(), "ram": self.packed_bytes}

    @property
    def packed_bytes(self) -> int:
        """Of the store: packed keys, values and marks."""
        return sum(page.bytes for page in self._pages)

    def stored_frames(self) -> list[int]:
        """Indices of the frames in the store, oldest first."""
        return [f for page in self._pages for f in page.slots.frame.unique().tolist()]

    # ------------------------------------------------------------ watching

    def after_prefill(self, cache: KVCache) -> None:
        excess = len(cache) - self.residual
        if excess <= 0:
            return
        old = oldest_until(*frame_sizes(cache), max(excess, self.page))
        if not old:
            return
        where = torch.isin(cache.used().frame, torch.tensor(sorted(old)))
        where[: cache.num_pinned] = False
        self._store(cache.copy_out(where.nonzero()[:, 0]))
        drop_frames(cache, old)
        exact = cache.bytes_per_slot * 2 // 3   # keys and values, not the rotated copy
        room, used = (self.budget - self.residual) * exact, self.packed_bytes
        while used > room:
            used -= self._pages.pop(0).bytes

    def _store(self, block: Block) -> None:
        keys, values = self.pack_keys(block.raw), self.pack_values(block.value)
        self._pages.append(Page(keys, values, block.slots, self.mark(block.raw)))

    # ------------------------------------------------------------ answering

    def before_answer(self, cache: KVCache, question: str) -> KVCache:
        if not self._pages:
            return cache
        blocks = [page.decode() for page in self.chosen(cache, question)]
        blocks.append(cache.copy_out(torch.arange(cache.num_pinned, cache.size)))
        answer = cache.opening()
        answer.insert(joined(blocks))
        return answer

    def chosen(self, cache: KVCache, question: str) -> list[Page]:
        """The pages that an answer reads, oldest first."""
        sizes = [len(page.slots) for page in self._pages]
        room = max(0, self.most_tokens - len(cache))
        if sum(sizes) <= room:
            return self._pages
        count = room // max(sizes)
        places = torch.linspace(len(sizes) - 1, 0, count).round().long()   # the newest first
        return [self._pages[i] for i in places.flip(0).tolist()]
