"""What memories that look things up have in common; how they do it is each method's own."""
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamassist.cache import KVCache
from streamassist.config import one_of
from streamassist.memory.base import (
    CONTEXT_RESERVE,
    MAX_TOKENS,
    MemoryPolicy,
    check_setting,
    drop_frames,
    frame_sizes,
    oldest_until,
    question_queries,
)
from streamassist.memory.store import Page, Store
from streamassist.positions import POSITIONS, Terms
from streamassist.scoring import min_max, relevance, top_slots
from streamassist.slots import Block, chained
from streamassist.types import Role


@dataclass
class Retrieval(MemoryPolicy):
    """The newest frames stay in the stream's cache; older ones become pages of a `Store`.

    A question is answered on the prompt, the slots most relevant to it (each layer its own, equally
    many in all) and the newest frames, in order of time, within the budget. Its queries are those
    of a pass on the newest frames (our inference; ReKV and its kin ask layer by layer, on what the
    layers below recalled).
    """

    budget: int = 512       # tokens an answer reads, the prompt and the question not counted
    window: float = 0.5     # share of the budget for the newest frames
    stored: int = 4096      # tokens outside of the cache
    page: int = 1           # tokens that leave together at least; whole frames do
    positions: str = "contiguous"   # of what an answer reads; see streamassist/positions.py
    _store: Store = field(init=False, repr=False)
    _found: list[tuple[int, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_setting(self, "budget", 1, MAX_TOKENS)
        check_setting(self, "window", 0, 1)
        check_setting(self, "stored", 0, MAX_TOKENS)
        check_setting(self, "page", 1, MAX_TOKENS)
        one_of("The memory setting positions", self.positions, tuple(POSITIONS))
        self.reset()

    def reset(self) -> None:
        self._store, self._found = Store(self.stored), []

    # ------------------------------------------------------------ what a method may change

    def describe(self, block: Block) -> Tensor:
        """What a page is found by: by default its mean raw key (L, Hk, D)."""
        return block.raw.float().mean(2).cpu()

    def rank(self, queries: Tensor) -> Tensor:
        """How relevant each page is to the question's raw queries (L, Hq, S, D): (L, P)."""
        return relevance(queries, torch.stack([page.key for page in self._store.pages], 2))

    def choose(self, queries: Tensor, room: int) -> tuple[Tensor, Tensor]:
        """(L, T) score of each stored slot, and (L, K <= room) those to recall, ascending.

        Whole pages, as far as they are of one size; of the last one else the end.
        """
        sizes = {len(page.where) for page in self._store.pages}
        count = min(room, len(self._store))
        if len(sizes) == 1:
            count = count - count % min(sizes) or count
        score = self._store.by_slot(self.rank(queries))
        return score, top_slots(score, count)

    def put_away(self, page: Page, cache: KVCache) -> None:
        """After a page entered the store."""

    def forgotten(self, pages: list[Page]) -> None:
        """After pages left a store that was full."""

    def terms(self, newest: int) -> Terms:
        """What the positions of an answer's cache go by; its last `newest` slots are the window."""
        return Terms(window=newest, limit=max(1, self.model.max_context - CONTEXT_RESERVE))

    # ------------------------------------------------------------ hooks

    def after_prefill(self, cache: KVCache) -> None:
        while len(cache) > self.budget * self.window:
            frames = oldest_until(*frame_sizes(cache), self.page)
            if not frames:   # the newest frame alone is larger
                return
            used = cache.used()
            leaving = torch.isin(used.frame, torch.tensor(sorted(frames)))
            leaving &= used.role == Role.VISUAL
            block = cache.copy_out(leaving.nonzero()[:, 0])
            drop_frames(cache, frames)
            self.put_away(self._store.add(block, self.describe(block)), cache)
            self.forgotten(self._store.shrink())

    def before_answer(self, cache: KVCache, question: str) -> KVCache:
        self._found = []
        room = self.budget - len(cache)
        if not self._store.pages or room <= 0:
            return cache
        queries = question_queries(self.model, cache, question)
        score, index = self.choose(queries, room)
        self._found = self._evidence(score, index)
        return self._laid_out(cache, self._store.take(index))

    def _laid_out(self, cache: KVCache, recalled: Block) -> KVCache:
        """A new cache with the prompt, what was recalled (one plane a layer) and the newest frames.

        Where they stood in the stream is put aside before `insert` closes the gaps: all come from
        there in the order of their age, which is that of the new cache.
        """
        newest = cache.copy_out(torch.arange(cache.num_pinned, cache.size))
        answer = cache.opening()
        parts = (answer.in_use(), recalled.slots, newest.slots)
        stood = chained([slots.spread(recalled.slots.planes) for slots in parts])
        answer.insert(recalled)
        answer.insert(newest)
        answer.place(POSITIONS[self.positions](stood, self.terms(len(cache))))
        return answer

    def _evidence(self, score: Tensor, index: Tensor) -> list[tuple[int, float]]:
        """Recalled frames by the score of their best slot, 0..1 in each layer, the mean over the
        layers; a layer that did not recall it gives 0."""
        recalled = torch.zeros_like(score).scatter(1, index, 1.0)
        strength = (min_max(score) * recalled).mean(0)
        frames, inverse = self._store.frames().unique(return_inverse=True)
        best = torch.zeros(len(frames)).scatter_reduce(0, inverse, strength, "amax")
        there = torch.zeros(len(frames)).scatter_reduce(0, inverse, recalled.amax(0), "amax") > 0
        found = zip(frames[there].tolist(), best[there].tolist(), strict=True)
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def evidence(self) -> list[tuple[int, float]]:
        return self._found
